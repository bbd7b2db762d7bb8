// SPDX-License-Identifier: Apache-2.0
/*
 * What an agent left behind is a tree that it was free to make as deep and as strange as it liked. So it is removed under
 * the agent's own uid: whatever it tricks the removal into, it could have done itself. Only the empty home is root's to
 * remove.
 */
#include "clear.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "processes.h"

enum { KILL_TRIES = 250, SOME_TIME_NS = 20000000 };

/* Where every account may make files. */
static const char *const SHARED[] = {"/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue"};

static DIR *open_dir(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

static bool is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Makes a directory one that its owner may empty and move. */
static void open_up(int parent, const char *name)
{
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 0700) != 0700 &&
	    fchmodat(parent, name, 0700, 0) < 0)
		return; /* what comes next fails then, and says so */
}

/*
 * Removes a directory's content. What is in a directory of it is moved up into it, so that any depth is two descriptors
 * deep; -1 when something can't be removed.
 */
static int empty(int fd)
{
	static unsigned long count;
	bool more = true;

	while (more) {
		DIR *dir = open_dir(fd, ".");
		struct dirent *entry, *inner;

		if (!dir)
			return -1;
		more = false;
		while ((entry = readdir(dir))) {
			DIR *below;

			if (is_dot(entry->d_name) || unlinkat(fd, entry->d_name, 0) == 0)
				continue;
			open_up(fd, entry->d_name);
			if (unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0)
				continue;
			below = open_dir(fd, entry->d_name);
			if (!below) {
				closedir(dir);
				return -1;
			}
			while ((inner = readdir(below))) {
				char name[64];

				if (is_dot(inner->d_name) || unlinkat(dirfd(below), inner->d_name, 0) == 0)
					continue;
				open_up(dirfd(below), inner->d_name);
				snprintf(name, sizeof name, ".sluice-removed-%lu", count++);
				if (renameat(dirfd(below), inner->d_name, fd, name) < 0) {
					closedir(below);
					closedir(dir);
					return -1;
				}
			}
			closedir(below);
			more = true; /* what came up, and the directory itself, in the next round */
		}
		closedir(dir);
	}
	return 0;
}

static void remove_shared(const char *path, uid_t uid)
{
	DIR *dir = open_dir(AT_FDCWD, path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct stat st;

		if (is_dot(entry->d_name) || fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    st.st_uid != uid)
			continue;
		if (S_ISDIR(st.st_mode)) {
			int fd;

			open_up(dirfd(dir), entry->d_name);
			fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (fd >= 0) {
				(void)empty(fd);
				close(fd);
			}
			(void)unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
		} else {
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
		}
	}
	if (dir)
		closedir(dir);
}

static int remove_segment(int id)
{
	return shmctl(id, IPC_RMID, NULL);
}

static int remove_semaphores(int id)
{
	return semctl(id, 0, IPC_RMID);
}

static int remove_queue(int id)
{
	return msgctl(id, IPC_RMID, NULL);
}

/* Each line has the key and the id first; what isn't ours can't be removed, as we are its owner or nobody. */
static void remove_ipc(const char *path, int (*remove_one)(int id))
{
	FILE *file = fopen(path, "re");
	char line[512];
	int id;

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "%*d %d", &id) == 1)
			(void)remove_one(id);
	if (file)
		fclose(file);
}

struct count {
	uid_t uid;
	int processes;
};

static void count_process(const uid_t uids[4], void *context)
{
	struct count *count = context;

	count->processes += uids[0] == count->uid || uids[1] == count->uid || uids[2] == count->uid || uids[3] == count->uid;
}

/* kill(-1) means every process that this uid may signal: its own. What it answers says nothing about whether one is left. */
static bool kill_all(uid_t uid)
{
	const struct timespec some_time = {0, SOME_TIME_NS};

	for (int i = 0; i < KILL_TRIES; i++) {
		struct count count = {uid, 0};

		(void)kill(-1, SIGKILL);
		if (each_process(count_process, &count) && count.processes == 0)
			return true;
		nanosleep(&some_time, NULL);
	}
	return false;
}

static int clear_as(uid_t uid, int home)
{
	uid_t real, effective, saved;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 ||
	    setresuid(uid, uid, uid) < 0 || getresuid(&real, &effective, &saved) < 0 || uid == 0 || real != uid ||
	    effective != uid || saved != uid)
		return FAULT_ERRNO("cannot become uid %u", uid);
	if (!kill_all(uid))
		return FAULT("processes of uid %u do not die: it is not used again", uid);
	for (size_t i = 0; i < sizeof SHARED / sizeof *SHARED; i++)
		remove_shared(SHARED[i], uid);
	remove_ipc("/proc/sysvipc/shm", remove_segment);
	remove_ipc("/proc/sysvipc/sem", remove_semaphores);
	remove_ipc("/proc/sysvipc/msg", remove_queue);
	return empty(home);
}

int clear_home(int homes, const char *name, uid_t uid)
{
	int home = openat(homes, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), status;
	struct stat st;
	pid_t pid;

	if (home < 0)
		return errno != ENOENT;
	if (flock(home, LOCK_EX | LOCK_NB) < 0 || fstat(home, &st) < 0 || st.st_uid != uid)
		return 0;
	/* The agent may have closed it to itself. */
	pid = fchmod(home, 0700) < 0 ? -1 : fork();
	if (pid == 0)
		_exit(clear_as(uid, home) < 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) ||
	    unlinkat(homes, name, AT_REMOVEDIR) < 0) {
		LOG("the home %s of uid %u could not be removed: the uid is not used again until it is", name, uid);
		return 1;
	}
	return 0;
}

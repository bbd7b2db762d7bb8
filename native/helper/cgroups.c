// SPDX-License-Identifier: Apache-2.0
/*
 * Session cgroups. Whose a session is stands in a trusted.* attribute of its directory, so that it outlives the helper
 * and only root can change it; owning the directory instead would let the owner make cgroups below it.
 */
#include "cgroups.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fault.h"

#define OWNER_ATTRIBUTE "trusted.sluice.owner"
#define AGENT_ATTRIBUTE "trusted.sluice.agent"

/* One line of mountinfo (proc_pid_mountinfo(5)): ID PARENT MAJOR:MINOR ROOT MOUNT OPTIONS [TAG…] - TYPE SOURCE SUPER */
static int find_cgroup2(char *mount, size_t size)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	int found = -1;

	if (!file)
		return FAULT_ERRNO("cannot open /proc/self/mountinfo");
	while (found < 0 && getline(&line, &room, file) > 0) {
		char root[PATH_MAX], point[PATH_MAX];
		const char *type = strstr(line, " - ");

		if (!type || strncmp(type + 3, "cgroup2 ", 8) != 0)
			continue;
		if (sscanf(line, "%*d %*d %*s %4095s %4095s", root, point) != 2 || strcmp(root, "/") != 0)
			continue;
		if (strchr(point, '\\') || (size_t)snprintf(mount, size, "%s", point) >= size)
			continue; /* an escaped blank in the mount point: name it by --cgroup-root */
		found = 0;
	}
	free(line);
	fclose(file);
	if (found < 0)
		return FAULT("no cgroup2 mount in /proc/self/mountinfo: mount cgroup v2 or name it with --cgroup-root");
	return 0;
}

/* Of the unit's cgroup, for the helper itself. */
#define LEAF "helper"

/*
 * systemd marks the cgroup of a unit with Delegate=yes by trusted.delegate=1, which root alone can set (systemd.resource-control(5)).
 * The nearest one upwards, as this process may be in a leaf below it: its own, or `.control`, where ExecStopPost= runs.
 */
static int find_delegated(struct cgroups *cg)
{
	char own[PATH_MAX], path[2 * PATH_MAX], mark[2];
	int procdir = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int found = procdir < 0 ? -1 : cgroup_of(procdir, own, sizeof own);
	struct stat st;

	if (procdir >= 0)
		close(procdir);
	if (found < 0)
		return FAULT_ERRNO("--delegated: cannot tell the cgroup of this process");
	for (char *slash; (slash = strrchr(own, '/')) && own[1]; *slash = '\0') {
		snprintf(path, sizeof path, "%s%s", cg->mount, own);
		if (getxattr(path, "trusted.delegate", mark, sizeof mark) != 1 || *mark != '1')
			continue;
		if (stat(path, &st) < 0 || st.st_uid != 0)
			return FAULT("--delegated: %s is delegated to uid %u, which could change it; run as a unit of the system",
				     path, st.st_uid);
		if ((size_t)snprintf(cg->path, sizeof cg->path, "%s/%s", own, cg->name) >= sizeof cg->path)
			return FAULT("--delegated: the path of the unit's cgroup is too long");
		return 0;
	}
	return FAULT("--delegated: this process runs in no systemd unit with Delegate=yes; add that to the unit's [Service]");
}

int cgroups_settle(const struct cgroups *cg)
{
	char path[2 * PATH_MAX];
	int fd, result;

	snprintf(path, sizeof path, "%s%.*s/" LEAF, cg->mount, (int)(strrchr(cg->path, '/') - cg->path), cg->path);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return FAULT_ERRNO("cannot make the cgroup %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	result = fd < 0 ? -1 : cgroup_enter(fd, getpid());
	if (result < 0)
		FAULT_ERRNO("cannot move to the cgroup %s", path);
	if (fd >= 0)
		close(fd);
	return result;
}

static bool is_at(const struct cgroups *cg, int fd, const char *below)
{
	char path[2 * PATH_MAX];
	struct stat there, held;

	snprintf(path, sizeof path, "%s%s%s", cg->mount, cg->path, below);
	return stat(path, &there) == 0 && fstat(fd, &held) == 0 && there.st_ino == held.st_ino && there.st_dev == held.st_dev;
}

bool cgroups_current(const struct cgroups *cg)
{
	return is_at(cg, cg->daemon, "/daemon") && is_at(cg, cg->sessions, "/sessions");
}

int cgroups_find(struct cgroups *cg, const char *root, const char *name, bool delegated)
{
	cg->base = cg->daemon = cg->sessions = -1;
	if (snprintf(cg->name, sizeof cg->name, "%s", name) >= (int)sizeof cg->name || !*name || *name == '.' ||
	    strchr(name, '/'))
		return FAULT("--name %s is no name for a cgroup: one path component of at most 63 bytes", name);
	if (delegated && strcmp(name, LEAF) == 0)
		return FAULT("--name %s with --delegated: the helper's own cgroup has that name", name);
	snprintf(cg->path, sizeof cg->path, "/%s", name);
	if (strcmp(root, "auto") == 0) {
		if (find_cgroup2(cg->mount, sizeof cg->mount) < 0)
			return -1;
	} else if (snprintf(cg->mount, sizeof cg->mount, "%s", root) >= (int)sizeof cg->mount) {
		return FAULT("--cgroup-root is too long");
	}
	return delegated ? find_delegated(cg) : 0;
}

static int open_child(int parent, const char *name, bool make)
{
	int fd;

	if (make && mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
		return -1;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd;
}

static int open_all(struct cgroups *cg, bool make)
{
	char above[2 * PATH_MAX];
	int root;

	snprintf(above, sizeof above, "%s%.*s", cg->mount, (int)(strrchr(cg->path, '/') - cg->path), cg->path);
	root = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return FAULT_ERRNO("cannot open the cgroup %s", above);
	cg->base = open_child(root, cg->name, make);
	if (cg->base >= 0) {
		cg->daemon = open_child(cg->base, "daemon", make);
		cg->sessions = open_child(cg->base, "sessions", make);
	}
	close(root);
	return 0;
}

int cgroups_open(struct cgroups *cg)
{
	if (open_all(cg, true) < 0)
		return -1;
	if (cg->base < 0 || cg->daemon < 0 || cg->sessions < 0)
		return FAULT_ERRNO("cannot make the cgroups %s%s/{daemon,sessions}", cg->mount, cg->path);
	return 0;
}

int cgroups_open_existing(struct cgroups *cg)
{
	if (open_all(cg, false) < 0)
		return -1;
	return cg->base < 0;
}

void cgroups_close(struct cgroups *cg)
{
	int *fds[] = {&cg->sessions, &cg->daemon, &cg->base};

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

int cgroups_answers(const struct cgroups *cg, bool make)
{
	return open_child(cg->base, "answers", make);
}

int cgroups_remove(struct cgroups *cg)
{
	char path[2 * PATH_MAX + 16];
	static const char *const parts[] = {"/answers", "/sessions", "/daemon", ""};

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		snprintf(path, sizeof path, "%s%s%s", cg->mount, cg->path, parts[i]);
		if (rmdir(path) < 0 && errno != ENOENT)
			return FAULT_ERRNO("cannot remove the cgroup %s", path);
	}
	return 0;
}

/* On 64-bit kernels the inode number is the id that bpf_get_current_cgroup_id() gives (kernfs_node.id). */
uint64_t cgroup_id(int dirfd)
{
	struct stat st;

	return fstat(dirfd, &st) < 0 ? 0 : st.st_ino;
}

bool session_id_valid(const char *id)
{
	return strlen(id) == SLUICE_SESSION_LEN && strspn(id, "0123456789abcdef") == SLUICE_SESSION_LEN;
}

int session_open(const struct cgroups *cg, const char *id)
{
	if (!session_id_valid(id)) {
		errno = EINVAL;
		return -1;
	}
	return open_child(cg->sessions, id, false);
}

int cgroup_populated(int dirfd, bool *populated)
{
	char text[256];
	int fd = openat(dirfd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n < 0)
		return -1;
	text[n] = '\0';
	*populated = strstr(text, "populated 0") == NULL;
	return 0;
}

static int read_uid(int fd, const char *attribute, uid_t *uid)
{
	char text[16];
	ssize_t n = fgetxattr(fd, attribute, text, sizeof text - 1);

	if (n < 0)
		return -1;
	text[n] = '\0';
	*uid = (uid_t)strtoul(text, NULL, 10);
	return 0;
}

static int write_uid(int fd, const char *attribute, uid_t uid)
{
	char text[16];

	snprintf(text, sizeof text, "%u", uid);
	return fsetxattr(fd, attribute, text, strlen(text), XATTR_CREATE);
}

static int describe(int fd, const char *id, struct session *out)
{
	if (read_uid(fd, OWNER_ATTRIBUTE, &out->owner) < 0)
		return -1;
	out->agent = 0;
	if (read_uid(fd, AGENT_ATTRIBUTE, &out->agent) < 0 && errno != ENODATA)
		return -1;
	out->cgroup_id = cgroup_id(fd);
	memcpy(out->id, id, sizeof out->id);
	return cgroup_populated(fd, &out->populated);
}

int session_find(const struct cgroups *cg, const char *id, struct session *out)
{
	int fd = session_open(cg, id);
	int result;

	if (fd < 0)
		return -1;
	result = describe(fd, id, out);
	close(fd);
	return result;
}

static int write_file(int dirfd, const char *name, const char *text)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CLOEXEC);
	ssize_t n;
	int saved;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	saved = errno;
	close(fd);
	errno = saved;
	return n < 0 ? -1 : 0;
}

int session_make(const struct cgroups *cg, const char *id, uid_t owner, uid_t agent)
{
	int fd, saved;

	if (!session_id_valid(id)) {
		errno = EINVAL;
		return -1;
	}
	if (mkdirat(cg->sessions, id, 0755) < 0)
		return -1;
	fd = open_child(cg->sessions, id, false);
	/* No cgroups below: the id of a process's cgroup is then the session's, always. */
	if (fd < 0 || write_file(fd, "cgroup.max.descendants", "0") < 0 ||
	    (agent && write_uid(fd, AGENT_ATTRIBUTE, agent) < 0) || write_uid(fd, OWNER_ATTRIBUTE, owner) < 0) {
		saved = errno;
		if (fd >= 0)
			close(fd);
		unlinkat(cg->sessions, id, AT_REMOVEDIR);
		errno = saved;
		return -1;
	}
	return fd;
}

int session_each(const struct cgroups *cg, void (*each)(const struct session *, void *), void *context)
{
	int copy = openat(cg->sessions, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	int count = 0;

	if (!dir) {
		if (copy >= 0)
			close(copy);
		return -1;
	}
	while ((entry = readdir(dir))) {
		struct session session;

		if (!session_id_valid(entry->d_name) || session_find(cg, entry->d_name, &session) < 0)
			continue;
		each(&session, context);
		count++;
	}
	closedir(dir);
	return count;
}

int cgroup_kill(int dirfd)
{
	return write_file(dirfd, "cgroup.kill", "1");
}

int cgroup_enter(int dirfd, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof text, "%d", pid);
	return write_file(dirfd, "cgroup.procs", text);
}

int cgroup_of(int procdir, char *path, size_t size)
{
	char text[2 * PATH_MAX];
	int fd = openat(procdir, "cgroup", O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;
	char *line, *end;

	if (fd < 0)
		return -1;
	while (used < sizeof text - 1 && (n = read(fd, text + used, sizeof text - 1 - used)) > 0)
		used += (size_t)n;
	close(fd);
	text[used] = '\0';
	line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	end = line ? strchr(line + 1, '\n') : NULL;
	if (!end) {
		errno = ESRCH;
		return -1;
	}
	line += *line == '\n' ? 4 : 3;
	*end = '\0';
	if ((size_t)snprintf(path, size, "%s", line) >= size) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return 0;
}

bool cgroup_is_session(const struct cgroups *cg, const char *path)
{
	char prefix[sizeof cg->path + 16];
	int n = snprintf(prefix, sizeof prefix, "%s/sessions", cg->path);

	return strncmp(path, prefix, (size_t)n) == 0 && (path[n] == '/' || path[n] == '\0' || path[n] == ' ');
}

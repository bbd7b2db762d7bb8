// SPDX-License-Identifier: Apache-2.0
/* Out of the cgroup, and so out of every hook. */
#include "probe.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static bool no_mount(struct attempt *a)
{
	if (!a->target->cgroup)
		untried(a, "where cgroup v2 is mounted is not known (cgroup=)");
	return !a->target->cgroup;
}

static bool own_cgroup(char *path, size_t size)
{
	char line[512];
	FILE *file = fopen("/proc/self/cgroup", "re");
	bool found = false;

	while (file && !found && fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = '\0';
		found = strncmp(line, "0::", 3) == 0 && snprintf(path, size, "%s", line + 3) < (int)size;
	}
	if (file)
		fclose(file);
	return found;
}

static void move_to(struct attempt *a, const char *file)
{
	char path[1024];
	int fd;

	if (no_mount(a))
		return;
	snprintf(path, sizeof path, "%s/%s", a->target->cgroup, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		refused(a, "open");
	else if (write(fd, "0", 1) < 0)
		refused(a, "write");
	else
		effect(a, "moved to the root cgroup");
}

static void procs(struct attempt *a)
{
	move_to(a, "cgroup.procs");
}

static void above(struct attempt *a)
{
	char own[512], file[600];
	char *slash = own_cgroup(own, sizeof own) ? strrchr(own, '/') : NULL;

	if (!slash) {
		untried(a, "this process's cgroup is not known");
		return;
	}
	*slash = '\0';
	snprintf(file, sizeof file, "%s/cgroup.procs", own);
	move_to(a, file);
}

static void below(struct attempt *a)
{
	char own[512], path[1200];

	if (no_mount(a) || !own_cgroup(own, sizeof own))
		return;
	snprintf(path, sizeof path, "%s%s/probe-%d", a->target->cgroup, own, getpid());
	if (mkdir(path, 0755) < 0) {
		refused(a, "mkdir");
		return;
	}
	effect(a, "made a cgroup of its own");
	rmdir(path);
}

static void into_cgroup(struct attempt *a)
{
	struct clone_args arguments = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
	int fd;
	long child;

	if (no_mount(a))
		return;
	fd = open(a->target->cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		refused(a, "open");
		return;
	}
	arguments.cgroup = (uint64_t)fd;
	child = syscall(SYS_clone3, &arguments, sizeof arguments);
	if (child == 0)
		_exit(0);
	if (child < 0) {
		refused(a, "clone3(CLONE_INTO_CGROUP)");
		return;
	}
	waitpid((pid_t)child, NULL, 0);
	effect(a, "a child was born in the root cgroup");
}

/* Inside by name, outside in fact: a daemonised process stays where it was. */
static void double_fork(struct attempt *a)
{
	union address to;
	socklen_t size = site_address(a->site, AF_INET, false, &to);

	if (fork() == 0) {
		setsid();
		if (fork() != 0)
			_exit(0);
		connect_and_send(a, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), &to.any, size);
		_exit(0);
	}
	wait(NULL);
	sent(a, "left to an orphan");
}

const struct probe CGROUP_PROBES[] = {
	{"cgroup-procs", procs, 0, "its pid to the root's cgroup.procs"},
	{"cgroup-above", above, 0, "its pid to the cgroup.procs above"},
	{"cgroup-below", below, 0, "a cgroup below its own"},
	{"cgroup-clone", into_cgroup, 0, "clone3(CLONE_INTO_CGROUP)"},
	{"cgroup-orphan", double_fork, NETWORK, "double fork, setsid, then TCP"},
	{0},
};

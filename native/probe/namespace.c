// SPDX-License-Identifier: Apache-2.0
/* Namespaces: of its own, where it is root, or of others. */
#include "probe.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void unshare_(struct attempt *a, unsigned long flags)
{
	if (syscall(SYS_unshare, flags) < 0)
		refused(a, "unshare");
	else
		effect(a, "unshared");
}

static void user(struct attempt *a)
{
	unshare_(a, CLONE_NEWUSER);
}

static void user_net(struct attempt *a)
{
	unshare_(a, CLONE_NEWUSER | CLONE_NEWNET);
}

static void user_mount(struct attempt *a)
{
	unshare_(a, CLONE_NEWUSER | CLONE_NEWNS);
}

static void net(struct attempt *a)
{
	unshare_(a, CLONE_NEWNET);
}

static void clone_(struct attempt *a, bool third)
{
	struct clone_args arguments = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	long child = third ? syscall(SYS_clone3, &arguments, sizeof arguments)
			   : syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);

	if (child == 0)
		_exit(0);
	if (child < 0) {
		refused(a, third ? "clone3" : "clone");
		return;
	}
	waitpid((pid_t)child, NULL, 0);
	effect(a, "a child was born in a user namespace of its own");
}

static void clone_user(struct attempt *a)
{
	clone_(a, false);
}

static void clone3_user(struct attempt *a)
{
	clone_(a, true);
}

static void join_net(struct attempt *a)
{
	int fd = open("/proc/1/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		refused(a, "open");
	else if (syscall(SYS_setns, fd, CLONE_NEWNET) < 0)
		refused(a, "setns");
	else
		effect(a, "entered the network namespace of process 1");
}

static void join_victim(struct attempt *a)
{
	int fd;

	if (!a->target->victim) {
		untried(a, "no victim (victim=)");
		return;
	}
	fd = (int)syscall(SYS_pidfd_open, a->target->victim, 0);
	if (fd < 0)
		refused(a, "pidfd_open");
	else if (syscall(SYS_setns, fd, CLONE_NEWNET) < 0)
		refused(a, "setns");
	else
		effect(a, "entered the network namespace of another process");
}

const struct probe NAMESPACE_PROBES[] = {
	{"userns", user, 0, "unshare(CLONE_NEWUSER)"},
	{"userns-net", user_net, 0, "a network namespace in a user namespace"},
	{"userns-mount", user_mount, 0, "a mount namespace in a user namespace"},
	{"userns-clone", clone_user, 0, "clone(CLONE_NEWUSER)"},
	{"userns-clone3", clone3_user, 0, "clone3(CLONE_NEWUSER)"},
	{"netns", net, 0, "unshare(CLONE_NEWNET)"},
	{"setns", join_net, 0, "the network namespace of process 1"},
	{"setns-pidfd", join_victim, 0, "that of another process, by its pidfd"},
	{0},
};

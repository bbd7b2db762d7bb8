// SPDX-License-Identifier: Apache-2.0
/*
 * A session under another uid than the caller's. The caller is an untrusted local user; all that the helper reads of it is
 * one line. The rest is read by sluice-launch, which it starts with a bare environment and two descriptors
 * (launch/inside.c).
 */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../launch/message.h"

enum { LIMITS_MAX = 16, ABOVE = 16 };

static void become_launcher(const struct spawn_options *o, const struct spawn *s)
{
	static char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	const char *words[2 * LIMITS_MAX + 16];
	char uid[16], gid[16];
	int n = 0, connection, cgroup, flags;

	/* Out of the way of the numbers that they are to have. */
	connection = fcntl(s->connection, F_DUPFD_CLOEXEC, ABOVE);
	cgroup = fcntl(s->cgroup, F_DUPFD_CLOEXEC, ABOVE);
	if (connection < 0 || cgroup < 0 || dup2(connection, INSIDE_CONNECTION) < 0 || dup2(cgroup, INSIDE_CGROUP) < 0 ||
	    chdir("/") < 0)
		return;
	flags = fcntl(INSIDE_CONNECTION, F_GETFL);
	if (flags < 0 || fcntl(INSIDE_CONNECTION, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return;
	for (int i = 1; i < NSIG; i++)
		(void)signal(i, SIG_DFL);
	sigprocmask(SIG_SETMASK, o->mask, NULL);
	snprintf(uid, sizeof uid, "%u", s->uid);
	snprintf(gid, sizeof gid, "%u", s->gid);
	words[n++] = o->launcher;
	words[n++] = "--inside";
	words[n++] = "--session";
	words[n++] = s->session;
	words[n++] = "--uid";
	words[n++] = uid;
	words[n++] = "--gid";
	words[n++] = gid;
	words[n++] = "--home";
	words[n++] = s->home;
	for (int i = 0; o->limits[i] && i < LIMITS_MAX; i++) {
		words[n++] = "--limit";
		words[n++] = o->limits[i];
	}
	words[n] = NULL;
	execve(o->launcher, (char **)(uintptr_t)words, environment);
}

int spawn_inside(const struct spawn_options *options, const struct spawn *spawn)
{
	pid_t pid = fork();

	if (pid == 0) {
		become_launcher(options, spawn);
		dprintf(spawn->connection, "error FAILED cannot start %s (errno %d)\n", options->launcher, errno);
		_exit(1);
	}
	return pid < 0 ? -1 : 0;
}

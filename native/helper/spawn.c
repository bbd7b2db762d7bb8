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

enum { LIMITS_MAX = 16, ABOVE = 16, DESCRIPTORS = 3 };

/* Gives descriptors numbers from 3 on. The first is the connection, which blocks from now on. */
static int place(const int fds[DESCRIPTORS])
{
	int out_of_the_way[DESCRIPTORS], flags;

	for (int i = 0; i < DESCRIPTORS; i++)
		if ((out_of_the_way[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, ABOVE)) < 0)
			return -1;
	for (int i = 0; i < DESCRIPTORS; i++)
		if (dup2(out_of_the_way[i], 3 + i) < 0)
			return -1;
	flags = fcntl(3, F_GETFL);
	return flags < 0 ? -1 : fcntl(3, F_SETFL, flags & ~O_NONBLOCK);
}

static void execute(const struct spawn_options *o, const char *const *words)
{
	static char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};

	for (int i = 1; i < NSIG; i++)
		(void)signal(i, SIG_DFL);
	sigprocmask(SIG_SETMASK, o->mask, NULL);
	execve(o->launcher, (char **)(uintptr_t)words, environment);
}

static void become_launcher(const struct spawn_options *o, const struct spawn *s)
{
	const int descriptors[] = {[INSIDE_CONNECTION - 3] = s->connection, [INSIDE_CGROUP - 3] = s->cgroup,
				   [INSIDE_ANSWER - 3] = s->answer};
	const char *words[2 * LIMITS_MAX + 16];
	char uid[16], gid[16];
	int n = 0;

	if (place(descriptors) < 0 || chdir("/") < 0)
		return;
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
	execute(o, words);
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

pid_t spawn_answer(const struct spawn_options *options, const struct session *session, int connection, int counter, int cgroup)
{
	const int descriptors[] = {[ANSWER_CONNECTION - 3] = connection, [ANSWER_COUNTER - 3] = counter, [ANSWER_CGROUP - 3] = cgroup};
	char id[32];
	const char *const words[] = {options->launcher, "--answer", "--session", session->id, "--cgroup", id, NULL};
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	snprintf(id, sizeof id, "%llu", (unsigned long long)session->cgroup_id);
	if (place(descriptors) == 0 && chdir("/") == 0)
		execute(options, words);
	dprintf(2, "sluice-helper: cannot start %s (errno %d)\n", options->launcher, errno);
	_exit(1);
}

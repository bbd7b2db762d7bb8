/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPAWN_H
#define SPAWN_H

#include <signal.h>
#include <sys/types.h>

#include "cgroups.h"

struct spawn_options {
	const char *launcher;       /* path of sluice-launch */
	const char *const *limits;  /* NAME=N, ended by NULL */
	const sigset_t *mask;       /* signals blocked in the helper are not for what it starts */
};

struct spawn {
	const char *session;
	int cgroup;      /* its directory, locked: the new process holds the lock until it is in it */
	int connection;  /* to the caller, handed on */
	int answer;      /* to the process that answers its filter */
	uid_t uid;
	gid_t gid;
	const char *home;
};

/* Starts sluice-launch as the session's end of a launch; -1 with errno when it could not be started. */
int spawn_inside(const struct spawn_options *options, const struct spawn *spawn);
/* Starts it as what answers the filter of a launch into this session. Its pid, or -1 with errno. */
pid_t spawn_answer(const struct spawn_options *options, const struct session *session, int connection, int counter, int cgroup);

#endif

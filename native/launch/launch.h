/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of sluice-launch, in the order that main.c takes them. Each says why it failed and returns -1. */
#ifndef LAUNCH_H
#define LAUNCH_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#define LOG(format, ...) fprintf(stderr, "sluice-launch: " format "\n", ##__VA_ARGS__)

/* Exit statuses of its own; all others are the command's. */
enum { FAILED = 125, NOT_EXECUTABLE = 126, NOT_FOUND = 127 };

struct launch {
	const char *helper;  /* socket */
	const char *session; /* id, checked */
	uid_t uid;
	gid_t gid;
	int is_root;      /* what is started as root becomes uid and gid; what is not has them already */
	const char *home; /* inside: where to be when the caller's directory is closed to the agent */
	unsigned long long cgroup; /* answer: id of the session's */
	char **command;
};

/* Refuses standard descriptors that are a way out, and makes them block; opens /dev/null for those that are closed. */
int keep_standard_descriptors(void);
/* Closes all from `first` on. */
int close_descriptors_from(unsigned first);

/* Sends one request to the helper. Returns the connection with the answer `ok` read from it. */
int ask_helper(const struct launch *l, const char *request);
/* Is this process in the session's cgroup? */
int is_inside(const char *session);
/*
 * Asks the helper to move this process into the session's cgroup, and checks that it is there. Returns the connection, at
 * whose other end somebody waits for the filter's listener.
 */
int join_session(const struct launch *l);
/* Gives the filter's listener away over this connection, closes both, and returns when it is known to be served. */
int hand_over(int connection, int listener);

/* NAME=N, as --limit has it; the last one counts. */
int limit_set(const char *assignment);
/* Puts limits on this process. Those of a uid of its own are raised and lowered, others are only lowered. */
int limit_resources(int own_uid);
/* Becomes uid and gid for good (when root), without groups, capabilities and the means to regain any. */
int drop_privileges(int is_root, uid_t uid, gid_t gid);
/* Installs the system call filter; it holds for everything that the command starts. Returns its listener. */
int filter_system_calls(void);

/* Becomes the command; returns its exit status when that failed. */
int run_command(char **command);
/* The caller's end of a session that the helper starts. Returns the command's exit status, or ends as it ended. */
int front(const struct launch *l);
/* The session's end of it, started by the helper as root with the two descriptors of message.h. */
int inside(const struct launch *l);
/* Answers what the filter of one launch refuses, until nobody is left whom it holds for. Root, started by the helper. */
int answer(const struct launch *l);

#endif

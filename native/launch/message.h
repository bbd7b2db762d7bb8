/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two ends of a session with a uid of its own say to each other, over the connection that sluice-helper handed
 * on: `front`, the caller's process, and `inside`, which has become the agent's. Both are this program, of one build.
 *
 *   inside  "ok\n"
 *   front   struct request, with descriptors 0 to 2; then `bytes` of texts, each ended by NUL: the working directory,
 *           the words of the command, the environment
 *   inside  READY, with the master of the session's terminal where it has one
 *   front   SIGNAL, SIGNAL_GROUP, CONTINUE       inside  STOPPED
 *                                                inside  ENDED, the last
 */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdint.h>
#include <sys/ioctl.h>
#include <termios.h>

enum {
	REQUEST_MAGIC = 0x534c5231,
	TEXTS_MAX = 2 << 20, /* what execve() takes with the usual limit of 8 MiB on the stack */
	PATIENCE = 10,       /* seconds that either end waits for the other to begin */
	INSIDE_CONNECTION = 3,
	INSIDE_CGROUP = 4,
	INSIDE_ANSWER = 5, /* connection to whoever answers the filter */
	ANSWER_CONNECTION = 3,
	ANSWER_COUNTER = 4, /* the BPF program refused_call */
	ANSWER_CGROUP = 5,  /* its own */
};

/* On the cgroup of a process that answers a filter: it has ended because nothing was left to be answered. */
#define ANSWER_DONE "user.sluice.done"

struct request {
	uint32_t magic;
	uint32_t bytes;
	uint32_t words; /* of the command */
	uint32_t umask;
	uint32_t ignored;    /* bit n: the caller ignores signal n, so the command does */
	uint32_t terminals;  /* bit n: descriptor n is a terminal, and becomes the session's own */
	uint32_t foreground; /* whether the command may read from it at once */
	struct winsize size;
	struct termios modes;
};

struct message {
	enum { READY = 1, SIGNAL, SIGNAL_GROUP, CONTINUE, STOPPED, ENDED } what;
	int32_t value; /* a signal; for CONTINUE whether in the foreground; for ENDED a status as of wait(2) */
};

#endif

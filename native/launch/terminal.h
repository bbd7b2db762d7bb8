/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's terminal, while the session has one of its own: bytes go to and fro between the two. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <poll.h>
#include <stddef.h>
#include <termios.h>

#include "message.h"

struct terminal {
	int fd;      /* /dev/tty; -1: the command has no terminal */
	int master;  /* of the session's */
	int taken;   /* the caller's is in raw mode, and what is typed goes to the session */
	struct termios before;
	char typed[4096]; /* what the session's has not taken yet */
	size_t typed_used;
};

/* Looks which of descriptors 0 to 2 are terminals, puts that into the request, and what the session's shall be like. */
void terminal_look(struct terminal *t, struct request *request);
/* May this process use it now? */
int terminal_is_ours(const struct terminal *t);
/* Stops this job, as reading does, unless the terminal is its own. */
void terminal_want(const struct terminal *t);
void terminal_take(struct terminal *t);
void terminal_give_back(struct terminal *t);
/* Its size is the session's. */
void terminal_resize(const struct terminal *t);
/* What poll(2) shall look for, in two entries, and what to do then. */
void terminal_prepare(const struct terminal *t, struct pollfd fds[2]);
void terminal_relay(struct terminal *t, const struct pollfd fds[2]);
/* What the session wrote before it ended. */
void terminal_drain(struct terminal *t);

#endif

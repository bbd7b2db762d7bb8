/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that answer what the system call filters of sessions refuse (launch/answer.c): one for each launch. */
#ifndef ANSWERS_H
#define ANSWERS_H

#include "cgroups.h"
#include "spawn.h"

enum { ANSWERS_MAX = 64 }; /* of one session at once */

/*
 * Starts one, which waits at this connection for the listener of a filter. `counter`: the BPF program that counts. -1 with
 * errno: EUSERS when the session has as many as it may have.
 */
int answers_start(const struct cgroups *cg, const struct spawn_options *options, const struct session *session, int connection,
		  int counter);
/* Clears away what has ended, and tells `report` of each that did not end by itself while its session goes on. */
void answers_watch(const struct cgroups *cg, void (*report)(void *context, const char *text), void *context);
/* Ends and removes all of them; -1 when one does not die. */
int answers_remove(const struct cgroups *cg);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The helper's socket: one request line, one answer, per connection. The protocol stands in ../README.md. */
#ifndef SERVER_H
#define SERVER_H

#include <signal.h>
#include <sys/types.h>

#include "cgroups.h"
#include "hooks.h"
#include "pool.h"
#include "spawn.h"

struct server_options {
	const char *socket_path;
	uid_t user; /* of the daemon */
	struct cgroups *cg;
	struct hooks *hooks;
	struct pool *pool;
	struct spawn_options spawn;
};

/* Serves until *stop is set by a signal. Returns 0, or -1 after saying why. */
int server_run(const struct server_options *options, const volatile sig_atomic_t *stop, const sigset_t *wait_mask);

#endif

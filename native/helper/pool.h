/* SPDX-License-Identifier: Apache-2.0 */
/* Uids of agents: each session takes one that nobody has, and a home directory with it. */
#ifndef POOL_H
#define POOL_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "cgroups.h"

struct pool {
	uid_t first, last;    /* both 0: there is none */
	uid_t next;           /* where the search begins: the one that was given back last is taken last */
	char path[PATH_MAX];  /* directory with the homes */
	int homes;            /* its descriptor */
};

/* FIRST-LAST or `none`. */
int pool_parse(struct pool *pool, const char *range);
/* Makes the directory of the homes, and sees that no uid of the range is anybody's. */
int pool_open(struct pool *pool, const char *homes, uid_t daemon);
void pool_close(struct pool *pool);
/*
 * A uid for a session of `owner`, with the home directory `session`; 0 with *reason when there is none. It is taken as
 * long as the session's cgroup or that home is there.
 */
uid_t pool_take(struct pool *pool, const struct cgroups *cg, uid_t owner, const char *session, const char **reason);
/* Undoes pool_take(), before anything ran. */
void pool_untake(const struct pool *pool, const char *session);
/*
 * Starts a process for each home whose session's cgroup is gone: it kills what is left of the uid, removes the home and
 * what else is the uid's, and with it gives the uid back. Returns at once.
 */
void pool_give_back(const struct pool *pool, const struct cgroups *cg);

#endif

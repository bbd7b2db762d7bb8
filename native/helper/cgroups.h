/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroups of sluice: NAME/daemon, NAME/sessions and one child of it per session, NAME/answers and one child of it per
 * process that answers a session's filter.
 */
#ifndef CGROUPS_H
#define CGROUPS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sluice.h"

#define SESSIONS_MAX 1024

struct cgroups {
	char mount[PATH_MAX]; /* of cgroup2 */
	char name[64];        /* last component of path */
	char path[PATH_MAX];  /* below the mount, with a leading slash: /NAME, or /UNIT/NAME in a delegated subtree */
	int base;             /* directory descriptors */
	int daemon;
	int sessions;
};

struct session {
	char id[SLUICE_SESSION_LEN + 1];
	uint64_t cgroup_id;
	uid_t owner; /* who may start it */
	uid_t agent; /* of the pool; 0: its processes have a uid that is also others' */
	bool populated;
};

/*
 * Where cgroup2 is mounted: `root` itself, or found in /proc/self/mountinfo when it is "auto". `delegated`: NAME lies in the
 * cgroup of the systemd unit that this process runs in, which must have Delegate=yes, else directly below the mount.
 */
int cgroups_find(struct cgroups *cg, const char *root, const char *name, bool delegated);
/* Moves this process out of the way into a leaf of the delegated subtree: cgroups with children hold no processes there. */
int cgroups_settle(const struct cgroups *cg);
/* Are the open directories still those that the paths lead to? One that was removed never gets its hooks back. */
bool cgroups_current(const struct cgroups *cg);
/* Makes what is missing and opens it. */
int cgroups_open(struct cgroups *cg);
/* Opens what is there; returns 1 when the base is not. For --detach. */
int cgroups_open_existing(struct cgroups *cg);
void cgroups_close(struct cgroups *cg);
/* NAME/answers, opened anew each time: nothing is attached to it, so that it may go and come. -1 with errno. */
int cgroups_answers(const struct cgroups *cg, bool make);
/* Removes the (empty) directories of sluice. */
int cgroups_remove(struct cgroups *cg);

uint64_t cgroup_id(int dirfd);
bool session_id_valid(const char *id);
/* 0 with the session filled in, or -1 with errno. */
int session_find(const struct cgroups *cg, const char *id, struct session *out);
/* `agent` 0: none of the pool. */
int session_make(const struct cgroups *cg, const char *id, uid_t owner, uid_t agent);
/* Descriptor of the session's directory, or -1 with errno. */
int session_open(const struct cgroups *cg, const char *id);
/* Calls `each` for every session; returns the number of them. */
int session_each(const struct cgroups *cg, void (*each)(const struct session *, void *), void *context);
/* Is a process in the cgroup? -1 with errno. */
int cgroup_populated(int dirfd, bool *populated);
/* Kills everything in the cgroup; -1 with errno. */
int cgroup_kill(int dirfd);
/* Moves a process; -1 with errno. */
int cgroup_enter(int dirfd, pid_t pid);
/* The `0::` path of a process as seen through its open /proc/PID directory; -1 with errno. */
int cgroup_of(int procdir, char *path, size_t size);
/* Is this `0::` path a session's, whichever? */
bool cgroup_is_session(const struct cgroups *cg, const char *path);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF programs: loaded, attached to the two cgroups, pinned, verified. */
#ifndef HOOKS_H
#define HOOKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cgroups.h"

struct hooks;

struct hooks_options {
	const char *pin_dir;
	uid_t user; /* owner of the maps that the daemon uses */
	gid_t group;
	uint32_t pending_max; /* 0: SLUICE_PENDING_DEFAULT */
	bool verbose;
};

/* Mounts a bpffs on the directory when there is none. */
int hooks_mount(const char *pin_dir);
/*
 * Loads, attaches and pins; where pinned links of ours are there, their programs are replaced in one step each, so that
 * enforcement never lapses. NULL when anything at all could not be attached.
 */
struct hooks *hooks_attach(const struct hooks_options *options, const struct cgroups *cg);
/* Are all our programs effective on this session's (or the daemon's) cgroup? Names the first that is not. */
bool hooks_effective(const struct hooks *hooks, int cgroup, bool daemon, const char **missing);
int hooks_count(void);
/* Number of pinned links that are still there. */
int hooks_pinned(const struct hooks *hooks);
/* Closes the descriptors; what is pinned stays. */
void hooks_close(struct hooks *hooks);
/* Detaches the links, removes the pins and the bpffs mount, if it is one of its own. */
int hooks_remove(const char *pin_dir);

#endif

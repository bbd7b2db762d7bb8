/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF programs: chosen by what the kernel has, attached to the two cgroups, pinned, verified, watched. */
#ifndef HOOKS_H
#define HOOKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cgroups.h"

#define HOOKS_MAX 48

struct hooks;

struct hooks_options {
	const char *pin_dir;
	uid_t user; /* owner of the maps that the daemon uses */
	gid_t group;
	uint32_t pending_max; /* 0: SLUICE_PENDING_DEFAULT */
	uint32_t flows_max;   /* 0: SLUICE_FLOWS_DEFAULT */
	bool verbose;
	const char *without[HOOKS_MAX]; /* names of hooks to leave out, for tests; "lsm" is all of lsm.bpf.c */
	int without_count;
};

/* Mounts a bpffs on the directory when there is none. */
int hooks_mount(const char *pin_dir);
/*
 * Loads, attaches and pins; where pinned links of ours are there, their programs are replaced in one step each, so that
 * enforcement never lapses. NULL when a hook that every kernel has could not be attached.
 */
struct hooks *hooks_attach(const struct hooks_options *options, const struct cgroups *cg);
/* Are all our programs effective on this session's (or the daemon's) cgroup? Names the first that is not. */
bool hooks_effective(const struct hooks *hooks, int cgroup, bool daemon, const char **missing);
/* Is there a hook of this name? */
bool hooks_known(const char *name);
/* Is this hook attached, by the last look of hooks_watch()? */
bool hooks_has(const struct hooks *hooks, const char *name);
/* The first hook that was left out, or NULL. */
const char *hooks_left_out(const struct hooks *hooks);
/* Lets every session speak to a UNIX socket of the host: `/path` or `@abstract`. */
int hooks_allow_unix(struct hooks *hooks, const char *name);
/* The BPF program refused_call. */
int hooks_counter(const struct hooks *hooks);
/* Drops what is counted of sessions that are gone. */
void hooks_forget_dead(struct hooks *hooks, const struct cgroups *cg);
/* How many entries a map has now, and how many it can have; -1: there is no such map. */
int hooks_map_entries(const struct hooks *hooks, const char *name, uint32_t *most);
/* Does the kernel hold refusals that nobody has taken? `lost`: how many it could not count; as it was when that can't be read. */
bool hooks_refused(const struct hooks *hooks, uint64_t *lost);
/* Writes the JSON array of the names of those chosen; returns its length. */
int hooks_print(const struct hooks *hooks, char *text, size_t size);
/* Hooks that were chosen, and how many of them are pinned. */
int hooks_count(const struct hooks *hooks);
int hooks_pinned(const struct hooks *hooks);
/*
 * Looks for what was done to the programs behind the helper's back, puts it back, and tells `report` of each. Answers
 * whether enforcement had lapsed, so that what runs in the sessions can't be trusted any more; -1 when it still has.
 */
int hooks_watch(struct hooks *hooks, const struct cgroups *cg, void (*report)(void *context, const char *text), void *context);
/* Closes the descriptors; what is pinned stays. */
void hooks_close(struct hooks *hooks);
/* Detaches the links, removes the pins and the bpffs mount, if it is one of its own. */
int hooks_remove(const char *pin_dir);

#endif

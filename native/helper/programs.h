/* SPDX-License-Identifier: Apache-2.0 */
/* The four objects of BPF programs: opened, told what they need to know, loaded, their maps pinned. */
#ifndef PROGRAMS_H
#define PROGRAMS_H

#include <bpf/libbpf.h>

#include "hooks.h"

enum object {
	NETWORK, /* sluice.bpf.c */
	CONFINE, /* confine.bpf.c */
	UNIX,	 /* unix.bpf.c, Linux >= 6.7 */
	LSM,	 /* lsm.bpf.c, where BPF LSM is there */
	OBJECTS,
};

struct programs {
	struct bpf_object *object[OBJECTS]; /* NULL: not loaded */
	void *skeleton[OBJECTS];
};

/* Loads one object. Quiet: that it can't be loaded is an answer, not a fault. */
int programs_load(struct programs *p, enum object which, const struct hooks_options *options, const struct cgroups *cg, bool quiet);
void programs_unload(struct programs *p, enum object which);
/* Descriptor of a program, or -1. */
int programs_find(const struct programs *p, enum object which, const char *name);
/* Descriptor of a map of whichever object has it, or -1. */
int programs_map(const struct programs *p, const char *name);
/* Are programs of lsm.bpf.c called? To be asked once they are attached. */
bool programs_lsm_called(const struct programs *p);
/* Pins maps again that have lost their pin; how many had, or -1. */
int programs_repin(const struct programs *p, const struct hooks_options *options);
/* Removes the pins of all maps. */
int programs_unpin(const char *pin_dir);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What those are told who watch: that something changed, never what. They ask for that by the verb that says it. */
#ifndef CHANGES_H
#define CHANGES_H

#include <stddef.h>
#include <stdint.h>

#include "cgroups.h"
#include "hooks.h"

enum { CHANGES_MAX = 64 }; /* bytes, of all lines together */

/* As it was when it was last told. */
struct changes {
	uint64_t incidents; /* how many there were */
	uint64_t sessions;  /* which there are, and which of them are populated: a sum that others do not have */
	uint64_t lost;	    /* refusals that could not be counted */
};

/*
 * Writes a line for each kind of which there is something to tell, and brings `told` up to now; returns the length. What was
 * refused is told until it is taken, and of sessions as long as one is empty: it is being started, or over, and its command
 * may have come and gone between two looks.
 */
size_t changes_since(struct changes *told, const struct cgroups *cg, const struct hooks *hooks, uint64_t incidents,
		     char text[static CHANGES_MAX]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What a session is promised, and which hooks of this kernel keep it. */
#ifndef GUARANTEES_H
#define GUARANTEES_H

#include "hooks.h"

/*
 * Takes the list that must be held: names with commas between; NULL for the usual ones, "none" for none. -1 when a name is
 * not known.
 */
int guarantees_require(const char *names);
/* The first that is required and not held, with what would hold it; false when there is none. */
bool guarantees_lacking(const struct hooks *hooks, const char **name, const char **needs);
/* Writes the JSON array of `status`; returns its length. */
int guarantees_print(const struct hooks *hooks, char *text, size_t size);

#endif

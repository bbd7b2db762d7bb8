/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLEAR_H
#define CLEAR_H

#include <sys/types.h>

/*
 * In a process of its own: kills what is left of a uid of the pool, removes what it owns where a next owner of the uid would
 * find it, and the home `name` last. Returns an exit status: 0 done, or somebody else is at it.
 */
int clear_home(int homes, const char *name, uid_t uid);

#endif

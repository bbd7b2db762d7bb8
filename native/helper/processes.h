/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROCESSES_H
#define PROCESSES_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Calls `each` with the real, effective, saved and file system uid of every process of the host but this one and those
 * that are dead and only not yet waited for. False when /proc can't be read.
 */
bool each_process(void (*each)(const uid_t uids[4], void *), void *context);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* How the helper reports: one line on stderr; functions that fail have said why and return -1. */
#ifndef FAULT_H
#define FAULT_H

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LOG(format, ...) fprintf(stderr, "sluice-helper: " format "\n", ##__VA_ARGS__)
#define FAULT(format, ...) fault(LOG(format, ##__VA_ARGS__))
#define FAULT_ERRNO(format, ...) FAULT(format ": %s", ##__VA_ARGS__, strerror(errno))

static inline int fault(int written)
{
	(void)written;
	return -1;
}

#endif

// SPDX-License-Identifier: Apache-2.0
/* The contract's layout as the compiler sees it, for the test that holds the TypeScript side against it. */
#include "libsluice.h"
#include "sluice.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

/* Numbers as text need no formatting at run time; the assertion keeps text and compiler in step. */
#define FIELD(name, offset, size)                                                                              \
	_Static_assert(offsetof(struct sluice_origin, name) == (offset), "offset of " #name);                  \
	_Static_assert(sizeof(((struct sluice_origin *)0)->name) == (size), "size of " #name);
#define ORIGIN(X)            \
	X(address, 0, 16)    \
	X(cgroup_id, 16, 8)  \
	X(netns_cookie, 24, 8) \
	X(socket_cookie, 32, 8) \
	X(time, 40, 8)       \
	X(pid, 48, 4)        \
	X(uid, 52, 4)        \
	X(gid, 56, 4)        \
	X(isn, 60, 4)        \
	X(port, 64, 2)       \
	X(family, 66, 1)     \
	X(protocol, 67, 1)   \
	X(exe_len, 68, 2)    \
	X(comm, 72, 16)      \
	X(exe, 88, 256)
ORIGIN(FIELD)
#define LINE(name, offset, size) #name " " TEXT(offset) " " TEXT(size) "\n"

const char *sluice_layout(void)
{
	return "sluice_origin 0 344\n" ORIGIN(LINE);
}

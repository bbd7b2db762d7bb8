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
#define UNIX_NAME_FIELD(name, offset, size)                                                                          \
	_Static_assert(offsetof(struct sluice_unix_name, name) == (offset), "offset of " #name);                     \
	_Static_assert(sizeof(((struct sluice_unix_name *)0)->name) == (size), "size of " #name);
#define UNIX_NAME(X)     \
	X(session, 0, 8) \
	X(length, 8, 4)  \
	X(name, 12, 108)
UNIX_NAME(UNIX_NAME_FIELD)
#define REFUSED_FIELD(name, offset, size)                                                                    \
	_Static_assert(offsetof(struct sluice_refused, name) == (offset), "offset of " #name);               \
	_Static_assert(sizeof(((struct sluice_refused *)0)->name) == (size), "size of " #name);
#define REFUSED(X)              \
	X(key.name, 0, 120)     \
	X(key.kind, 120, 2)     \
	X(key.turn, 122, 1)     \
	X(key.further, 123, 1)  \
	X(key.detail, 124, 12)  \
	X(refusal.count, 136, 8) \
	X(refusal.first, 144, 344)
REFUSED(REFUSED_FIELD)
#define LINE(name, offset, size) #name " " TEXT(offset) " " TEXT(size) "\n"

const char *sluice_layout(void)
{
	return "sluice_origin 0 344\n" ORIGIN(LINE) "sluice_unix_name 0 120\n" UNIX_NAME(LINE) "sluice_refused 0 488\n" REFUSED(LINE);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * A socket made before the move into the cgroup escapes every cgroup hook, so none is inherited. Of the three standard
 * descriptors those kinds are let through that are known to lead nowhere but to the user's terminal, files and pipes.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/major.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "launch.h"

/* Names the reason, or NULL when the descriptor may stay. */
static const char *unfit(int fd, const struct stat *st)
{
	int domain;
	socklen_t size = sizeof domain;

	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
	case S_IFIFO:
		return NULL;
	case S_IFSOCK:
		if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX)
			return NULL;
		return "is a network socket";
	case S_IFCHR: {
		unsigned kind = major(st->st_rdev), which = minor(st->st_rdev);

		/* null, zero, full, random, urandom; not mem, kmem, port (Documentation/admin-guide/devices.txt) */
		if (kind == MEM_MAJOR && (which == 3 || which == 5 || which == 7 || which == 8 || which == 9))
			return NULL;
		if (kind == TTY_MAJOR || kind == TTYAUX_MAJOR ||
		    (kind >= UNIX98_PTY_SLAVE_MAJOR && kind < UNIX98_PTY_SLAVE_MAJOR + UNIX98_PTY_MAJOR_COUNT))
			return NULL;
		/* Serial consoles have majors of their own. */
		if (isatty(fd))
			return NULL;
		return "is a device other than a terminal, null, zero or random";
	}
	default:
		return "is neither a file, a pipe, a terminal nor a UNIX socket";
	}
}

int keep_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		struct stat st;
		const char *reason;

		if (fstat(fd, &st) < 0) {
			/* Lowest free number: it becomes fd, as those below are open. */
			if (open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd) {
				LOG("cannot open /dev/null for descriptor %d: %s", fd, strerror(errno));
				return -1;
			}
			continue;
		}
		reason = unfit(fd, &st);
		if (reason) {
			LOG("descriptor %d %s: a session takes no such descriptor along; use a pipe or a file", fd, reason);
			return -1;
		}
	}
	/*
	 * Node, which the command line runs on, makes pipes non-blocking, and that outlives exec. A command is written for
	 * the blocking ones that a shell gives it: without this its output breaks off when the reader is slow.
	 */
	for (int fd = 0; fd <= 2; fd++) {
		int flags = fcntl(fd, F_GETFL);

		if (flags >= 0 && (flags & O_NONBLOCK))
			(void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
	}
	return 0;
}

int close_descriptors_from(unsigned first)
{
	if (syscall(SYS_close_range, first, ~0U, 0U) < 0) {
		LOG("cannot close descriptors: %s (close_range requires Linux >= 5.9)", strerror(errno));
		return -1;
	}
	return 0;
}

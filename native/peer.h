/* SPDX-License-Identifier: Apache-2.0 */
/* Who is at the other end of a UNIX socket: of helper and daemon. */
#ifndef PEER_H
#define PEER_H

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Linux 6.5, newer than some headers. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/*
 * Has the process that connected come to its end? While it has not, its number is its own, and what was opened by that number
 * is its own as well. Kernels before 6.5 can't tell.
 */
static inline bool peer_is_gone(int fd)
{
	int pidfd, failed;
	socklen_t size = sizeof pidfd;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0)
		return errno != ENOPROTOOPT;
	failed = pidfd_send_signal(pidfd, 0, NULL, 0) < 0 ? errno : 0;
	close(pidfd);
	return failed == ESRCH;
}

#endif

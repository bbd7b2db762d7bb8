/* SPDX-License-Identifier: Apache-2.0 */
/* What helper and daemon tell the service manager: one datagram to its socket, sd_notify(3). */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { NOTIFY_FDS_MAX = 8 };

/*
 * `path` as $NOTIFY_SOCKET has it: absolute, or with an @ for an abstract name. `state`: lines of VARIABLE=value. `fds` go
 * with it, for FDSTORE=1. 0, or -errno. Waits for nobody.
 */
static inline int notify_send(const char *path, const char *state, const int *fds, unsigned count)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	union {
		char bytes[CMSG_SPACE(NOTIFY_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec data = {(char *)(uintptr_t)state, strlen(state)};
	struct msghdr message = {.msg_name = &address, .msg_iov = &data, .msg_iovlen = 1};
	size_t length = strlen(path);
	ssize_t sent;
	int fd;

	if ((*path != '/' && *path != '@') || length < 2 || length >= sizeof address.sun_path || count > NOTIFY_FDS_MAX)
		return -EINVAL;
	memcpy(address.sun_path, path, length);
	if (*path == '@')
		address.sun_path[0] = '\0';
	/* An abstract name is as long as it is said to be, a path ends with a NUL that counts. */
	message.msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (*path == '/'));
	if (count > 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, count * sizeof(int));
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	sent = sendmsg(fd, &message, MSG_NOSIGNAL);
	if (sent < 0)
		sent = -errno;
	close(fd);
	return sent < 0 ? (int)sent : 0;
}

#endif

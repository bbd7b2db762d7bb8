// SPDX-License-Identifier: Apache-2.0
/*
 * What the daemon has of systemd: its listeners, which outlive it in the service manager, the socket on which it says how
 * it is, and the journal.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../notify.h"
#include "libsluice.h"

enum {
	PORT_TRIES = 50,            /* of any port, until one is free for all four */
	BACKLOG = 1024,             /* as daemon/intake/listener.ts says it again */
	DATAGRAM_ROOM = 1 << 20,    /* bytes that wait while the daemon is busy, or is started again */
	JOURNAL_ROOM = 8 << 20,     /* of what systemd's own library asks for; net.core.wmem_max has the last word */
	JOURNAL_AT_ONCE = 64,
};

/* Order of sluice_listen(): TCP and UDP, each on 127.0.0.1 and ::1. */
static const struct {
	int family, type;
} KINDS[SLUICE_LISTENERS] = {
	{AF_INET, SOCK_STREAM}, {AF_INET6, SOCK_STREAM}, {AF_INET, SOCK_DGRAM}, {AF_INET6, SOCK_DGRAM}};

static socklen_t loopback(int family, uint16_t port, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof *out);
	if (family == AF_INET) {
		*(struct sockaddr_in *)out = (struct sockaddr_in){
			.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		return sizeof(struct sockaddr_in);
	}
	*(struct sockaddr_in6 *)out =
		(struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	return sizeof(struct sockaddr_in6);
}

static int port_of(int fd)
{
	struct sockaddr_storage at;
	socklen_t size = sizeof at;

	if (getsockname(fd, (struct sockaddr *)&at, &size) < 0)
		return -errno;
	if (at.ss_family != AF_INET && at.ss_family != AF_INET6)
		return -EAFNOSUPPORT;
	return ntohs(at.ss_family == AF_INET ? ((struct sockaddr_in *)&at)->sin_port : ((struct sockaddr_in6 *)&at)->sin6_port);
}

static int open_one(int family, int type, uint16_t port)
{
	struct sockaddr_storage at;
	socklen_t size = loopback(family, port, &at);
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, room = DATAGRAM_ROOM, failed;

	if (fd < 0)
		return -errno;
	if ((family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0) ||
	    (type == SOCK_STREAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0) ||
	    bind(fd, (struct sockaddr *)&at, size) < 0 || (type == SOCK_STREAM && listen(fd, BACKLOG) < 0)) {
		failed = errno;
		close(fd);
		return -failed;
	}
	if (type == SOCK_DGRAM)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
	return fd;
}

static int open_all(uint16_t port, int32_t *out)
{
	for (int i = 0; i < SLUICE_LISTENERS; i++)
		out[i] = -1;
	for (int i = 0; i < SLUICE_LISTENERS; i++) {
		int fd = open_one(KINDS[i].family, KINDS[i].type, port);

		/* A host without IPv6: the kernel then refuses what agents try over it. */
		if (KINDS[i].family == AF_INET6 && (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL))
			continue;
		if (fd < 0) {
			for (int j = 0; j < i; j++)
				if (out[j] >= 0)
					close(out[j]);
			return fd;
		}
		out[i] = fd;
		if (port == 0)
			port = (uint16_t)port_of(fd);
	}
	return port;
}

int sluice_listen(unsigned port, int32_t *out)
{
	int result = -EINVAL;

	for (int tries = 0; port <= 65535 && tries < PORT_TRIES; tries++) {
		result = open_all((uint16_t)port, out);
		if (result >= 0 || port != 0)
			break;
	}
	return result;
}

int sluice_inherit(int fd, unsigned kind)
{
	int type, family, listening;
	socklen_t size = sizeof(int);

	if (kind >= SLUICE_LISTENERS)
		return -EINVAL;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	if (type != KINDS[kind].type || family != KINDS[kind].family || listening != (type == SOCK_STREAM))
		return -EPROTOTYPE;
	return port_of(fd);
}

int sluice_notify(const char *path, const char *state, const int32_t *fds, uint32_t count)
{
	return notify_send(path, state, fds, count);
}

int sluice_journal_open(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, failed, room = JOURNAL_ROOM;

	if (strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		failed = errno;
		close(fd);
		return -failed;
	}
	return fd;
}

/* As sd_journal_sendv(3) does it: a sealed file in memory, whose descriptor is the whole datagram. */
static int send_large(int fd, const uint8_t *bytes, uint32_t length)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct msghdr message = {.msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	int file = memfd_create("sluice-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING), result = 0;

	if (file < 0)
		return -errno;
	control.align.cmsg_level = SOL_SOCKET;
	control.align.cmsg_type = SCM_RIGHTS;
	control.align.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.align), &file, sizeof file);
	for (uint32_t at = 0; at < length && result == 0;) {
		ssize_t n = write(file, bytes + at, length - at);

		if (n < 0)
			result = -errno;
		else
			at += (uint32_t)n;
	}
	if (result == 0 && (fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0 ||
			    sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0))
		result = -errno;
	close(file);
	return result;
}

int sluice_journal_send(int fd, const uint8_t *bytes, uint32_t size, const uint32_t *ends, uint32_t count)
{
	uint32_t sent = 0;

	for (uint32_t i = 0, last = 0; i < count; last = ends[i++])
		if (ends[i] < last || ends[i] > size)
			return -EINVAL;
	while (sent < count) {
		struct mmsghdr messages[JOURNAL_AT_ONCE] = {0};
		struct iovec pieces[JOURNAL_AT_ONCE];
		uint32_t now = count - sent < JOURNAL_AT_ONCE ? count - sent : JOURNAL_AT_ONCE;
		int n;

		for (uint32_t i = 0; i < now; i++) {
			uint32_t from = sent + i == 0 ? 0 : ends[sent + i - 1];

			pieces[i] = (struct iovec){(uint8_t *)(uintptr_t)bytes + from, ends[sent + i] - from};
			messages[i].msg_hdr.msg_iov = &pieces[i];
			messages[i].msg_hdr.msg_iovlen = 1;
		}
		n = sendmmsg(fd, messages, now, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			n = errno == EMSGSIZE ? send_large(fd, pieces[0].iov_base, (uint32_t)pieces[0].iov_len) : -errno;
		else
			n = n > 0 ? n : -EAGAIN;
		if (n < 0)
			return sent > 0 ? (int)sent : n;
		sent += n > 0 ? (uint32_t)n : 1;
	}
	return (int)sent;
}

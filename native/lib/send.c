// SPDX-License-Identifier: Apache-2.0
/* What one turn of the daemon's event loop sends on its sockets, in one call. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "libsluice.h"

int sluice_send_many(const uint8_t *bytes, uint32_t size, struct sluice_send *jobs, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct sluice_send *job = &jobs[i];
		ssize_t sent;

		if (job->from > size || job->length > size - job->from)
			return -EINVAL;
		do {
			sent = send(job->fd, bytes + job->from, job->length, MSG_DONTWAIT | MSG_NOSIGNAL);
		} while (sent < 0 && errno == EINTR);
		job->sent = sent < 0 ? -errno : (int32_t)sent;
		if (job->sent == (int32_t)job->length)
			continue;
		/* The socket may have room again for the next piece, which must not come before the rest of this one. */
		for (uint32_t later = i + 1; later < count; later++)
			if (jobs[later].fd == job->fd)
				jobs[later].fd = -1;
	}
	return 0;
}

static bool is_loopback(const struct sockaddr_storage *address)
{
	const struct in6_addr *six = &((const struct sockaddr_in6 *)address)->sin6_addr;

	if (address->ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return address->ss_family == AF_INET6 &&
	       (IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == IN_LOOPBACKNET));
}

int sluice_unpace(int fd)
{
	struct sockaddr_storage peer = {0};
	socklen_t size = sizeof peer;

	if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0)
		return -errno;
	if (!is_loopback(&peer))
		return 0;
	/* The one that no kernel is without. */
	return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno")) < 0 ? -errno : 1;
}

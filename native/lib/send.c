// SPDX-License-Identifier: Apache-2.0
/* What one turn of the daemon's event loop sends on its sockets, in one call. */
#include <errno.h>
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

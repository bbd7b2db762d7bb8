// SPDX-License-Identifier: Apache-2.0
/* Joining the session's cgroup; the helper moves us, since only root may. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "launch.h"
#include "sluice.h"

/* The helper's claim is not taken on trust: the socket's path came from the command line. */
static int is_inside(const char *session)
{
	char line[4096], wanted[64];
	FILE *file = fopen("/proc/self/cgroup", "re");
	int inside = 0;

	snprintf(wanted, sizeof wanted, "/sessions/%s\n", session);
	while (file && fgets(line, sizeof line, file)) {
		size_t have = strlen(line), want = strlen(wanted);

		if (strncmp(line, "0::", 3) == 0)
			inside = have >= want && strcmp(line + have - want, wanted) == 0;
	}
	if (file)
		fclose(file);
	return inside;
}

int join_session(const char *helper, const char *session)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval patience = {10, 0};
	char line[512];
	size_t used = 0;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int result = -1;

	if (strlen(session) != SLUICE_SESSION_LEN || strspn(session, "0123456789abcdef") != SLUICE_SESSION_LEN) {
		LOG("--session wants 32 hex digits");
		goto cleanup;
	}
	if (snprintf(address.sun_path, sizeof address.sun_path, "%s", helper) >= (int)sizeof address.sun_path) {
		LOG("--helper %s is too long for a socket", helper);
		goto cleanup;
	}
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
	    dprintf(fd, "join %s\n", session) < 0) {
		LOG("cannot reach sluice-helper on %s: %s; is it running?", helper, strerror(errno));
		goto cleanup;
	}
	while (used < sizeof line - 1) {
		ssize_t n = read(fd, line + used, sizeof line - 1 - used);

		if (n <= 0)
			break;
		used += (size_t)n;
	}
	line[used] = '\0';
	line[strcspn(line, "\n")] = '\0';
	if (strcmp(line, "ok") != 0) {
		LOG("cannot join session %s: %s", session, *line ? line : "sluice-helper did not answer");
		goto cleanup;
	}
	if (!is_inside(session)) {
		LOG("%s said ok, yet this process is not in the cgroup of session %s", helper, session);
		goto cleanup;
	}
	result = 0;
cleanup:
	if (fd >= 0)
		close(fd);
	return result;
}

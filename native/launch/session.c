// SPDX-License-Identifier: Apache-2.0
/* What is asked of the helper, since only root may move a process into a session or start one under another uid. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "launch.h"
#include "message.h"

/* The helper's claim is not taken on trust: the socket's path came from the command line. */
int is_inside(const char *session)
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

/* Reads to the end of the line and not a byte further: what follows may be for somebody else. */
static void read_line(int fd, char *line, size_t size)
{
	size_t used = 0;

	while (used < size - 1 && read(fd, line + used, 1) == 1 && line[used] != '\n')
		used++;
	line[used] = '\0';
}

int ask_helper(const struct launch *l, const char *request)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval patience = {PATIENCE, 0};
	char line[512];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (snprintf(address.sun_path, sizeof address.sun_path, "%s", l->helper) >= (int)sizeof address.sun_path) {
		LOG("--helper %s is too long for a socket", l->helper);
		goto failed;
	}
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
	    /* Whom it refuses at once it tells why before it closes. */
	    (send(fd, line, (size_t)snprintf(line, sizeof line, "%s\n", request), MSG_NOSIGNAL) < 0 && errno != EPIPE)) {
		LOG("cannot reach sluice-helper on %s: %s; is it running?", l->helper, strerror(errno));
		goto failed;
	}
	read_line(fd, line, sizeof line);
	if (strcmp(line, "ok") != 0) {
		LOG("cannot join session %s: %s", l->session, *line ? line : "sluice-helper did not answer");
		goto failed;
	}
	return fd;
failed:
	if (fd >= 0)
		close(fd);
	return -1;
}

int join_session(const struct launch *l)
{
	char request[64];
	int fd;

	snprintf(request, sizeof request, "join %s answer", l->session);
	fd = ask_helper(l, request);
	if (fd < 0 || is_inside(l->session))
		return fd;
	LOG("%s said ok, yet this process is not in the cgroup of session %s", l->helper, l->session);
	close(fd);
	return -1;
}

int hand_over(int connection, int listener)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec data = {"\n", 1};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	struct cmsghdr *first = &control.align;
	char line[512] = "";

	if (listener < 0)
		return -1; /* it was said why */
	first->cmsg_level = SOL_SOCKET;
	first->cmsg_type = SCM_RIGHTS;
	first->cmsg_len = CMSG_LEN(sizeof listener);
	memcpy(CMSG_DATA(first), &listener, sizeof listener);
	if (sendmsg(connection, &message, MSG_NOSIGNAL) == 1)
		read_line(connection, line, sizeof line);
	close(connection);
	close(listener);
	if (strcmp(line, "ok") == 0)
		return 0;
	LOG("nobody answers for the system call filter: %s", *line ? line : "the reason stands in the log of sluice-helper");
	return -1;
}

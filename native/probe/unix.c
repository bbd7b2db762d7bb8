// SPDX-License-Identifier: Apache-2.0
/* UNIX sockets of the host, and descriptors that come over them. */
#include "probe.h"

#include <stdlib.h>
#include <sys/un.h>

/* Name of a socket: a folder and the name in it, or one text alone; `@` begins an abstract one. */
static socklen_t named(struct sockaddr_un *address, const char *folder, const char *name)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(address->sun_path, sizeof address->sun_path, "%s%s", folder ? folder : "", name);
	if (*address->sun_path == '@') {
		socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(address->sun_path));

		*address->sun_path = '\0';
		return size;
	}
	return sizeof *address;
}

static void connect_unix(struct attempt *a, int type, const char *folder, const char *name)
{
	struct sockaddr_un to;
	socklen_t size = named(&to, folder, name);

	if (!a->target->dir)
		untried(a, "no witness (dir=)");
	else
		connect_and_send(a, socket(AF_UNIX, type | SOCK_CLOEXEC, 0), (struct sockaddr *)&to, size);
}

static void stream(struct attempt *a)
{
	connect_unix(a, SOCK_STREAM, a->target->dir, "/stream");
}

static void seqpacket(struct attempt *a)
{
	connect_unix(a, SOCK_SEQPACKET, a->target->dir, "/seqpacket");
}

static void datagram(struct attempt *a)
{
	connect_unix(a, SOCK_DGRAM, a->target->dir, "/datagram");
}

static void connect_abstract(struct attempt *a, int type, const char *name)
{
	char path[108];

	snprintf(path, sizeof path, "@" MARK "%.40s %s", a->target->nonce, name);
	connect_unix(a, type, NULL, path);
}

static void abstract(struct attempt *a)
{
	connect_abstract(a, SOCK_STREAM, "stream");
}

static void abstract_datagram(struct attempt *a)
{
	connect_abstract(a, SOCK_DGRAM, "datagram");
}

static void datagram_sendto(struct attempt *a)
{
	struct sockaddr_un to;
	socklen_t size = named(&to, a->target->dir, "/datagram");
	char text[PAYLOAD_MAX];
	size_t length = payload(a, text);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (!a->target->dir)
		untried(a, "no witness (dir=)");
	else if (sendto(fd, text, length, 0, (struct sockaddr *)&to, size) < 0)
		refused(a, "sendto");
	else
		sent(a, "%zu bytes sent", length);
}

/* By another way to the same name: a link to the socket's directory. */
static void symlinked(struct attempt *a)
{
	char link_path[] = "/tmp/sluice-probe-XXXXXX";

	if (!a->target->dir || !mkdtemp(link_path) || rmdir(link_path) < 0 || symlink(a->target->dir, link_path) < 0) {
		untried(a, "no link can be made in /tmp");
		return;
	}
	connect_unix(a, SOCK_STREAM, link_path, "/stream");
	unlink(link_path);
}

/* What is known to act for whoever reaches it. A connection is the effect: what it would be asked is not tried. */
static void services(struct attempt *a)
{
	static const char *const KNOWN[] = {"/run/docker.sock",
					    "/run/containerd/containerd.sock",
					    "/run/podman/podman.sock",
					    "/run/crio/crio.sock",
					    "/run/dbus/system_bus_socket",
					    "/run/systemd/private",
					    "/run/systemd/io.systemd.ManagedOOM",
					    "/run/systemd/userdb/io.systemd.DynamicUser",
					    "/run/snapd.socket",
					    "/run/libvirt/libvirt-sock",
					    "/run/acpid.socket",
					    "/run/cups/cups.sock",
					    "/run/avahi-daemon/socket",
					    "/run/postgresql/.s.PGSQL.5432",
					    "/run/mysqld/mysqld.sock",
					    "/run/redis/redis-server.sock",
					    "/run/tailscale/tailscaled.sock",
					    "/tmp/.X11-unix/X0",
					    "@/tmp/.X11-unix/X0"};
	char own[3][108], reached[HOW_MAX] = "";
	const char *agent = getenv("SSH_AUTH_SOCK"), *names[sizeof KNOWN / sizeof *KNOWN + 4];
	size_t count = 0;

	for (; count < sizeof KNOWN / sizeof *KNOWN; count++)
		names[count] = KNOWN[count];
	snprintf(own[0], sizeof own[0], "/run/user/%u/bus", getuid());
	snprintf(own[1], sizeof own[1], "/run/user/%u/systemd/private", getuid());
	names[count++] = own[0];
	names[count++] = own[1];
	if (agent)
		names[count++] = agent;
	for (size_t i = 0; i < count; i++) {
		struct sockaddr_un to;
		socklen_t size = named(&to, NULL, names[i]);
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (connect(fd, (struct sockaddr *)&to, size) == 0)
			snprintf(reached + strlen(reached), sizeof reached - strlen(reached), " %s", names[i]);
		close(fd);
	}
	if (*reached)
		effect(a, "connected to%.180s", reached);
	else
		kept(a, "none of %zu was reached", count);
}

/* The helper refuses every process inside a session, whoever it runs as. */
static void helper(struct attempt *a)
{
	struct sockaddr_un to;
	socklen_t size = named(&to, a->target->pins, "/../helper.sock");
	char answer[100] = "";
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!a->target->pins)
		untried(a, "no helper (pins=)");
	else if (connect(fd, (struct sockaddr *)&to, size) < 0)
		refused(a, "connect");
	else if (send(fd, "list\n", 5, MSG_NOSIGNAL) < 0 || recv(fd, answer, sizeof answer - 1, 0) < 0)
		refused(a, "send");
	else if (strncmp(answer, "error", 5) == 0)
		kept(a, "%.30s", answer);
	else
		effect(a, "it answered");
}

/* Three sockets that were made outside: one not connected, one for datagrams, one connected to the witness. */
static int take(struct attempt *a, int which)
{
	union {
		char bytes[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} control;
	char byte;
	struct iovec data = {&byte, 1};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	struct sockaddr_un to;
	socklen_t size = named(&to, a->target->dir, "/giver");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[3];
	struct cmsghdr *first;

	if (!a->target->dir) {
		untried(a, "no witness (dir=)");
		return -1;
	}
	if (connect(fd, (struct sockaddr *)&to, size) < 0) {
		refused(a, "connect");
		return -1;
	}
	if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) < 0) {
		refused(a, "recvmsg");
		return -1;
	}
	first = CMSG_FIRSTHDR(&message);
	if (!first || first->cmsg_len != CMSG_LEN(sizeof fds)) {
		kept(a, "no descriptor came");
		return -1;
	}
	memcpy(fds, CMSG_DATA(first), sizeof fds);
	return fds[which];
}

static void passed_stream(struct attempt *a)
{
	union address to;
	socklen_t size = site_address(a->site, AF_INET, false, &to);
	int fd = take(a, 0);

	if (fd >= 0)
		connect_and_send(a, fd, &to.any, size);
}

static void passed_datagram(struct attempt *a)
{
	union address to;
	socklen_t size = site_address(a->site, AF_INET, false, &to);
	char text[PAYLOAD_MAX];
	size_t length = payload(a, text);
	int fd = take(a, 1);

	if (fd < 0)
		return;
	if (sendto(fd, text, length, 0, &to.any, size) < 0)
		refused(a, "sendto");
	else
		sent(a, "%zu bytes sent", length);
}

static void passed_connected(struct attempt *a)
{
	int fd = take(a, 2);

	if (fd >= 0)
		connect_and_send(a, fd, NULL, 0);
}

/* Whoever starts the session may hold sockets; none of them may come along. */
static void inherited(struct attempt *a)
{
	char text[PAYLOAD_MAX];
	size_t length = payload(a, text);
	int found = 0;

	for (int fd = 0; fd < 1024; fd++) {
		int family;
		socklen_t size = sizeof family;

		if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 || family == AF_UNIX)
			continue;
		found++;
		(void)!send(fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	if (found)
		sent(a, "%d sockets were there and written to", found);
	else
		kept(a, "no socket was there");
}

const struct probe UNIX_PROBES[] = {
	{"unix-stream", stream, 0, "a UNIX socket of the host by its path"},
	{"unix-seqpacket", seqpacket, 0, "the same, SOCK_SEQPACKET"},
	{"unix-datagram", datagram, 0, "the same, SOCK_DGRAM, connected"},
	{"unix-sendto", datagram_sendto, 0, "the same, by sendto()"},
	{"unix-symlink", symlinked, 0, "by a path of its own that leads there"},
	{"unix-abstract", abstract, 0, "by an abstract name"},
	{"unix-abstract-datagram", abstract_datagram, 0, "the same, SOCK_DGRAM"},
	{"unix-services", services, 0, "docker, containerd, the buses, X11, ssh-agent, databases"},
	{"unix-helper", helper, 0, "sluice-helper"},
	{"passed-stream", passed_stream, NETWORK, "a TCP socket made outside, by SCM_RIGHTS"},
	{"passed-datagram", passed_datagram, NETWORK, "a UDP socket made outside"},
	{"passed-connected", passed_connected, 0, "a connection made outside"},
	{"inherited", inherited, ALONE, "sockets of whoever started the session"},
	{0},
};

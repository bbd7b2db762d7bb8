// SPDX-License-Identifier: Apache-2.0
/*
 * Outside of every session: listens in all the ways that probes try, and says on stdout whose nonce arrived where. It is
 * told on stdin to call processes that listen, and to say when nothing more is coming:
 *
 *   dial tcp|udp ADDRESS PORT NAME
 *   drain
 */
#include "probe.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/vm_sockets.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { SOCKETS_MAX = 256, QUIET_MS = 250, DIAL_S = 4, DATAGRAM_MAX = 65536, BOUND_TRIES = 50 };

enum kind { NONE, LISTENER, READER, GIVER };

struct watched {
	enum kind kind;
	bool frames; /* AF_PACKET: what this host itself sent is not looked at */
	const char *what;
};

static struct pollfd sockets[SOCKETS_MAX];
static struct watched watched[SOCKETS_MAX];
static int count = 1; /* the first is stdin */

static void watch(int fd, enum kind kind, const char *what)
{
	if (fd < 0 || count == SOCKETS_MAX) {
		close(fd);
		return;
	}
	sockets[count] = (struct pollfd){.fd = fd, .events = POLLIN};
	watched[count++] = (struct watched){.kind = kind, .what = what};
}

static int bound(int family, int type, int protocol, const void *address, socklen_t size)
{
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

	if (fd >= 0 && family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
	if (fd >= 0 && bind(fd, address, size) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int listening(int fd)
{
	if (fd >= 0 && listen(fd, 64) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* One port for TCP, UDP and UDP-Lite over both families, so that probes need to know one number. 0: some could not be had. */
static uint16_t open_ports(bool far, uint16_t wanted)
{
	struct site here = {.v4.s_addr = htonl(far ? INADDR_ANY : INADDR_LOOPBACK), .port = wanted};
	union address v4, v6;
	socklen_t size4, size6, length = sizeof v4;
	int first, fds[5];

	here.v6 = far ? in6addr_any : in6addr_loopback;
	size4 = site_address(&here, AF_INET, false, &v4);
	first = listening(bound(AF_INET, SOCK_STREAM, 0, &v4, size4));
	if (first < 0 || getsockname(first, &v4.any, &length) < 0)
		return 0;
	here.port = ntohs(v4.v4.sin_port);
	size6 = site_address(&here, AF_INET6, false, &v6);
	fds[0] = first;
	fds[1] = bound(AF_INET, SOCK_DGRAM, 0, &v4, size4);
	fds[2] = listening(bound(AF_INET6, SOCK_STREAM, 0, &v6, size6));
	fds[3] = bound(AF_INET6, SOCK_DGRAM, 0, &v6, size6);
	fds[4] = bound(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, &v4, size4);
	/* A host without IPv6 or UDP-Lite has no way out by them. */
	if (fds[1] < 0 || ((fds[2] < 0 || fds[3] < 0) && errno == EADDRINUSE)) {
		for (int i = 0; i < 5; i++)
			close(fds[i]);
		return 0;
	}
	setsockopt(first, IPPROTO_TCP, TCP_FASTOPEN, &(int){16}, sizeof(int));
	watch(first, LISTENER, "TCP over IPv4");
	watch(fds[1], READER, "UDP over IPv4");
	watch(fds[2], LISTENER, "TCP over IPv6");
	watch(fds[3], READER, "UDP over IPv6");
	watch(fds[4], READER, "UDP-Lite");
	return here.port;
}

static int unix_socket(int type, const char *path, size_t length)
{
	struct sockaddr_un own = {.sun_family = AF_UNIX};

	if (length >= sizeof own.sun_path)
		return -1;
	memcpy(own.sun_path, path, length);
	return bound(AF_UNIX, type, 0, &own, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
}

static void open_unix(const struct target *t)
{
	static const struct {
		const char *name;
		int type;
		enum kind kind;
	} NAMED[] = {{"stream", SOCK_STREAM, LISTENER},
		     {"seqpacket", SOCK_SEQPACKET, LISTENER},
		     {"datagram", SOCK_DGRAM, READER},
		     {"giver", SOCK_STREAM, GIVER}};
	char path[256];

	for (size_t i = 0; t->dir && i < sizeof NAMED / sizeof *NAMED; i++) {
		int fd, length = snprintf(path, sizeof path, "%s/%s", t->dir, NAMED[i].name);

		unlink(path);
		fd = unix_socket(NAMED[i].type, path, (size_t)length);
		/* Open to everyone: file permissions must not be what keeps a session out. */
		if (fd >= 0)
			(void)!chmod(path, 0666);
		watch(NAMED[i].kind == READER ? fd : listening(fd), NAMED[i].kind, "UNIX socket");
	}
	for (int datagram = 0; datagram <= 1; datagram++) {
		int fd, length = snprintf(path, sizeof path, "%c" MARK "%.40s %s", 0, t->nonce, datagram ? "datagram" : "stream");

		fd = unix_socket(datagram ? SOCK_DGRAM : SOCK_STREAM, path, (size_t)length);
		watch(datagram ? fd : listening(fd), datagram ? READER : LISTENER, "abstract UNIX socket");
	}
}

/* What only root may listen to. True when all of it could be opened. */
static bool open_raw(bool far)
{
	struct sockaddr_ll frames = {.sll_family = AF_PACKET, .sll_protocol = htons(far ? ETH_P_ALL : ETHERTYPE_MARK)};
	int fds[] = {bound(AF_PACKET, SOCK_RAW, frames.sll_protocol, &frames, sizeof frames),
		     socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP),
		     socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6),
		     socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_MARK),
		     socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_MARK)};
	bool all = true;

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
		all &= fds[i] >= 0;
		watch(fds[i], READER, i == 0 ? "frames" : "raw packets");
	}
	/* On the loopback each frame comes twice, once as sent; in a namespace of its own what is sent is its own. */
	if (fds[0] >= 0)
		watched[count - (int)(sizeof fds / sizeof *fds)].frames = far;
	return all;
}

static void report(const struct target *t, const char *bytes, ssize_t length, const char *what)
{
	char wanted[PAYLOAD_MAX], name[48] = "";
	size_t size = (size_t)snprintf(wanted, sizeof wanted, MARK "%.64s ", t->nonce);
	const char *at = length > 0 ? memmem(bytes, (size_t)length, wanted, size) : NULL;
	const char *end = bytes + (length > 0 ? length : 0);

	if (!at)
		return;
	for (at += size; at < end && strlen(name) < sizeof name - 1 && *at > ' ' && *at != '"' && *at != '\\'; at++)
		name[strlen(name)] = *at;
	printf("{\"saw\":\"%s\",\"at\":\"%s\"}\n", name, what);
	fflush(stdout);
}

/* The way in of passed descriptors: sockets that belong to no session. */
static void give(const struct target *t, int to)
{
	union {
		char bytes[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec data = {"x", 1};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	struct cmsghdr *first = CMSG_FIRSTHDR(&message);
	union address near;
	socklen_t size = site_address(&t->site[0], AF_INET, false, &near);
	int fds[] = {socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
		     socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};

	/* Its own listener: the queue takes the connection before it is accepted. */
	(void)!connect(fds[2], &near.any, size);
	first->cmsg_level = SOL_SOCKET;
	first->cmsg_type = SCM_RIGHTS;
	first->cmsg_len = CMSG_LEN(sizeof fds);
	memcpy(CMSG_DATA(first), fds, sizeof fds);
	(void)!sendmsg(to, &message, MSG_NOSIGNAL);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

static void read_from(const struct target *t, int i)
{
	static char bytes[DATAGRAM_MAX];
	struct sockaddr_ll from;
	socklen_t size = sizeof from;
	int connection;
	ssize_t n;

	switch (watched[i].kind) {
	case LISTENER:
		connection = accept4(sockets[i].fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		watch(connection, READER, watched[i].what);
		return;
	case GIVER:
		connection = accept4(sockets[i].fd, NULL, NULL, SOCK_CLOEXEC);
		if (connection >= 0)
			give(t, connection);
		close(connection);
		return;
	default:
		n = recvfrom(sockets[i].fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &size);
	}
	if (n < 0 && errno == EAGAIN)
		return;
	if (!(watched[i].frames && size >= sizeof from - 2 && from.sll_pkttype == PACKET_OUTGOING))
		report(t, bytes, n, watched[i].what);
	/* A connection that has ended; datagrams may be empty. */
	if (n <= 0 && strncmp(watched[i].what, "UDP", 3) != 0) {
		close(sockets[i].fd);
		sockets[i].fd = -1;
	}
}

static void dial(const struct target *t, const char *kind, const char *host, unsigned port, const char *name)
{
	struct site there = {.port = (uint16_t)port};
	struct attempt a = {.target = t, .site = &there};
	bool v4 = inet_pton(AF_INET, host, &there.v4) == 1;
	union address to;
	socklen_t size;

	if (!v4 && inet_pton(AF_INET6, host, &there.v6) != 1)
		return;
	if (fork() != 0) {
		/* A probe that nobody called has held nothing. */
		printf("{\"called\":\"%s\"}\n", name);
		fflush(stdout);
		return;
	}
	alarm(DIAL_S);
	/* Not the probe's name: an ICMP error that quotes this call comes back to the witness, and is nobody's escape. */
	snprintf(a.name, sizeof a.name, "call");
	size = site_address(&there, v4 ? AF_INET : AF_INET6, false, &to);
	connect_and_send(&a, socket(v4 ? AF_INET : AF_INET6, strcmp(kind, "udp") ? SOCK_STREAM : SOCK_DGRAM, 0), &to.any, size);
	_exit(0);
}

/* False: stdin has ended. */
static bool obey(const struct target *t, bool *draining)
{
	static char line[512];
	static size_t used;
	char kind[8], host[64], name[48], *end;
	unsigned port;
	ssize_t n = read(STDIN_FILENO, line + used, sizeof line - 1 - used);

	if (n <= 0)
		return false;
	used += (size_t)n;
	line[used] = '\0';
	while ((end = strchr(line, '\n'))) {
		*end++ = '\0';
		if (strcmp(line, "drain") == 0)
			*draining = true;
		else if (sscanf(line, "dial %7s %63s %u %47s", kind, host, &port, name) == 4)
			dial(t, kind, host, port, name);
		used -= (size_t)(end - line);
		memmove(line, end, used + 1);
	}
	return used < sizeof line - 1;
}

int witness(const struct target *given, bool far)
{
	struct target t = *given;
	struct sockaddr_vm machine = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
	bool raw, draining = false;
	uint16_t port = 0;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	sockets[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
	for (int i = 0; i < BOUND_TRIES && !port; i++)
		port = open_ports(far, 0);
	if (!port) {
		fprintf(stderr, "sluice-probe: no port is free for the witness\n");
		return 1;
	}
	t.site[0].port = port;
	t.site[0].v4.s_addr = htonl(INADDR_LOOPBACK);
	raw = open_raw(far);
	machine.svm_port = port;
	if (!far) {
		open_unix(&t);
		watch(listening(bound(AF_VSOCK, SOCK_STREAM, 0, &machine, sizeof machine)), LISTENER, "vsock");
	}
	printf("{\"port\":%u,\"raw\":%s}\n", port, raw ? "true" : "false");
	fflush(stdout);
	for (;;) {
		int ready = poll(sockets, (nfds_t)count, draining ? QUIET_MS : -1);

		if (ready == 0) {
			printf("{\"drained\":true}\n");
			fflush(stdout);
			draining = false;
			continue;
		}
		for (int i = count - 1; i > 0; i--)
			if (sockets[i].fd >= 0 && sockets[i].revents)
				read_from(&t, i);
		if (sockets[0].revents && !obey(&t, &draining))
			return 0;
	}
}

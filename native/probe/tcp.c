// SPDX-License-Identifier: Apache-2.0
/* TCP in its shapes. Inside a session it connects, to sluiced: whether the bytes came to the witness decides. */
#include "probe.h"

#include <linux/io_uring.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { PATIENCE_MS = 4000 }; /* less than an attempt may take in all */
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef IPPROTO_SMC
#define IPPROTO_SMC 256
#endif

socklen_t site_address(const struct site *site, int family, bool mapped, union address *address)
{
	*address = (union address){0};
	if (family == AF_INET) {
		address->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(site->port), .sin_addr = site->v4};
		return sizeof address->v4;
	}
	address->v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(site->port), .sin6_addr = site->v6};
	if (mapped) {
		memset(&address->v6.sin6_addr, 0, 10);
		memset(&address->v6.sin6_addr.s6_addr[10], 0xff, 2);
		memcpy(&address->v6.sin6_addr.s6_addr[12], &site->v4, 4);
	}
	return sizeof address->v6;
}

void connect_and_send(struct attempt *a, int fd, const struct sockaddr *address, socklen_t size)
{
	char text[PAYLOAD_MAX];
	size_t length = payload(a, text);
	struct timeval patience = {PATIENCE_MS / 1000, 0};

	if (fd < 0) {
		refused(a, "socket");
		return;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* connect() keeps to it, too */
	if (address && connect(fd, address, size) < 0)
		refused(a, "connect");
	else if (send(fd, text, length, MSG_NOSIGNAL) != (ssize_t)length)
		refused(a, "send");
	else
		sent(a, "%zu bytes sent", length);
	close(fd);
}

static void connect_by(struct attempt *a, int family, bool mapped, int protocol)
{
	union address to;
	socklen_t size = site_address(a->site, family, mapped, &to);

	connect_and_send(a, socket(family, SOCK_STREAM | SOCK_CLOEXEC, protocol), &to.any, size);
}

static void tcp4(struct attempt *a)
{
	connect_by(a, AF_INET, false, 0);
}

static void tcp6(struct attempt *a)
{
	connect_by(a, AF_INET6, false, 0);
}

static void tcp_mapped(struct attempt *a)
{
	connect_by(a, AF_INET6, true, 0);
}

static void mptcp(struct attempt *a)
{
	connect_by(a, AF_INET, false, IPPROTO_MPTCP);
}

static void smc(struct attempt *a)
{
	connect_by(a, AF_INET, false, IPPROTO_SMC);
}

/* Bytes in the SYN. Without a cookie from an earlier connection they follow it. */
static void fastopen_send(struct attempt *a)
{
	union address to;
	socklen_t size = site_address(a->site, AF_INET, false, &to);
	char text[PAYLOAD_MAX];
	size_t length = payload(a, text);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {PATIENCE_MS / 1000, 0};

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (sendto(fd, text, length, MSG_FASTOPEN | MSG_NOSIGNAL, &to.any, size) < 0)
		refused(a, "sendto(MSG_FASTOPEN)");
	else
		sent(a, "%zu bytes sent", length);
}

static void with_option(struct attempt *a, int level, int option, const void *value, socklen_t length, const char *call)
{
	union address to;
	socklen_t size = site_address(a->site, AF_INET, false, &to);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && setsockopt(fd, level, option, value, length) < 0)
		refused(a, call);
	else
		connect_and_send(a, fd, &to.any, size);
}

static void fastopen_connect(struct attempt *a)
{
	with_option(a, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &(int){1}, sizeof(int), "TCP_FASTOPEN_CONNECT");
}

static void mark(struct attempt *a)
{
	with_option(a, SOL_SOCKET, SO_MARK, &(int){0x51}, sizeof(int), "SO_MARK");
}

static void bind_device(struct attempt *a)
{
	const char *device = a->site->device;

	with_option(a, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device) + 1, "SO_BINDTODEVICE");
}

static void transparent(struct attempt *a)
{
	with_option(a, IPPROTO_IP, IP_TRANSPARENT, &(int){1}, sizeof(int), "IP_TRANSPARENT");
}

static void bound_source(struct attempt *a)
{
	union address to;
	socklen_t size = site_address(a->site, AF_INET, false, &to);
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 4)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* A loopback source leads nowhere else. */
	if (a->site != &a->target->site[0])
		from.sin_addr.s_addr = htonl(INADDR_ANY);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
		refused(a, "bind");
	else
		connect_and_send(a, fd, &to.any, size);
}

/* An address of family AF_UNSPEC undoes a connection; what comes after it must be looked at again. */
static void reconnect(struct attempt *a)
{
	union address to, nowhere = {.any.sa_family = AF_UNSPEC};
	socklen_t size = site_address(a->site, AF_INET, false, &to);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, &to.any, size) == 0)
		(void)connect(fd, &nowhere.any, sizeof nowhere.v4);
	connect_and_send(a, fd, &to.any, size);
}

/* Straight to sluiced, with a header that a proxy would believe. */
static void daemon_port(struct attempt *a)
{
	char to[INET_ADDRSTRLEN], text[PAYLOAD_MAX + 100], mark_text[PAYLOAD_MAX];
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(a->target->daemon),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const unsigned char *v4 = (const unsigned char *)&a->site->v4;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), length;

	if (!a->target->daemon) {
		untried(a, "the daemon's port is not known");
		return;
	}
	snprintf(to, sizeof to, "%u.%u.%u.%u", v4[0], v4[1], v4[2], v4[3]);
	payload(a, mark_text);
	length = snprintf(text, sizeof text, "PROXY TCP4 127.0.0.1 %s 4711 %u\r\n%s", to, a->site->port, mark_text);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
		refused(a, "connect");
	else if (send(fd, text, (size_t)length, MSG_NOSIGNAL) < 0)
		refused(a, "send");
	else
		sent(a, "%d bytes sent to port %u", length, a->target->daemon);
}

/* A ring of two entries: connect, then send. */
static void uring(struct attempt *a)
{
	struct io_uring_params p = {0};
	union address to;
	socklen_t size = site_address(a->site, AF_INET, false, &to);
	char text[PAYLOAD_MAX];
	size_t length = payload(a, text);
	int ring = (int)syscall(SYS_io_uring_setup, 2, &p), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct io_uring_sqe *sqes;
	char *sq;
	unsigned *tail, *array;

	if (ring < 0) {
		refused(a, "io_uring_setup");
		return;
	}
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		  ring, IORING_OFF_SQ_RING);
	sqes = mmap(NULL, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
		    IORING_OFF_SQES);
	if (sq == MAP_FAILED || (void *)sqes == MAP_FAILED) {
		refused(a, "mmap");
		return;
	}
	tail = (unsigned *)(sq + p.sq_off.tail);
	array = (unsigned *)(sq + p.sq_off.array);
	sqes[0] = (struct io_uring_sqe){.opcode = IORING_OP_CONNECT,
					.flags = IOSQE_IO_LINK,
					.fd = fd,
					.addr = (uintptr_t)&to,
					.off = size};
	sqes[1] = (struct io_uring_sqe){.opcode = IORING_OP_SEND, .fd = fd, .addr = (uintptr_t)text, .len = (unsigned)length};
	array[0] = 0;
	array[1] = 1;
	__atomic_store_n(tail, *tail + 2, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 2, 2, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		refused(a, "io_uring_enter");
	else
		sent(a, "connect and send handed to the ring");
}

const struct probe TCP_PROBES[] = {
	{"tcp4", tcp4, NETWORK, "TCP over IPv4"},
	{"tcp6", tcp6, NETWORK, "TCP over IPv6"},
	{"tcp-mapped", tcp_mapped, NETWORK, "TCP to an IPv4 address written as an IPv6 one"},
	{"tcp-fastopen", fastopen_send, NETWORK, "sendto(MSG_FASTOPEN)"},
	{"tcp-fastopen-connect", fastopen_connect, NETWORK, "TCP_FASTOPEN_CONNECT"},
	{"tcp-reconnect", reconnect, NETWORK, "a second connect after AF_UNSPEC"},
	{"tcp-bound-source", bound_source, NETWORK, "a source address of its own choice"},
	{"tcp-mark", mark, NETWORK, "SO_MARK, for another routing table"},
	{"tcp-bind-device", bind_device, NETWORK, "SO_BINDTODEVICE"},
	{"tcp-transparent", transparent, NETWORK, "IP_TRANSPARENT"},
	{"tcp-io-uring", uring, NETWORK, "connect and send by io_uring"},
	{"tcp-daemon-port", daemon_port, NETWORK, "straight to sluiced, behind a PROXY header"},
	{"mptcp", mptcp, NETWORK, "Multipath TCP"},
	{"smc", smc, NETWORK, "SMC over IPPROTO_SMC"},
	{0},
};

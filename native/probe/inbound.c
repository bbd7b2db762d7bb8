// SPDX-License-Identifier: Apache-2.0
/*
 * A process that listens lets others fetch what it has. The probe says on stdout where it listens, the witness outside
 * calls, and the nonce that arrives is the escape.
 */
#include "probe.h"

#include <poll.h>

enum { WAIT_MS = 2500 };

static void wait_for_caller(struct attempt *a, int family, int type, bool bound)
{
	union address own = {.any.sa_family = (sa_family_t)family};
	socklen_t size = family == AF_INET ? sizeof own.v4 : sizeof own.v6;
	int fd = socket(family, type | SOCK_CLOEXEC, 0), from = fd;
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	char line[160], text[PAYLOAD_MAX];
	ssize_t n;

	if (fd < 0 || (bound && bind(fd, &own.any, size) < 0)) {
		refused(a, fd < 0 ? "socket" : "bind");
		return;
	}
	if ((type == SOCK_STREAM && listen(fd, 5) < 0) || getsockname(fd, &own.any, &size) < 0) {
		refused(a, "listen");
		return;
	}
	/* One write: others write to the same pipe. */
	n = snprintf(line, sizeof line, "{\"listen\":\"%s\",\"family\":%d,\"type\":\"%s\",\"port\":%u,\"far\":%s}\n", a->name,
		     family == AF_INET ? 4 : 6, type == SOCK_STREAM ? "tcp" : "udp", ntohs(own.v4.sin_port),
		     a->site == a->target->site ? "false" : "true");
	if (write(STDOUT_FILENO, line, (size_t)n) != n || poll(&wait, 1, WAIT_MS) <= 0) {
		kept(a, "nobody came");
		return;
	}
	if (type == SOCK_STREAM)
		from = accept(fd, NULL, NULL);
	n = recv(from, text, sizeof text, 0);
	if (n > 0 && has_nonce(a->target, text, (size_t)n))
		effect(a, "the witness outside came in on port %u", ntohs(own.v4.sin_port));
	else
		kept(a, "somebody else came");
}

static void tcp4(struct attempt *a)
{
	wait_for_caller(a, AF_INET, SOCK_STREAM, true);
}

static void tcp4_unbound(struct attempt *a)
{
	wait_for_caller(a, AF_INET, SOCK_STREAM, false);
}

static void tcp6(struct attempt *a)
{
	wait_for_caller(a, AF_INET6, SOCK_STREAM, true);
}

static void udp4(struct attempt *a)
{
	wait_for_caller(a, AF_INET, SOCK_DGRAM, true);
}

static void udp6(struct attempt *a)
{
	wait_for_caller(a, AF_INET6, SOCK_DGRAM, true);
}

/* Whoever holds sluiced's port on another address, or beside it, is sent other agents' connections. */
static void take_port(struct attempt *a, int family, uint32_t host, int type, int option)
{
	union address own = {.any.sa_family = (sa_family_t)family};
	socklen_t size = family == AF_INET ? sizeof own.v4 : sizeof own.v6;
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	if (!a->target->daemon) {
		untried(a, "the daemon's port is not known");
		return;
	}
	own.v4.sin_port = htons(a->target->daemon); /* sin6_port stands at the same place */
	if (family == AF_INET)
		own.v4.sin_addr.s_addr = htonl(host);
	setsockopt(fd, SOL_SOCKET, option, &(int){1}, sizeof(int));
	if (fd < 0 || bind(fd, &own.any, size) < 0)
		refused(a, fd < 0 ? "socket" : "bind");
	else
		effect(a, "bound to port %u", a->target->daemon);
}

static void take_port_beside(struct attempt *a)
{
	take_port(a, AF_INET, INADDR_LOOPBACK + 1, SOCK_STREAM, SO_REUSEADDR);
}

static void take_port_datagram(struct attempt *a)
{
	take_port(a, AF_INET, INADDR_LOOPBACK, SOCK_DGRAM, SO_REUSEPORT);
}

static void take_port_shared(struct attempt *a)
{
	take_port(a, AF_INET, INADDR_LOOPBACK, SOCK_STREAM, SO_REUSEPORT);
}

static void take_port_any(struct attempt *a)
{
	take_port(a, AF_INET6, 0, SOCK_DGRAM, SO_REUSEADDR);
}

const struct probe INBOUND_PROBES[] = {
	{"inbound-tcp4", tcp4, NETWORK, "a TCP listener, called from outside"},
	{"inbound-tcp4-unbound", tcp4_unbound, NETWORK, "listen() without bind()"},
	{"inbound-tcp6", tcp6, NETWORK, "a TCP listener over IPv6"},
	{"inbound-udp4", udp4, NETWORK, "a UDP socket that waits"},
	{"inbound-udp6", udp6, NETWORK, "the same over IPv6"},
	{"port-beside", take_port_beside, 0, "sluiced's port on another loopback address"},
	{"port-shared", take_port_shared, 0, "sluiced's port by SO_REUSEPORT"},
	{"port-datagram", take_port_datagram, 0, "sluiced's port for datagrams"},
	{"port-any", take_port_any, 0, "sluiced's port on all addresses"},
	{0},
};

// SPDX-License-Identifier: Apache-2.0
/* Datagrams: connected or not, over both families, disguised, to a resolver's port, and by whichever call. */
#include "probe.h"

#include <sys/uio.h>

enum { DNS_PORT = 53 };

static void send_datagram(struct attempt *a, int family, bool mapped, int protocol, bool connected, uint16_t port)
{
	union address to;
	socklen_t size = site_address(a->site, family, mapped, &to);
	char text[PAYLOAD_MAX];
	size_t length = payload(a, text);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, protocol);

	if (port)
		to.v4.sin_port = htons(port); /* sin6_port stands at the same place */
	if (fd < 0)
		refused(a, "socket");
	else if (connected && connect(fd, &to.any, size) < 0)
		refused(a, "connect");
	else if (sendto(fd, text, length, 0, connected ? NULL : &to.any, connected ? 0 : size) < 0)
		refused(a, "sendto");
	else
		sent(a, "%zu bytes sent", length);
}

static void udp4(struct attempt *a)
{
	send_datagram(a, AF_INET, false, 0, false, 0);
}

static void udp4_connected(struct attempt *a)
{
	send_datagram(a, AF_INET, false, 0, true, 0);
}

static void udp6(struct attempt *a)
{
	send_datagram(a, AF_INET6, false, 0, false, 0);
}

static void udp6_connected(struct attempt *a)
{
	send_datagram(a, AF_INET6, false, 0, true, 0);
}

static void udp_mapped(struct attempt *a)
{
	send_datagram(a, AF_INET6, true, 0, false, 0);
}

static void udp_dns(struct attempt *a)
{
	if (a->site == &a->target->site[0]) {
		untried(a, "a resolver of the host may listen there");
		return;
	}
	send_datagram(a, AF_INET, false, 0, false, DNS_PORT);
}

static void udplite(struct attempt *a)
{
	send_datagram(a, AF_INET, false, IPPROTO_UDPLITE, false, 0);
}

/* An IPv4 socket takes an address of family AF_UNSPEC for one of its own (net/ipv4/udp.c). */
static void udp_unspec(struct attempt *a)
{
	union address to;
	socklen_t size = site_address(a->site, AF_INET, false, &to);
	char text[PAYLOAD_MAX];
	size_t length = payload(a, text);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	to.any.sa_family = AF_UNSPEC;
	if (sendto(fd, text, length, 0, &to.any, size) < 0)
		refused(a, "sendto");
	else
		sent(a, "%zu bytes sent", length);
}

static void udp_sendmmsg(struct attempt *a)
{
	union address to;
	socklen_t size = site_address(a->site, AF_INET, false, &to);
	char text[PAYLOAD_MAX];
	struct iovec data = {text, payload(a, text)};
	struct mmsghdr message = {.msg_hdr = {.msg_name = &to, .msg_namelen = size, .msg_iov = &data, .msg_iovlen = 1}};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (sendmmsg(fd, &message, 1, 0) < 0)
		refused(a, "sendmmsg");
	else
		sent(a, "%zu bytes sent", data.iov_len);
}

/* The device to leave by, named in the message and not on the socket. */
static void udp_pktinfo(struct attempt *a)
{
	union address to;
	socklen_t size = site_address(a->site, AF_INET, false, &to);
	char text[PAYLOAD_MAX];
	struct iovec data = {text, payload(a, text)};
	union {
		char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
		struct cmsghdr align;
	} control = {.align = {.cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo)), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO}};
	struct msghdr message = {.msg_name = &to,
				 .msg_namelen = size,
				 .msg_iov = &data,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof control};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (sendmsg(fd, &message, 0) < 0)
		refused(a, "sendmsg(IP_PKTINFO)");
	else
		sent(a, "%zu bytes sent", data.iov_len);
}

/* Held back by MSG_MORE and flushed by splice() or a close is one more way to the same place. */
static void udp_corked(struct attempt *a)
{
	union address to;
	socklen_t size = site_address(a->site, AF_INET, false, &to);
	char text[PAYLOAD_MAX];
	size_t length = payload(a, text);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (sendto(fd, text, length, MSG_MORE, &to.any, size) < 0 || sendto(fd, "", 0, 0, &to.any, size) < 0)
		refused(a, "sendto(MSG_MORE)");
	else
		sent(a, "%zu bytes sent", length);
}

const struct probe UDP_PROBES[] = {
	{"udp4", udp4, NETWORK, "UDP over IPv4"},
	{"udp4-connected", udp4_connected, NETWORK, "the same, connected"},
	{"udp6", udp6, NETWORK, "UDP over IPv6"},
	{"udp6-connected", udp6_connected, NETWORK, "the same, connected"},
	{"udp-mapped", udp_mapped, NETWORK, "UDP to an IPv4 address written as an IPv6 one"},
	{"udp-unspec", udp_unspec, NETWORK, "UDP to an address of family AF_UNSPEC"},
	{"udp-sendmmsg", udp_sendmmsg, NETWORK, "UDP by sendmmsg()"},
	{"udp-pktinfo", udp_pktinfo, NETWORK, "UDP with IP_PKTINFO"},
	{"udp-corked", udp_corked, NETWORK, "UDP with MSG_MORE"},
	{"udp-dns", udp_dns, NETWORK, "UDP to port 53 of what is no resolver"},
	{"udplite", udplite, NETWORK, "UDP-Lite"},
	{0},
};

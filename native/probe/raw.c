// SPDX-License-Identifier: Apache-2.0
/* Below TCP and UDP: ping sockets, raw sockets, whole packets, frames. */
#include "probe.h"

#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

static void send_to_site(struct attempt *a, int fd, int family, const void *bytes, size_t length)
{
	union address to;
	socklen_t size = site_address(a->site, family, false, &to);

	to.v4.sin_port = 0; /* of raw IPv6 sockets it would be a protocol */
	if (fd < 0)
		refused(a, "socket");
	else if (sendto(fd, bytes, length, 0, &to.any, size) < 0)
		refused(a, "sendto");
	else
		sent(a, "%zu bytes sent", length);
}

/* RFC 1071. */
static uint16_t checksum(const void *bytes, size_t length)
{
	const unsigned char *at = bytes;
	uint32_t sum = 0;

	for (size_t i = 0; i < length; i++)
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void echo(struct attempt *a, int family, int type)
{
	struct {
		struct icmphdr head;
		char text[PAYLOAD_MAX];
	} packet = {.head.type = family == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST};
	size_t length = sizeof packet.head + payload(a, packet.text);

	packet.head.checksum = checksum(&packet, length);
	send_to_site(a, socket(family, type | SOCK_CLOEXEC, family == AF_INET ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6), family,
		     &packet, length);
}

static void ping4(struct attempt *a)
{
	echo(a, AF_INET, SOCK_DGRAM);
}

static void ping6(struct attempt *a)
{
	echo(a, AF_INET6, SOCK_DGRAM);
}

static void raw_icmp(struct attempt *a)
{
	echo(a, AF_INET, SOCK_RAW);
}

static void raw_protocol(struct attempt *a)
{
	char text[PAYLOAD_MAX];
	size_t length = payload(a, text);

	send_to_site(a, socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_MARK), AF_INET, text, length);
}

static void raw_protocol6(struct attempt *a)
{
	char text[PAYLOAD_MAX];
	size_t length = payload(a, text);

	send_to_site(a, socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_MARK), AF_INET6, text, length);
}

/* A whole packet; IPPROTO_RAW implies IP_HDRINCL, and the kernel fills in length, checksum and source (raw(7)). */
static void raw_header(struct attempt *a)
{
	struct {
		struct iphdr head;
		char text[PAYLOAD_MAX];
	} packet = {.head = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_MARK, .daddr = a->site->v4.s_addr}};
	size_t length = sizeof packet.head + payload(a, packet.text);

	send_to_site(a, socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW), AF_INET, &packet, length);
}

static void send_frame(struct attempt *a, int type)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETHERTYPE_MARK),
				 .sll_ifindex = (int)if_nametoindex(a->site->device),
				 .sll_halen = 6,
				 .sll_addr = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
	unsigned char frame[14 + PAYLOAD_MAX] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	size_t head = type == SOCK_RAW ? 14 : 0, length = head + payload(a, (char *)frame + head);
	int fd = socket(AF_PACKET, type | SOCK_CLOEXEC, 0);

	if (type == SOCK_RAW) {
		frame[12] = ETHERTYPE_MARK >> 8;
		frame[13] = ETHERTYPE_MARK & 0xff;
	}
	if (fd < 0)
		refused(a, "socket");
	else if (sendto(fd, frame, length, 0, (struct sockaddr *)&to, sizeof to) < 0)
		refused(a, "sendto");
	else
		sent(a, "%zu bytes sent", length);
}

static void packet_raw(struct attempt *a)
{
	send_frame(a, SOCK_RAW);
}

static void packet_datagram(struct attempt *a)
{
	send_frame(a, SOCK_DGRAM);
}

const struct probe RAW_PROBES[] = {
	{"ping4", ping4, NETWORK, "an echo request by a ping socket"},
	{"ping6", ping6, NETWORK, "the same over IPv6"},
	{"raw-icmp", raw_icmp, NETWORK, "an echo request by a raw socket"},
	{"raw-protocol", raw_protocol, NETWORK, "an IP protocol of its own"},
	{"raw-protocol6", raw_protocol6, NETWORK, "the same over IPv6"},
	{"raw-header", raw_header, NETWORK, "whole packets, IP_HDRINCL"},
	{"packet-raw", packet_raw, NETWORK, "frames by AF_PACKET"},
	{"packet-datagram", packet_datagram, NETWORK, "the same, the header by the kernel"},
	{0},
};

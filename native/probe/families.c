// SPDX-License-Identifier: Apache-2.0
/*
 * Socket families and protocols that no hook for IP sees, or whose kernel code an agent has no business with. A socket of
 * one of them is the escape: what it then reaches depends on what the host has.
 */
#include "probe.h"

#include <linux/netlink.h>
#include <linux/vm_sockets.h>

static void make(struct attempt *a, int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		refused(a, "socket");
	else
		effect(a, "the socket was made");
}

static void connect_vsock(struct attempt *a, unsigned cid)
{
	struct sockaddr_vm to = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = a->target->site[0].port};

	connect_and_send(a, socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&to, sizeof to);
}

static void vsock_local(struct attempt *a)
{
	connect_vsock(a, VMADDR_CID_LOCAL);
}

static void vsock(struct attempt *a)
{
	make(a, AF_VSOCK, SOCK_STREAM, 0);
}

static void vsock_datagram(struct attempt *a)
{
	make(a, AF_VSOCK, SOCK_DGRAM, 0);
}

static void alg(struct attempt *a)
{
	make(a, AF_ALG, SOCK_SEQPACKET, 0);
}

static void xdp(struct attempt *a)
{
	make(a, AF_XDP, SOCK_RAW, 0);
}

static void sctp(struct attempt *a)
{
	make(a, AF_INET, SOCK_STREAM, IPPROTO_SCTP);
}

static void sctp_many(struct attempt *a)
{
	make(a, AF_INET6, SOCK_SEQPACKET, IPPROTO_SCTP);
}

static void dccp(struct attempt *a)
{
	make(a, AF_INET, SOCK_DCCP, IPPROTO_DCCP);
}

static void l2tp(struct attempt *a)
{
	make(a, AF_INET, SOCK_DGRAM, 115);
}

static void smc_family(struct attempt *a)
{
	make(a, AF_SMC, SOCK_STREAM, 0);
}

static void tipc(struct attempt *a)
{
	make(a, AF_TIPC, SOCK_SEQPACKET, 0);
}

static void rds(struct attempt *a)
{
	make(a, AF_RDS, SOCK_SEQPACKET, 0);
}

static void can(struct attempt *a)
{
	make(a, AF_CAN, SOCK_RAW, 1);
}

static void bluetooth(struct attempt *a)
{
	make(a, AF_BLUETOOTH, SOCK_RAW, 1);
}

static void key(struct attempt *a)
{
	make(a, AF_KEY, SOCK_RAW, 2);
}

static void netfilter(struct attempt *a)
{
	make(a, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
}

static void generic(struct attempt *a)
{
	make(a, AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
}

static void connector(struct attempt *a)
{
	make(a, AF_NETLINK, SOCK_DGRAM, NETLINK_CONNECTOR);
}

/* Every family there is, and those to come: only the four that the launcher lets through may be made. */
static void any_family(struct attempt *a)
{
	char made[HOW_MAX] = "";

	for (int family = 0; family < 64; family++)
		for (int type = SOCK_STREAM; type <= SOCK_PACKET; type++) {
			int fd = family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK
					 ? -1
					 : socket(family, type | SOCK_CLOEXEC, 0);

			if (fd < 0)
				continue;
			close(fd);
			snprintf(made + strlen(made), sizeof made - strlen(made), " %d/%d", family, type);
		}
	if (*made)
		effect(a, "sockets of family/type%.150s were made", made);
	else
		kept(a, "64 families: none was made");
}

const struct probe FAMILY_PROBES[] = {
	{"vsock", vsock, 0, "AF_VSOCK"},
	{"vsock-local", vsock_local, 0, "AF_VSOCK, to a listener on this host"},
	{"vsock-datagram", vsock_datagram, 0, "AF_VSOCK datagrams"},
	{"alg", alg, 0, "AF_ALG"},
	{"xdp", xdp, 0, "AF_XDP"},
	{"sctp", sctp, 0, "SCTP"},
	{"sctp-many", sctp_many, 0, "SCTP, one socket to many"},
	{"dccp", dccp, 0, "DCCP"},
	{"l2tp", l2tp, 0, "L2TP over IP"},
	{"smc-family", smc_family, 0, "AF_SMC"},
	{"tipc", tipc, 0, "AF_TIPC"},
	{"rds", rds, 0, "AF_RDS"},
	{"can", can, 0, "AF_CAN"},
	{"bluetooth", bluetooth, 0, "AF_BLUETOOTH"},
	{"key", key, 0, "AF_KEY"},
	{"netlink-netfilter", netfilter, 0, "netlink of the packet filter"},
	{"netlink-generic", generic, 0, "generic netlink"},
	{"netlink-connector", connector, 0, "netlink connector"},
	{"any-family", any_family, 0, "every family by its number"},
	{0},
};

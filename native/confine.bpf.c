// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What a session's processes may set on their sockets, and which devices they may open. Both are lists of what is
 * allowed: an option or a device that a later kernel brings is refused until someone has looked at it.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "sluice.h"
#include "attempts.bpf.h"

#define PAGE 4096
#define REFUSE 0
#define PASS 1

#define SOL_IP 0
#define SOL_SOCKET 1
#define SOL_TCP 6
#define SOL_UDP 17
#define SOL_IPV6 41
#define SOL_NETLINK 270
#define SOL_TLS 282

#define TCP_ULP 31

/* include/uapi/linux/bpf.h */
#define BPF_DEVCG_ACC_MKNOD 1
#define BPF_DEVCG_DEV_CHAR 2

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define BIT(n) (1ULL << ((n) & 63))

/*
 * Refused of the ranges below, by level:
 *   SOL_SOCKET  BINDTODEVICE 25, BINDTOIFINDEX 62: another interface. MARK 36: another route.
 *   SOL_IP      OPTIONS 4: source routes. TRANSPARENT 19: addresses of others. ADD_MEMBERSHIP 35, ADD_SOURCE 39, MSFILTER 41,
 *               MCAST_JOIN_GROUP 42, MCAST_JOIN_SOURCE 46, MCAST_MSFILTER 48: the kernel tells the network which group was
 *               joined, and the group is for the agent to choose. IPSEC 16, XFRM 17: policies of one's own.
 *               MULTICAST_IF 32, UNICAST_IF 50: another interface.
 *   SOL_IPV6    the same: 2292 options 2 to 6, MULTICAST_IF 17, JOIN_GROUP 20, JOIN_ANYCAST 27, IPSEC 34, XFRM 35,
 *               MCAST 42, 46, 48, HOPOPTS 54, RTHDRDSTOPTS 55, RTHDR 57, DSTOPTS 59, PKTINFO 50 as a sticky option,
 *               TRANSPARENT 75, UNICAST_IF 76; ADDRFORM 1 turns the family of a socket.
 *   SOL_TCP     REPAIR 19 to 22: a connection without a handshake. ULP 31 but for "tls": "smc" leaves TCP.
 *               MD5SIG 14, MD5SIG_EXT 32, AO 38 to 43.
 *   SOL_UDP     ENCAP 100: tunnels.
 */
static __always_inline int known(int level, int option)
{
	if (option < 0)
		return 0;
	switch (level) {
	case SOL_SOCKET:
		if (option < 64)
			return !(BIT(option) & (BIT(25) | BIT(36) | BIT(62)));
		return option <= 83; /* SO_PASSRIGHTS */
	case SOL_IP:
		if (option > 51) /* IP_LOCAL_PORT_RANGE */
			return 0;
		return !(BIT(option) & (BIT(4) | BIT(16) | BIT(17) | BIT(19) | BIT(32) | BIT(35) | BIT(39) | BIT(41) | BIT(42) |
					BIT(46) | BIT(48) | BIT(50)));
	case SOL_IPV6:
		if (option < 64)
			return !(BIT(option) & (BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(17) | BIT(20) | BIT(27) |
						BIT(34) | BIT(35) | BIT(42) | BIT(46) | BIT(48) | BIT(50) | BIT(54) | BIT(55) |
						BIT(57) | BIT(59)));
		return option <= 78 && option != 75 && option != 76; /* IPV6_RECVERR_RFC4884 is 31, FREEBIND 78 */
	case SOL_TCP:
		if (option > 44) /* TCP_RTO_MAX_MS */
			return 0;
		return !(BIT(option) & (BIT(14) | BIT(19) | BIT(20) | BIT(21) | BIT(22) | BIT(32) | BIT(38) | BIT(39) | BIT(40) |
					BIT(41) | BIT(42) | BIT(43)));
	case SOL_UDP:
		return option == 1 || (option >= 101 && option <= 104); /* CORK; checksums and segments */
	case SOL_NETLINK:
	case SOL_TLS:
		return option < 64;
	default:
		return 0;
	}
}

static __always_inline int may_set(struct bpf_sockopt *ctx, int level, int option)
{
	if (!known(level, option))
		return REFUSE;
	if (level == SOL_TCP && option == TCP_ULP) {
		char *value = ctx->optval;

		if (value + 3 > (char *)ctx->optval_end || ctx->optlen != 3 || value[0] != 't' || value[1] != 'l' ||
		    value[2] != 's')
			return REFUSE;
	}
	return PASS;
}

SEC("cgroup/setsockopt")
int setsockopt(struct bpf_sockopt *ctx)
{
	int level = ctx->level, option = ctx->optname;

	if (may_set(ctx, level, option) != PASS) {
		struct attempt attempt = {.kind = SLUICE_REFUSED_OPTION, .detail = {level, option}};

		refused(&attempt);
		return REFUSE;
	}
	/* Of a longer value the program has the first page; 0 says that the caller's is to be taken as it stands. */
	if (ctx->optlen > PAGE)
		ctx->optlen = 0;
	return PASS;
}

/*
 * null, zero, full, random, urandom; tty, ptmx, and the pseudo-terminals (Documentation/admin-guide/devices.txt). No TUN,
 * no vhost, no disk, no memory, no serial line. Making device nodes is refused whatever they are.
 */
static __always_inline int may_open(__u32 kind, __u32 access, __u32 major, __u32 minor)
{
	if (kind != BPF_DEVCG_DEV_CHAR || (access & BPF_DEVCG_ACC_MKNOD))
		return REFUSE;
	if (major == 1)
		return minor == 3 || minor == 5 || minor == 7 || minor == 8 || minor == 9;
	if (major == 5)
		return minor == 0 || minor == 2;
	return major >= 136 && major <= 143;
}

SEC("cgroup/dev")
int device(struct bpf_cgroup_dev_ctx *ctx)
{
	__u32 access = ctx->access_type, major = ctx->major, minor = ctx->minor;
	struct attempt attempt = {.kind = SLUICE_REFUSED_DEVICE, .detail = {access, major, minor}};

	if (may_open(access & 0xffff, access >> 16, major, minor))
		return PASS;
	refused(&attempt);
	return REFUSE;
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Everything that an agent's sockets may do in the network, and how the daemon learns whose connection it accepted.
 *
 *   connect4/6        remembers the origin in `origins` (on the client's socket), turns the address to the daemon's
 *   sockops, client   at the SYN: copies the origin to `pending`, keyed by what both ends see of the connection
 *   sockops, daemon   at the last step of the handshake: moves it to `accepted` (on the accepted socket)
 *
 * UDP is turned where it is for port 53, and refused otherwise:
 *
 *   connect4/6, sendmsg4/6   the same, on the client's socket
 *   egress                   copies the origin to `datagrams`, keyed by what the daemon will see of the datagram
 *   recvmsg4/6               gives the client the address back that it asked
 *
 * The rest closes what connect() does not cover. Whatever is not understood here is refused; a connection whose origin
 * got lost (full map, no memory) is accepted without one, and the daemon refuses it.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "sluice.h"
#include "attempts.bpf.h"

#define AF_INET 2
#define AF_INET6 10
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ENOBUFS 105
#define ECONNREFUSED 111
#define IFINDEX_LO 1 /* in every network namespace (LOOPBACK_IFINDEX, include/net/flow.h) */
#define IP_FRAGMENT 0x3fff /* more-fragments flag and offset */
#define LOOPBACK4 0x7f000001

#define REFUSE 0
#define PASS 1
/* Refused, and in the record already, as what is beyond a limit. */
#define COUNTED (-1)

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * Cgroup that created a socket; accepted ones have that of the socket that listens. A socket handed to another session
 * must not connect in that one's name.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, __u64);
} births SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sluice_origin);
} origins SEC(".maps");

/* Preallocated: an entry is there or it is not, whatever the memory of the host. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SLUICE_PENDING_DEFAULT);
	__type(key, struct sluice_pending_key);
	__type(value, struct sluice_origin);
} pending SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sluice_origin);
} accepted SEC(".maps");

/* Marks the sockets on which a process of the daemon's cgroup listens, and its UDP sockets. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_listener);
} listener SEC(".maps");

/* By cgroup id. Keeps one session from filling what the others need as well; the helper removes those of dead ones. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SLUICE_USAGE_MAX);
	__type(key, __u64);
	__type(value, struct sluice_usage);
} usage SEC(".maps");

/* LRU, as what the daemon's full socket drops is never taken out. The daemon takes each entry that it reads. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SLUICE_DATAGRAMS_MAX);
	__type(key, struct sluice_datagram_key);
	__type(value, struct sluice_origin);
} datagrams SEC(".maps");

struct address {
	union {
		__u8 byte[16];
		__u32 word[4];
		__u64 half[2];
	};
};

static __always_inline struct address mapped(__u32 ip4)
{
	struct address a = {};

	a.word[2] = bpf_htonl(0xffff);
	a.word[3] = ip4;
	return a;
}

static __always_inline int is_mapped(const struct address *a)
{
	return a->half[0] == 0 && a->word[2] == bpf_htonl(0xffff);
}

static __always_inline __u16 listener_port(void)
{
	__u32 zero = 0;
	struct sluice_listener *l = bpf_map_lookup_elem(&listener, &zero);

	return l ? l->port : 0;
}

/* Connections of one session at once. */
const volatile __u32 flows_max = SLUICE_FLOWS_DEFAULT;

/*
 * True when a socket of the daemon listens where connections and datagrams are turned to. While the daemon is dead another process
 * could take its port; agents must not reach that one. Also true in no network namespace but the daemon's.
 */
static __always_inline int daemon_listens(void *ctx, int udp, int v6, __u16 port)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int ours;

	if (v6) {
		tuple.ipv6.saddr[3] = bpf_htonl(1);
		tuple.ipv6.daddr[3] = bpf_htonl(1);
		tuple.ipv6.dport = bpf_htons(port);
		sk = udp ? bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0)
			 : bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		tuple.ipv4.saddr = bpf_htonl(LOOPBACK4);
		tuple.ipv4.daddr = bpf_htonl(LOOPBACK4);
		tuple.ipv4.dport = bpf_htons(port);
		sk = udp ? bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0)
			 : bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return 0;
	ours = bpf_sk_storage_get(&listeners, sk, 0, 0) != NULL;
	bpf_sk_release(sk);
	return ours;
}

static __always_inline int is_loopback4(__u32 ip4)
{
	return (ip4 & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

static __always_inline int is_loopback6(const struct address *a)
{
	return a->half[0] == 0 && a->half[1] == bpf_cpu_to_be64(1);
}

/* Was this socket made in that cgroup? NULL was not, nor one whose storage could not be had. */
static __always_inline int born_in(struct bpf_sock *sk, __u64 cgroup)
{
	__u64 *birth = sk ? bpf_sk_storage_get(&births, sk, 0, 0) : NULL;

	return birth && *birth == cgroup;
}

/*
 * Does a process of this session listen where this one wants to go on loopback? Then the two may speak directly. What
 * listens there when the SYN arrives may be another socket: the packet filters look at both ends again.
 */
static __always_inline int own_listener4(struct bpf_sock_addr *ctx, __u32 ip4)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int own;

	tuple.ipv4.saddr = bpf_htonl(LOOPBACK4);
	tuple.ipv4.daddr = ip4;
	tuple.ipv4.dport = ctx->user_port;
	sk = bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	own = born_in(sk, bpf_get_current_cgroup_id());
	bpf_sk_release(sk);
	return own;
}

static __always_inline int own_listener6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int own;

	tuple.ipv6.saddr[3] = bpf_htonl(1);
	tuple.ipv6.daddr[3] = bpf_htonl(1);
	tuple.ipv6.dport = ctx->user_port;
	sk = bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	own = born_in(sk, bpf_get_current_cgroup_id());
	bpf_sk_release(sk);
	return own;
}

/* May this TCP socket connect within the session? One that had an origin, of a connection before, loses it. */
static __always_inline int within_session(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (ctx->protocol != IPPROTO_TCP || ctx->type != SOCK_STREAM || !sk ||
	    (sk->bound_dev_if != 0 && sk->bound_dev_if != IFINDEX_LO) || !born_in(sk, bpf_get_current_cgroup_id()))
		return 0;
	bpf_sk_storage_delete(&origins, sk);
	return 1;
}

/*
 * A limit of the session was reached; `port` and `address` say where the first of the turn meant to go. A function of its
 * own, for the stack's sake: a key is large.
 */
static __noinline int over_limit(__u16 kind, const struct address *address, __u16 port)
{
	struct sluice_refusal_key key = {.kind = kind, .turn = refusal_turn()};
	struct sluice_refusal *entry;

	key.name.session = bpf_get_current_cgroup_id();
	entry = count_refusal(&key);
	if (!entry)
		return 0;
	__builtin_memcpy(entry->first.address, address->byte, sizeof(entry->first.address));
	entry->first.port = port;
	read_process(&entry->first);
	return 0;
}

/* NULL when there is no room for another session: what asks is refused then. */
static __always_inline struct sluice_usage *usage_of(__u64 session)
{
	struct sluice_usage *used = bpf_map_lookup_elem(&usage, &session), none = {};

	if (used)
		return used;
	bpf_map_update_elem(&usage, &session, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&usage, &session);
}

/*
 * Remembers the origin; then the connection or datagram may be turned to the daemon at port *to. 0, else why not: enum
 * sluice_refusal_reason, or COUNTED.
 */
static __always_inline int admit(struct bpf_sock_addr *ctx, const struct address *address, __u16 port, int v6, __u16 *to)
{
	struct bpf_sock *sk = ctx->sk;
	struct sluice_origin *origin;
	struct sluice_usage *used;
	__u64 id, *birth;

	if (!sk)
		return SLUICE_REASON_FOREIGN;
	if (ctx->protocol == IPPROTO_UDP) {
		/* At once, so that QUIC falls back to TCP without a timeout. */
		if (ctx->type != SOCK_DGRAM || port != SLUICE_DNS_PORT)
			return SLUICE_REASON_PROTOCOL;
	} else if (ctx->protocol != IPPROTO_TCP || ctx->type != SOCK_STREAM) {
		return SLUICE_REASON_PROTOCOL;
	}
	/* Bound to another interface, packets for 127.0.0.1 would leave the host. */
	if (sk->bound_dev_if != 0 && sk->bound_dev_if != IFINDEX_LO)
		return SLUICE_REASON_INTERFACE;

	id = bpf_get_current_cgroup_id();
	birth = bpf_sk_storage_get(&births, sk, 0, 0);
	if (!birth || *birth != id)
		return SLUICE_REASON_FOREIGN;

	used = usage_of(id);
	if (!used || (ctx->protocol == IPPROTO_TCP && used->flows >= flows_max)) {
		over_limit(used ? SLUICE_REFUSED_FLOWS : SLUICE_REFUSED_SESSION, address, port);
		bpf_set_retval(-ENOBUFS);
		return COUNTED;
	}
	*to = listener_port();
	if (*to == 0 || !daemon_listens(ctx, ctx->protocol == IPPROTO_UDP, v6, *to)) {
		bpf_set_retval(-ECONNREFUSED); /* as a port does on which nobody listens; without it EPERM */
		return SLUICE_REASON_DAEMON;
	}

	origin = bpf_sk_storage_get(&origins, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!origin)
		return SLUICE_REASON_MEMORY;
	__builtin_memcpy(origin->address, address->byte, sizeof(origin->address));
	origin->port = port;
	origin->family = ctx->family;
	origin->protocol = ctx->protocol;
	origin->netns_cookie = bpf_get_netns_cookie(ctx);
	origin->socket_cookie = bpf_get_socket_cookie(ctx);
	origin->isn = 0;
	read_process(origin);
	return 0;
}

/*
 * Not an attempt is to connect a UDP socket to port 0. getaddrinfo() does so of a name with several addresses, to see which
 * of its own each would be reached from; nothing is sent, and nobody listens there. With a service, or in another library, it
 * takes the port of that one, which can't be told from a client of QUIC: that is counted.
 */
static __always_inline int refuse_address(struct bpf_sock_addr *ctx, __u16 kind, const struct address *address, int reason)
{
	struct attempt attempt = {.kind = kind, .port = bpf_ntohs(ctx->user_port)};

	if (reason == COUNTED || (kind == SLUICE_REFUSED_CONNECT && ctx->protocol == IPPROTO_UDP && attempt.port == 0))
		return REFUSE;
	__builtin_memcpy(attempt.address, address->byte, sizeof(attempt.address));
	attempt.detail[0] = ctx->type;
	attempt.detail[1] = ctx->protocol;
	attempt.detail[2] = reason;
	refused(&attempt);
	return REFUSE;
}

static __always_inline int turn4(struct bpf_sock_addr *ctx, __u16 kind)
{
	/* 0.0.0.0 stands for this host (ip_route_connect in include/net/route.h). */
	__u32 ip4 = ctx->user_ip4 ? ctx->user_ip4 : bpf_htonl(LOOPBACK4);
	struct address address = mapped(ctx->user_ip4);
	__u16 to = 0;
	int reason;

	if (is_loopback4(ip4) && own_listener4(ctx, ip4) && within_session(ctx)) {
		ctx->user_ip4 = ip4;
		return PASS;
	}
	reason = admit(ctx, &address, bpf_ntohs(ctx->user_port), 0, &to);
	if (reason != 0)
		return refuse_address(ctx, kind, &address, reason);
	ctx->user_ip4 = bpf_htonl(LOOPBACK4);
	ctx->user_port = bpf_htons(to);
	return PASS;
}

static __always_inline struct address address6(struct bpf_sock_addr *ctx)
{
	struct address address;

	address.word[0] = ctx->user_ip6[0];
	address.word[1] = ctx->user_ip6[1];
	address.word[2] = ctx->user_ip6[2];
	address.word[3] = ctx->user_ip6[3];
	return address;
}

static __always_inline int turn6(struct bpf_sock_addr *ctx, __u16 kind)
{
	struct address address = address6(ctx);
	int v4 = is_mapped(&address), reason;
	__u16 to = 0;

	if (v4 && is_loopback4(address.word[3]) && own_listener4(ctx, address.word[3]) && within_session(ctx))
		return PASS;
	/* :: stands for ::1 (tcp_v6_connect in net/ipv6/tcp_ipv6.c) */
	if ((is_loopback6(&address) || (address.half[0] == 0 && address.half[1] == 0)) && own_listener6(ctx) &&
	    within_session(ctx)) {
		ctx->user_ip6[3] = bpf_htonl(1);
		return PASS;
	}
	reason = admit(ctx, &address, bpf_ntohs(ctx->user_port), !v4, &to);
	if (reason != 0)
		return refuse_address(ctx, kind, &address, reason);
	ctx->user_ip6[0] = 0;
	ctx->user_ip6[1] = 0;
	ctx->user_ip6[2] = v4 ? bpf_htonl(0xffff) : 0;
	ctx->user_ip6[3] = v4 ? bpf_htonl(LOOPBACK4) : bpf_htonl(1);
	ctx->user_port = bpf_htons(to);
	return PASS;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return turn4(ctx, SLUICE_REFUSED_CONNECT);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return turn6(ctx, SLUICE_REFUSED_CONNECT);
}

/* Whoever the client asked, where it would see the daemon. */
static __always_inline int turn_back4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct sluice_origin *origin = sk ? bpf_sk_storage_get(&origins, sk, 0, 0) : NULL;

	if (origin) {
		ctx->user_ip4 = ((struct address *)origin->address)->word[3];
		ctx->user_port = bpf_htons(origin->port);
	}
	return PASS;
}

static __always_inline int turn_back6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct sluice_origin *origin = sk ? bpf_sk_storage_get(&origins, sk, 0, 0) : NULL;

	if (origin) {
		struct address *address = (struct address *)origin->address;

		ctx->user_ip6[0] = address->word[0];
		ctx->user_ip6[1] = address->word[1];
		ctx->user_ip6[2] = address->word[2];
		ctx->user_ip6[3] = address->word[3];
		ctx->user_port = bpf_htons(origin->port);
	}
	return PASS;
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	return turn_back4(ctx);
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	return turn_back6(ctx);
}

/* Resolvers take no answer from an address that they did not ask. */
SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	return ctx->user_port == bpf_htons(listener_port()) ? turn_back4(ctx) : PASS;
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	return ctx->user_port == bpf_htons(listener_port()) ? turn_back6(ctx) : PASS;
}

/* By allowing two kinds: raw, ping, MPTCP, SCTP, UDP-Lite and what comes later have no way past connect(). */
static __always_inline int may_create(struct bpf_sock *ctx, __u32 family, __u32 type, __u32 protocol)
{
	__u64 *birth;

	if (family != AF_INET && family != AF_INET6)
		return REFUSE;
	if (!(type == SOCK_STREAM && protocol == IPPROTO_TCP) && !(type == SOCK_DGRAM && protocol == IPPROTO_UDP))
		return REFUSE;
	birth = bpf_sk_storage_get(&births, ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!birth)
		return REFUSE;
	*birth = bpf_get_current_cgroup_id();
	return PASS;
}

/* Fields of the context are read once, and first: else the compiler shares a read by an address, which the verifier refuses. */
SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	__u32 family = ctx->family, type = ctx->type, protocol = ctx->protocol;
	struct attempt attempt = {.kind = SLUICE_REFUSED_SOCKET, .detail = {family, type, protocol}};

	if (may_create(ctx, family, type, protocol) == PASS)
		return PASS;
	refused(&attempt);
	return REFUSE;
}

/* Whoever holds the daemon's port after its death would be taken for the daemon by the packet filters below. */
static __always_inline int may_bind(struct bpf_sock_addr *ctx)
{
	__u16 port = listener_port();

	return port != 0 && bpf_ntohs(ctx->user_port) == port ? REFUSE : PASS;
}

static __always_inline int refuse_bind(struct bpf_sock_addr *ctx, const struct address *address)
{
	struct attempt attempt = {.kind = SLUICE_REFUSED_BIND, .port = bpf_ntohs(ctx->user_port)};

	__builtin_memcpy(attempt.address, address->byte, sizeof(attempt.address));
	attempt.detail[0] = ctx->type;
	attempt.detail[1] = ctx->protocol;
	refused(&attempt);
	return REFUSE;
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	struct address address = mapped(ctx->user_ip4);

	return may_bind(ctx) == PASS ? PASS : refuse_bind(ctx, &address);
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	struct address address = address6(ctx);

	return may_bind(ctx) == PASS ? PASS : refuse_bind(ctx, &address);
}

/* Runs for datagrams with an address; those on a connected socket went through connect4/6. */
/*
 * True for send() on an AF_INET6 socket that connect6 turned to the daemon's IPv4 address: the kernel then names that
 * address itself and comes through sendmsg4 (udpv6_sendmsg, net/ipv6/udp.c).
 */
static __always_inline int was_turned(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__u16 port = listener_port();

	return ctx->family == AF_INET6 && sk && sk->state == BPF_TCP_ESTABLISHED && port != 0 &&
	       ctx->user_port == bpf_htons(port) && ctx->user_ip4 == bpf_htonl(LOOPBACK4);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return was_turned(ctx) ? PASS : turn4(ctx, SLUICE_REFUSED_SENDTO);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return turn6(ctx, SLUICE_REFUSED_SENDTO);
}

/* One end of a packet, as the packet filters need it; what can't be read is zero, but for the protocol. */
struct end {
	struct address address;
	__u16 port;
	__u16 protocol; /* of IP, or SLUICE_UNREADABLE */
};

/*
 * Reads the end that is not the agent's: destination of what goes out, source of what comes in. Answers the transport
 * protocol, or -1 for what has no whole TCP or UDP header right behind the IP header (RFC 791, RFC 8200).
 */
static __always_inline int far_end(struct __sk_buff *skb, int out, struct end *end)
{
	int protocol, at;
	__be16 port;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0 || (ip.frag_off & bpf_htons(IP_FRAGMENT)))
			return -1;
		protocol = ip.protocol;
		at = ip.ihl * 4;
		end->address = mapped(out ? ip.daddr : ip.saddr);
		end->protocol = protocol;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0)
			return -1;
		protocol = ip.nexthdr;
		at = sizeof(ip);
		__builtin_memcpy(end->address.byte, out ? &ip.daddr : &ip.saddr, sizeof(end->address.byte));
		end->protocol = protocol;
	} else {
		return -1;
	}
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return -1;
	/* Both headers begin with source and destination port. */
	if (bpf_skb_load_bytes(skb, at + (out ? 2 : 0), &port, sizeof(port)) < 0)
		return -1;
	end->port = bpf_ntohs(port);
	return protocol;
}

static __always_inline int is_daemon(const struct __sk_buff *skb, const struct end *end)
{
	__u16 port = listener_port();
	int v4 = is_mapped(&end->address) && end->address.word[3] == bpf_htonl(LOOPBACK4);
	int v6 = end->address.half[0] == 0 && end->address.half[1] == bpf_cpu_to_be64(1);

	return port != 0 && end->port == port && (v4 || v6) && skb->ifindex == IFINDEX_LO;
}

/*
 * Judges a packet by the sockets at its two ends: `near`, on whose cgroup the filter runs, and `far`, NULL when there is
 * none (any more). A connection is set up only between two sockets of one session. Once it is, the far one may be gone:
 * closed, with its last packets or a reset still due. As this looks at every packet, it does not matter who listened
 * when connect() was called.
 */
static __always_inline int same_session(struct bpf_sock *near, struct bpf_sock *far)
{
	__u64 *birth = bpf_sk_storage_get(&births, near, 0, 0);

	if (!birth)
		return REFUSE;
	if (far)
		return born_in(far, *birth) ? PASS : REFUSE;
	return near->state != BPF_TCP_LISTEN && near->state != BPF_TCP_SYN_SENT && near->state != BPF_TCP_CLOSE ? PASS : REFUSE;
}

/* Bytes in a SYN (TCP Fast Open) would be with the listener before its answer shows whose it is. */
static __always_inline int syn_carries_data(struct __sk_buff *skb, __u32 at)
{
	struct tcphdr tcp;

	if (bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)) < 0)
		return 1;
	return tcp.syn && !tcp.ack && skb->len > at + tcp.doff * 4;
}

/* Is this TCP packet one between two sockets of the same session, on loopback? */
static __always_inline int within(struct __sk_buff *skb, int out)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *near = skb->sk, *far;
	__u16 ports[2]; /* source, destination */
	__u32 at;
	int pass;

	near = near ? bpf_sk_fullsock(near) : NULL;
	if (!near || skb->ifindex != IFINDEX_LO)
		return REFUSE;
	/* The far socket's view: what is local to it is the destination. */
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0 || !is_loopback4(ip.saddr) || !is_loopback4(ip.daddr))
			return REFUSE;
		at = ip.ihl * 4;
		if (bpf_skb_load_bytes(skb, at, ports, sizeof(ports)) < 0 || (out && syn_carries_data(skb, at)))
			return REFUSE;
		tuple.ipv4.saddr = out ? ip.saddr : ip.daddr;
		tuple.ipv4.daddr = out ? ip.daddr : ip.saddr;
		tuple.ipv4.sport = ports[out ? 0 : 1];
		tuple.ipv4.dport = ports[out ? 1 : 0];
		far = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0 || !is_loopback6((struct address *)&ip.saddr) ||
		    !is_loopback6((struct address *)&ip.daddr))
			return REFUSE;
		at = sizeof(ip);
		if (bpf_skb_load_bytes(skb, at, ports, sizeof(ports)) < 0 || (out && syn_carries_data(skb, at)))
			return REFUSE;
		tuple.ipv6.saddr[3] = tuple.ipv6.daddr[3] = bpf_htonl(1);
		tuple.ipv6.sport = ports[out ? 0 : 1];
		tuple.ipv6.dport = ports[out ? 1 : 0];
		far = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	pass = same_session(near, far);
	if (far)
		bpf_sk_release(far);
	return pass;
}

/* Of the socket that sends; who called it is on the socket, since no process need be here. */
static __noinline int too_many_datagrams(const struct sluice_origin *origin)
{
	struct sluice_refusal_key key = {.kind = SLUICE_REFUSED_DATAGRAMS, .turn = refusal_turn()};
	struct sluice_refusal *entry;

	key.name.session = origin->cgroup_id;
	entry = count_refusal(&key);
	if (entry)
		__builtin_memcpy(&entry->first, origin, sizeof(entry->first));
	return 0;
}

/*
 * Lets the daemon know whose datagram it will read. One of which it could not know is not sent, nor is one of a socket
 * that was connected before the daemon died.
 */
static __always_inline int announce(struct __sk_buff *skb, const struct end *to)
{
	struct sluice_datagram_key key = {};
	struct sluice_origin *origin;
	struct sluice_usage *used;
	__u64 time = bpf_ktime_get_ns() >> 30;
	struct bpf_sock *sk = skb->sk;
	struct address near;
	struct udphdr udp;
	int at;

	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	origin = sk ? bpf_sk_storage_get(&origins, sk, 0, 0) : NULL;
	if (!origin || !daemon_listens(skb, 1, !is_mapped(&to->address), to->port))
		return REFUSE;
	used = usage_of(origin->cgroup_id);
	if (!used)
		return REFUSE;
	if (used->time != time) {
		used->time = time;
		used->datagrams = 0;
	}
	if (__sync_fetch_and_add(&used->datagrams, 1) >= SLUICE_DATAGRAM_RATE) {
		too_many_datagrams(origin);
		return COUNTED;
	}
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0)
			return REFUSE;
		at = ip.ihl * 4;
		near = mapped(ip.saddr);
	} else {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0)
			return REFUSE;
		at = sizeof(ip);
		__builtin_memcpy(near.byte, &ip.saddr, sizeof(near.byte));
	}
	if (bpf_skb_load_bytes(skb, at, &udp, sizeof(udp)) < 0 ||
	    bpf_skb_load_bytes(skb, at + sizeof(udp), key.begin, sizeof(key.begin)) < 0)
		return REFUSE;
	/* Known since connect() or sendto(); the helper that reads it here is of a later kernel. */
	key.netns_cookie = origin->netns_cookie;
	__builtin_memcpy(key.address, near.byte, sizeof(key.address));
	key.port = bpf_ntohs(udp.source);
	key.length = bpf_ntohs(udp.len) - sizeof(udp);
	return bpf_map_update_elem(&datagrams, &key, origin, BPF_ANY) == 0 ? PASS : REFUSE;
}

/* The backstop: whatever way a packet took, it goes to the daemon, within the session, or nowhere. */
static __always_inline int may_travel(struct __sk_buff *skb, int out, struct end *end)
{
	int protocol = far_end(skb, out, end);

	if (protocol < 0)
		return REFUSE;
	if (!is_daemon(skb, end))
		return protocol == IPPROTO_TCP ? within(skb, out) : REFUSE;
	return out && protocol == IPPROTO_UDP ? announce(skb, end) : PASS;
}

static __always_inline int is_loopback(const struct address *a)
{
	return is_mapped(a) ? is_loopback4(a->word[3]) : is_loopback6(a);
}

/*
 * The process that runs may be any here, or none. Who called connect() is on the socket; of one that did not nobody is known,
 * and the cgroup that the socket is of is the session. What was turned to a daemon is told by where it was meant to go.
 */
static __noinline int refused_packet(struct __sk_buff *skb, struct end *end, int out)
{
	struct attempt attempt = {.kind = SLUICE_REFUSED_PACKET};
	struct sluice_refusal *entry;
	struct sluice_origin *origin;
	struct bpf_sock *sk = skb->sk;

	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	origin = sk ? bpf_sk_storage_get(&origins, sk, 0, 0) : NULL;
	attempt.session = bpf_skb_cgroup_id(skb);
	attempt.detail[0] = !out;
	attempt.detail[1] = end->protocol;
	if (out && origin && origin->protocol == end->protocol && is_loopback(&end->address)) {
		__builtin_memcpy(attempt.address, origin->address, sizeof(attempt.address));
		attempt.port = origin->port;
	} else {
		__builtin_memcpy(attempt.address, end->address.byte, sizeof(attempt.address));
		attempt.port = end->port;
	}
	entry = count_attempt(&attempt);
	if (!entry)
		return 0;
	if (origin)
		__builtin_memcpy(&entry->first, origin, sizeof(entry->first));
	entry->first.cgroup_id = attempt.session;
	__builtin_memcpy(entry->first.address, attempt.address, sizeof(entry->first.address));
	entry->first.port = attempt.port;
	return 0;
}

static __always_inline int filter(struct __sk_buff *skb, int out)
{
	struct end end = {.protocol = SLUICE_UNREADABLE};
	int verdict = may_travel(skb, out, &end);

	if (verdict == PASS)
		return PASS;
	if (verdict == REFUSE)
		refused_packet(skb, &end, out);
	return REFUSE;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	return filter(skb, 1);
}

SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	return filter(skb, 0);
}

/*
 * The client's end of a connection: for the passive side the remote one, for the client its own. The barrier keeps
 * the compiler from merging reads of both families into one at a computed offset, which the verifier refuses.
 */
static __always_inline int pending_key(struct bpf_sock_ops *ops, int remote, struct sluice_pending_key *key)
{
	struct address address;

	if (ops->family == AF_INET) {
		__u32 ip4 = remote ? ops->remote_ip4 : ops->local_ip4;

		asm volatile("" : "+r"(ip4));
		address = mapped(ip4);
	} else if (ops->family == AF_INET6) {
		address.word[0] = remote ? ops->remote_ip6[0] : ops->local_ip6[0];
		address.word[1] = remote ? ops->remote_ip6[1] : ops->local_ip6[1];
		address.word[2] = remote ? ops->remote_ip6[2] : ops->local_ip6[2];
		address.word[3] = remote ? ops->remote_ip6[3] : ops->local_ip6[3];
	} else {
		return -1;
	}
	__builtin_memset(key, 0, sizeof(*key));
	key->netns_cookie = bpf_get_netns_cookie(ops);
	__builtin_memcpy(key->address, address.byte, sizeof(key->address));
	/* remote_port is in network order, local_port in host order (include/uapi/linux/bpf.h). */
	key->port = remote ? bpf_ntohl(ops->remote_port) : ops->local_port;
	return 0;
}

static __always_inline void client_syn(struct bpf_sock_ops *ops)
{
	struct sluice_pending_key key;
	struct sluice_origin *origin;
	struct sluice_usage *used;
	struct tcp_sock *tcp;
	struct bpf_sock *sk = ops->sk;

	if (!sk || pending_key(ops, 0, &key) < 0)
		return;
	origin = bpf_sk_storage_get(&origins, sk, 0, 0);
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!origin || !tcp)
		return;
	origin->isn = tcp->write_seq;
	used = usage_of(origin->cgroup_id);
	if (!used)
		return;
	/* Counted down and deleted on the way to CLOSE. Without that callback an entry would stay for the port's next user. */
	if (bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG) != 0)
		return;
	/* Between connect() and here others of the session may have come: without an origin the daemon refuses it. */
	if (__sync_fetch_and_add(&used->flows, 1) >= flows_max)
		return;
	if (bpf_map_update_elem(&pending, &key, origin, BPF_ANY) < 0)
		bpf_map_delete_elem(&pending, &key);
}

static __always_inline void client_closed(struct bpf_sock_ops *ops)
{
	struct sluice_pending_key key;
	struct sluice_origin *entry, *origin;
	struct bpf_sock *sk = ops->sk;

	/* The kernel says so at every change of state, also at one from CLOSE to CLOSE: a connection ends once. */
	if (ops->args[0] == BPF_TCP_CLOSE)
		return;
	origin = sk ? bpf_sk_storage_get(&origins, sk, 0, 0) : NULL;
	if (origin) {
		__u64 session = origin->cgroup_id;
		struct sluice_usage *used = bpf_map_lookup_elem(&usage, &session);

		if (used && used->flows)
			__sync_fetch_and_add(&used->flows, -1);
	}
	if (pending_key(ops, 0, &key) < 0)
		return;
	entry = bpf_map_lookup_elem(&pending, &key);
	if (entry && entry->socket_cookie == bpf_get_socket_cookie(ops))
		bpf_map_delete_elem(&pending, &key);
}

SEC("sockops")
int client_sockops(struct bpf_sock_ops *ops)
{
	if (ops->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		client_syn(ops);
	else if (ops->op == BPF_SOCK_OPS_STATE_CB && ops->args[1] == BPF_TCP_CLOSE)
		client_closed(ops);
	return 1;
}

static __always_inline void daemon_accepts(struct bpf_sock_ops *ops)
{
	struct sluice_pending_key key;
	struct sluice_origin *entry, *origin;
	struct bpf_sock *sk = ops->sk;

	if (!sk || pending_key(ops, 1, &key) < 0)
		return;
	entry = bpf_map_lookup_elem(&pending, &key);
	/* The sequence number is the client's own: an entry left by another connection can't fit by accident. */
	if (!entry || entry->isn + 1 != ops->rcv_nxt)
		return;
	origin = bpf_sk_storage_get(&accepted, sk, entry, BPF_SK_STORAGE_GET_F_CREATE);
	(void)origin; /* no memory: no origin, refused by the daemon */
	bpf_map_delete_elem(&pending, &key);
}

SEC("sockops")
int daemon_sockops(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;

	if (ops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		daemon_accepts(ops);
	} else if (ops->op == BPF_SOCK_OPS_TCP_LISTEN_CB && sk) {
		__u32 one = 1;

		bpf_sk_storage_get(&listeners, sk, &one, BPF_SK_STORAGE_GET_F_CREATE);
	}
	return 1;
}

SEC("cgroup/sock_create")
int daemon_sock_create(struct bpf_sock *ctx)
{
	__u32 one = 1;

	if (ctx->type == SOCK_DGRAM && ctx->protocol == IPPROTO_UDP)
		bpf_sk_storage_get(&listeners, ctx, &one, BPF_SK_STORAGE_GET_F_CREATE);
	return PASS;
}

/*
 * A call that the launcher's filter refused, counted for the process that answers it (launch/answer.c). Here, as in user
 * space neither the turn nor the count could be kept in one step.
 */
SEC("syscall")
int refused_call(struct sluice_refused_call *call)
{
	struct sluice_refusal_key key = {}, names;
	struct sluice_refusal *entry;

	__builtin_memcpy(&key, &call->key, sizeof(key));
	if (call->tell) {
		entry = bpf_map_lookup_elem(&refusals, &key);
		if (entry)
			__builtin_memcpy(&entry->first, &call->first, sizeof(entry->first));
		return 0;
	}
	key.turn = refusal_turn();
	if (!bpf_map_lookup_elem(&refusals, &key) && !has_room(&names, key.name.session, key.turn, key.kind)) {
		key.further = 1;
		__builtin_memset(key.detail, 0, sizeof(key.detail));
	}
	call->key.turn = key.turn;
	call->key.further = key.further;
	__builtin_memcpy(call->key.detail, key.detail, sizeof(key.detail));
	return count_refusal(&key) != NULL;
}

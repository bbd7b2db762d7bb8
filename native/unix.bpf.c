// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * UNIX sockets where no LSM program can be had (Linux >= 6.7). The hook sees the name that a process connects or sends
 * to, and not whose socket will be found under it. So it lets through
 *
 *   - names that are allowed to this session or to all, which the daemon and the helper keep in `unix_names`, and
 *   - abstract names that a socket of this very session has bound, looked up in the kernel's own table.
 *
 * A path of the session's own is refused: between this look and the kernel's the agent could put a link there that leads
 * to a socket of the host. Under LSM the socket found is what is judged, and such paths work (lsm.bpf.c).
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "sluice.h"
#include "refusals.bpf.h"

#define REFUSE 0
#define PASS 1
#define FAMILY_SIZE 2     /* of sockaddr_un: sun_path follows */
#define TABLE_HALF 256    /* abstract names have the upper one (UNIX_HASH_MOD in net/unix/af_unix.c) */
#define CHAIN_MAX 64      /* sockets of one bucket looked at */

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* kernel/bpf/helpers.c, Linux >= 6.2 */
extern void *bpf_cast_to_kern_ctx(void *context) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SLUICE_UNIX_NAMES_MAX);
	__type(key, struct sluice_unix_name);
	__type(value, __u32);
} unix_names SEC(".maps");

/* sockaddr_un as 16-bit words, zero behind its end. */
union address {
	__u16 word[(FAMILY_SIZE + SLUICE_UNIX_NAME_LEN) / 2 + 1];
	__u64 part[(FAMILY_SIZE + SLUICE_UNIX_NAME_LEN) / 8 + 1];
	__u8 byte[112];
};

/* unix_abstract_hash(): the Internet checksum of the address, folded to a byte, with the kind of socket. */
static __always_inline __u32 bucket_of(const union address *address, __u32 kind)
{
	__u32 sum = 0;

	for (int i = 0; i < (FAMILY_SIZE + SLUICE_UNIX_NAME_LEN) / 2; i++)
		sum += address->word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum & 0xffff;
	return TABLE_HALF + (((sum ^ (sum >> 8)) ^ kind) & (TABLE_HALF - 1));
}

static __always_inline __u64 cgroup_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
}

/*
 * Is this abstract name bound by a socket of the caller's session? Read without the table's lock: what changes meanwhile
 * makes a name not found. For another's socket to be found in its place that one would have to take the name between
 * here and the kernel's own look, just as the session gives it up.
 */
static __always_inline int bound_within(struct sock *sk, const union address *address, __u32 length)
{
	struct net *net = BPF_CORE_READ(sk, __sk_common.skc_net.net);
	struct hlist_head *buckets = BPF_CORE_READ(net, unx.table.buckets);
	__u64 session = cgroup_of(sk);
	__u16 kind = BPF_CORE_READ(sk, sk_type);
	struct hlist_node *node = BPF_CORE_READ(&buckets[bucket_of(address, kind)], first);

	for (int i = 0; i < CHAIN_MAX && node; i++) {
		struct sock *other = (void *)node - bpf_core_field_offset(struct sock, __sk_common.skc_node);
		struct unix_address *bound = BPF_CORE_READ((struct unix_sock *)other, addr);
		union address name = {};

		node = BPF_CORE_READ(node, next);
		if (!bound || (__u32)BPF_CORE_READ(bound, len) != length || BPF_CORE_READ(other, sk_type) != kind)
			continue;
		if (length > FAMILY_SIZE + SLUICE_UNIX_NAME_LEN ||
		    bpf_probe_read_kernel(name.byte, length, (void *)bound + bpf_core_field_offset(struct unix_address, name)) < 0)
			continue;
		int same = 1;

		for (__u32 k = 0; k < sizeof(name.part) / sizeof(*name.part); k++)
			same &= name.part[k] == address->part[k];
		if (same)
			return cgroup_of(other) == session;
	}
	return 0;
}

/* Allowed to the session, or to every one? */
static __always_inline int allowed(struct sluice_unix_name *name)
{
	name->session = bpf_get_current_cgroup_id();
	if (bpf_map_lookup_elem(&unix_names, name))
		return 1;
	name->session = 0;
	return bpf_map_lookup_elem(&unix_names, name) != NULL;
}

/* Leaves the name that is asked for in `name`, where it can be read. */
static __always_inline int may_reach(struct bpf_sock_addr *ctx, struct sluice_unix_name *name)
{
	struct bpf_sock_addr_kern *kernel = bpf_cast_to_kern_ctx(ctx);
	union address address = {};
	__u32 length = kernel->uaddrlen;

	/* An address without a name is bound by nobody. */
	if (length <= FAMILY_SIZE || length > FAMILY_SIZE + SLUICE_UNIX_NAME_LEN)
		return REFUSE;
	if (bpf_probe_read_kernel(address.byte, length, kernel->uaddr) < 0)
		return REFUSE;
	if (bpf_probe_read_kernel(name->name, length - FAMILY_SIZE, (void *)kernel->uaddr + FAMILY_SIZE) < 0)
		return REFUSE;
	if (name->name[0] == 0) {
		name->length = length - FAMILY_SIZE;
		return allowed(name) || bound_within(kernel->sk, &address, length) ? PASS : REFUSE;
	}
	/* A path ends at the first NUL, or with the address (unix(7)); what stands behind it does not count. */
	int ended = 0;

	for (__u32 i = 0; i < SLUICE_UNIX_NAME_LEN; i++) {
		ended |= name->name[i] == 0;
		if (ended)
			name->name[i] = 0;
		else
			name->length++;
	}
	return allowed(name) ? PASS : REFUSE;
}

static __always_inline int judge(struct bpf_sock_addr *ctx)
{
	struct sluice_refusal_key key = {};

	if (may_reach(ctx, &key.name) == PASS)
		return PASS;
	refused_unix(&key);
	return REFUSE;
}

/* Debian 12's libbpf has no name for these two hooks: the loader sets type and attach type. */
SEC("cgroup/connect_unix")
int connect_unix(struct bpf_sock_addr *ctx)
{
	return judge(ctx);
}

SEC("cgroup/sendmsg_unix")
int sendmsg_unix(struct bpf_sock_addr *ctx)
{
	return judge(ctx);
}

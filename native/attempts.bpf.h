/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is refused and is not a UNIX socket: counted in the same way, by what was tried. */
#ifndef ATTEMPTS_BPF_H
#define ATTEMPTS_BPF_H

#include "refusals.bpf.h"

/* What was refused, as long as it is not in a key: that one is large, and the stack is not. */
struct attempt {
	__u64 session;
	__u32 detail[SLUICE_DETAILS];
	__u16 kind;
	__u16 port;
	__u8 address[16]; /* zero, with the port: it has none */
};

static __always_inline void key_of(const struct attempt *attempt, __u8 turn, struct sluice_refusal_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->name.session = attempt->session;
	key->kind = attempt->kind;
	key->turn = turn;
	__builtin_memcpy(key->detail, attempt->detail, sizeof(key->detail));
	__builtin_memcpy(key->name.name, attempt->address, sizeof(attempt->address));
	__builtin_memcpy(key->name.name + sizeof(attempt->address), &attempt->port, sizeof(attempt->port));
	key->name.length = SLUICE_DESTINATION_LEN;
}

/* Answers the entry when it is the first of the turn. Of what is beyond the bound there is one for each kind. */
static __always_inline struct sluice_refusal *count_attempt(const struct attempt *attempt)
{
	struct sluice_refusal_key key; /* one after the other, for the stack's sake */
	__u8 turn = refusal_turn();

	key_of(attempt, turn, &key);
	if (!bpf_map_lookup_elem(&refusals, &key)) {
		if (has_room(&key, attempt->session, turn, attempt->kind)) {
			key_of(attempt, turn, &key);
		} else {
			__builtin_memset(&key, 0, sizeof(key));
			key.name.session = attempt->session;
			key.kind = attempt->kind;
			key.turn = turn;
			key.further = 1;
		}
	}
	return count_refusal(&key);
}

/*
 * Something was refused to the process that calls. A function of its own, with its own part of the stack: it is reached from
 * many places of a program, and only when something is refused.
 */
static __noinline int refused(struct attempt *attempt)
{
	struct sluice_refusal *entry;

	attempt->session = bpf_get_current_cgroup_id();
	entry = count_attempt(attempt);
	if (!entry)
		return 0;
	read_process(&entry->first);
	__builtin_memcpy(entry->first.address, attempt->address, sizeof(entry->first.address));
	entry->first.port = attempt->port;
	return 0;
}

#endif

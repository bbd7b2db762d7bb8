/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is refused in the kernel and has to be on record, counted until the daemon takes it. Counting instead of telling
 * each: an agent refuses itself a million times a second if it likes, and can neither fill a buffer that others need nor
 * the record. For each session and kind there are, in a turn, so many entries and one count for all further ones.
 *
 * Time is cut in turns. The kernel counts in one while the daemon takes what the one before has, so that no count is in
 * use when it is taken. Where the daemon does not come, turns add up, and what there can be stays the same.
 */
#ifndef REFUSALS_BPF_H
#define REFUSALS_BPF_H

#include "process.bpf.h"

/* Not preallocated: there is seldom one. One for which there is no memory or no room counts as lost. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SLUICE_REFUSALS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sluice_refusal_key);
	__type(value, struct sluice_refusal);
} refusals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} refusals_lost SEC(".maps");

static const struct sluice_refusal no_refusal;

static __always_inline __u8 refusal_turn(void)
{
	return (bpf_ktime_get_ns() >> SLUICE_TURN_BITS) & 1;
}

/* The entry of this key, made when it is not there; `fresh`: by this very call, which then says whose it is. */
static __always_inline struct sluice_refusal *refusal_entry(struct sluice_refusal_key *key, int *fresh)
{
	struct sluice_refusal *entry = bpf_map_lookup_elem(&refusals, key);

	*fresh = 0;
	if (entry)
		return entry;
	*fresh = bpf_map_update_elem(&refusals, key, &no_refusal, BPF_NOEXIST) == 0;
	return bpf_map_lookup_elem(&refusals, key);
}

static __always_inline void refusal_lost(void)
{
	__u32 zero = 0;
	__u64 *lost = bpf_map_lookup_elem(&refusals_lost, &zero);

	if (lost)
		__sync_fetch_and_add(lost, 1);
}

/*
 * Counts one. Answers the entry when this is the first of the turn, for the caller to say more of it: where a connection
 * meant to go, or what else is known than the process that calls.
 */
static __always_inline struct sluice_refusal *count_refusal(struct sluice_refusal_key *key)
{
	int fresh;
	struct sluice_refusal *entry = refusal_entry(key, &fresh);

	if (!entry) {
		refusal_lost();
		return NULL;
	}
	__sync_fetch_and_add(&entry->count, 1);
	return fresh ? entry : NULL;
}

/* May this session have an entry for one more of this kind in this turn? */
static __always_inline int has_room(struct sluice_refusal_key *names, __u64 session, __u8 turn, __u16 kind)
{
	struct sluice_refusal *entry;
	int fresh;

	__builtin_memset(names, 0, sizeof(*names));
	names->name.session = session;
	names->kind = SLUICE_REFUSED_NAMES;
	names->turn = turn;
	names->detail[0] = kind;
	entry = refusal_entry(names, &fresh);
	return entry && __sync_fetch_and_add(&entry->count, 1) < SLUICE_REFUSED_NAMES_MAX;
}

/* A UNIX socket was refused to the process that calls; key->name.length and key->name.name say which, 0: one without a name. */
static __always_inline void refused_unix(struct sluice_refusal_key *key)
{
	struct sluice_refusal_key names;
	struct sluice_refusal *entry;
	__u64 session = bpf_get_current_cgroup_id();

	key->name.session = session;
	key->kind = SLUICE_REFUSED_UNIX;
	key->turn = refusal_turn();
	if (!bpf_map_lookup_elem(&refusals, key) && !has_room(&names, session, key->turn, key->kind)) {
		key->further = 1;
		key->name.length = 0;
		__builtin_memset(key->name.name, 0, sizeof(key->name.name));
	}
	entry = count_refusal(key);
	if (entry)
		read_process(&entry->first);
}

#endif

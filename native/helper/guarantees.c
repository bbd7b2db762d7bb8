// SPDX-License-Identifier: Apache-2.0
#include "guarantees.h"

#include <stdlib.h>

#include "fault.h"

#define LSM_NEEDS "BPF LSM (CONFIG_BPF_LSM and lsm=...,bpf)"

/*
 * Ways to keep a guarantee, the better first; of a way all hooks are needed. Those that begin with "launch " are steps of
 * sluice-launch, which refuses to start a command when one fails: a process that was put into a session by hand has not
 * gone through them.
 */
static struct guarantee {
	const char *name;
	bool required;
	const char *needs; /* when not held */
	const char *ways[3][7];
} GUARANTEES[] = {
	{"tcp", true, "Linux >= 6.1", {{"connect4", "connect6", "sock_create", "client_sockops", "daemon_sockops"}}},
	{"udp", true, "Linux >= 6.1", {{"connect4", "connect6", "sendmsg4", "sendmsg6", "egress", "daemon_sock_create"}}},
	{"raw", true, "Linux >= 6.1", {{"sock_create"}, {"egress"}}},
	{"packets", true, "Linux >= 6.1", {{"egress"}}},
	{"inbound", true, "Linux >= 6.1", {{"ingress"}}},
	{"loopback", true, "Linux >= 6.1", {{"connect4", "connect6", "egress", "ingress"}}},
	{"port", true, "Linux >= 6.1", {{"bind4", "bind6"}}},
	{"options", true, "Linux >= 6.1", {{"setsockopt"}}},
	{"devices", true, "Linux >= 6.1", {{"device"}}},
	{"families", true, LSM_NEEDS, {{"lsm_socket_create"}, {"launch filter"}}},
	{"unix", true, "Linux >= 6.7 or " LSM_NEEDS, {{"lsm_unix_stream_connect", "lsm_unix_may_send"}, {"connect_unix", "sendmsg_unix"}}},
	{"inherited", true, NULL, {{"launch descriptors"}}},
	{"passed", true, "Linux >= 6.7 or " LSM_NEEDS,
	 {{"lsm_file_receive", "lsm_socket_connect", "lsm_socket_sendmsg"}, {"connect_unix", "sendmsg_unix", "launch filter"}}},
	{"cgroup", true, NULL, {{"lsm_inode_permission"}, {"launch privileges"}}},
	{"bpf", true, NULL, {{"lsm_bpf"}, {"launch filter"}}},
	{"mounts", true, NULL, {{"lsm_sb_mount", "lsm_sb_umount", "lsm_move_mount"}, {"launch privileges"}}},
	{"namespaces", true, NULL, {{"lsm_userns_create"}, {"launch filter"}}},
	{"ptrace", false, LSM_NEEDS "; else an account of its own for each session", {{"lsm_ptrace_access_check"}}},
	{"kill", false, LSM_NEEDS "; else an account of its own for each session", {{"lsm_task_kill"}}},
};
enum { GUARANTEE_COUNT = sizeof GUARANTEES / sizeof *GUARANTEES };

static const char *const *way_of(const struct hooks *hooks, const struct guarantee *g)
{
	for (size_t w = 0; w < sizeof g->ways / sizeof *g->ways && g->ways[w][0]; w++) {
		bool held = true;

		for (const char *const *hook = g->ways[w]; *hook; hook++)
			held = held && (strncmp(*hook, "launch ", 7) == 0 || hooks_has(hooks, *hook));
		if (held)
			return g->ways[w];
	}
	return NULL;
}

int guarantees_require(const char *names)
{
	char text[512], *rest = text, *name;

	if (!names)
		return 0;
	if (snprintf(text, sizeof text, "%s", names) >= (int)sizeof text)
		return FAULT("--require is too long");
	for (int i = 0; i < GUARANTEE_COUNT; i++)
		GUARANTEES[i].required = false;
	if (strcmp(text, "none") == 0)
		return 0;
	while ((name = strsep(&rest, ","))) {
		bool known = false;

		for (int i = 0; i < GUARANTEE_COUNT; i++) {
			if (strcmp(GUARANTEES[i].name, name) != 0)
				continue;
			GUARANTEES[i].required = known = true;
		}
		if (!known)
			return FAULT("--require %s: there is no such guarantee; status lists them", name);
	}
	return 0;
}

bool guarantees_lacking(const struct hooks *hooks, const char **name, const char **needs)
{
	for (int i = 0; i < GUARANTEE_COUNT; i++) {
		if (!GUARANTEES[i].required || way_of(hooks, &GUARANTEES[i]))
			continue;
		*name = GUARANTEES[i].name;
		*needs = GUARANTEES[i].needs;
		return true;
	}
	return false;
}

int guarantees_print(const struct hooks *hooks, char *text, size_t size)
{
	size_t used = 0;

#define ADD(...) (used += (size_t)snprintf(text + used, used < size ? size - used : 0, __VA_ARGS__))
	ADD("[");
	for (int i = 0; i < GUARANTEE_COUNT; i++) {
		const struct guarantee *g = &GUARANTEES[i];
		const char *const *way = way_of(hooks, g);

		ADD("%s{\"name\":\"%s\",\"held\":%s,\"required\":%s,\"by\":[", i ? "," : "", g->name, way ? "true" : "false",
		    g->required ? "true" : "false");
		for (const char *const *hook = way; hook && *hook; hook++)
			ADD("%s\"%s\"", hook == way ? "" : ",", *hook);
		if (way || !g->needs)
			ADD("],\"needs\":null}");
		else
			ADD("],\"needs\":\"%s\"}", g->needs);
	}
	ADD("]");
#undef ADD
	return (int)(used < size ? used : 0);
}

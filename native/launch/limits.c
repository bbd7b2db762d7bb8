// SPDX-License-Identifier: Apache-2.0
/*
 * Resource limits. RLIMIT_NPROC counts all processes of a uid, so it is put on a uid that is the session's own and on no
 * other. RLIMIT_CORE is 1, not 0: that alone also keeps the kernel from starting a program of the host to take the dump
 * (a core_pattern that begins with a pipe, fs/coredump.c), and that would run as root, outside of the session, on what
 * the agent wrote.
 */
#include <stdlib.h>
#include <sys/resource.h>

#include "launch.h"

static struct limit {
	const char *name;
	int which;
	int always; /* also where the uid is not the session's own, and then only lowered */
	rlim_t soft, hard;
} limits[] = {
	{"core", RLIMIT_CORE, 1, 1, 1},
	{"memlock", RLIMIT_MEMLOCK, 1, 8 << 20, 8 << 20}, /* the kernel's own since 5.16 */
	{"nproc", RLIMIT_NPROC, 0, 4096, 4096},
	{"nofile", RLIMIT_NOFILE, 0, 1024, 524288}, /* systemd's: select() breaks above 1024 unless asked for */
	{"fsize", RLIMIT_FSIZE, 0, RLIM_INFINITY, RLIM_INFINITY},
	{"as", RLIMIT_AS, 0, RLIM_INFINITY, RLIM_INFINITY},
};
enum { COUNT = sizeof limits / sizeof *limits };

int limit_set(const char *assignment)
{
	size_t length = strcspn(assignment, "=");
	char *end;
	unsigned long long value;

	for (int i = 0; assignment[length] && i < COUNT; i++) {
		if (strlen(limits[i].name) != length || strncmp(limits[i].name, assignment, length) != 0)
			continue;
		if (strcmp(assignment + length + 1, "infinity") == 0)
			value = RLIM_INFINITY;
		else {
			value = strtoull(assignment + length + 1, &end, 10);
			if (assignment[length + 1] < '0' || assignment[length + 1] > '9' || *end)
				break;
		}
		limits[i].hard = value;
		if (limits[i].which != RLIMIT_NOFILE || value < limits[i].soft)
			limits[i].soft = value;
		return 0;
	}
	LOG("--limit %s: NAME=N is wanted, with core, memlock, nproc, nofile, fsize or as; N may be infinity", assignment);
	return -1;
}

int limit_resources(int own_uid)
{
	for (int i = 0; i < COUNT; i++) {
		struct rlimit now, next = {limits[i].soft, limits[i].hard};

		if (!own_uid && !limits[i].always)
			continue;
		if (getrlimit(limits[i].which, &now) < 0)
			goto failed;
		if (!own_uid) {
			next.rlim_max = next.rlim_max < now.rlim_max ? next.rlim_max : now.rlim_max;
			next.rlim_cur = next.rlim_cur < now.rlim_cur ? next.rlim_cur : now.rlim_cur;
		}
		if (setrlimit(limits[i].which, &next) == 0)
			continue;
		/* Higher than this host has it (fs.nr_open, a container without CAP_SYS_RESOURCE): what there is will do. */
		if (errno == EPERM && next.rlim_max > now.rlim_max) {
			next.rlim_max = now.rlim_max;
			next.rlim_cur = next.rlim_cur < now.rlim_max ? next.rlim_cur : now.rlim_max;
			if (setrlimit(limits[i].which, &next) == 0)
				continue;
		}
failed:
		LOG("cannot limit %s: %s", limits[i].name, strerror(errno));
		return -1;
	}
	return 0;
}

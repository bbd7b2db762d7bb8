// SPDX-License-Identifier: Apache-2.0
#include "hooks.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fault.h"
#include "sluice.skel.h"

#ifndef BPF_FS_MAGIC
#define BPF_FS_MAGIC 0xcafe4a11
#endif

/* Program name in sluice.bpf.c, where it is attached, and on which cgroup. The daemon's first: it does no harm alone. */
static const struct hook {
	const char *name;
	enum bpf_attach_type type;
	bool daemon;
} HOOKS[] = {
	{"daemon_sockops", BPF_CGROUP_SOCK_OPS, true},
	{"daemon_sock_create", BPF_CGROUP_INET_SOCK_CREATE, true},
	{"client_sockops", BPF_CGROUP_SOCK_OPS, false},
	{"egress", BPF_CGROUP_INET_EGRESS, false},
	{"ingress", BPF_CGROUP_INET_INGRESS, false},
	{"sock_create", BPF_CGROUP_INET_SOCK_CREATE, false},
	{"bind4", BPF_CGROUP_INET4_BIND, false},
	{"bind6", BPF_CGROUP_INET6_BIND, false},
	{"sendmsg4", BPF_CGROUP_UDP4_SENDMSG, false},
	{"sendmsg6", BPF_CGROUP_UDP6_SENDMSG, false},
	{"recvmsg4", BPF_CGROUP_UDP4_RECVMSG, false},
	{"recvmsg6", BPF_CGROUP_UDP6_RECVMSG, false},
	{"getpeername4", BPF_CGROUP_INET4_GETPEERNAME, false},
	{"getpeername6", BPF_CGROUP_INET6_GETPEERNAME, false},
	{"connect4", BPF_CGROUP_INET4_CONNECT, false},
	{"connect6", BPF_CGROUP_INET6_CONNECT, false},
};
enum { HOOK_COUNT = sizeof HOOKS / sizeof *HOOKS };

/* Pinned, since their content has to outlive the helper, and whether the daemon uses them. */
static const struct {
	const char *name;
	bool daemon;
} MAPS[] = {
	{"births", false},  {"origins", false},   {"pending", false}, {SLUICE_PIN_ACCEPTED, true},
	{"listeners", false}, {SLUICE_PIN_LISTENER, true}, {SLUICE_PIN_DATAGRAMS, true},
};
enum { MAP_COUNT = sizeof MAPS / sizeof *MAPS };

struct hooks {
	struct sluice_bpf *bpf;
	char pin_dir[PATH_MAX];
	int link[HOOK_COUNT]; /* held: an unpinned link stays attached while the helper lives */
	uint32_t program[HOOK_COUNT];
};

static int quiet(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

static bool is_bpffs(const char *dir)
{
	struct statfs fs;

	return statfs(dir, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

int hooks_mount(const char *pin_dir)
{
	char links[PATH_MAX];

	if (mkdir(pin_dir, 0711) < 0 && errno != EEXIST)
		return FAULT_ERRNO("cannot make the pin directory %s", pin_dir);
	if (!is_bpffs(pin_dir) &&
	    mount("sluice", pin_dir, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0711") < 0)
		return FAULT_ERRNO("cannot mount a bpffs on %s (needs CAP_SYS_ADMIN and the host's mount namespace)", pin_dir);
	if (snprintf(links, sizeof links, "%s/" SLUICE_PIN_LINKS, pin_dir) >= (int)sizeof links)
		return FAULT("the run directory's path is too long");
	if (mkdir(links, 0700) < 0 && errno != EEXIST)
		return FAULT_ERRNO("cannot make %s", links);
	return 0;
}

static void link_path(const char *pin_dir, const struct hook *hook, const char *suffix, char *path, size_t size)
{
	snprintf(path, size, "%s/" SLUICE_PIN_LINKS "/%s%s", pin_dir, hook->name, suffix);
}

/* A pin that may be kept: a cgroup link at the right hook of the right cgroup. Anything else is replaced. */
static bool is_ours(int link, const struct hook *hook, int cgroup)
{
	struct bpf_link_info info = {0};
	uint32_t size = sizeof info;

	return bpf_obj_get_info_by_fd(link, &info, &size) == 0 && info.type == BPF_LINK_TYPE_CGROUP &&
	       info.cgroup.attach_type == hook->type && info.cgroup.cgroup_id == cgroup_id(cgroup);
}

static int attach_new(const char *pin_dir, const struct hook *hook, int program, int cgroup)
{
	char path[PATH_MAX + 64], fresh[PATH_MAX + 64];
	int link = bpf_link_create(program, cgroup, hook->type, NULL);

	if (link < 0) {
		int cause = errno;

		LOG("cannot attach %s to the cgroup: %s%s", hook->name, strerror(cause),
		    cause == EPERM ? " (a program attached without BPF_F_ALLOW_MULTI on this cgroup or one above it "
				     "prevents ours; see bpftool cgroup tree)"
				   : "");
		return -1;
	}
	/* Under another name first and then over the old pin, to a cgroup that is gone. bpffs allows no dots in names. */
	link_path(pin_dir, hook, "_new", fresh, sizeof fresh);
	link_path(pin_dir, hook, "", path, sizeof path);
	unlink(fresh);
	if (bpf_obj_pin(link, fresh) < 0 || rename(fresh, path) < 0) {
		FAULT_ERRNO("cannot pin the link %s", path);
		close(link);
		return -1;
	}
	return link;
}

static int attach_one(const char *pin_dir, const struct hook *hook, int program, int cgroup)
{
	char path[PATH_MAX + 64];
	int link;

	link_path(pin_dir, hook, "", path, sizeof path);
	link = bpf_obj_get(path);
	if (link < 0 && errno != ENOENT)
		return FAULT_ERRNO("cannot open the pinned link %s", path);
	if (link >= 0 && is_ours(link, hook, cgroup)) {
		if (bpf_link_update(link, program, NULL) == 0)
			return link;
		FAULT_ERRNO("cannot replace the program of the pinned link %s", path);
		close(link);
		return -1;
	}
	if (link >= 0) {
		LOG("the pin %s is no link of this cgroup; it is replaced", path);
		close(link);
	}
	return attach_new(pin_dir, hook, program, cgroup);
}

static int load(struct hooks *hooks, const struct hooks_options *options)
{
	struct utsname kernel;
	struct stat pids;

	uname(&kernel);
	if (!options->verbose)
		libbpf_set_print(quiet);
	hooks->bpf = sluice_bpf__open();
	if (!hooks->bpf)
		return FAULT_ERRNO("cannot open the BPF programs");
	if (stat("/proc/self/ns/pid", &pids) < 0)
		return FAULT_ERRNO("cannot look at /proc/self/ns/pid");
	hooks->bpf->rodata->pid_namespace = (__u32)pids.st_ino;
	if (options->pending_max && bpf_map__set_max_entries(hooks->bpf->maps.pending, options->pending_max) < 0)
		return FAULT_ERRNO("cannot size the map of pending connections to %u", options->pending_max);
	for (int i = 0; i < MAP_COUNT; i++) {
		char path[PATH_MAX + 64];
		struct bpf_map *map = bpf_object__find_map_by_name(hooks->bpf->obj, MAPS[i].name);

		snprintf(path, sizeof path, "%s/%s", options->pin_dir, MAPS[i].name);
		if (!map || bpf_map__set_pin_path(map, path) < 0)
			return FAULT_ERRNO("cannot set the pin of the map %s", path);
	}
	if (sluice_bpf__load(hooks->bpf) < 0)
		return FAULT("cannot load the BPF programs: %s; requires Linux >= 6.1 with CONFIG_CGROUP_BPF and BTF "
			     "(this is %s), CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, and maps in %s of the same version "
			     "(else sluice-helper --detach first); --verbose shows the verifier's log",
			     strerror(errno), kernel.release, options->pin_dir);
	for (int i = 0; i < MAP_COUNT; i++) {
		char path[PATH_MAX + 64];

		snprintf(path, sizeof path, "%s/%s", options->pin_dir, MAPS[i].name);
		if (chmod(path, 0600) < 0 ||
		    chown(path, MAPS[i].daemon ? options->user : 0, MAPS[i].daemon ? options->group : 0) < 0)
			return FAULT_ERRNO("cannot give %s to the daemon's user", path);
	}
	return 0;
}

struct hooks *hooks_attach(const struct hooks_options *options, const struct cgroups *cg)
{
	struct hooks *hooks = calloc(1, sizeof *hooks);
	const char *missing;

	if (!hooks)
		return NULL;
	for (int i = 0; i < HOOK_COUNT; i++)
		hooks->link[i] = -1;
	snprintf(hooks->pin_dir, sizeof hooks->pin_dir, "%s", options->pin_dir);
	if (load(hooks, options) < 0)
		goto failed;
	for (int i = 0; i < HOOK_COUNT; i++) {
		struct bpf_program *program = bpf_object__find_program_by_name(hooks->bpf->obj, HOOKS[i].name);
		struct bpf_prog_info info = {0};
		uint32_t size = sizeof info;

		if (!program || bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) < 0) {
			LOG("there is no program %s", HOOKS[i].name);
			goto failed;
		}
		hooks->program[i] = info.id;
		hooks->link[i] = attach_one(options->pin_dir, &HOOKS[i], bpf_program__fd(program),
					    HOOKS[i].daemon ? cg->daemon : cg->sessions);
		if (hooks->link[i] < 0)
			goto failed;
	}
	if (!hooks_effective(hooks, cg->daemon, true, &missing) ||
	    !hooks_effective(hooks, cg->sessions, false, &missing)) {
		LOG("%s was attached and is not effective", missing);
		goto failed;
	}
	return hooks;
failed:
	hooks_close(hooks);
	return NULL;
}

bool hooks_effective(const struct hooks *hooks, int cgroup, bool daemon, const char **missing)
{
	for (int i = 0; i < HOOK_COUNT; i++) {
		uint32_t ids[64], count = sizeof ids / sizeof *ids, flags = 0;
		bool found = false;

		if (HOOKS[i].daemon != daemon)
			continue;
		if (bpf_prog_query(cgroup, HOOKS[i].type, BPF_F_QUERY_EFFECTIVE, &flags, ids, &count) == 0)
			for (uint32_t k = 0; k < count; k++)
				found |= ids[k] == hooks->program[i];
		if (!found) {
			*missing = HOOKS[i].name;
			return false;
		}
	}
	return true;
}

int hooks_count(void)
{
	return HOOK_COUNT;
}

int hooks_pinned(const struct hooks *hooks)
{
	int count = 0;

	for (int i = 0; i < HOOK_COUNT; i++) {
		char path[PATH_MAX + 64];

		link_path(hooks->pin_dir, &HOOKS[i], "", path, sizeof path);
		count += access(path, F_OK) == 0;
	}
	return count;
}

void hooks_close(struct hooks *hooks)
{
	if (!hooks)
		return;
	for (int i = 0; i < HOOK_COUNT; i++)
		if (hooks->link[i] >= 0)
			close(hooks->link[i]);
	sluice_bpf__destroy(hooks->bpf);
	free(hooks);
}

int hooks_remove(const char *pin_dir)
{
	char path[PATH_MAX + 64];

	if (!is_bpffs(pin_dir))
		return 0;
	for (int i = HOOK_COUNT - 1; i >= 0; i--) {
		int link;

		link_path(pin_dir, &HOOKS[i], "_new", path, sizeof path);
		unlink(path);
		link_path(pin_dir, &HOOKS[i], "", path, sizeof path);
		link = bpf_obj_get(path);
		/* Someone else may hold a descriptor: detaching ends it for them too. */
		if (link >= 0) {
			if (bpf_link_detach(link) < 0 && errno != ENOLINK)
				FAULT_ERRNO("cannot detach %s", path);
			close(link);
		}
		if (unlink(path) < 0 && errno != ENOENT)
			return FAULT_ERRNO("cannot remove %s", path);
	}
	for (int i = 0; i < MAP_COUNT; i++) {
		snprintf(path, sizeof path, "%s/%s", pin_dir, MAPS[i].name);
		if (unlink(path) < 0 && errno != ENOENT)
			return FAULT_ERRNO("cannot remove %s", path);
	}
	snprintf(path, sizeof path, "%s/" SLUICE_PIN_LINKS, pin_dir);
	rmdir(path);
	if (umount(pin_dir) < 0 && errno != EINVAL)
		return FAULT_ERRNO("cannot unmount %s", pin_dir);
	if (rmdir(pin_dir) < 0 && errno != ENOENT)
		return FAULT_ERRNO("cannot remove %s", pin_dir);
	return 0;
}

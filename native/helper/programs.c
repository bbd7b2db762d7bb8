// SPDX-License-Identifier: Apache-2.0
#include "programs.h"

#include <bpf/bpf.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "confine.skel.h"
#include "fault.h"
#include "lsm.skel.h"
#include "sluice.skel.h"
#include "unix.skel.h"

/* linux/bpf.h of Debian 12 ends before these. */
enum { CGROUP_UNIX_CONNECT = 49, CGROUP_UNIX_SENDMSG = 50 };

/* Pinned, since their content has to outlive the helper, and whether the daemon uses them. */
static const struct {
	const char *name;
	bool daemon;
} MAPS[] = {
	{"births", false},  {"origins", false},   {"pending", false}, {SLUICE_PIN_ACCEPTED, true},
	{"listeners", false}, {"usage", false}, {SLUICE_PIN_LISTENER, true}, {SLUICE_PIN_DATAGRAMS, true}, {SLUICE_PIN_UNIX, true},
	{SLUICE_PIN_REFUSALS, true}, {SLUICE_PIN_LOST, true},
};
enum { MAP_COUNT = sizeof MAPS / sizeof *MAPS };

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

/* Processes are named as in this pid namespace; 0 when that can't be told, with a fault. */
static __u32 pid_namespace(void)
{
	struct stat pids;

	if (stat("/proc/self/ns/pid", &pids) == 0)
		return (__u32)pids.st_ino;
	FAULT_ERRNO("cannot look at /proc/self/ns/pid");
	return 0;
}

static int open_network(struct programs *p, const struct hooks_options *options)
{
	struct sluice_bpf *bpf = sluice_bpf__open();

	if (!bpf)
		return -1;
	p->skeleton[NETWORK] = bpf;
	p->object[NETWORK] = bpf->obj;
	bpf->rodata->pid_namespace = pid_namespace();
	if (!bpf->rodata->pid_namespace)
		return -1;
	if (options->flows_max)
		bpf->rodata->flows_max = options->flows_max;
	if (options->pending_max && bpf_map__set_max_entries(bpf->maps.pending, options->pending_max) < 0)
		return FAULT_ERRNO("cannot size the map of pending connections to %u", options->pending_max);
	return 0;
}

static int open_unix(struct programs *p)
{
	struct unix_bpf *bpf = unix_bpf__open();

	if (!bpf)
		return -1;
	p->skeleton[UNIX] = bpf;
	p->object[UNIX] = bpf->obj;
	bpf->rodata->pid_namespace = pid_namespace();
	if (!bpf->rodata->pid_namespace)
		return -1;
	bpf_program__set_type(bpf->progs.connect_unix, BPF_PROG_TYPE_CGROUP_SOCK_ADDR);
	bpf_program__set_expected_attach_type(bpf->progs.connect_unix, (enum bpf_attach_type)CGROUP_UNIX_CONNECT);
	bpf_program__set_type(bpf->progs.sendmsg_unix, BPF_PROG_TYPE_CGROUP_SOCK_ADDR);
	bpf_program__set_expected_attach_type(bpf->progs.sendmsg_unix, (enum bpf_attach_type)CGROUP_UNIX_SENDMSG);
	return 0;
}

static int open_lsm(struct programs *p, const struct cgroups *cg)
{
	struct lsm_bpf *bpf = lsm_bpf__open();

	if (!bpf)
		return -1;
	p->skeleton[LSM] = bpf;
	p->object[LSM] = bpf->obj;
	bpf->rodata->sessions_id = cgroup_id(cg->sessions);
	bpf->rodata->pid_namespace = pid_namespace();
	return bpf->rodata->pid_namespace ? 0 : -1;
}

static int open_object(struct programs *p, enum object which, const struct hooks_options *options, const struct cgroups *cg)
{
	struct confine_bpf *confine;

	switch (which) {
	case NETWORK:
		return open_network(p, options);
	case UNIX:
		return open_unix(p);
	case LSM:
		return open_lsm(p, cg);
	default:
		confine = confine_bpf__open();
		if (!confine)
			return -1;
		p->skeleton[CONFINE] = confine;
		p->object[CONFINE] = confine->obj;
		confine->rodata->pid_namespace = pid_namespace();
		return confine->rodata->pid_namespace ? 0 : -1;
	}
}

static void map_path(const char *pin_dir, int i, char *path, size_t size)
{
	snprintf(path, size, "%s/%s", pin_dir, MAPS[i].name);
}

static int give(const struct hooks_options *options, int i)
{
	char path[PATH_MAX + 64];

	map_path(options->pin_dir, i, path, sizeof path);
	if (chmod(path, 0600) < 0 ||
	    chown(path, MAPS[i].daemon ? options->user : 0, MAPS[i].daemon ? options->group : 0) < 0)
		return FAULT_ERRNO("cannot give %s to the daemon's user", path);
	return 0;
}

static bool is_like(const struct bpf_map *map, const struct bpf_map_info *pinned)
{
	return pinned->type == bpf_map__type(map) && pinned->key_size == bpf_map__key_size(map) &&
	       pinned->value_size == bpf_map__value_size(map) && pinned->max_entries == bpf_map__max_entries(map) &&
	       pinned->map_flags == bpf_map__map_flags(map);
}

/*
 * A map that another version pinned, or that has another size now, can't be taken over. It makes way for a new one: the
 * programs that are attached go on with theirs until each is replaced, in one step, by one that has the new one. What was
 * under way then is refused, as nothing is known of it.
 */
static int make_way(const struct bpf_map *map, const char *path)
{
	struct bpf_map_info info = {0};
	__u32 size = sizeof info;
	int fd = bpf_obj_get(path), status;

	if (fd < 0)
		return errno == ENOENT ? 0 : FAULT_ERRNO("cannot open the map %s", path);
	status = bpf_obj_get_info_by_fd(fd, &info, &size);
	close(fd);
	if (status < 0)
		return FAULT_ERRNO("cannot look at the map %s", path);
	if (is_like(map, &info))
		return 0;
	LOG("the map %s is one of another version: a new one takes its place", path);
	return unlink(path) == 0 ? 0 : FAULT_ERRNO("cannot remove the map %s", path);
}

/* Where libbpf looks first; a kernel that has BTF shows it here. */
static bool has_btf(void)
{
	struct stat btf;

	return stat("/sys/kernel/btf/vmlinux", &btf) == 0 && btf.st_size > 0;
}

int programs_load(struct programs *p, enum object which, const struct hooks_options *options, const struct cgroups *cg, bool quiet)
{
	char path[PATH_MAX + 64];
	struct utsname kernel;

	uname(&kernel);
	if (!options->verbose)
		libbpf_set_print(silent);
	if (open_object(p, which, options, cg) < 0) {
		FAULT_ERRNO("cannot open the BPF programs");
		goto failed;
	}
	for (int i = 0; i < MAP_COUNT; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(p->object[which], MAPS[i].name);

		map_path(options->pin_dir, i, path, sizeof path);
		if (map && make_way(map, path) < 0)
			goto failed;
		if (map && bpf_map__set_pin_path(map, path) < 0) {
			FAULT_ERRNO("cannot set the pin of the map %s", path);
			goto failed;
		}
	}
	if ((which == NETWORK   ? sluice_bpf__load(p->skeleton[which])
	     : which == CONFINE ? confine_bpf__load(p->skeleton[which])
	     : which == UNIX	? unix_bpf__load(p->skeleton[which])
				: lsm_bpf__load(p->skeleton[which])) < 0) {
		if (!quiet && !has_btf())
			FAULT("cannot load the BPF programs: this kernel (%s) does not describe its types, there is no "
			      "/sys/kernel/btf/vmlinux; run one that was built with CONFIG_DEBUG_INFO_BTF, as those of "
			      "distributions are. No session starts",
			      kernel.release);
		else if (!quiet)
			FAULT("cannot load the BPF programs: %s; requires Linux >= 6.1 with CONFIG_CGROUP_BPF and BTF "
			      "(this is %s), CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; --verbose shows the verifier's log",
			      strerror(errno), kernel.release);
		goto failed;
	}
	for (int i = 0; i < MAP_COUNT; i++)
		if (bpf_object__find_map_by_name(p->object[which], MAPS[i].name) && give(options, i) < 0)
			goto failed;
	return 0;
failed:
	programs_unload(p, which);
	return -1;
}

void programs_unload(struct programs *p, enum object which)
{
	if (!p->skeleton[which])
		return;
	if (which == NETWORK)
		sluice_bpf__destroy(p->skeleton[which]);
	else if (which == CONFINE)
		confine_bpf__destroy(p->skeleton[which]);
	else if (which == UNIX)
		unix_bpf__destroy(p->skeleton[which]);
	else
		lsm_bpf__destroy(p->skeleton[which]);
	p->skeleton[which] = NULL;
	p->object[which] = NULL;
}

int programs_find(const struct programs *p, enum object which, const char *name)
{
	struct bpf_program *program = p->object[which] ? bpf_object__find_program_by_name(p->object[which], name) : NULL;

	return program ? bpf_program__fd(program) : -1;
}

int programs_map(const struct programs *p, const char *name)
{
	for (int i = 0; i < OBJECTS; i++) {
		struct bpf_map *map = p->object[i] ? bpf_object__find_map_by_name(p->object[i], name) : NULL;

		if (map)
			return bpf_map__fd(map);
	}
	return -1;
}

bool programs_lsm_called(const struct programs *p)
{
	const struct lsm_bpf *bpf = p->skeleton[LSM];
	int fd;

	if (!bpf)
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		close(fd);
	return *(volatile __u32 *)&bpf->bss->called != 0;
}

int programs_repin(const struct programs *p, const struct hooks_options *options)
{
	int again = 0;

	for (int i = 0; i < MAP_COUNT; i++) {
		int map = programs_map(p, MAPS[i].name);
		char path[PATH_MAX + 64];

		map_path(options->pin_dir, i, path, sizeof path);
		if (map < 0 || access(path, F_OK) == 0)
			continue;
		if (bpf_obj_pin(map, path) < 0)
			return FAULT_ERRNO("cannot pin the map %s again", path);
		if (give(options, i) < 0)
			return -1;
		again++;
	}
	return again;
}

int programs_unpin(const char *pin_dir)
{
	char path[PATH_MAX + 64];

	for (int i = 0; i < MAP_COUNT; i++) {
		map_path(pin_dir, i, path, sizeof path);
		if (unlink(path) < 0 && errno != ENOENT)
			return FAULT_ERRNO("cannot remove %s", path);
	}
	return 0;
}

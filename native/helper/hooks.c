// SPDX-License-Identifier: Apache-2.0
#include "hooks.h"

#include <bpf/bpf.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fault.h"
#include "programs.h"

#ifndef BPF_FS_MAGIC
#define BPF_FS_MAGIC 0xcafe4a11
#endif

/* Of attach types that the headers of Debian 12 do not have (enum bpf_attach_type). */
#define BPF_CGROUP_UNIX_CONNECT ((enum bpf_attach_type)49)
#define BPF_CGROUP_UNIX_SENDMSG ((enum bpf_attach_type)50)

/* Program, where it is attached, and on which cgroup. The daemon's first: it does no harm alone. LSM: on none. */
static const struct hook {
	const char *name;
	enum bpf_attach_type type;
	bool daemon;
	enum object object;
} HOOKS[] = {
	{"daemon_sockops", BPF_CGROUP_SOCK_OPS, true, NETWORK},
	{"daemon_sock_create", BPF_CGROUP_INET_SOCK_CREATE, true, NETWORK},
	{"client_sockops", BPF_CGROUP_SOCK_OPS, false, NETWORK},
	{"egress", BPF_CGROUP_INET_EGRESS, false, NETWORK},
	{"ingress", BPF_CGROUP_INET_INGRESS, false, NETWORK},
	{"sock_create", BPF_CGROUP_INET_SOCK_CREATE, false, NETWORK},
	{"bind4", BPF_CGROUP_INET4_BIND, false, NETWORK},
	{"bind6", BPF_CGROUP_INET6_BIND, false, NETWORK},
	{"sendmsg4", BPF_CGROUP_UDP4_SENDMSG, false, NETWORK},
	{"sendmsg6", BPF_CGROUP_UDP6_SENDMSG, false, NETWORK},
	{"recvmsg4", BPF_CGROUP_UDP4_RECVMSG, false, NETWORK},
	{"recvmsg6", BPF_CGROUP_UDP6_RECVMSG, false, NETWORK},
	{"getpeername4", BPF_CGROUP_INET4_GETPEERNAME, false, NETWORK},
	{"getpeername6", BPF_CGROUP_INET6_GETPEERNAME, false, NETWORK},
	{"connect4", BPF_CGROUP_INET4_CONNECT, false, NETWORK},
	{"connect6", BPF_CGROUP_INET6_CONNECT, false, NETWORK},
	{"setsockopt", BPF_CGROUP_SETSOCKOPT, false, CONFINE},
	{"device", BPF_CGROUP_DEVICE, false, CONFINE},
	{"connect_unix", BPF_CGROUP_UNIX_CONNECT, false, UNIX},
	{"sendmsg_unix", BPF_CGROUP_UNIX_SENDMSG, false, UNIX},
	{"lsm_socket_create", BPF_LSM_MAC, false, LSM},
	{"lsm_socket_connect", BPF_LSM_MAC, false, LSM},
	{"lsm_socket_sendmsg", BPF_LSM_MAC, false, LSM},
	{"lsm_file_receive", BPF_LSM_MAC, false, LSM},
	{"lsm_unix_stream_connect", BPF_LSM_MAC, false, LSM},
	{"lsm_unix_may_send", BPF_LSM_MAC, false, LSM},
	{"lsm_ptrace_access_check", BPF_LSM_MAC, false, LSM},
	{"lsm_task_kill", BPF_LSM_MAC, false, LSM},
	{"lsm_bpf", BPF_LSM_MAC, false, LSM},
	{"lsm_inode_permission", BPF_LSM_MAC, false, LSM},
	{"lsm_sb_mount", BPF_LSM_MAC, false, LSM},
	{"lsm_sb_umount", BPF_LSM_MAC, false, LSM},
	{"lsm_move_mount", BPF_LSM_MAC, false, LSM},
	{"lsm_userns_create", BPF_LSM_MAC, false, LSM},
};
enum { HOOK_COUNT = sizeof HOOKS / sizeof *HOOKS };
_Static_assert(HOOK_COUNT <= HOOKS_MAX, "room for the hooks");

struct hooks {
	struct programs programs;
	struct hooks_options options;
	char pin_dir[PATH_MAX];
	bool chosen[HOOK_COUNT]; /* this kernel has it, and nothing better */
	int link[HOOK_COUNT]; /* held: an unpinned link stays attached while the helper lives */
	uint32_t program[HOOK_COUNT];
	uint32_t link_id[HOOK_COUNT];
	bool lost[HOOK_COUNT]; /* not effective at the last look */
};

#define KEEPER "/dev/sluice"

static bool is_bpffs(const char *dir)
{
	struct statfs fs;

	return statfs(dir, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

/* Where the same bpffs is mounted once more; its path is that of the first, in one word. */
static int keeper_path(const char *pin_dir, char *path, size_t size)
{
	int n = snprintf(path, size, KEEPER "/%s", pin_dir + (*pin_dir == '/'));

	if (n < 0 || (size_t)n >= size || n - sizeof KEEPER > NAME_MAX)
		return FAULT("the run directory's path is too long");
	for (char *c = path + sizeof KEEPER; *c; c++)
		if (*c == '/')
			*c = '-';
	return 0;
}

static bool is_same(const char *dir, const char *other)
{
	struct stat a, b;

	return stat(dir, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static bool is_kept(const char *pin_dir)
{
	char keeper[PATH_MAX];

	return keeper_path(pin_dir, keeper, sizeof keeper) == 0 && is_same(pin_dir, keeper);
}

/*
 * A pin lasts as long as its file system is mounted somewhere. When a host goes down, systemd unmounts what is below /run
 * while agents still run, and helper and daemon do not any more; it leaves what is below /dev, /proc and /sys to the end,
 * when every process has been killed (fstab_is_extrinsic() in systemd's src/shared/fstab-util.c).
 */
static int mount_twice(const char *pin_dir, const char *keeper)
{
	if (!is_bpffs(pin_dir) && !(is_bpffs(keeper) && mount(keeper, pin_dir, NULL, MS_BIND, NULL) == 0) &&
	    mount("sluice", pin_dir, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0711") < 0)
		return FAULT_ERRNO("cannot mount a bpffs on %s (needs CAP_SYS_ADMIN and the host's mount namespace)", pin_dir);
	if (is_same(pin_dir, keeper))
		return 0;
	if ((mkdir(KEEPER, 0700) < 0 && errno != EEXIST) || (mkdir(keeper, 0700) < 0 && errno != EEXIST))
		return FAULT_ERRNO("cannot make %s, for a mount that lasts to the end of a shutdown", keeper);
	if ((is_bpffs(keeper) && umount(keeper) < 0) || mount(pin_dir, keeper, NULL, MS_BIND, NULL) < 0)
		return FAULT_ERRNO("cannot mount the bpffs on %s, too", keeper);
	return 0;
}

int hooks_mount(const char *pin_dir)
{
	char links[PATH_MAX], keeper[PATH_MAX];

	if (mkdir(pin_dir, 0711) < 0 && errno != EEXIST)
		return FAULT_ERRNO("cannot make the pin directory %s", pin_dir);
	if (keeper_path(pin_dir, keeper, sizeof keeper) < 0 || mount_twice(pin_dir, keeper) < 0)
		return -1;
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

static bool is_left_out(const struct hooks_options *options, const struct hook *hook)
{
	for (int i = 0; i < options->without_count; i++)
		if (strcmp(options->without[i], hook->name) == 0 || (hook->object == LSM && strcmp(options->without[i], "lsm") == 0))
			return true;
	return false;
}

/* A link of an LSM program can't be given another program: the new one is attached beside it and takes its pin. */
static int attach_lsm(const char *pin_dir, const struct hook *hook, int program)
{
	char path[PATH_MAX + 64], fresh[PATH_MAX + 64];
	int link = bpf_raw_tracepoint_open(NULL, program);

	if (link < 0)
		return -1;
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

/* A pin of a hook that is not wanted (any more): from a helper with other options, or an older kernel's choice. */
static void discard(const char *pin_dir, const struct hook *hook)
{
	char path[PATH_MAX + 64];
	int link;

	link_path(pin_dir, hook, "", path, sizeof path);
	link = bpf_obj_get(path);
	if (link < 0)
		return;
	bpf_link_detach(link); /* LSM links have no such call: they end with their last descriptor */
	close(link);
	unlink(path);
}

static int attach(struct hooks *hooks, const struct cgroups *cg, int i)
{
	const struct hook *hook = &HOOKS[i];
	int program = programs_find(&hooks->programs, hook->object, hook->name);
	struct bpf_prog_info info = {0};
	struct bpf_link_info link_info = {0};
	uint32_t size = sizeof info, link_size = sizeof link_info;

	if (program < 0 || bpf_obj_get_info_by_fd(program, &info, &size) < 0)
		return FAULT("there is no program %s", hook->name);
	hooks->program[i] = info.id;
	hooks->chosen[i] = true;
	hooks->link[i] = hook->object == LSM ? attach_lsm(hooks->pin_dir, hook, program)
					     : attach_one(hooks->pin_dir, hook, program, hook->daemon ? cg->daemon : cg->sessions);
	if (hooks->link[i] < 0 || bpf_obj_get_info_by_fd(hooks->link[i], &link_info, &link_size) < 0)
		return -1;
	hooks->link_id[i] = link_info.id;
	return 0;
}

static int attach_object(struct hooks *hooks, const struct cgroups *cg, enum object object)
{
	for (int i = 0; i < HOOK_COUNT; i++) {
		if (HOOKS[i].object != object)
			continue;
		if (is_left_out(&hooks->options, &HOOKS[i]))
			discard(hooks->pin_dir, &HOOKS[i]);
		else if (attach(hooks, cg, i) < 0)
			return -1;
	}
	return 0;
}

static void detach_object(struct hooks *hooks, enum object object)
{
	for (int i = 0; i < HOOK_COUNT; i++) {
		if (HOOKS[i].object != object)
			continue;
		discard(hooks->pin_dir, &HOOKS[i]);
		if (hooks->link[i] >= 0)
			close(hooks->link[i]);
		hooks->link[i] = -1;
		hooks->chosen[i] = false;
	}
	programs_unload(&hooks->programs, object);
}

/* Loaded, attached and seen to be called; or none of it. */
static bool try_lsm(struct hooks *hooks, const struct cgroups *cg)
{
	for (int i = 0; i < hooks->options.without_count; i++)
		if (strcmp(hooks->options.without[i], "lsm") == 0)
			goto absent;
	if (programs_load(&hooks->programs, LSM, &hooks->options, cg, true) < 0) {
		LOG("no BPF LSM here: its programs do not load (see guarantees in status for what that costs)");
	} else if (attach_object(hooks, cg, LSM) < 0) {
		LOG("no BPF LSM here: its programs can't be attached");
	} else if (is_left_out(&hooks->options, &(struct hook){.name = "lsm_socket_create"}) || programs_lsm_called(&hooks->programs)) {
		return true;
	} else {
		LOG("no BPF LSM here: its programs are never called; name bpf in the kernel's lsm= parameter");
	}
absent:
	detach_object(hooks, LSM);
	return false;
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
	hooks->options = *options;
	hooks->options.pin_dir = hooks->pin_dir;
	if (programs_load(&hooks->programs, NETWORK, options, cg, false) < 0 ||
	    programs_load(&hooks->programs, CONFINE, options, cg, false) < 0 ||
	    attach_object(hooks, cg, NETWORK) < 0 || attach_object(hooks, cg, CONFINE) < 0)
		goto failed;
	/* LSM programs see whose socket it is, the cgroup hooks only its name: with the former the latter would be in the way. */
	if (try_lsm(hooks, cg)) {
		detach_object(hooks, UNIX);
	} else if (programs_load(&hooks->programs, UNIX, options, cg, true) < 0 || attach_object(hooks, cg, UNIX) < 0) {
		LOG("no hooks for UNIX sockets here: they require Linux >= 6.7 or BPF LSM");
		detach_object(hooks, UNIX);
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

static bool is_effective(const struct hooks *hooks, int i, int cgroup)
{
	uint32_t ids[64], count = sizeof ids / sizeof *ids, flags = 0;

	if (HOOKS[i].object == LSM)
		return true; /* the link is held, and has no way to be detached */
	if (bpf_prog_query(cgroup, HOOKS[i].type, BPF_F_QUERY_EFFECTIVE, &flags, ids, &count) == 0)
		for (uint32_t k = 0; k < count; k++)
			if (ids[k] == hooks->program[i])
				return true;
	return false;
}

bool hooks_effective(const struct hooks *hooks, int cgroup, bool daemon, const char **missing)
{
	for (int i = 0; i < HOOK_COUNT; i++) {
		if (HOOKS[i].daemon != daemon || !hooks->chosen[i] || is_effective(hooks, i, cgroup))
			continue;
		*missing = HOOKS[i].name;
		return false;
	}
	return true;
}

bool hooks_known(const char *name)
{
	for (int i = 0; i < HOOK_COUNT; i++)
		if (strcmp(HOOKS[i].name, name) == 0)
			return true;
	return strcmp(name, "lsm") == 0;
}

bool hooks_has(const struct hooks *hooks, const char *name)
{
	for (int i = 0; i < HOOK_COUNT; i++)
		if (strcmp(HOOKS[i].name, name) == 0)
			return hooks->chosen[i] && !hooks->lost[i];
	return false;
}

const char *hooks_left_out(const struct hooks *hooks)
{
	return hooks->options.without_count ? hooks->options.without[0] : NULL;
}

int hooks_allow_unix(struct hooks *hooks, const char *name)
{
	struct sluice_unix_name key = {.length = (uint32_t)strlen(name)};
	uint32_t one = 1;
	int map = programs_map(&hooks->programs, SLUICE_PIN_UNIX);

	if ((*name != '/' && *name != '@') || key.length < 2 || key.length > sizeof key.name)
		return FAULT("--unix %s: an absolute path or @ and an abstract name is wanted, of at most %zu bytes", name,
			     sizeof key.name);
	if (map < 0)
		return 0; /* nothing here asks the map; the guarantee `unix` says so */
	memcpy(key.name, name, key.length);
	if (*name == '@')
		key.name[0] = 0;
	if (bpf_map_update_elem(map, &key, &one, BPF_ANY) < 0)
		return FAULT_ERRNO("cannot allow the UNIX socket %s (at most %d)", name, SLUICE_UNIX_NAMES_MAX);
	return 0;
}

struct living {
	uint64_t cgroup_id[SESSIONS_MAX];
	int count;
};

static void note_living(const struct session *session, void *context)
{
	struct living *l = context;

	if (l->count < SESSIONS_MAX)
		l->cgroup_id[l->count++] = session->cgroup_id;
}

void hooks_forget_dead(struct hooks *hooks, const struct cgroups *cg)
{
	static struct living living;
	static uint64_t key[SLUICE_USAGE_MAX];
	int map = programs_map(&hooks->programs, "usage"), count = 0;

	living.count = 0;
	if (map < 0 || session_each(cg, note_living, &living) < 0)
		return;
	while (count < SLUICE_USAGE_MAX && bpf_map_get_next_key(map, count ? &key[count - 1] : NULL, &key[count]) == 0)
		count++;
	for (int i = 0; i < count; i++) {
		bool lives = false;

		for (int k = 0; k < living.count && !lives; k++)
			lives = living.cgroup_id[k] == key[i];
		if (!lives)
			bpf_map_delete_elem(map, &key[i]);
	}
}

int hooks_counter(const struct hooks *hooks)
{
	return programs_find(&hooks->programs, NETWORK, "refused_call");
}

int hooks_map_entries(const struct hooks *hooks, const char *name, uint32_t *most)
{
	struct bpf_map_info info = {0};
	uint32_t size = sizeof info;
	uint8_t key[sizeof(struct sluice_refusal_key)]; /* the largest */
	int map = programs_map(&hooks->programs, name), count = 0;

	if (map < 0 || bpf_obj_get_info_by_fd(map, &info, &size) < 0 || info.key_size > sizeof key)
		return -1;
	*most = info.max_entries;
	/* Bounded, since a walk begins again where the entry it stands on is taken away. */
	while ((uint32_t)count < *most && bpf_map_get_next_key(map, count ? key : NULL, key) == 0)
		count++;
	return count;
}

bool hooks_refused(const struct hooks *hooks, uint64_t *lost)
{
	int refusals = programs_map(&hooks->programs, SLUICE_PIN_REFUSALS);
	int counter = programs_map(&hooks->programs, SLUICE_PIN_LOST);
	struct sluice_refusal_key first;
	uint32_t zero = 0;

	if (counter >= 0)
		(void)bpf_map_lookup_elem(counter, &zero, lost);
	return refusals >= 0 && bpf_map_get_next_key(refusals, NULL, &first) == 0;
}

int hooks_print(const struct hooks *hooks, char *text, size_t size)
{
	size_t used = (size_t)snprintf(text, size, "[");

	for (int i = 0; i < HOOK_COUNT && used < size; i++)
		if (hooks->chosen[i])
			used += (size_t)snprintf(text + used, size - used, "%s\"%s\"", used > 1 ? "," : "", HOOKS[i].name);
	if (used < size)
		used += (size_t)snprintf(text + used, size - used, "]");
	return (int)(used < size ? used : 0);
}

int hooks_count(const struct hooks *hooks)
{
	int count = 0;

	for (int i = 0; i < HOOK_COUNT; i++)
		count += hooks->chosen[i];
	return count;
}

int hooks_pinned(const struct hooks *hooks)
{
	int count = 0;

	for (int i = 0; i < HOOK_COUNT; i++) {
		char path[PATH_MAX + 64];

		link_path(hooks->pin_dir, &HOOKS[i], "", path, sizeof path);
		count += hooks->chosen[i] && access(path, F_OK) == 0;
	}
	return count;
}

/* Is what is pinned there the link that is held? */
static bool is_pinned(const struct hooks *hooks, int i)
{
	struct bpf_link_info info = {0};
	uint32_t size = sizeof info;
	char path[PATH_MAX + 64];
	int link;
	bool same;

	link_path(hooks->pin_dir, &HOOKS[i], "", path, sizeof path);
	link = bpf_obj_get(path);
	if (link < 0)
		return false;
	same = bpf_obj_get_info_by_fd(link, &info, &size) == 0 && info.id == hooks->link_id[i];
	close(link);
	return same;
}

static int pin_again(const struct hooks *hooks, int i)
{
	char path[PATH_MAX + 64];

	link_path(hooks->pin_dir, &HOOKS[i], "", path, sizeof path);
	unlink(path);
	return bpf_obj_pin(hooks->link[i], path);
}

int hooks_watch(struct hooks *hooks, const struct cgroups *cg, void (*report)(void *, const char *), void *context)
{
	char text[160];
	int lapsed = 0, broken = 0, again;

#define TELL(...) (snprintf(text, sizeof text, __VA_ARGS__), report(context, text))
	if (!is_bpffs(hooks->pin_dir)) {
		if (hooks_mount(hooks->pin_dir) < 0)
			TELL("the bpffs was unmounted and can't be mounted again");
		else
			TELL("the bpffs was unmounted; mounted again");
	} else if (!is_kept(hooks->pin_dir)) {
		TELL("the bpffs was unmounted below " KEEPER "; %s", hooks_mount(hooks->pin_dir) < 0 ? "it can't be mounted there" : "mounted again");
	}
	for (int i = 0; i < HOOK_COUNT; i++) {
		int cgroup = HOOKS[i].daemon ? cg->daemon : cg->sessions;

		if (!hooks->chosen[i])
			continue;
		if (!is_effective(hooks, i, cgroup)) {
			bool known = hooks->lost[i];

			lapsed = 1;
			if (!known)
				TELL("%s was detached", HOOKS[i].name);
			if (hooks->link[i] >= 0)
				close(hooks->link[i]);
			hooks->lost[i] = attach(hooks, cg, i) < 0 || !is_effective(hooks, i, cgroup);
			broken |= hooks->lost[i];
			if (!hooks->lost[i])
				TELL("%s is attached again", HOOKS[i].name);
			else if (!known)
				TELL("%s can't be attached again", HOOKS[i].name);
		} else if (!is_pinned(hooks, i)) {
			TELL("the pin of %s was removed; pinned again%s", HOOKS[i].name,
			     pin_again(hooks, i) < 0 ? ", which failed" : "");
		}
	}
	again = programs_repin(&hooks->programs, &hooks->options);
	if (again != 0)
		TELL(again < 0 ? "pins of maps were removed and can't be made again" : "pins of %d maps were removed; pinned again", again);
#undef TELL
	return broken ? -1 : lapsed;
}

void hooks_close(struct hooks *hooks)
{
	if (!hooks)
		return;
	for (int i = 0; i < HOOK_COUNT; i++)
		if (hooks->link[i] >= 0)
			close(hooks->link[i]);
	for (int i = 0; i < OBJECTS; i++)
		programs_unload(&hooks->programs, i);
	free(hooks);
}

int hooks_remove(const char *pin_dir)
{
	char path[PATH_MAX + 64], keeper[PATH_MAX];

	if (keeper_path(pin_dir, keeper, sizeof keeper) < 0)
		return -1;
	if (!is_bpffs(pin_dir) && (!is_bpffs(keeper) || hooks_mount(pin_dir) < 0))
		return 0;
	for (int i = HOOK_COUNT - 1; i >= 0; i--) {
		int link;

		link_path(pin_dir, &HOOKS[i], "_new", path, sizeof path);
		unlink(path);
		link_path(pin_dir, &HOOKS[i], "", path, sizeof path);
		link = bpf_obj_get(path);
		/* Someone else may hold a descriptor: detaching ends it for them too. */
		if (link >= 0) {
			if (bpf_link_detach(link) < 0 && errno != ENOLINK && errno != EOPNOTSUPP)
				FAULT_ERRNO("cannot detach %s", path);
			close(link);
		}
		if (unlink(path) < 0 && errno != ENOENT)
			return FAULT_ERRNO("cannot remove %s", path);
	}
	if (programs_unpin(pin_dir) < 0)
		return -1;
	snprintf(path, sizeof path, "%s/" SLUICE_PIN_LINKS, pin_dir);
	rmdir(path);
	if (umount(pin_dir) < 0 && errno != EINVAL)
		return FAULT_ERRNO("cannot unmount %s", pin_dir);
	if (is_bpffs(keeper) && umount(keeper) < 0)
		return FAULT_ERRNO("cannot unmount %s", keeper);
	rmdir(keeper);
	rmdir(KEEPER); /* unless another helper's is there */
	if (rmdir(pin_dir) < 0 && errno != ENOENT)
		return FAULT_ERRNO("cannot remove %s", pin_dir);
	return 0;
}

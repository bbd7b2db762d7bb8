// SPDX-License-Identifier: Apache-2.0
/* What root could do to the enforcement or beside it, and ways to have something done by others. */
#include "probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

static void bpf_map(struct attempt *a)
{
	union bpf_attr attributes = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

	if (syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes) < 0)
		refused(a, "BPF_MAP_CREATE");
	else
		effect(a, "a map was made");
}

static void bpf_link(struct attempt *a)
{
	union bpf_attr attributes = {.start_id = 0};

	if (syscall(SYS_bpf, BPF_LINK_GET_NEXT_ID, &attributes, sizeof attributes) < 0) {
		refused(a, "BPF_LINK_GET_NEXT_ID");
		return;
	}
	attributes = (union bpf_attr){.link_id = attributes.next_id};
	if (syscall(SYS_bpf, BPF_LINK_GET_FD_BY_ID, &attributes, sizeof attributes) < 0)
		refused(a, "BPF_LINK_GET_FD_BY_ID");
	else
		effect(a, "a link can be had and detached");
}

static void bpf_program(struct attempt *a)
{
	/* r0 = 0; exit */
	struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
	union bpf_attr attributes = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
				     .insns = (uintptr_t)code,
				     .insn_cnt = 2,
				     .license = (uintptr_t) "GPL"};

	if (syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes) < 0)
		refused(a, "BPF_PROG_LOAD");
	else
		effect(a, "a program was loaded");
}

/* The pins are files: whoever reaches them can remove them. */
static void pins(struct attempt *a)
{
	char path[512];
	DIR *dir;

	if (!a->target->pins) {
		untried(a, "where the pins are is not known (pins=)");
		return;
	}
	snprintf(path, sizeof path, "%s/links", a->target->pins);
	dir = opendir(path);
	if (!dir)
		refused(a, "opendir");
	else
		effect(a, "the pinned links can be listed");
}

static void unmount(struct attempt *a)
{
	/* Of what is no mount: the check for permission comes first, and nothing can come off (fs/namespace.c, can_umount). */
	if (syscall(SYS_umount2, "/proc/self", 0) == 0 || errno == EINVAL)
		effect(a, "umount2 is allowed");
	else
		refused(a, "umount2");
}

static void mount_(struct attempt *a)
{
	char dir[] = "/tmp/sluice-probe-XXXXXX";

	if (!mkdtemp(dir)) {
		untried(a, "no directory can be made in /tmp");
		return;
	}
	if (mount("none", dir, "tmpfs", 0, NULL) < 0) {
		refused(a, "mount");
	} else {
		effect(a, "mounted");
		umount(dir);
	}
	rmdir(dir);
}

static void fsopen_(struct attempt *a)
{
	if (syscall(SYS_fsopen, "tmpfs", 1) < 0)
		refused(a, "fsopen");
	else
		effect(a, "a file system was opened");
}

static void open_tree_(struct attempt *a)
{
	if (syscall(SYS_open_tree, AT_FDCWD, "/tmp", 1 | O_CLOEXEC) < 0)
		refused(a, "open_tree(OPEN_TREE_CLONE)");
	else
		effect(a, "a mount was cloned");
}

static void tun(struct attempt *a)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		refused(a, "open");
	else if (ioctl(fd, TUNSETIFF, &request) < 0)
		refused(a, "TUNSETIFF");
	else
		effect(a, "made the interface %.15s", request.ifr_name);
}

static void device_node(struct attempt *a)
{
	char path[64];

	snprintf(path, sizeof path, "/tmp/sluice-probe-%d", getpid());
	if (mknod(path, S_IFCHR | 0600, makedev(10, 200)) < 0) {
		refused(a, "mknod");
		return;
	}
	if (open(path, O_RDWR | O_CLOEXEC) < 0 && errno != ENODEV && errno != ENXIO)
		refused(a, "open");
	else
		effect(a, "a node for /dev/net/tun was made and opened");
	unlink(path);
}

static void open_one(struct attempt *a, const char *const *paths, int flags)
{
	for (; *paths; paths++) {
		int fd = open(*paths, flags | O_CLOEXEC | O_NONBLOCK);

		if (fd >= 0) {
			close(fd);
			effect(a, "%s can be opened", *paths);
			return;
		}
	}
	refused(a, "open");
}

static void devices(struct attempt *a)
{
	static const char *const PATHS[] = {"/dev/mem",	       "/dev/kmem", "/dev/port", "/dev/sda",	  "/dev/vda",
					    "/dev/nvme0n1",    "/dev/kvm",  "/dev/ppp",	 "/dev/vhost-net", "/dev/vhost-vsock",
					    NULL};

	open_one(a, PATHS, O_RDWR);
}

static void kernel_settings(struct attempt *a)
{
	static const char *const PATHS[] = {"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
					    "/proc/sys/net/ipv4/ping_group_range", "/proc/sysrq-trigger", NULL};

	open_one(a, PATHS, O_WRONLY);
}

/* Files that another process reads and acts upon. */
static void spools(struct attempt *a)
{
	static const char *const PATHS[] = {"/var/spool/cron/crontabs", "/var/spool/cron/atjobs", "/var/spool/cron",
					    "/etc/cron.d",		"/etc/systemd/system",	  "/run/systemd/system",
					    "/etc/profile.d",		"/etc/ld.so.preload",	  "/usr/local/bin"};

	for (size_t i = 0; i < sizeof PATHS / sizeof *PATHS; i++)
		if (access(PATHS[i], W_OK) == 0) {
			effect(a, "%s can be written", PATHS[i]);
			return;
		}
	kept(a, "none of %zu can be written", sizeof PATHS / sizeof *PATHS);
}

/* A core_pattern with a pipe has the kernel start a program, as root and outside, on what the agent wrote. */
static void core_dump(struct attempt *a)
{
	struct rlimit limit;
	char first = 0;
	int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, &first, 1) < 0 || getrlimit(RLIMIT_CORE, &limit) < 0)
		refused(a, "core_pattern");
	else if (first != '|')
		kept(a, "core_pattern names a file");
	else if (limit.rlim_max == 1)
		kept(a, "RLIMIT_CORE is 1: the kernel starts nothing");
	else
		effect(a, "a crash starts the program of core_pattern");
}

static void perf(struct attempt *a)
{
	struct perf_event_attr attributes = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attributes, .config = PERF_COUNT_SW_DUMMY};

	if (syscall(SYS_perf_event_open, &attributes, -1, 0, -1, 0) < 0)
		refused(a, "perf_event_open");
	else
		effect(a, "all processes of a processor can be watched");
}

static void module(struct attempt *a)
{
	if (syscall(SYS_init_module, "", 0, "") == 0 || errno == ENOEXEC)
		effect(a, "init_module is allowed");
	else
		refused(a, "init_module");
}

static void capabilities(struct attempt *a)
{
	char line[128];
	FILE *file = fopen("/proc/self/status", "re");
	unsigned long long set, all = 0;

	while (file && fgets(line, sizeof line, file))
		if (strncmp(line, "Cap", 3) == 0 && sscanf(line, "%*[^\t]\t%llx", &set) == 1)
			/* The bounding set of who was never root matters little, yet it is to be empty where it can be. */
			all |= strncmp(line, "CapBnd", 6) == 0 && getuid() ? 0 : set;
	if (file)
		fclose(file);
	if (!file || all)
		effect(a, "has capabilities %llx", all);
	else
		kept(a, "none");
}

static void new_privileges(struct attempt *a)
{
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		kept(a, "no_new_privs is set");
	else
		effect(a, "set-uid programs give their owner's rights");
}

static void become_root(struct attempt *a)
{
	if (setuid(0) < 0)
		refused(a, "setuid");
	else
		effect(a, "is root");
}

/* What is typed into a terminal runs in the shell that is left when the agent has gone. */
static void type_ahead(struct attempt *a)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave = -1;

	setsid();
	if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0)
		slave = open(ptsname(master), O_RDWR | O_CLOEXEC);
	if (slave < 0)
		refused(a, "openpt");
	else if (ioctl(slave, TIOCSTI, "x") < 0)
		refused(a, "TIOCSTI");
	else
		effect(a, "typed into a terminal");
}

const struct probe PRIVILEGE_PROBES[] = {
	{"bpf-map", bpf_map, 0, "bpf(BPF_MAP_CREATE)"},
	{"bpf-link", bpf_link, 0, "a link by its number, to detach it"},
	{"bpf-program", bpf_program, 0, "bpf(BPF_PROG_LOAD)"},
	{"bpf-pins", pins, 0, "the pinned links"},
	{"umount", unmount, 0, "umount2()"},
	{"mount", mount_, 0, "mount()"},
	{"fsopen", fsopen_, 0, "fsopen()"},
	{"open-tree", open_tree_, 0, "open_tree(OPEN_TREE_CLONE)"},
	{"tun", tun, 0, "a TUN device"},
	{"device-node", device_node, 0, "a device node of its own"},
	{"devices", devices, 0, "memory, disks, /dev/kvm, vhost"},
	{"kernel-settings", kernel_settings, 0, "core_pattern, modprobe, sysrq-trigger"},
	{"spools", spools, 0, "crontabs, units, profiles"},
	{"core-dump", core_dump, 0, "the program that takes core dumps"},
	{"perf", perf, 0, "perf_event_open() on a processor"},
	{"module", module, 0, "init_module()"},
	{"capabilities", capabilities, 0, "any capability"},
	{"new-privileges", new_privileges, 0, "set-uid programs"},
	{"setuid", become_root, 0, "setuid(0)"},
	{"terminal", type_ahead, 0, "TIOCSTI"},
	{0},
};

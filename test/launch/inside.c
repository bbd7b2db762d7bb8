// SPDX-License-Identifier: Apache-2.0
/*
 * What an agent tries: each line of output is a try and how it ended, `done` or the error's name. Names as arguments: these
 * alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static char **wanted;

static int is_wanted(const char *name)
{
	for (char **one = wanted; *one; one++)
		if (strcmp(*one, name) == 0)
			return 1;
	return !*wanted;
}

#define TRY(name, call)                                                                      \
	do {                                                                                 \
		if (!is_wanted(name))                                                        \
			break;                                                               \
		errno = 0;                                                                   \
		long result = (long)(call);                                                  \
		printf("%s %s\n", name, result >= 0 ? "done" : strerrorname_np(errno));       \
		fflush(stdout);                                                              \
	} while (0)

int main(int argc, char **argv)
{
	struct io_uring_params ring = {0};
	struct perf_event_attr event = {.size = sizeof event, .type = PERF_TYPE_SOFTWARE, .exclude_kernel = 1};
	unsigned long long clone_args[11] = {0};
	struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog nothing = {1, allow};
	long cloned;

	(void)argc;
	wanted = argv + 1;
	TRY("AF_UNIX", socket(AF_UNIX, SOCK_STREAM, 0));
	TRY("AF_NETLINK routes", socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	TRY("AF_NETLINK netfilter", socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER));
	TRY("AF_NETLINK generic", socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC));
	TRY("AF_NETLINK sock_diag", socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG));
	TRY("AF_NETLINK uevent", socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
	TRY("AF_PACKET", socket(AF_PACKET, SOCK_RAW, 0));
	TRY("AF_VSOCK", socket(AF_VSOCK, SOCK_STREAM, 0));
	TRY("AF_ALG", socket(38, SOCK_SEQPACKET, 0));
	TRY("AF_BLUETOOTH", socket(AF_BLUETOOTH, SOCK_RAW, 0));
	TRY("AF_KEY", socket(AF_KEY, SOCK_RAW, 2));
	TRY("AF_RDS", socket(21, SOCK_SEQPACKET, 0));
	TRY("AF_TIPC", socket(30, SOCK_STREAM, 0));
	TRY("AF_XDP", socket(44, SOCK_RAW, 0));
	TRY("AF_SMC", socket(43, SOCK_STREAM, 0));
	TRY("socketpair AF_TIPC", socketpair(30, SOCK_STREAM, 0, (int[2]){0}));
	TRY("unshare user", unshare(CLONE_NEWUSER));
	TRY("unshare net", unshare(CLONE_NEWNET));
	fflush(stdout);
	if (is_wanted("clone user")) {
		cloned = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
		if (cloned == 0)
			_exit(0);
		printf("clone user %s\n", cloned >= 0 ? "done" : strerrorname_np(errno));
	}
	if (is_wanted("clone3")) {
		cloned = syscall(SYS_clone3, clone_args, sizeof clone_args);
		if (cloned == 0) /* or it would go on here, and stop its parent by tracing it */
			_exit(0);
		printf("clone3 %s\n", cloned >= 0 ? "done" : strerrorname_np(errno));
	}
	fflush(stdout);
	TRY("setns", syscall(SYS_setns, 0, 0));
	TRY("io_uring_setup", syscall(SYS_io_uring_setup, 1, &ring));
	TRY("io_uring_setup of libuv", syscall(SYS_io_uring_setup, 256, &ring));
	TRY("io_uring_enter", syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0));
	TRY("io_uring_register", syscall(SYS_io_uring_register, -1, 0, NULL, 0));
	TRY("seccomp listener", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &nothing));
	TRY("bpf", syscall(SYS_bpf, 0, &ring, sizeof ring));
	TRY("perf_event_open", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
	TRY("userfaultfd", syscall(SYS_userfaultfd, 1));
	TRY("add_key", syscall(SYS_add_key, "user", "sluice", "x", 1, -3));
	TRY("request_key", syscall(SYS_request_key, "dns_resolver", "example.com", "", -3));
	TRY("keyctl", syscall(SYS_keyctl, 0, -3, 0));
	TRY("ptrace attach", ptrace(PTRACE_ATTACH, getppid(), 0, 0));
	TRY("ptrace seize", ptrace(PTRACE_SEIZE, getppid(), 0, 0));
	TRY("process_vm_readv", syscall(SYS_process_vm_readv, getppid(), 0, 0, 0, 0, 0));
	TRY("process_vm_writev", syscall(SYS_process_vm_writev, getppid(), 0, 0, 0, 0, 0));
	TRY("pidfd_getfd", syscall(438, 0, 0, 0));
	TRY("mount", mount("none", "/mnt", "tmpfs", 0, ""));
	TRY("umount", umount2("/proc", MNT_DETACH));
	TRY("fsopen", syscall(430, "tmpfs", 0));
	TRY("fspick", syscall(433, AT_FDCWD, "/tmp", 0));
	TRY("fsconfig", syscall(431, -1, 0, 0, 0, 0));
	TRY("fsmount", syscall(432, -1, 0, 0));
	TRY("open_tree_attr", syscall(467, -1, "", 0, 0, 0));
	TRY("mount_setattr", syscall(442, -1, "", 0, 0, 0));
	TRY("open_tree", syscall(428, AT_FDCWD, "/tmp", 1));
	TRY("move_mount", syscall(429, AT_FDCWD, "/tmp", AT_FDCWD, "/mnt", 0));
	TRY("pivot_root", syscall(SYS_pivot_root, "/", "/"));
	TRY("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, &ring, O_RDONLY));
	TRY("init_module", syscall(SYS_init_module, "", 0, ""));
	TRY("finit_module", syscall(SYS_finit_module, 0, "", 0));
	TRY("delete_module", syscall(SYS_delete_module, "loop", 0));
	TRY("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
	TRY("kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0, 0, 0));
	TRY("TIOCSTI", ioctl(0, TIOCSTI, "x"));
	TRY("TIOCLINUX", ioctl(0, TIOCLINUX, "\3"));
	/* The kernel takes the low word of the request. */
	TRY("TIOCSTI with high bits", syscall(SYS_ioctl, 0, 0x100000000UL | TIOCSTI, "x"));
#ifdef __x86_64__
	TRY("x32 socket", syscall(0x40000000 | SYS_socket, AF_PACKET, SOCK_RAW, 0));
	long result;

	if (!is_wanted("32-bit socket"))
		return 0;
	/* int 0x80 with the number that socket() has there: 359. */
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(359), "b"(AF_PACKET), "c"(SOCK_RAW), "d"(0) : "memory");
	printf("32-bit socket %s\n", result >= 0 ? "done" : strerrorname_np((int)-result));
#endif
	return 0;
}

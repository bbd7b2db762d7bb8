// SPDX-License-Identifier: Apache-2.0
/*
 * The system call filter closes what cgroup hooks don't see: socket families without a cgroup hook (AF_PACKET,
 * AF_VSOCK and whatever comes later), namespaces of one's own, other processes' memory and descriptors, io_uring (which
 * makes sockets without the system call that is filtered here), and typing into the terminal that the user keeps.
 *
 * It cannot look behind pointers: connect() to a UNIX socket, kill() and /proc/PID/mem are not its business.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#define X32_BIT 0x40000000U
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "the system call filter knows x86_64 and aarch64"
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the filter reads the low word of an argument first"
#endif

/* Newer than some headers; the numbers are the same on all architectures (include/uapi/asm-generic/unistd.h). */
enum { MOUNT_SETATTR = 442, OPEN_TREE_ATTR = 467 };

/* All arguments compared here are ints or have flags in the low word; the kernel ignores or refuses the high one. */
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOAD_ARG(i) LOAD(args[i])
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define FAIL(e) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (e))
/* Skips the next n instructions unless the accumulator is k. */
#define UNLESS(k, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), 0, (n))
#define WHEN(k, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), (n), 0)
#define UNLESS_BITS(k, n) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (k), 0, (n))
#define REFUSE_CALL(nr, e) UNLESS((nr), 1), FAIL(e)

static const struct sock_filter PROGRAM[] = {
	LOAD(arch),
	WHEN(ARCH, 1),
	FAIL(ENOSYS), /* 32-bit calls have other numbers */
	LOAD(nr),
#ifdef X32_BIT
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1),
	FAIL(ENOSYS),
#endif

	/* socket(family, type, protocol): AF_NETLINK for routes alone, which getifaddrs() needs. */
	UNLESS(SYS_socket, 9),
	LOAD_ARG(0),
	WHEN(AF_UNIX, 6),
	WHEN(AF_INET, 5),
	WHEN(AF_INET6, 4),
	UNLESS(AF_NETLINK, 2),
	LOAD_ARG(2),
	WHEN(NETLINK_ROUTE, 1),
	FAIL(EAFNOSUPPORT),
	ALLOW,

	UNLESS(SYS_socketpair, 4),
	LOAD_ARG(0),
	WHEN(AF_UNIX, 1),
	FAIL(EAFNOSUPPORT),
	ALLOW,

	/* clone(flags), unshare(flags); clone3 has them behind a pointer: without it libc falls back to clone. */
	REFUSE_CALL(SYS_clone3, ENOSYS),
	UNLESS(SYS_clone, 4),
	LOAD_ARG(0),
	UNLESS_BITS(CLONE_NEWUSER, 1),
	FAIL(EPERM),
	ALLOW,
	UNLESS(SYS_unshare, 4),
	LOAD_ARG(0),
	UNLESS_BITS(CLONE_NEWUSER, 1),
	FAIL(EPERM),
	ALLOW,
	REFUSE_CALL(SYS_setns, EPERM),

	/* ptrace(request): a process may be traced that asks for it (a debugger's child), not any by its number. */
	UNLESS(SYS_ptrace, 5),
	LOAD_ARG(0),
	WHEN(PTRACE_ATTACH, 2),
	WHEN(PTRACE_SEIZE, 1),
	ALLOW,
	FAIL(EPERM),
	REFUSE_CALL(SYS_process_vm_readv, EPERM),
	REFUSE_CALL(SYS_process_vm_writev, EPERM),
	REFUSE_CALL(SYS_pidfd_getfd, EPERM),

	/*
	 * Keys: request_key() has the kernel start a program of the host, as root and outside of the session, which for keys
	 * of the type dns_resolver asks name servers; the session keyring is that of whoever started the agent.
	 */
	REFUSE_CALL(SYS_add_key, ENOSYS),
	REFUSE_CALL(SYS_request_key, ENOSYS),
	REFUSE_CALL(SYS_keyctl, ENOSYS),

	/* Interfaces that attacks on the kernel are made of, and that agents' programs do without. */
	REFUSE_CALL(SYS_userfaultfd, EPERM),
	REFUSE_CALL(SYS_perf_event_open, EPERM),

	/*
	 * What wants a capability that agents have not: refused before the code that asks for it is reached. Mounts could put
	 * another socket in the place of an allowed one; the rest is the way into the kernel itself.
	 */
	REFUSE_CALL(SYS_mount, EPERM),
	REFUSE_CALL(SYS_umount2, EPERM),
	REFUSE_CALL(SYS_pivot_root, EPERM),
	REFUSE_CALL(SYS_fsopen, EPERM),
	REFUSE_CALL(SYS_fspick, EPERM),
	REFUSE_CALL(SYS_fsconfig, EPERM),
	REFUSE_CALL(SYS_fsmount, EPERM),
	REFUSE_CALL(SYS_move_mount, EPERM),
	REFUSE_CALL(SYS_open_tree, EPERM),
	REFUSE_CALL(OPEN_TREE_ATTR, EPERM),
	REFUSE_CALL(MOUNT_SETATTR, EPERM),
	REFUSE_CALL(SYS_open_by_handle_at, EPERM),
	REFUSE_CALL(SYS_init_module, EPERM),
	REFUSE_CALL(SYS_finit_module, EPERM),
	REFUSE_CALL(SYS_delete_module, EPERM),
	REFUSE_CALL(SYS_kexec_load, EPERM),
	REFUSE_CALL(SYS_kexec_file_load, EPERM),

	REFUSE_CALL(SYS_io_uring_setup, ENOSYS),
	REFUSE_CALL(SYS_io_uring_enter, ENOSYS),
	REFUSE_CALL(SYS_io_uring_register, ENOSYS),
	REFUSE_CALL(SYS_bpf, EPERM),

	/* ioctl(fd, request): input typed by the agent would run in the user's shell after it has gone. */
	UNLESS(SYS_ioctl, 5),
	LOAD_ARG(1),
	WHEN(TIOCSTI, 2),
	WHEN(TIOCLINUX, 1),
	ALLOW,
	FAIL(EPERM),

	ALLOW,
};

int filter_system_calls(void)
{
	const struct sock_fprog program = {
		.len = sizeof PROGRAM / sizeof *PROGRAM,
		.filter = (struct sock_filter *)PROGRAM,
	};

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) {
		LOG("cannot install the system call filter: %s (requires CONFIG_SECCOMP_FILTER)", strerror(errno));
		return -1;
	}
	return 0;
}

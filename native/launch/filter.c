// SPDX-License-Identifier: Apache-2.0
/*
 * The system call filter closes what cgroup hooks don't see: socket families without a cgroup hook (AF_PACKET,
 * AF_VSOCK and whatever comes later), namespaces of one's own, other processes' memory and descriptors, io_uring (which
 * makes sockets without the system call that is filtered here), and typing into the terminal that the user keeps.
 *
 * It cannot look behind pointers: connect() to a UNIX socket, kill() and /proc/PID/mem are not its business.
 *
 * What it refuses is not answered by the kernel at once but by a process outside of the session, which counts it
 * (answer.c). It can't let a call through: nothing does that but SECCOMP_USER_NOTIF_FLAG_CONTINUE, which it never says;
 * when it is gone the kernel answers ENOSYS by itself.
 */
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launch.h"
#include "refused.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the filter reads the low word of an argument first"
#endif

/* Linux 5.19, newer than some headers. */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

/*
 * Entries of the ring that libuv asks for at the start of each event loop (uv__epoll_init in its src/unix/linux.c), and
 * does without: four times for a Node that says hello. Told, these would be most of what there is to read of a session.
 */
enum { LIBUV_RING = 256 };

/* All arguments compared here are ints or have flags in the low word; the kernel ignores or refuses the high one. */
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOAD_ARG(i) LOAD(args[i])
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
/* Refused without a word. */
#define FAIL(e) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (e))
/* Refused by whoever answers. */
#define TELL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)
/* Skips the next n instructions unless the accumulator is k. */
#define UNLESS(k, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), 0, (n))
#define WHEN(k, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), (n), 0)
#define UNLESS_BITS(k, n) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (k), 0, (n))
#define REFUSE_CALL(nr, name, error, first, second) UNLESS((nr), 1), TELL,

static const struct sock_filter PROGRAM[] = {
	LOAD(arch),
	WHEN(ARCH, 1),
	TELL, /* 32-bit calls have other numbers */
	LOAD(nr),
#ifdef __x86_64__
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SLUICE_X32_BIT, 0, 1),
	TELL,
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
	TELL,
	ALLOW,

	UNLESS(SYS_socketpair, 4),
	LOAD_ARG(0),
	WHEN(AF_UNIX, 1),
	TELL,
	ALLOW,

	/*
	 * clone(flags), unshare(flags); clone3 has them behind a pointer: without it libc falls back to clone. It tries at
	 * each thread, so that there is nothing to tell.
	 */
	UNLESS(SYS_clone3, 1),
	FAIL(ENOSYS),
	UNLESS(SYS_clone, 4),
	LOAD_ARG(0),
	UNLESS_BITS(CLONE_NEWUSER, 1),
	TELL,
	ALLOW,
	UNLESS(SYS_unshare, 4),
	LOAD_ARG(0),
	UNLESS_BITS(CLONE_NEWUSER, 1),
	TELL,
	ALLOW,

	/* ptrace(request): a process may be traced that asks for it (a debugger's child), not any by its number. */
	UNLESS(SYS_ptrace, 5),
	LOAD_ARG(0),
	WHEN(PTRACE_ATTACH, 2),
	WHEN(PTRACE_SEIZE, 1),
	ALLOW,
	TELL,

	/*
	 * seccomp(operation, flags): of filters that want to be asked the kernel has one, this one; should it come to have
	 * more, one that the agent made would be asked instead and could let calls through.
	 */
	UNLESS(SYS_seccomp, 6),
	LOAD_ARG(0),
	UNLESS(SECCOMP_SET_MODE_FILTER, 3),
	LOAD_ARG(1),
	UNLESS_BITS(SECCOMP_FILTER_FLAG_NEW_LISTENER, 1),
	TELL,
	ALLOW,

	UNLESS(SYS_io_uring_setup, 4),
	LOAD_ARG(0),
	UNLESS(LIBUV_RING, 1),
	FAIL(ENOSYS),
	TELL,

	/* ioctl(fd, request): input typed by the agent would run in the user's shell after it has gone. */
	UNLESS(SYS_ioctl, 5),
	LOAD_ARG(1),
	WHEN(TIOCSTI, 2),
	WHEN(TIOCLINUX, 1),
	ALLOW,
	TELL,

	REFUSED_ALWAYS(REFUSE_CALL)

	ALLOW,
};

int filter_system_calls(void)
{
	const struct sock_fprog program = {
		.len = sizeof PROGRAM / sizeof *PROGRAM,
		.filter = (struct sock_filter *)PROGRAM,
	};
	/* A call that was taken waits for its answer through every signal but a fatal one, so that none is told twice. */
	long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
				SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);

	if (listener < 0) {
		LOG("cannot install the system call filter: %s (%s)", strerror(errno),
		    errno == EBUSY ? "what started this is under a filter with a listener already, as some containers are"
				   : "requires Linux >= 5.19 with CONFIG_SECCOMP_FILTER");
		return -1;
	}
	return (int)listener;
}

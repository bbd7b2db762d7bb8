// SPDX-License-Identifier: Apache-2.0
/*
 * Answers what the system call filter of one launch refuses, and has it counted. sluice-helper starts it as root, outside
 * of the session, with a connection to the launcher, the BPF program that counts, and its own cgroup. It is in the way of
 * every refused call, so it does little: take one, count it, answer with the errno; of the first in about a second it looks up
 * in /proc who it was. It reads nothing of the caller's memory, and it can only refuse.
 *
 * One process for each launch, with one thread: however many threads call, they wait for each other and for nobody else, and
 * the processor time that this takes is less than that of one more thread of the agent's. When it dies, the kernel refuses by
 * ENOSYS what it would have answered.
 */
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "launch.h"
#include "message.h"
#include "refused.h"

/* Linux 6.6 */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

static const struct refused {
	int number;
	enum sluice_call call;
	int error;
	int arguments[SLUICE_DETAILS - 1];
} REFUSED[] = {
#define ROW(nr, name, error, first, second) {nr, SLUICE_CALL_##name, error, {first, second}},
	REFUSED_SOMETIMES(ROW) REFUSED_ALWAYS(ROW)
#undef ROW
};

/* As the filter saw it. Returns the errno of the answer. */
static int describe(const struct seccomp_data *data, __u32 detail[SLUICE_DETAILS])
{
	for (size_t i = 0; data->arch == ARCH && i < sizeof REFUSED / sizeof *REFUSED; i++) {
		if (REFUSED[i].number != data->nr)
			continue;
		detail[0] = REFUSED[i].call;
		for (int k = 0; k < SLUICE_DETAILS - 1; k++)
			if (REFUSED[i].arguments[k] != NONE)
				detail[k + 1] = (__u32)data->args[REFUSED[i].arguments[k]];
		return REFUSED[i].error;
	}
	/* Also what only the filter of a newer launcher knows. */
	detail[0] = SLUICE_CALL_FOREIGN;
	detail[1] = data->arch;
	detail[2] = (__u32)data->nr;
	return ENOSYS;
}

/* Runs refused_call; 1: it was the first of the turn. */
static int count(struct sluice_refused_call *call)
{
	union bpf_attr attributes = {0};

	attributes.test.prog_fd = ANSWER_COUNTER;
	attributes.test.ctx_in = (uintptr_t)call;
	attributes.test.ctx_size_in = sizeof *call;
	if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attributes, sizeof attributes) < 0)
		return -1;
	return (int)attributes.test.retval;
}

/* The line of /proc/PID/status that begins so; NULL when there is none. A name with a line feed has it escaped there. */
static const char *field(const char *status, const char *name)
{
	const char *line = strstr(status, name);

	return line ? line + strlen(name) : NULL;
}

/* Components from the last to the first, each ended by NUL, and an empty one to say that this is all (sluice.h). */
static void write_exe(struct sluice_origin *origin, const char *path, size_t length)
{
	size_t used = 0;

	if (*path != '/')
		return;
	for (size_t end = length; end > 0;) {
		size_t begin = end, size;

		while (path[begin - 1] != '/')
			begin--;
		size = end - begin;
		if (used + size + 1 > sizeof origin->exe)
			break;
		memcpy(origin->exe + used, path + begin, size);
		used += size + 1;
		end = begin - 1;
		if (end == 0 && used < sizeof origin->exe)
			used++;
	}
	origin->exe_len = (__u16)used;
}

/* Whose thread it is that waits. What can't be read stays 0. */
static void read_process(int proc, pid_t thread, struct sluice_origin *origin)
{
	char name[32], text[4096];
	const char *value;
	ssize_t n;
	int fd;

	snprintf(name, sizeof name, "%d/exe", thread);
	n = readlinkat(proc, name, text, sizeof text);
	if (n > 0)
		write_exe(origin, text, (size_t)n);
	snprintf(name, sizeof name, "%d/status", thread);
	fd = openat(proc, name, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return;
	text[n] = '\0';
	if ((value = field(text, "\nTgid:\t")))
		origin->pid = (__u32)strtoul(value, NULL, 10);
	if ((value = field(text, "\nUid:\t"))) /* the real one, as BPF has it */
		origin->uid = (__u32)strtoul(value, NULL, 10);
	if ((value = field(text, "\nGid:\t")))
		origin->gid = (__u32)strtoul(value, NULL, 10);
	if (strncmp(text, "Name:\t", 6) == 0)
		for (size_t i = 0; i < sizeof origin->comm - 1 && text[6 + i] != '\n'; i++)
			origin->comm[i] = text[6 + i];
}

/* -1: what can't be counted is not to be answered either. */
static int answer_one(int listener, int proc, unsigned long long session)
{
	struct seccomp_notif notice = {0};
	struct seccomp_notif_resp response = {0};
	struct sluice_refused_call call = {.key = {.name.session = session, .kind = SLUICE_REFUSED_SYSCALL}};
	int first;

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notice) < 0)
		return errno == ENOENT || errno == EINTR ? 0 : -1; /* who called was killed, or took a signal first */
	response.id = notice.id;
	response.error = -describe(&notice.data, call.key.detail);
	first = count(&call);
	if (first < 0)
		return -1;
	if (first) {
		struct timespec now;

		clock_gettime(CLOCK_MONOTONIC, &now);
		call.tell = 1;
		call.first.cgroup_id = session;
		call.first.time = (__u64)now.tv_sec * 1000000000ULL + (__u64)now.tv_nsec;
		read_process(proc, (pid_t)notice.pid, &call.first);
		/* While it waits its number is its own. Of one that was killed meanwhile, another's could have been read. */
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &notice.id) < 0)
			return errno == ENOENT ? 0 : -1;
		if (count(&call) < 0)
			return -1;
	}
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) < 0 && errno != ENOENT ? -1 : 0;
}

/* A listener, and nothing else that the caller might have sent: ioctl() on that could mean anything. */
static int is_listener(int fd)
{
	static const char wanted[] = "anon_inode:seccomp notify";
	char path[64], text[64];
	ssize_t n;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	n = readlink(path, text, sizeof text);
	return n == sizeof wanted - 1 && memcmp(text, wanted, sizeof wanted - 1) == 0;
}

/* Waits for the launcher to come so far. 0: it gave up, and said why. */
static int receive_listener(int *listener)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char byte;
	struct iovec data = {&byte, 1};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	struct pollfd wait = {.fd = ANSWER_CONNECTION, .events = POLLIN};
	struct cmsghdr *first;
	ssize_t n;

	if (poll(&wait, 1, PATIENCE * 1000) <= 0)
		return -1;
	n = recvmsg(ANSWER_CONNECTION, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	first = n <= 0 ? NULL : CMSG_FIRSTHDR(&message);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return 0;
	if (!first || first->cmsg_type != SCM_RIGHTS || first->cmsg_len != CMSG_LEN(sizeof *listener) ||
	    (message.msg_flags & MSG_CTRUNC))
		return -1;
	memcpy(listener, CMSG_DATA(first), sizeof *listener);
	return is_listener(*listener) ? 1 : -1;
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define UNLESS(k, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), 0, (n))
#define WHEN(k, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), (n), 0)
#define ALLOW_CALL(nr) UNLESS((nr), 1), ALLOW

/*
 * Root it stays, so that nobody else can signal or trace it; of what root can, it keeps to read in /proc whose a thread is
 * (CAP_SYS_PTRACE), and the calls that it makes.
 */
static int give_up(void)
{
	static const struct sock_filter code[] = {
		LOAD(arch),
		WHEN(ARCH, 1),
		KILL,
		LOAD(nr),
#ifdef __x86_64__
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SLUICE_X32_BIT, 0, 1),
		KILL,
#endif
		UNLESS(SYS_ioctl, 6),
		LOAD(args[1]),
		WHEN((__u32)SECCOMP_IOCTL_NOTIF_RECV, 3),
		WHEN((__u32)SECCOMP_IOCTL_NOTIF_ID_VALID, 2),
		WHEN((__u32)SECCOMP_IOCTL_NOTIF_SEND, 1),
		KILL,
		ALLOW,
		UNLESS(SYS_bpf, 4),
		LOAD(args[0]),
		WHEN(BPF_PROG_TEST_RUN, 1),
		KILL,
		ALLOW,
		UNLESS(SYS_openat, 4),
		LOAD(args[2]),
		WHEN(O_RDONLY | O_CLOEXEC, 1),
		KILL,
		ALLOW,
		ALLOW_CALL(SYS_ppoll),
		ALLOW_CALL(SYS_read),
		ALLOW_CALL(SYS_readlinkat),
		ALLOW_CALL(SYS_close),
		ALLOW_CALL(SYS_sendto),
		ALLOW_CALL(SYS_clock_gettime), /* where the vDSO has no clock */
		ALLOW_CALL(SYS_fsetxattr),
		ALLOW_CALL(SYS_restart_syscall),
		ALLOW_CALL(SYS_exit_group),
		KILL,
	};
	const struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = (struct sock_filter *)code};
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct kept[2] = {0};

	/* A helper without it can't start sessions of ordinary users either, but those of root. */
	if (syscall(SYS_capget, &header, kept) < 0)
		return -1;
	kept[0].permitted &= 1U << CAP_SYS_PTRACE;
	kept[0].effective = kept[0].permitted;
	kept[0].inheritable = kept[1].permitted = kept[1].effective = kept[1].inheritable = 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &header, kept) < 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return -1;
	return 0;
}

/* Ends as it should, of which the helper would else report that the answers have ceased. */
static int end(void)
{
	return fsetxattr(ANSWER_CGROUP, ANSWER_DONE, "1", 1, 0) < 0 ? FAILED : 0;
}

int answer(const struct launch *l)
{
	static const int IGNORED[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE};
	int listener, proc, received;

	if (close_descriptors_from(ANSWER_CGROUP + 1) < 0)
		return FAILED;
	setsid();
	/* It goes with the last process of the session, whoever else is told to end. */
	for (size_t i = 0; i < sizeof IGNORED / sizeof *IGNORED; i++)
		(void)signal(IGNORED[i], SIG_IGN);
	proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0) {
		LOG("cannot answer for the filter of session %s: %s", l->session, strerror(errno));
		return FAILED;
	}
	received = receive_listener(&listener);
	if (received <= 0) {
		if (received < 0)
			LOG("nothing to answer for came from session %s: no listener of a filter", l->session);
		return end();
	}
	/* On one processor they hand the turn to each other. Older kernels wake each other as ever. */
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	if (give_up() < 0) {
		LOG("cannot answer for the filter of session %s: its privileges stay (%s)", l->session, strerror(errno));
		return FAILED;
	}
	/* What is written to the log of whoever started the helper ends here: it is not to wait for this process. */
	for (int fd = 0; fd <= 2; fd++)
		close(fd);
	if (send(ANSWER_CONNECTION, "ok\n", 3, MSG_NOSIGNAL | MSG_DONTWAIT) != 3)
		return end();
	close(ANSWER_CONNECTION);
	for (;;) {
		struct pollfd wait = {.fd = listener, .events = POLLIN};

		if (ppoll(&wait, 1, NULL, NULL) < 0 && errno != EINTR)
			return FAILED;
		if (wait.revents & POLLIN) {
			if (answer_one(listener, proc, l->cgroup) < 0)
				return FAILED;
		} else if (wait.revents) {
			return end();
		}
	}
}

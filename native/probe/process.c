// SPDX-License-Identifier: Apache-2.0
/*
 * Other processes: what they hold and what they are told to do. The victim has the uid of whoever starts agents, which is
 * the agent's own unless sessions have one each.
 */
#include "probe.h"

#include <fcntl.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

static bool no_victim(struct attempt *a)
{
	if (!a->target->victim)
		untried(a, "no victim (victim=)");
	return !a->target->victim;
}

static void look(struct attempt *a, const char *bytes, ssize_t n, const char *call)
{
	if (n < 0)
		refused(a, call);
	else if (has_nonce(a->target, bytes, (size_t)n))
		effect(a, "read its secret");
	else
		kept(a, "%zd bytes without the secret", n);
}

static void attach(struct attempt *a)
{
	if (no_victim(a))
		return;
	if (ptrace(PTRACE_ATTACH, a->target->victim, NULL, NULL) < 0) {
		refused(a, "PTRACE_ATTACH");
		return;
	}
	waitpid(a->target->victim, NULL, __WALL);
	errno = 0;
	if (ptrace(PTRACE_PEEKDATA, a->target->victim, a->target->secret, NULL) == -1 && errno)
		refused(a, "PTRACE_PEEKDATA");
	else
		effect(a, "attached, and read its memory");
	ptrace(PTRACE_DETACH, a->target->victim, NULL, NULL);
}

static void seize(struct attempt *a)
{
	if (no_victim(a))
		return;
	if (ptrace(PTRACE_SEIZE, a->target->victim, NULL, NULL) < 0) {
		refused(a, "PTRACE_SEIZE");
		return;
	}
	effect(a, "seized");
	ptrace(PTRACE_INTERRUPT, a->target->victim, NULL, NULL);
	waitpid(a->target->victim, NULL, __WALL);
	ptrace(PTRACE_DETACH, a->target->victim, NULL, NULL);
}

static void vm_read(struct attempt *a)
{
	char text[64];
	struct iovec here = {text, sizeof text}, there = {(void *)a->target->secret, sizeof text};

	if (!no_victim(a))
		look(a, text, process_vm_readv(a->target->victim, &here, 1, &there, 1, 0), "process_vm_readv");
}

static void read_proc(struct attempt *a, const char *name, off_t offset)
{
	char path[64], text[4096];
	int fd;

	if (no_victim(a))
		return;
	snprintf(path, sizeof path, "/proc/%d/%s", a->target->victim, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		refused(a, "open");
	else
		look(a, text, pread(fd, text, offset ? 64 : sizeof text, offset), "pread");
}

static void proc_mem(struct attempt *a)
{
	read_proc(a, "mem", (off_t)a->target->secret);
}

static void proc_environ(struct attempt *a)
{
	read_proc(a, "environ", 0);
}

static void proc_mem_write(struct attempt *a)
{
	char path[64], text[PAYLOAD_MAX];
	size_t length = payload(a, text);
	int fd;

	if (no_victim(a))
		return;
	snprintf(path, sizeof path, "/proc/%d/mem", a->target->victim);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	/* The same bytes up to the name: the other probes find what they look for. */
	if (fd < 0)
		refused(a, "open");
	else if (pwrite(fd, text, length - strlen(a->name) - 1, (off_t)a->target->secret) < 0)
		refused(a, "pwrite");
	else
		effect(a, "wrote into its memory");
}

/* What another process has open, by the links in /proc. */
static void proc_fd(struct attempt *a)
{
	char path[64], target[64];

	if (no_victim(a))
		return;
	snprintf(path, sizeof path, "/proc/%d/fd/0", a->target->victim);
	if (readlink(path, target, sizeof target) < 0)
		refused(a, "readlink");
	else
		effect(a, "read what it has open");
}

static void pidfd_getfd_(struct attempt *a)
{
	int pidfd, fd;

	if (no_victim(a))
		return;
	pidfd = (int)syscall(SYS_pidfd_open, a->target->victim, 0);
	if (pidfd < 0) {
		refused(a, "pidfd_open");
		return;
	}
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, a->target->victim_fd, 0);
	if (fd < 0)
		refused(a, "pidfd_getfd");
	else
		connect_and_send(a, fd, NULL, 0);
}

/* The victim says that a signal came, by its number. */
static void say_sent(struct attempt *a, long result, const char *call)
{
	if (result < 0)
		refused(a, call);
	else
		sent(a, "%s: taken", call);
}

static void kill_(struct attempt *a)
{
	if (!no_victim(a))
		say_sent(a, kill(a->target->victim, SIGUSR1), "kill");
}

static void sigqueue_(struct attempt *a)
{
	if (!no_victim(a))
		say_sent(a, sigqueue(a->target->victim, SIGUSR2, (union sigval){0}), "sigqueue");
}

static void pidfd_signal(struct attempt *a)
{
	int pidfd;

	if (no_victim(a))
		return;
	pidfd = (int)syscall(SYS_pidfd_open, a->target->victim, 0);
	if (pidfd < 0)
		refused(a, "pidfd_open");
	else
		say_sent(a, syscall(SYS_pidfd_send_signal, pidfd, SIGWINCH, NULL, 0), "pidfd_send_signal");
}

/* SIGIO to whom a descriptor names as its owner (fcntl(2), F_SETOWN). */
static void fcntl_owner(struct attempt *a)
{
	int ends[2];

	if (no_victim(a))
		return;
	if (pipe2(ends, O_CLOEXEC) < 0 || fcntl(ends[0], F_SETOWN, a->target->victim) < 0 ||
	    fcntl(ends[0], F_SETSIG, SIGPROF) < 0 || fcntl(ends[0], F_SETFL, O_ASYNC) < 0)
		refused(a, "fcntl");
	else
		say_sent(a, write(ends[1], "x", 1), "F_SETOWN");
}

static void priority(struct attempt *a)
{
	struct {
		uint64_t soft, hard;
	} limit;

	if (no_victim(a))
		return;
	if (syscall(SYS_prlimit64, a->target->victim, 7, NULL, &limit) < 0)
		refused(a, "prlimit");
	else
		effect(a, "read its limits");
}

/* Keys of a uid are every process's of that uid. */
static void keyring(struct attempt *a)
{
	char description[64], text[64];
	long key;

	snprintf(description, sizeof description, "sluice-doctor:%.32s", a->target->nonce);
	if (no_victim(a))
		return;
	key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", description, 0);
	if (key < 0)
		refused(a, "KEYCTL_SEARCH");
	else
		look(a, text, syscall(SYS_keyctl, KEYCTL_READ, key, text, sizeof text), "KEYCTL_READ");
}

const struct probe PROCESS_PROBES[] = {
	{"ptrace-attach", attach, ALONE, "PTRACE_ATTACH"},
	{"ptrace-seize", seize, ALONE, "PTRACE_SEIZE"},
	{"process-vm-readv", vm_read, ALONE, "process_vm_readv()"},
	{"proc-mem", proc_mem, ALONE, "/proc/PID/mem, read"},
	{"proc-mem-write", proc_mem_write, ALONE, "/proc/PID/mem, written"},
	{"proc-environ", proc_environ, ALONE, "/proc/PID/environ"},
	{"proc-fd", proc_fd, ALONE, "/proc/PID/fd"},
	{"pidfd-getfd", pidfd_getfd_, ALONE, "a connection of another process, by pidfd_getfd()"},
	{"kill", kill_, ALONE, "kill()"},
	{"sigqueue", sigqueue_, ALONE, "sigqueue()"},
	{"pidfd-signal", pidfd_signal, ALONE, "pidfd_send_signal()"},
	{"fcntl-owner", fcntl_owner, ALONE, "a signal by F_SETOWN"},
	{"prlimit", priority, ALONE, "limits of another process"},
	{"keyring", keyring, ALONE, "keys that another process of the uid keeps"},
	{0},
};

/*
 * Numbers of processes, and who has them when.
 *
 *   number take PID UID COMMAND…   starts COMMAND as that uid under that number, as soon as it is free; says `waiting` when it
 *                                  is not, and `taken` when it has it; ends with the command
 *   number hold PID                lets PID and what it starts go on until one of them is about to write to a file
 *                                  cgroup.procs; says `held`, and lets go at a line on stdin
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int take(pid_t number, uid_t uid, char **command)
{
	struct clone_args arguments = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&number, .set_tid_size = 1};
	int waited = 0, status;
	pid_t pid;

	for (;;) {
		pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
		if (pid >= 0)
			break;
		if (errno != EEXIST) {
			perror("number: clone3");
			return 2;
		}
		if (!waited++)
			puts("waiting");
		usleep(1000);
	}
	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
			_exit(2);
		puts("taken");
		execv(*command, command);
		_exit(127);
	}
	return waitpid(pid, &status, 0) < 0;
}

static int writes_to_procs(pid_t pid)
{
	struct __ptrace_syscall_info info = {0};
	char path[64], target[4096];
	ssize_t n;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) <= 0 || info.op != PTRACE_SYSCALL_INFO_ENTRY ||
	    info.entry.nr != SYS_write)
		return 0;
	snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, (int)info.entry.args[0]);
	n = readlink(path, target, sizeof target - 1);
	if (n < 0)
		return 0;
	target[n] = '\0';
	return strstr(target, "/cgroup.procs") != NULL;
}

static int hold(pid_t pid)
{
	char line[8];

	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK) < 0 || ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0) {
		perror("number: cannot trace");
		return 2;
	}
	puts("holding");
	for (;;) {
		int status;
		pid_t stopped = waitpid(-1, &status, __WALL);

		if (stopped < 0)
			return 2;
		if (!WIFSTOPPED(status))
			continue;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80) && writes_to_procs(stopped)) {
			puts("held");
			(void)!read(0, line, sizeof line);
			return 0; /* which lets go of all */
		}
		ptrace(PTRACE_SYSCALL, stopped, 0, status >> 16 || WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status));
	}
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 4 && strcmp(argv[1], "take") == 0)
		return take(atoi(argv[2]), (uid_t)atoi(argv[3]), argv + 4);
	if (argc == 3 && strcmp(argv[1], "hold") == 0)
		return hold(atoi(argv[2]));
	return 2;
}

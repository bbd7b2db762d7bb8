/*
 * Runs one process to the N-th time that it enters or leaves a system call, and kills it there.
 *
 *   step N self COMMAND…           that process is COMMAND
 *   step N child-of PID K COMMAND… it is the K-th process that PID starts from now on; COMMAND brings PID to it, and runs
 *                                  meanwhile
 *
 * Says `killed PID CALL` (the number of the call) or `passed` when there were fewer. What leads to a launcher by exec and what
 * it executes in the end, the agent's command, are none of its steps; what a helper's child does before is.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL, SYSCALL_STOP = SIGTRAP | 0x80 };

static int is_launcher(pid_t pid)
{
	char path[64], target[4096];
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	n = readlink(path, target, sizeof target - 1);
	if (n < 0)
		return 0;
	target[n] = '\0';
	return strstr(target, "/sluice-launch") != NULL;
}

static int passed(void)
{
	puts("passed");
	return 0;
}

/* The tracee is stopped, for `status`. */
static int step(pid_t pid, long steps, int status, int counts)
{
	int was_launcher = 0;

	for (long done = 0;;) {
		int deliver = 0;

		if (WIFEXITED(status) || WIFSIGNALED(status))
			return passed();
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8)) {
			if (is_launcher(pid)) {
				was_launcher = counts = 1;
			} else if (was_launcher) {
				ptrace(PTRACE_DETACH, pid, 0, 0);
				return passed();
			}
		} else if (WSTOPSIG(status) == SYSCALL_STOP) {
			done += counts;
			if (done == steps) {
				struct __ptrace_syscall_info info = {0};

				ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
				kill(pid, SIGKILL);
				waitpid(pid, &status, __WALL);
				printf("killed %d %lld\n", pid, info.op == PTRACE_SYSCALL_INFO_ENTRY ? (long long)info.entry.nr : -1);
				return 0;
			}
		} else if (status >> 16 == 0) {
			deliver = WSTOPSIG(status);
		}
		if (ptrace(PTRACE_SYSCALL, pid, 0, deliver) < 0 || waitpid(pid, &status, __WALL) < 0)
			return passed();
	}
}

static pid_t start(char **command, int traced)
{
	int go[2];
	pid_t pid;
	char byte;

	if (pipe(go) < 0 || (pid = fork()) < 0)
		exit(2);
	if (pid == 0) {
		dup2(2, 1); /* what step says stands alone */
		close(go[1]);
		(void)!read(go[0], &byte, 1);
		close(go[0]);
		execv(*command, command);
		_exit(127);
	}
	close(go[0]);
	if (traced && ptrace(PTRACE_SEIZE, pid, 0, OPTIONS) < 0)
		exit(2);
	close(go[1]);
	return pid;
}

/* Lets the parent go on until it has started so many processes, or the command has ended without: 0. */
static pid_t wait_for_child(pid_t parent, int count, pid_t command, int *status)
{
	pid_t stopped = 0; /* a child may stop before its parent tells of it */

	for (;;) {
		unsigned long child;
		pid_t pid = waitpid(-1, status, __WALL);

		if (pid == command || pid < 0)
			return 0;
		if (!WIFSTOPPED(*status))
			continue;
		if (pid != parent) {
			stopped = pid;
			continue;
		}
		if (*status >> 8 == (SIGTRAP | PTRACE_EVENT_FORK << 8) && ptrace(PTRACE_GETEVENTMSG, parent, 0, &child) == 0) {
			if (stopped != (pid_t)child)
				waitpid((pid_t)child, status, __WALL);
			if (--count > 0) {
				ptrace(PTRACE_DETACH, (pid_t)child, 0, 0);
				ptrace(PTRACE_CONT, parent, 0, 0);
				continue;
			}
			ptrace(PTRACE_SETOPTIONS, (pid_t)child, 0, OPTIONS);
			ptrace(PTRACE_DETACH, parent, 0, 0);
			return (pid_t)child;
		}
		ptrace(PTRACE_CONT, parent, 0, *status >> 16 ? 0 : WSTOPSIG(*status));
	}
}

int main(int argc, char **argv)
{
	long steps = argc > 3 ? atol(argv[1]) : 0;
	pid_t pid, parent;
	int status;

	if (steps > 0 && strcmp(argv[2], "self") == 0) {
		pid = start(argv + 3, 1);
		return waitpid(pid, &status, __WALL) < 0 ? 2 : step(pid, steps, status, 0);
	}
	if (steps > 0 && strcmp(argv[2], "child-of") == 0 && argc > 5) {
		parent = atoi(argv[3]);
		if (ptrace(PTRACE_SEIZE, parent, 0, PTRACE_O_TRACEFORK) < 0) {
			perror("step: cannot trace the parent");
			return 2;
		}
		pid = start(argv + 5, 0);
		pid = wait_for_child(parent, atoi(argv[4]), pid, &status);
		return pid ? step(pid, steps, status, 1) : 2;
	}
	return 2;
}

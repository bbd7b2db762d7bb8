// SPDX-License-Identifier: Apache-2.0
/*
 * An agent that has many calls refused, or stands in the way of who answers them: calls MODE ARGUMENT…
 *
 *   flood THREADS CALLS   as many, divided among threads; prints how many were refused with the errno that is due
 *   signals CALLS MICROS  while a timer sends a signal that often; prints the same, and whether signals came
 *   thread                in a thread other than the first; prints the process and the thread
 *   killed CHILDREN       children that call without end, killed at any moment, then one call
 *   fork CHILDREN         a storm of children, that each call once; prints how many were refused
 *   filter ERRNO|NOTIFY|TRACE   with a filter of its own before; prints how the call ended
 *   loop                  calls without end; prints the errno whenever it is another than before
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static long each;
static volatile long signals;

static int refused(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0) < 0 ? errno : 0;
}

static void *work(void *argument)
{
	long *count = argument;

	for (long i = 0; i < each; i++)
		*count += refused() == EAFNOSUPPORT;
	return NULL;
}

static int flood(int threads, long calls)
{
	pthread_t thread[256];
	long count[256] = {0}, sum = 0;

	each = calls / threads;
	for (int i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, work, &count[i]);
	for (int i = 0; i < threads; i++) {
		pthread_join(thread[i], NULL);
		sum += count[i];
	}
	printf("%ld\n", sum);
	return 0;
}

static void on_signal(int number)
{
	(void)number;
	signals++;
}

static int interrupted(long calls, int microseconds)
{
	const struct itimerval often = {{0, microseconds}, {0, microseconds}};
	long count = 0;

	/* Without SA_RESTART, which the kernel sees to by itself where the call was not taken yet. */
	sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_signal}, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (long i = 0; i < calls; i++) {
		int cause;

		/* One that was not taken yet is broken off as any call is. */
		while ((cause = refused()) == EINTR)
			;
		count += cause == EAFNOSUPPORT;
	}
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	printf("%ld %d\n", count, signals > 0);
	return 0;
}

static void *as_thread(void *argument)
{
	(void)argument;
	printf("%d %d %d\n", refused(), getpid(), gettid());
	return NULL;
}

static int killed(int children)
{
	for (int i = 0; i < children; i++) {
		pid_t child = fork();

		if (child == 0)
			for (;;)
				refused();
		usleep((useconds_t)(random() % 3000));
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	printf("%d\n", refused());
	return 0;
}

static int storm(int children)
{
	long *count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int running = 0;

	for (int i = 0; i < children; i++) {
		if (running == 32 && wait(NULL) > 0)
			running--;
		if (fork() == 0) {
			__sync_fetch_and_add(count, refused() == EAFNOSUPPORT);
			_exit(0);
		}
		running++;
	}
	while (wait(NULL) > 0)
		;
	printf("%ld\n", *count);
	return 0;
}

static int filter(const char *action)
{
	unsigned what = strcmp(action, "ERRNO") == 0    ? SECCOMP_RET_ERRNO | ENOTTY
			: strcmp(action, "NOTIFY") == 0 ? SECCOMP_RET_USER_NOTIF
							: SECCOMP_RET_TRACE;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, what),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {4, code};

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return 1;
	printf("%s\n", strerrorname_np(refused()));
	return 0;
}

static void loop(void)
{
	for (int last = 0, now;; last = now) {
		now = refused();
		if (now != last)
			printf("%s\n", now ? strerrorname_np(now) : "done");
		usleep(1000);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(mode, "flood") == 0 && argc == 4)
		return flood(atoi(argv[2]), atol(argv[3]));
	if (strcmp(mode, "signals") == 0 && argc == 4)
		return interrupted(atol(argv[2]), atoi(argv[3]));
	if (strcmp(mode, "thread") == 0) {
		pthread_t thread;

		pthread_create(&thread, NULL, as_thread, NULL);
		return pthread_join(thread, NULL);
	}
	if (strcmp(mode, "killed") == 0 && argc == 3)
		return killed(atoi(argv[2]));
	if (strcmp(mode, "fork") == 0 && argc == 3)
		return storm(atoi(argv[2]));
	if (strcmp(mode, "filter") == 0 && argc == 3)
		return filter(argv[2]);
	if (strcmp(mode, "loop") == 0)
		loop();
	return 2;
}

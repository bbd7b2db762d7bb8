// SPDX-License-Identifier: Apache-2.0
/*
 * A process outside of every session, with what an agent would want of one: a secret in its memory, its environment and
 * its keys, and a connection to the witness. It says which signals reached it.
 */
#include "probe.h"

#include <linux/keyctl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static char secret[PAYLOAD_MAX];

static const struct {
	int signal;
	const char *probe;
} KNOWN[] = {{SIGUSR1, "kill"}, {SIGUSR2, "sigqueue"}, {SIGWINCH, "pidfd-signal"}, {SIGPROF, "fcntl-owner"}};

static void say(int got)
{
	char line[64];

	for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
		if (KNOWN[i].signal == got) {
			int n = snprintf(line, sizeof line, "{\"saw\":\"%s\",\"at\":\"a process outside\"}\n", KNOWN[i].probe);

			(void)!write(STDOUT_FILENO, line, (size_t)n);
		}
}

int victim(const struct target *t)
{
	struct attempt a = {.target = t, .name = "victim"};
	union address near;
	socklen_t size = site_address(&t->site[0], AF_INET, false, &near);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char description[64], byte;
	long key;

	/* Started as another account than its caller's it would be as closed as a program that changed its uid. */
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	payload(&a, secret);
	snprintf(description, sizeof description, "sluice-doctor:%.32s", t->nonce);
	/* Would stay as long as the uid has processes; taken away again below. */
	syscall(SYS_add_key, "user", description, secret, strlen(secret), KEY_SPEC_USER_KEYRING);
	if (connect(fd, &near.any, size) < 0) {
		fprintf(stderr, "sluice-probe: the victim cannot reach the witness: %s\n", strerror(errno));
		return 1;
	}
	for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
		signal(KNOWN[i].signal, say);
	printf("{\"pid\":%d,\"secret\":\"%lx\",\"fd\":%d}\n", getpid(), (unsigned long)secret, fd);
	fflush(stdout);
	/* Lives as long as stdin is open. */
	for (;;) {
		ssize_t n = read(STDIN_FILENO, &byte, 1);

		if (n == 0 || (n < 0 && errno != EINTR))
			break;
	}
	key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", description, 0);
	if (key >= 0)
		syscall(SYS_keyctl, KEYCTL_UNLINK, key, KEY_SPEC_USER_KEYRING);
	return 0;
}

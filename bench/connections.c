/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the hooks cost a connection: a server that echoes, and a client that counts.
 *
 *   connections serve PORT                     on 127.0.0.1; prints `ready` once it listens
 *   connections connect ADDRESS PORT COUNT     connects, is accepted and closes, one after the other
 *   connections echo ADDRESS PORT COUNT        64 bytes there and back, one after the other, on one connection
 *
 * The client prints how many it did per second.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 64

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1) {
		fprintf(stderr, "%s is no IPv4 address\n", address);
		exit(2);
	}
	return to;
}

static _Noreturn void serve(const char *port)
{
	struct sockaddr_in at = address_of("127.0.0.1", port);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char buffer[4096];

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 128) < 0)
		die("listen");
	puts("ready");
	fflush(stdout);
	for (;;) {
		int client = accept(fd, NULL, NULL);
		ssize_t n;

		if (client < 0)
			die("accept");
		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		/* The client waits for it: one that runs ahead fills the backlog, and its next SYN is sent again after a second. */
		if (send(client, "", 1, MSG_NOSIGNAL) != 1) {
			close(client);
			continue;
		}
		while ((n = recv(client, buffer, sizeof buffer, 0)) > 0)
			if (send(client, buffer, (size_t)n, MSG_NOSIGNAL) != n)
				break;
		close(client);
	}
}

static int connected(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char accepted;

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof *to) < 0 || recv(fd, &accepted, 1, 0) != 1)
		die("connect");
	return fd;
}

int main(int argc, char **argv)
{
	/* Closed by a reset: a local port each, for a minute, is more than there are. */
	const struct linger reset = {.l_onoff = 1};
	char message[MESSAGE] = "", answer[MESSAGE];
	struct sockaddr_in to;
	int one = 1, fd = -1;
	double since;
	long count;

	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve(argv[2]);
	if (argc != 5 || (strcmp(argv[1], "connect") != 0 && strcmp(argv[1], "echo") != 0)) {
		fputs("usage: connections serve PORT | connect ADDRESS PORT COUNT | echo ADDRESS PORT COUNT\n", stderr);
		return 2;
	}
	to = address_of(argv[2], argv[3]);
	count = atol(argv[4]);
	if (strcmp(argv[1], "echo") == 0) {
		fd = connected(&to);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	}
	since = now();
	for (long i = 0; i < count; i++) {
		if (fd < 0) {
			int each = connected(&to);

			setsockopt(each, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
			close(each);
		} else if (send(fd, message, MESSAGE, 0) != MESSAGE || recv(fd, answer, MESSAGE, MSG_WAITALL) != MESSAGE) {
			die("echo");
		}
	}
	printf("%.1f\n", (double)count / (now() - since));
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PostgreSQL client that does nothing with what it reads, so that the server or what stands before it is the limit.
 *
 *   reader stream  HOST PORT USER DATABASE SQL         reads one result
 *   reader latency HOST PORT USER DATABASE SQL COUNT   sends SQL COUNT times, one after the other
 *
 * Password, when asked for: PGPASSWORD (cleartext method only). No TLS. One line of JSON on stdout:
 *   stream:  {"bytes":…,"rows":…,"first_row_ms":…,"total_ms":…,"mb_per_s":…}   rows: DataRow and CopyData messages
 *   latency: {"count":…,"median_us":…,"p99_us":…,"max_us":…}
 */
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (1 << 20)

static int sock = -1;
static unsigned char buffer[BUFFER];
static size_t have, at;
static uint64_t received;

static void die(const char *what)
{
	fprintf(stderr, "reader: %s\n", what);
	exit(1);
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void fill(void)
{
	ssize_t n = recv(sock, buffer, sizeof(buffer), 0);

	if (n <= 0)
		die("the connection ended early");
	have = (size_t)n;
	at = 0;
	received += have;
}

static int next_byte(void)
{
	if (at == have)
		fill();
	return buffer[at++];
}

static uint32_t next_u32(void)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 8 | (uint32_t)next_byte();
	return v;
}

static void skip(uint64_t n)
{
	while (n > 0) {
		if (at == have)
			fill();
		uint64_t step = have - at < n ? have - at : n;
		at += step;
		n -= step;
	}
}

/* Message: Byte1 type, Int32 length (counts itself), body. Returns the type, `length` is that of the body, still unread. */
static int header(uint32_t *length)
{
	int type = next_byte();
	uint32_t n = next_u32();

	if (n < 4)
		die("a message shorter than its length field");
	*length = n - 4;
	return type;
}

static void put_u32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> (24 - 8 * i));
}

static void send_all(const void *data, size_t n)
{
	const char *p = data;

	while (n > 0) {
		ssize_t done = send(sock, p, n, MSG_NOSIGNAL);
		if (done <= 0)
			die("could not send");
		p += done;
		n -= (size_t)done;
	}
}

/* Type, length and one NUL-terminated string: Query ('Q') and PasswordMessage ('p'). */
static void send_text(char type, const char *text)
{
	size_t n = strlen(text) + 1;
	unsigned char *m = malloc(n + 5);

	if (!m)
		die("out of memory");
	m[0] = (unsigned char)type;
	put_u32(m + 1, (uint32_t)(n + 4));
	memcpy(m + 5, text, n);
	send_all(m, n + 5);
	free(m);
}

static void fail_with(uint32_t length)
{
	char text[1024];
	uint32_t n = 0;

	for (uint32_t i = 0; i < length; i++) {
		int c = next_byte();
		if (n + 2 < sizeof(text))
			text[n++] = c ? (char)c : ' ';
	}
	text[n] = 0;
	die(text);
}

static void connect_to(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
	int one = 1;

	if (getaddrinfo(host, port, &hints, &list))
		die("could not resolve the host");
	sock = socket(list->ai_family, SOCK_STREAM, 0);
	if (sock < 0 || connect(sock, list->ai_addr, list->ai_addrlen))
		die("could not connect");
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	freeaddrinfo(list);
}

static void until_ready(void)
{
	uint32_t length;

	for (;;) {
		int type = header(&length);
		if (type == 'E')
			fail_with(length);
		skip(length);
		if (type == 'Z')
			return;
	}
}

/* StartupMessage: Int32 length, Int32 196608 (3.0), name and value pairs, each NUL-terminated, one NUL. */
static void log_in(const char *user, const char *database)
{
	unsigned char m[1024];
	uint32_t length;
	int n = snprintf((char *)m + 8, sizeof(m) - 8, "user%c%s%cdatabase%c%s%c", 0, user, 0, 0, database, 0);

	if (n < 0 || (size_t)n + 9 >= sizeof(m))
		die("user or database too long");
	m[8 + n] = 0;
	put_u32(m, (uint32_t)n + 9);
	put_u32(m + 4, 196608);
	send_all(m, (size_t)n + 9);
	for (;;) {
		int type = header(&length);
		if (type == 'E')
			fail_with(length);
		if (type != 'R' || length < 4)
			die("an answer to the login that is no Authentication message");
		uint32_t method = next_u32();
		skip(length - 4);
		if (method == 0)
			break;
		if (method != 3)
			die("a login method other than trust and cleartext password");
		const char *password = getenv("PGPASSWORD");
		if (!password)
			die("a password is wanted, and PGPASSWORD is not set");
		send_text('p', password);
	}
	until_ready();
}

static void stream(const char *sql)
{
	uint64_t rows = 0, before = received;
	double first = 0, start = now_us();
	uint32_t length;
	int type;

	send_text('Q', sql);
	do {
		type = header(&length);
		if (type == 'E')
			fail_with(length);
		skip(length);
		/* Counted when it is whole: a server that fills a buffer sends the end of a row with the one after it. */
		if ((type == 'D' || type == 'd') && rows++ == 0)
			first = now_us();
	} while (type != 'Z');
	double total = now_us() - start;
	uint64_t bytes = received - before;
	printf("{\"bytes\":%llu,\"rows\":%llu,\"first_row_ms\":%.3f,\"total_ms\":%.3f,\"mb_per_s\":%.1f}\n",
	       (unsigned long long)bytes, (unsigned long long)rows, rows ? (first - start) / 1e3 : 0, total / 1e3,
	       (double)bytes / total);
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void latency(const char *sql, long count)
{
	double *each = calloc((size_t)count, sizeof(*each));

	if (!each)
		die("out of memory");
	for (long i = 0; i < count; i++) {
		double start = now_us();
		send_text('Q', sql);
		until_ready();
		each[i] = now_us() - start;
	}
	qsort(each, (size_t)count, sizeof(*each), ascending);
	printf("{\"count\":%ld,\"median_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n", count, each[count / 2],
	       each[count * 99 / 100], each[count - 1]);
	free(each);
}

int main(int argc, char **argv)
{
	if (argc == 7 && !strcmp(argv[1], "stream")) {
		connect_to(argv[2], argv[3]);
		log_in(argv[4], argv[5]);
		stream(argv[6]);
	} else if (argc == 8 && !strcmp(argv[1], "latency") && atol(argv[7]) > 0) {
		connect_to(argv[2], argv[3]);
		log_in(argv[4], argv[5]);
		latency(argv[6], atol(argv[7]));
	} else {
		fprintf(stderr, "usage: reader stream|latency HOST PORT USER DATABASE SQL [COUNT]\n");
		return 2;
	}
	return 0;
}

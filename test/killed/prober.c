/*
 * Tries without end to reach a host outside, in every way that an agent without capabilities has, at 1,500 tries a second on
 * the whole, or as many as PROBER_RATE in the environment says. For each line on stdin, and at its end, it says how its tries ended, as one line of JSON:
 *
 *   {"seconds":…,"tries":…,"gap":…,"through":…,"ways":{NAME:{OUTCOME:COUNT…}…}}
 *
 * OUTCOME is the name of an errno, or `open` (a TCP connection was made), `pending` (nobody answered yet), `sent`.
 * `through`: connections to the port that policy allows whose server answered. `gap`: the longest time between two tries, ms.
 *
 *   prober IPV4 IPV6 PORT ALLOWED-PORT SOURCE     SOURCE: an IPv4 address that connections to the allowed port come from
 *
 * With `once` as a sixth argument: one connection to the allowed port, and `through` or what happened instead.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 64, OUTCOMES = 136, OPEN = 133, PENDING, SENT, MPTCP = 262, EXPERIMENT = 253 };

static struct sockaddr_in far4, allowed4, source4;
static struct sockaddr_in6 far6;
static const char TEXT[] = "a byte that nobody outside may see";

/* Connections live on for a while: what they came to is looked at when their slot is needed again. */
struct slot {
	int fd;
	int way;
};
static struct slot slots[SLOTS];
static unsigned next_slot;
static unsigned long long tries, through;

struct way {
	const char *name;
	int (*attempt)(int self);
	unsigned every; /* so many rounds: whatever sluiced accepts costs it more than a refusal costs us */
	unsigned long long outcome[OUTCOMES];
};
static struct way ways[];

static void count(int way, int outcome)
{
	ways[way].outcome[outcome >= 0 && outcome < OUTCOMES ? outcome : 0]++;
}

static bool is_open(int fd)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof peer;

	return getpeername(fd, (struct sockaddr *)&peer, &size) == 0;
}

/* Halfway through its time a connection that was made says something; at its end it is seen what came back. */
static void speak(struct slot *s)
{
	if (s->fd >= 0 && is_open(s->fd))
		(void)!send(s->fd, TEXT, sizeof TEXT, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void look(struct slot *s)
{
	socklen_t size = sizeof(int);
	char answer[16];
	int error = 0;

	if (s->fd < 0)
		return;
	if (is_open(s->fd)) {
		count(s->way, OPEN);
		if (recv(s->fd, answer, sizeof answer, MSG_DONTWAIT) >= 7 && memcmp(answer, "THROUGH", 7) == 0)
			through++;
	} else {
		(void)getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
		count(s->way, error ? error : PENDING);
	}
	close(s->fd);
	s->fd = -1;
}

/* -1: the connection has a slot, and is counted later. */
static int connecting(int self, int fd, int result)
{
	struct slot *s = &slots[next_slot++ % SLOTS];
	int error = errno;

	if (result < 0 && error != EINPROGRESS) {
		close(fd);
		return error;
	}
	look(s);
	*s = (struct slot){fd, self};
	speak(&slots[(next_slot + SLOTS / 2) % SLOTS]);
	return -1;
}

static int tcp(int self, int family, int protocol)
{
	const struct sockaddr *to = family == AF_INET ? (struct sockaddr *)&far4 : (struct sockaddr *)&far6;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return errno;
	return connecting(self, fd, connect(fd, to, family == AF_INET ? sizeof far4 : sizeof far6));
}

static int tcp4(int self)
{
	return tcp(self, AF_INET, 0);
}

static int tcp6(int self)
{
	return tcp(self, AF_INET6, 0);
}

static int multipath(int self)
{
	return tcp(self, AF_INET, MPTCP);
}

static int fast_open(int self)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno;
	return connecting(self, fd,
			  (int)sendto(fd, TEXT, sizeof TEXT, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&far4, sizeof far4));
}

static int allowed(int self)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	/* A connection that comes from here did not come from sluiced. */
	if (fd < 0 || bind(fd, (struct sockaddr *)&source4, sizeof source4) < 0)
		return errno;
	return connecting(self, fd, connect(fd, (struct sockaddr *)&allowed4, sizeof allowed4));
}

static int datagram(int family, int kind, int protocol, const void *bytes, size_t length, int port)
{
	struct sockaddr_in to4 = far4;
	struct sockaddr_in6 to6 = far6;
	int fd = socket(family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol), error;
	ssize_t n;

	if (fd < 0)
		return errno;
	to4.sin_port = to6.sin6_port = htons((uint16_t)port);
	n = family == AF_INET ? sendto(fd, bytes, length, 0, (struct sockaddr *)&to4, sizeof to4)
			      : sendto(fd, bytes, length, 0, (struct sockaddr *)&to6, sizeof to6);
	error = n < 0 ? errno : SENT;
	close(fd);
	return error;
}

static int udp4(int self)
{
	(void)self;
	return datagram(AF_INET, SOCK_DGRAM, 0, TEXT, sizeof TEXT, ntohs(far4.sin_port));
}

static int udp6(int self)
{
	(void)self;
	return datagram(AF_INET6, SOCK_DGRAM, 0, TEXT, sizeof TEXT, ntohs(far6.sin6_port));
}

/* To where names are asked for, so that sluiced gets it; on a socket that outlives daemons, too. */
static int udp53(int self)
{
	(void)self;
	return datagram(AF_INET, SOCK_DGRAM, 0, TEXT, sizeof TEXT, 53);
}

static int kept53(int self)
{
	static int fd = -1;
	struct sockaddr_in to = far4;

	(void)self;
	to.sin_port = htons(53);
	if (fd < 0) {
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
			int error = errno;

			close(fd);
			fd = -1;
			return error;
		}
	}
	return send(fd, TEXT, sizeof TEXT, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : SENT;
}

static int ping4(int self)
{
	struct icmphdr echo = {.type = ICMP_ECHO};

	(void)self;
	return datagram(AF_INET, SOCK_DGRAM, IPPROTO_ICMP, &echo, sizeof echo, 0);
}

static int ping6(int self)
{
	struct icmp6_hdr echo = {.icmp6_type = ICMP6_ECHO_REQUEST};

	(void)self;
	return datagram(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6, &echo, sizeof echo, 0);
}

static int raw4(int self)
{
	(void)self;
	return datagram(AF_INET, SOCK_RAW, EXPERIMENT, TEXT, sizeof TEXT, 0);
}

static struct way ways[] = {
	{"tcp4", tcp4, 2, {0}},	  {"tcp6", tcp6, 2, {0}},	{"mptcp", multipath, 1, {0}}, {"fastopen", fast_open, 4, {0}},
	{"allowed", allowed, 8, {0}}, {"udp4", udp4, 1, {0}},	{"udp6", udp6, 1, {0}},	      {"udp53", udp53, 4, {0}},
	{"kept53", kept53, 4, {0}},	  {"ping4", ping4, 1, {0}}, {"ping6", ping6, 1, {0}},     {"raw4", raw4, 1, {0}},
};
enum { WAYS = sizeof ways / sizeof *ways };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void report(double seconds, double gap)
{
	printf("{\"seconds\":%.3f,\"tries\":%llu,\"gap\":%.0f,\"through\":%llu,\"ways\":{", seconds, tries, gap * 1000, through);
	for (int i = 0; i < WAYS; i++) {
		bool first = true;

		printf("%s\"%s\":{", i ? "," : "", ways[i].name);
		for (int o = 0; o < OUTCOMES; o++) {
			const char *name = o == OPEN ? "open" : o == PENDING ? "pending" : o == SENT ? "sent" : strerrorname_np(o);

			if (!ways[i].outcome[o])
				continue;
			printf("%s\"%s\":%llu", first ? "" : ",", name ? name : "other", ways[i].outcome[o]);
			first = false;
		}
		printf("}");
	}
	printf("}}\n");
	fflush(stdout);
}

static int once(void)
{
	const struct timeval patience = {20, 0};
	char answer[16] = "";
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (bind(fd, (struct sockaddr *)&source4, sizeof source4) < 0 || connect(fd, (struct sockaddr *)&allowed4, sizeof allowed4) < 0 ||
	    send(fd, TEXT, sizeof TEXT, MSG_NOSIGNAL) < 0 || recv(fd, answer, sizeof answer - 1, 0) < 0)
		printf("%s\n", strerrorname_np(errno));
	else
		printf("%s\n", memcmp(answer, "THROUGH", 7) == 0 ? "through" : "closed");
	return 0;
}

int main(int argc, char **argv)
{
	const char *given = getenv("PROBER_RATE");
	double start = now(), last = start, gap = 0, ahead, rate = given ? atof(given) : 1500;
	char line[64];

	if (argc < 6 || inet_pton(AF_INET, argv[1], &far4.sin_addr) != 1 || inet_pton(AF_INET6, argv[2], &far6.sin6_addr) != 1 ||
	    inet_pton(AF_INET, argv[5], &source4.sin_addr) != 1)
		return 2;
	far4.sin_family = allowed4.sin_family = source4.sin_family = AF_INET;
	far6.sin6_family = AF_INET6;
	far4.sin_port = far6.sin6_port = htons((uint16_t)atoi(argv[3]));
	allowed4.sin_addr = far4.sin_addr;
	allowed4.sin_port = htons((uint16_t)atoi(argv[4]));
	if (argc > 6)
		return once();
	for (int i = 0; i < SLOTS; i++)
		slots[i].fd = -1;
	for (unsigned round = 0;; round++) {
		struct pollfd input = {.fd = 0, .events = POLLIN};

		for (int i = 0; i < WAYS; i++) {
			int outcome;
			double at;

			if (round % ways[i].every)
				continue;
			at = now();
			gap = at - last > gap ? at - last : gap;
			last = at;
			outcome = ways[i].attempt(i);
			tries++;
			if (outcome >= 0)
				count(i, outcome);
		}
		ahead = (double)tries / rate - (now() - start);
		if (poll(&input, 1, ahead > 0 ? (int)(ahead * 1000) : 0) > 0) {
			ssize_t n = read(0, line, sizeof line);

			report(now() - start, gap);
			if (n <= 0)
				return 0;
		}
	}
}

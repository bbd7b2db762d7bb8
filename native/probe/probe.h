/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sluice-probe is made of: one table of ways out, each a short function that tries one. A probe says what the kernel
 * answered; that bytes got out is for the witness outside to say, who looks for the nonce. Only where a call has its whole
 * effect inside (a namespace made, another process's memory read) does the probe itself claim an escape.
 */
#ifndef PROBE_H
#define PROBE_H

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

/* Begins everything that is sent; nonce and name of the attempt follow. */
#define MARK "sluice-doctor "
/* Of frames that the witness on the loopback looks for: for local experiments (IEEE 802, 0x88b5). */
#define ETHERTYPE_MARK 0x88b5
/* Likewise of raw packets (RFC 3692). */
#define IPPROTO_MARK 253

enum { PAYLOAD_MAX = 160, HOW_MAX = 200, SITES = 2 };

/* A place where a witness listens, with one port for all protocols. The name goes behind that of the probe: "" or "@far". */
struct site {
	const char *name;
	bool known;
	struct in_addr v4;
	struct in6_addr v6;
	uint16_t port;
	char device[16]; /* the host's interface that leads there */
};

/* What is told of the world outside, as KEY=VALUE words. Absent: NULL, 0; probes that need it say so. */
struct target {
	const char *nonce;
	struct site site[SITES];
	const char *dir;    /* UNIX sockets of the witness: stream, seqpacket, datagram, giver */
	const char *cgroup; /* where cgroup v2 is mounted */
	const char *pins;   /* the helper's bpffs */
	uint16_t daemon;    /* its port */
	pid_t victim;       /* a process outside, with the nonce in its memory and a connection to the witness */
	uintptr_t secret;   /* where in its memory */
	int victim_fd;      /* the connection */
};

struct attempt {
	const struct target *target;
	const struct site *site; /* of network probes */
	char name[48];
	bool escaped;
	bool sent;    /* all bytes were taken: a witness has to say where they went */
	bool untried;
	char how[HOW_MAX];
};

struct probe {
	const char *name;
	void (*try_it)(struct attempt *a);
	enum { NETWORK = 1, ALONE = 2 } how; /* once for each site; not beside others */
	const char *help;
};

/* Each ends with an entry without a name. */
extern const struct probe TCP_PROBES[], UDP_PROBES[], RAW_PROBES[], FAMILY_PROBES[], UNIX_PROBES[], INBOUND_PROBES[],
	PROCESS_PROBES[], CGROUP_PROBES[], NAMESPACE_PROBES[], PRIVILEGE_PROBES[];

/*
 * What came of it; the last call counts. Refused: adds the name of errno. Kept: held in some other way. Sent: the witness
 * has to say. Effect: an escape.
 */
void refused(struct attempt *a, const char *call);
void untried(struct attempt *a, const char *why);
__attribute__((format(printf, 2, 3))) void kept(struct attempt *a, const char *format, ...);
__attribute__((format(printf, 2, 3))) void sent(struct attempt *a, const char *format, ...);
__attribute__((format(printf, 2, 3))) void effect(struct attempt *a, const char *format, ...);

/* Writes what the witness looks for; returns its length. */
size_t payload(const struct attempt *a, char text[PAYLOAD_MAX]);
/* Is the nonce in these bytes? */
bool has_nonce(const struct target *t, const char *bytes, size_t length);

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};
/* The site's address; returns its size. A mapped one is ::ffff:V4. */
socklen_t site_address(const struct site *site, int family, bool mapped, union address *address);
/* connect() with a deadline, then the payload. `fd` is closed. */
void connect_and_send(struct attempt *a, int fd, const struct sockaddr *address, socklen_t size);

int witness(const struct target *t, bool far);
int victim(const struct target *t);

#endif

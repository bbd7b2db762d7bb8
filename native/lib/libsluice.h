/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libsluice.so offers to the daemon. Called through an FFI: plain integers, pointers and byte buffers only, no
 * callbacks, no errno, nothing global. Unless said otherwise a function returns 0 or a count, or one of SLUICE_E*.
 */
#ifndef LIBSLUICE_H
#define LIBSLUICE_H

#include <stddef.h>
#include <stdint.h>

#define SLUICE_API __attribute__((visibility("default")))

/* Content scanning over Vectorscan (scan.c). */

#define SLUICE_SCAN_FAILED (-1)   /* the library refused: bad state, or the handle is in use by another thread */
#define SLUICE_SCAN_TOO_MANY (-2) /* more matches than fit; nothing is lost, see sluice_stream_scan */
#define SLUICE_SCAN_ARGUMENT (-3) /* a null pointer, a length of 2^31 or more, or a handle of the other mode */

struct sluice_scan;   /* compiled patterns with the scratch memory of one scanning thread */
struct sluice_stream; /* state of one stream, about as large as the patterns need, independent of the data seen */

/*
 * One match, three words. Offsets count bytes: `from` is the first byte of the match when its pattern has
 * SLUICE_SCAN_SOM, else 0; `to` is one past the last. In a stream they count from the stream's start, modulo 2^32: a
 * match that began in an earlier chunk has `from` before the chunk's first byte. Every end of a match is reported,
 * so `\d+` over "123" gives three, in ascending order of `to`.
 */
struct sluice_match {
	uint32_t id;
	uint32_t from;
	uint32_t to;
};

/* Flags of a pattern; the values are Vectorscan's own (hs_compile.h), a static assertion holds them. */
#define SLUICE_SCAN_CASELESS 1u
#define SLUICE_SCAN_DOTALL 2u
#define SLUICE_SCAN_MULTILINE 4u
#define SLUICE_SCAN_SINGLEMATCH 8u
#define SLUICE_SCAN_UTF8 32u
#define SLUICE_SCAN_UCP 64u
#define SLUICE_SCAN_SOM 256u

/*
 * Compiles n patterns (NUL-terminated PCRE subset) into one database. streaming: 0 for sluice_scan, 1 for streams.
 * Returns NULL and a sentence in err (NUL-terminated, cut to errlen) when a pattern is not valid or not supported.
 */
SLUICE_API struct sluice_scan *sluice_scan_compile(const char *const *patterns, const unsigned *flags,
						   const unsigned *ids, unsigned n, int streaming, char *err,
						   size_t errlen);
/* Scans one block. Returns the number of matches written to `out` (room for `max` of them). */
SLUICE_API int sluice_scan(struct sluice_scan *scan, const void *data, size_t len, struct sluice_match *out,
			   unsigned max);
/* Frees the patterns; every stream opened on them must be closed before. NULL is allowed. */
SLUICE_API void sluice_scan_free(struct sluice_scan *scan);

/* Bytes that one stream of this database takes, twice (a stream keeps the state before its last chunk). */
SLUICE_API size_t sluice_stream_size(const struct sluice_scan *scan);
SLUICE_API struct sluice_stream *sluice_stream_open(struct sluice_scan *scan);
/*
 * Scans the next chunk. On SLUICE_SCAN_TOO_MANY the stream stands as before the call: call again with the same chunk
 * and more room, or treat the chunk as one match. On SLUICE_SCAN_FAILED the stream can only be closed.
 */
SLUICE_API int sluice_stream_scan(struct sluice_stream *stream, const void *data, size_t len,
				  struct sluice_match *out, unsigned max);
/* Begins a new stream in the same memory; matches that need the end of data are not reported. */
SLUICE_API int sluice_stream_reset(struct sluice_stream *stream);
/*
 * Ends the stream: reports the matches that need the end of data (`$`) and frees it, whatever is returned. With
 * SLUICE_SCAN_TOO_MANY the first `max` are in `out`. out may be NULL when max is 0.
 */
SLUICE_API int sluice_stream_close(struct sluice_stream *stream, struct sluice_match *out, unsigned max);

/* Whose connection was accepted (kernel.c). No function here needs a privilege; file permissions of the pins do. */

struct sluice_kernel; /* the pinned maps, opened */
struct sluice_origin; /* ../sluice.h */
struct sluice_unix_name;
struct sluice_refused;

/* Opens the maps pinned in a directory. NULL and a sentence in err when one can't be. */
SLUICE_API struct sluice_kernel *sluice_open(const char *pin_dir, char *err, size_t errlen);
SLUICE_API void sluice_close(struct sluice_kernel *kernel);
/*
 * Where the accepted socket's client meant to go, and who it was. 1: written to `out`; 0: the kernel redirected no such
 * connection; else -errno.
 */
SLUICE_API int sluice_origin_of(const struct sluice_kernel *kernel, int fd, struct sluice_origin *out);
/*
 * Whose datagram the daemon read from its socket: `address` (text, without a scope) and `port` it came from. 1: written
 * to `out`, and forgotten, so that it counts once; 0: the kernel sent no such datagram; else -errno.
 */
SLUICE_API int sluice_datagram_of(const struct sluice_kernel *kernel, const char *address, unsigned port,
				  const uint8_t *bytes, size_t length, struct sluice_origin *out);
/* Tells maps of this helper from others: sockets that were marked in those are not the daemon's any more. Or -errno. */
SLUICE_API int64_t sluice_maps_id(const struct sluice_kernel *kernel);
/* From now on agents' connections and datagrams are turned to this port of 127.0.0.1 and ::1; 0 refuses them. 0 or -errno. */
SLUICE_API int sluice_set_listener(const struct sluice_kernel *kernel, unsigned port);
/* Lets one session speak to a UNIX socket of the host, or no more. Connections that there are go on. 0 or -errno. */
SLUICE_API int sluice_unix_allow(const struct sluice_kernel *kernel, const struct sluice_unix_name *name, int allow);
/* The names that are allowed, one after the other (NULL: the first), those of every session among them. 1, 0 at the end, or -errno. */
SLUICE_API int sluice_unix_next(const struct sluice_kernel *kernel, const struct sluice_unix_name *after,
				struct sluice_unix_name *out);
/*
 * Takes what was refused in the turn before this one (struct sluice_refused, ../sluice.h), so that it counts once. How many
 * were written to `out`, at most `max`: call again when it is that many. -errno.
 */
SLUICE_API int sluice_refusals(const struct sluice_kernel *kernel, struct sluice_refused *out, unsigned max);
/* How many refusals could not be counted since the maps were made. 0 or -errno. */
SLUICE_API int sluice_refusals_lost(const struct sluice_kernel *kernel, uint64_t *out);
/* SO_PEERCRED of a UNIX socket: pid, uid, gid into out[3]. 0 or -errno. */
SLUICE_API int sluice_peer(int fd, uint32_t *out);
/*
 * 1 when that process has come to its end and its number may be another's; 0 when it has not, so that what was read by its
 * number was its own, and on kernels before 6.5, which can't tell.
 */
SLUICE_API int sluice_peer_is_gone(int fd);
/* Sending for many sockets at once (send.c). */

struct sluice_send {
	int32_t fd;      /* -1: skipped, -EBADF; also set so when an earlier piece for the socket was not sent whole */
	uint32_t from;   /* offset into `bytes` */
	uint32_t length;
	int32_t sent;    /* out: bytes taken by the kernel, fewer than length when the socket is full, or -errno */
};
/*
 * Sends each piece of `bytes` on its socket without waiting. 0; -EINVAL when a piece does not lie within `size`: those
 * before it were sent.
 */
SLUICE_API int sluice_send_many(const uint8_t *bytes, uint32_t size, struct sluice_send *jobs, uint32_t count);
/*
 * Where the peer is on this host, by its loopback address, there is no network to be modelled: a host whose default is BBR, as
 * many in clouds, would pace what is sent by timers (tcp_bbr.c, "internal pacing"). Reno's pace is so high there that hardly any
 * is set. 1: it is, and has Reno now; 0: it is elsewhere, and nothing was changed; -errno.
 */
SLUICE_API int sluice_unpace(int fd);

/* The audit journal (journal.c). */

/* Bytes of a SHA-256. */
#define SLUICE_HASH 32
/*
 * Chains and writes the records (daemon/audit/run.ts) from `start` to `end`, one or more: each event gets the hash of the one
 * before it, the first one `before`, at its end, where it has room for the digits; then all are written to `position` of the
 * file, behind the header of a frame. 0 with the hash of the last in `after`; else -errno, with nothing in `after`, and the same
 * place is to be written again: -EBADMSG where they are no records, -ENOSYS in a program without OpenSSL.
 */
SLUICE_API int sluice_journal_append(int fd, int64_t position, uint8_t *records, uint32_t start, uint32_t end,
				     const uint8_t *before, uint8_t *after);

/* What the daemon has of systemd (service.c). */

/* Of the daemon: TCP on 127.0.0.1 and ::1, then UDP on both. */
#define SLUICE_LISTENERS 4
/*
 * Opens the daemon's listeners at one port, to be called within the daemon's cgroup; 0: any port that is free on all. A host
 * without IPv6 has -1 for two of them. Returns the port, with the descriptors in `out`, or -errno with nothing open.
 */
SLUICE_API int sluice_listen(unsigned port, int32_t *out);
/* Takes over a listener that the service manager kept; `kind` is its place in the list above. Its port, or -errno. */
SLUICE_API int sluice_inherit(int fd, unsigned kind);
/* sd_notify(3), with descriptors for FDSTORE=1; path as $NOTIFY_SOCKET has it. 0 or -errno. */
SLUICE_API int sluice_notify(const char *path, const char *state, const int32_t *fds, uint32_t count);
/* A socket to the journal's. Its descriptor, or -errno. */
SLUICE_API int sluice_journal_open(const char *path);
/*
 * Sends entries of the journal's native protocol without waiting. Entry i is what lies between ends[i - 1] (0 for the first)
 * and ends[i]. How many were sent, from the first; -errno when none was: -EAGAIN while the journal has no room.
 */
SLUICE_API int sluice_journal_send(int fd, const uint8_t *bytes, uint32_t size, const uint32_t *ends, uint32_t count);

/* The layout of the structs that the daemon reads and writes: lines of `field offset size`, after `STRUCT 0 SIZE`. */
SLUICE_API const char *sluice_layout(void);

#endif

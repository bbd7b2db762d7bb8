/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only OR BSD-2-Clause */
/*
 * The contract between the BPF programs, sluice-helper, sluice-launch and libsluice.so (and through it the daemon).
 * Fixed-width fields, explicit padding, host byte order unless said otherwise. lib/layout.c prints every offset and a
 * test of daemon/intake holds the TypeScript side against it.
 */
#ifndef SLUICE_H
#define SLUICE_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#include <stddef.h>
#endif

#define SLUICE_COMM_LEN 16
#define SLUICE_EXE_LEN 256
#define SLUICE_PENDING_DEFAULT 16384
#define SLUICE_DATAGRAMS_MAX 16384
#define SLUICE_FLOWS_DEFAULT 1024 /* connections to the daemon that one session has at once */
#define SLUICE_DATAGRAM_RATE 2048 /* to the daemon, of one session, in 2^30 ns: eight of them fill `datagrams` in that time */
#define SLUICE_USAGE_MAX 4096
#define SLUICE_DATAGRAM_BEGIN 16
#define SLUICE_DNS_PORT 53
#define SLUICE_UNIX_NAME_LEN 108 /* sun_path, unix(7) */
#define SLUICE_UNIX_NAMES_MAX 4096 /* of all sessions */
#define SLUICE_TURN_BITS 30 /* of CLOCK_MONOTONIC in ns: refusals are counted for about a second */
#define SLUICE_REFUSED_NAMES_MAX 8 /* refusals of one kind, session and turn that are counted apart */
#define SLUICE_REFUSALS_MAX 32768 /* of all sessions */

/* File names below the pin directory. Links lie in SLUICE_PIN_LINKS, which only root may enter. */
#define SLUICE_PIN_LINKS "links"
#define SLUICE_PIN_ACCEPTED "accepted" /* accepted socket -> struct sluice_origin; the daemon reads it */
#define SLUICE_PIN_LISTENER "listener" /* struct sluice_listener; the daemon writes it */
#define SLUICE_PIN_UNIX "unix_names"   /* struct sluice_unix_name -> __u32; the helper and the daemon write it */
#define SLUICE_PIN_REFUSALS "refusals" /* struct sluice_refusal_key -> struct sluice_refusal; the daemon takes from it */
#define SLUICE_PIN_LOST "refusals_lost" /* __u64: refusals that could not be counted; the daemon reads it */
#define SLUICE_PIN_DATAGRAMS "datagrams" /* struct sluice_datagram_key -> struct sluice_origin; the daemon takes from it */

/* Session ids: 128 random bits in lower-case hex. */
#define SLUICE_SESSION_LEN 32

/* What the kernel knew when a process called connect(), or sent a datagram by sendto(). */
struct sluice_origin {
	__u8 address[16];     /* where the process meant to go; IPv4 as ::ffff:a.b.c.d, network order */
	__u64 cgroup_id;      /* cgroup v2 of the process, which is the session */
	__u64 netns_cookie;   /* network namespace of the socket */
	__u64 socket_cookie;  /* the client's socket */
	__u64 time;           /* CLOCK_MONOTONIC, nanoseconds */
	__u32 pid;            /* thread group, in the initial pid namespace */
	__u32 uid;            /* in the initial user namespace */
	__u32 gid;
	__u32 isn;            /* initial sequence number: ties the accepted socket to this very connect(); UDP: 0 */
	__u16 port;           /* where the process meant to go */
	__u8 family;          /* AF_INET or AF_INET6: of the client's socket, so 10 for a v4-mapped address */
	__u8 protocol;        /* IPPROTO_TCP or IPPROTO_UDP */
	__u16 exe_len;        /* bytes used of `exe`; 0: unknown */
	__u8 pad[2];
	char comm[SLUICE_COMM_LEN];
	/*
	 * Path of the executable by its components, last one first, each ended by NUL; without a final empty
	 * component the path was too long or too deep and what is here is its tail.
	 */
	char exe[SLUICE_EXE_LEN];
};

/* Key of a connection between connect() and its acceptance. The client's side of it, since that is what both ends see. */
struct sluice_pending_key {
	__u64 netns_cookie;
	__u8 address[16];
	__u16 port;
	__u8 pad[6];
};

/*
 * Key of a datagram between its sending and the daemon's reading of it: the client's end, and what it says. Its first
 * bytes hold a DNS query's id, flags, counts and the beginning of its name, so that an entry can't be taken for that of
 * the port's next user.
 */
struct sluice_datagram_key {
	__u64 netns_cookie;
	__u8 address[16];
	__u8 begin[SLUICE_DATAGRAM_BEGIN]; /* of the payload; shorter ones are not sent */
	__u16 port;
	__u16 length; /* of the payload */
	__u8 pad[4];
};

/* What one session has of what all sessions share. */
struct sluice_usage {
	__u32 flows;     /* connections turned to the daemon, from their SYN until the client's socket is closed */
	__u32 datagrams; /* sent in this `time` */
	__u64 time;      /* CLOCK_MONOTONIC / 2^30 ns */
};

/* Written by the daemon. port 0, as at the beginning, means that every connect() of an agent is refused. */
struct sluice_listener {
	__u16 port; /* on 127.0.0.1 and ::1, TCP and UDP */
	__u8 pad[6];
};

/*
 * A UNIX socket of the host that a session may speak to, as its server has bound it: an absolute path of `length` bytes,
 * or an abstract name, whose first byte is NUL and counts. The rest is zero. Present in the map: allowed.
 */
struct sluice_unix_name {
	__u64 session; /* its cgroup id, written by the daemon; 0: every session, written by the helper */
	__u32 length;
	__u8 name[SLUICE_UNIX_NAME_LEN];
};

/*
 * What the kernel refuses, and `detail` of the key, which says it more closely. A number that is negative is kept as it is
 * in 32 bits.
 */
enum sluice_refusal_kind {
	SLUICE_REFUSED_UNIX = 1,  /* the UNIX socket of this name; length 0: one that has none */
	SLUICE_REFUSED_FLOWS,	  /* connections beyond the limit of the session */
	SLUICE_REFUSED_DATAGRAMS, /* datagrams beyond it */
	SLUICE_REFUSED_SESSION,	  /* connections and datagrams of a session that there is no room to count for */
	SLUICE_REFUSED_CONNECT,	  /* connect(): type and protocol of the socket, enum sluice_refusal_reason */
	SLUICE_REFUSED_SENDTO,	  /* a datagram with an address: the same */
	SLUICE_REFUSED_SOCKET,	  /* socket(): family, type, protocol */
	SLUICE_REFUSED_OPTION,	  /* setsockopt(): level, option */
	SLUICE_REFUSED_DEVICE,	  /* access_type of struct bpf_cgroup_dev_ctx, major, minor */
	SLUICE_REFUSED_BIND,	  /* bind(): type and protocol of the socket */
	SLUICE_REFUSED_PACKET,	  /* a packet: 0 on its way out or 1 in, protocol of IP or SLUICE_UNREADABLE */
	SLUICE_REFUSED_HOOK,	  /* what else a program of lsm.bpf.c refuses: enum sluice_hook, and what stands there */
	SLUICE_REFUSED_SYSCALL,	  /* a call that the launcher's filter refuses: enum sluice_call, and what stands there */
	SLUICE_REFUSED_NAMES,	  /* none: counts the entries of the kind `detail[0]` of the session in a turn */
};

enum sluice_refusal_reason {
	SLUICE_REASON_PROTOCOL = 1, /* neither TCP nor a nameserver by UDP */
	SLUICE_REASON_INTERFACE,    /* the socket is bound to another than lo */
	SLUICE_REASON_FOREIGN,	    /* the socket was not made in this session */
	SLUICE_REASON_DAEMON,	    /* the daemon does not listen */
	SLUICE_REASON_MEMORY,	    /* no room to remember whose it is */
};

enum sluice_hook {
	SLUICE_HOOK_SOCKET_CONNECT = 1, /* of a socket from outside the session */
	SLUICE_HOOK_SOCKET_SENDMSG,	/* the same */
	SLUICE_HOOK_FILE_RECEIVE,	/* S_IFMT of what was handed over, magic number of its file system */
	SLUICE_HOOK_PTRACE,		/* PTRACE_MODE_* */
	SLUICE_HOOK_KILL,		/* signal */
	SLUICE_HOOK_BPF,		/* command */
	SLUICE_HOOK_INODE_PERMISSION,	/* magic number of the file system */
	SLUICE_HOOK_MOUNT,
	SLUICE_HOOK_UMOUNT,
	SLUICE_HOOK_MOVE_MOUNT,
	SLUICE_HOOK_USERNS_CREATE,
};

/* System calls by a number of our own, as each architecture has others, and the arguments that tell what was wanted. */
enum sluice_call {
	SLUICE_CALL_FOREIGN = 1, /* of another ABI: AUDIT_ARCH_*, number (of x32, which has no such name, with its bit) */
	SLUICE_CALL_SOCKET,	 /* family, protocol */
	SLUICE_CALL_SOCKETPAIR,	 /* family, protocol */
	SLUICE_CALL_CLONE,	 /* flags */
	SLUICE_CALL_UNSHARE,	 /* flags */
	SLUICE_CALL_SETNS,	 /* flags */
	SLUICE_CALL_PTRACE,	 /* request */
	SLUICE_CALL_PROCESS_VM_READV,
	SLUICE_CALL_PROCESS_VM_WRITEV,
	SLUICE_CALL_PIDFD_GETFD,
	SLUICE_CALL_ADD_KEY,
	SLUICE_CALL_REQUEST_KEY,
	SLUICE_CALL_KEYCTL, /* operation */
	SLUICE_CALL_USERFAULTFD,
	SLUICE_CALL_PERF_EVENT_OPEN,
	SLUICE_CALL_MOUNT,
	SLUICE_CALL_UMOUNT2,
	SLUICE_CALL_PIVOT_ROOT,
	SLUICE_CALL_FSOPEN,
	SLUICE_CALL_FSPICK,
	SLUICE_CALL_FSCONFIG,
	SLUICE_CALL_FSMOUNT,
	SLUICE_CALL_MOVE_MOUNT,
	SLUICE_CALL_OPEN_TREE,
	SLUICE_CALL_OPEN_TREE_ATTR,
	SLUICE_CALL_MOUNT_SETATTR,
	SLUICE_CALL_OPEN_BY_HANDLE_AT,
	SLUICE_CALL_INIT_MODULE,
	SLUICE_CALL_FINIT_MODULE,
	SLUICE_CALL_DELETE_MODULE,
	SLUICE_CALL_KEXEC_LOAD,
	SLUICE_CALL_KEXEC_FILE_LOAD,
	SLUICE_CALL_IO_URING_SETUP,
	SLUICE_CALL_IO_URING_ENTER,
	SLUICE_CALL_IO_URING_REGISTER,
	SLUICE_CALL_BPF,     /* command */
	SLUICE_CALL_IOCTL,   /* request */
	SLUICE_CALL_SECCOMP, /* operation, flags */
};
#define SLUICE_X32_BIT 0x40000000U /* __X32_SYSCALL_BIT */

#define SLUICE_UNREADABLE 0xffff /* protocol of a packet that is neither IPv4 nor IPv6, or not whole */
#define SLUICE_DETAILS 3
#define SLUICE_DESTINATION_LEN 18 /* of the name of a key that has one: address, port in host order */

/*
 * What was refused to a session. `name.session` is its cgroup id. The name is that of a UNIX socket; of connect, sendto,
 * bind and packet it is where to, so that each has an entry of its own (`first` of struct sluice_refusal has it to read).
 */
struct sluice_refusal_key {
	struct sluice_unix_name name;
	__u16 kind;
	__u8 turn;    /* last bit of its number: the daemon takes those of the turn before this one */
	__u8 further; /* 1: further ones of the kind, after SLUICE_REFUSED_NAMES_MAX of the session in a turn; no detail, no name */
	__u32 detail[SLUICE_DETAILS];
};

struct sluice_refusal {
	__u64 count;
	/* Who it was, and where to, the first time. No address: port and address 0. pid 0: a packet of which no process is known */
	struct sluice_origin first;
};

/* Both, as the daemon gets them. */
struct sluice_refused {
	struct sluice_refusal_key key;
	struct sluice_refusal refusal;
};

/*
 * What sluice-launch, where it answers a refused call, hands to the program `refused_call`, which counts it. The program
 * returns 1 when it was the first of the turn: then it is called again with `tell` and `first`, for the same turn.
 */
struct sluice_refused_call {
	struct sluice_refusal_key key;
	struct sluice_origin first;
	__u32 tell;
	__u8 pad[4];
};

#ifndef __VMLINUX_H__
_Static_assert(sizeof(struct sluice_refusal_key) == 136, "layout of sluice_refusal_key");
_Static_assert(sizeof(struct sluice_refusal) == 352, "layout of sluice_refusal");
_Static_assert(sizeof(struct sluice_refused_call) == 488, "layout of sluice_refused_call");
_Static_assert(sizeof(struct sluice_unix_name) == 120, "layout of sluice_unix_name");
_Static_assert(sizeof(struct sluice_origin) == 344, "layout of sluice_origin");
_Static_assert(offsetof(struct sluice_origin, cgroup_id) == 16, "layout of sluice_origin");
_Static_assert(offsetof(struct sluice_origin, pid) == 48, "layout of sluice_origin");
_Static_assert(offsetof(struct sluice_origin, port) == 64, "layout of sluice_origin");
_Static_assert(offsetof(struct sluice_origin, comm) == 72, "layout of sluice_origin");
_Static_assert(offsetof(struct sluice_origin, exe) == 88, "layout of sluice_origin");
_Static_assert(sizeof(struct sluice_pending_key) == 32, "layout of sluice_pending_key");
_Static_assert(sizeof(struct sluice_listener) == 8, "layout of sluice_listener");
_Static_assert(sizeof(struct sluice_datagram_key) == 48, "layout of sluice_datagram_key");
_Static_assert(offsetof(struct sluice_datagram_key, port) == 40, "layout of sluice_datagram_key");
#endif

#endif

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What cgroup hooks do not see, where the kernel has BPF LSM: they look at a socket's cgroup, these at the task's. Every
 * program acts on tasks below the sessions' cgroup alone and leaves all others to the rest of the kernel; so root in a
 * session is held as well.
 *
 * The kernel stops at the first program that refuses, so none needs to see what others answered.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "sluice.h"
#include "attempts.bpf.h"

#define EPERM 1
#define EAFNOSUPPORT 97
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define NETLINK_ROUTE 0
#define FAMILY_SIZE 2 /* of sockaddr_un */
#define MAY_WRITE 2
#define PTRACE_MODE_NOAUDIT 4
#define S_IFMT 00170000
#define S_IFSOCK 0140000
#define S_IFCHR 0020000
#define S_IFBLK 0060000
/* include/uapi/linux/magic.h */
#define SOCKFS_MAGIC 0x534f434b
#define CGROUP_SUPER_MAGIC 0x27e0eb
#define CGROUP2_SUPER_MAGIC 0x63677270
#define BPF_FS_MAGIC 0xcafe4a11

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The sessions' cgroup. A session is a child of it and has none of its own. */
const volatile __u64 sessions_id = 0;
/* A kernel whose lsm= does not name bpf takes these programs and never calls them: the helper looks here. */
__u32 called = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SLUICE_UNIX_NAMES_MAX);
	__type(key, struct sluice_unix_name);
	__type(value, __u32);
} unix_names SEC(".maps");

/* By the parent and not by a level: in a cgroup namespace the helper does not know how deep its cgroups lie. */
static __always_inline int in_session(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return BPF_CORE_READ(task, cgroups, dfl_cgrp, self.parent, cgroup, kn, id) == sessions_id;
}

static __always_inline __u64 session(void)
{
	return bpf_get_current_cgroup_id();
}

static __always_inline __u64 session_of_task(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

static __always_inline __u64 session_of_sock(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
}

static __always_inline int refuse(__u32 hook, __u32 what, __u32 more)
{
	struct attempt attempt = {.kind = SLUICE_REFUSED_HOOK};

	attempt.detail[0] = hook;
	attempt.detail[1] = what;
	attempt.detail[2] = more;
	refused(&attempt);
	return -EPERM;
}

/* The cgroup hooks judge TCP and UDP; families that they don't see are not made. */
SEC("lsm/socket_create")
int BPF_PROG(lsm_socket_create, int family, int type, int protocol, int kern)
{
	struct attempt attempt = {.kind = SLUICE_REFUSED_SOCKET};

	if (!called)
		called = 1;
	if (kern || !in_session())
		return 0;
	if (family == AF_UNIX || family == AF_INET || family == AF_INET6)
		return 0;
	if (family == AF_NETLINK && protocol == NETLINK_ROUTE)
		return 0;
	attempt.detail[0] = family;
	attempt.detail[1] = type;
	attempt.detail[2] = protocol;
	refused(&attempt);
	return -EAFNOSUPPORT;
}

/* A socket from outside the session is outside of its cgroup, where no cgroup hook looks. */
static __always_inline int is_foreign(struct socket *sock)
{
	struct sock *sk = BPF_CORE_READ(sock, sk);
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return family != AF_UNIX && session_of_sock(sk) != session();
}

SEC("lsm/socket_connect")
int BPF_PROG(lsm_socket_connect, struct socket *sock, struct sockaddr *address, int length)
{
	return in_session() && is_foreign(sock) ? refuse(SLUICE_HOOK_SOCKET_CONNECT, 0, 0) : 0;
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(lsm_socket_sendmsg, struct socket *sock, struct msghdr *message, int size)
{
	return in_session() && is_foreign(sock) ? refuse(SLUICE_HOOK_SOCKET_SENDMSG, 0, 0) : 0;
}

static __always_inline int may_receive(struct file *file, struct inode *inode, __u32 kind, __u64 magic)
{
	if (kind == S_IFSOCK && magic == SOCKFS_MAGIC) {
		struct socket *sock = BPF_CORE_READ(file, private_data);

		return session_of_sock(BPF_CORE_READ(sock, sk)) == session();
	}
	if (magic == CGROUP2_SUPER_MAGIC || magic == CGROUP_SUPER_MAGIC || magic == BPF_FS_MAGIC || kind == S_IFBLK)
		return 0;
	if (kind == S_IFCHR) {
		__u32 device = BPF_CORE_READ(inode, i_rdev), major = device >> 20, minor = device & 0xfffff;

		/* as in confine.bpf.c */
		if (major == 1)
			return minor == 3 || minor == 5 || minor == 7 || minor == 8 || minor == 9;
		return (major == 5 && (minor == 0 || minor == 2)) || (major >= 136 && major <= 143);
	}
	return 1;
}

/* By SCM_RIGHTS or pidfd_getfd. Sockets of the session pass, UNIX ones too; the host's do not, nor ways to a device. */
SEC("lsm/file_receive")
int BPF_PROG(lsm_file_receive, struct file *file)
{
	struct inode *inode;
	__u32 kind;
	__u64 magic;

	if (!in_session())
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	kind = BPF_CORE_READ(inode, i_mode) & S_IFMT;
	magic = BPF_CORE_READ(inode, i_sb, s_magic);
	return may_receive(file, inode, kind, magic) ? 0 : refuse(SLUICE_HOOK_FILE_RECEIVE, kind, magic);
}

/* The socket found is judged, whatever name led to it: the session's own, or one that is bound to an allowed name. */
static __always_inline int is_reachable(struct sock *other, struct sluice_unix_name *name)
{
	struct unix_address *bound;
	void *start;
	__u32 length;
	long read;

	if (session_of_sock(other) == session())
		return 1;
	bound = BPF_CORE_READ((struct unix_sock *)other, addr);
	if (!bound)
		return 0;
	length = BPF_CORE_READ(bound, len);
	if (length <= FAMILY_SIZE || length > FAMILY_SIZE + SLUICE_UNIX_NAME_LEN)
		return 0;
	length -= FAMILY_SIZE;
	if (length > SLUICE_UNIX_NAME_LEN)
		return 0;
	start = (void *)bound + bpf_core_field_offset(struct unix_address, name) + FAMILY_SIZE;
	/* Bound to a path, an address ends with its NUL, which counts (unix_mkname_bsd in net/unix/af_unix.c). */
	read = bpf_probe_read_kernel_str(name->name, length, start);
	if (read > 1)
		name->length = read - 1;
	else if (bpf_probe_read_kernel(name->name, length, start) == 0)
		name->length = length;
	else
		return 0;
	name->session = session();
	if (bpf_map_lookup_elem(&unix_names, name))
		return 1;
	name->session = 0; /* allowed to every one */
	return bpf_map_lookup_elem(&unix_names, name) != NULL;
}

static __always_inline int may_reach(struct sock *other)
{
	struct sluice_refusal_key key = {};

	if (is_reachable(other, &key.name))
		return 0;
	refused_unix(&key);
	return -EPERM;
}

SEC("lsm/unix_stream_connect")
int BPF_PROG(lsm_unix_stream_connect, struct sock *sock, struct sock *other, struct sock *newsk)
{
	return in_session() ? may_reach(other) : 0;
}

/* At every datagram, and when a datagram socket connects. One that came connected (a standard descriptor) may go on. */
SEC("lsm/unix_may_send")
int BPF_PROG(lsm_unix_may_send, struct socket *sock, struct socket *other)
{
	struct unix_sock *own;
	struct sock *peer;

	if (!in_session())
		return 0;
	own = (struct unix_sock *)BPF_CORE_READ(sock, sk);
	peer = BPF_CORE_READ(other, sk);
	if (BPF_CORE_READ(own, peer) == peer)
		return 0;
	return may_reach(peer);
}

/*
 * /proc/PID/mem, /proc/PID/fd and pidfd_getfd ask this, too. Where the kernel only wants to know what to show in
 * /proc/PID/stat, it says that it is no attempt (NOAUDIT): ps and top have it asked of every process.
 */
SEC("lsm/ptrace_access_check")
int BPF_PROG(lsm_ptrace_access_check, struct task_struct *child, unsigned int mode)
{
	if (!in_session() || session_of_task(child) == session())
		return 0;
	return mode & PTRACE_MODE_NOAUDIT ? -EPERM : refuse(SLUICE_HOOK_PTRACE, mode, 0);
}

SEC("lsm/task_kill")
int BPF_PROG(lsm_task_kill, struct task_struct *task, struct kernel_siginfo *info, int signal, const struct cred *cred)
{
	return in_session() && session_of_task(task) != session() ? refuse(SLUICE_HOOK_KILL, signal, 0) : 0;
}

SEC("lsm/bpf")
int BPF_PROG(lsm_bpf, int cmd)
{
	return in_session() ? refuse(SLUICE_HOOK_BPF, cmd, 0) : 0;
}

/* Writing to any cgroup (moving oneself, making one), and everything in a bpffs, whose pins keep the programs attached. */
SEC("lsm/inode_permission")
int BPF_PROG(lsm_inode_permission, struct inode *inode, int mask)
{
	__u64 magic;

	magic = BPF_CORE_READ(inode, i_sb, s_magic);
	if (magic != CGROUP2_SUPER_MAGIC && magic != CGROUP_SUPER_MAGIC && magic != BPF_FS_MAGIC)
		return 0;
	if ((magic != BPF_FS_MAGIC && !(mask & MAY_WRITE)) || !in_session())
		return 0;
	return refuse(SLUICE_HOOK_INODE_PERMISSION, magic, 0);
}

SEC("lsm/sb_mount")
int BPF_PROG(lsm_sb_mount, const char *device, const struct path *path, const char *type, unsigned long flags, void *data)
{
	return in_session() ? refuse(SLUICE_HOOK_MOUNT, 0, 0) : 0;
}

SEC("lsm/sb_umount")
int BPF_PROG(lsm_sb_umount, struct vfsmount *mount, int flags)
{
	return in_session() ? refuse(SLUICE_HOOK_UMOUNT, 0, 0) : 0;
}

/* The newer calls: fsmount() and open_tree() make mounts that nobody sees before this. */
SEC("lsm/move_mount")
int BPF_PROG(lsm_move_mount, const struct path *from, const struct path *to)
{
	return in_session() ? refuse(SLUICE_HOOK_MOVE_MOUNT, 0, 0) : 0;
}

SEC("lsm/userns_create")
int BPF_PROG(lsm_userns_create, const struct cred *cred)
{
	return in_session() ? refuse(SLUICE_HOOK_USERNS_CREATE, 0, 0) : 0;
}

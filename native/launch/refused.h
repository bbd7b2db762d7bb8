/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the system call filter refuses, in one place for the filter, which finds these calls, and for the process that
 * answers and counts them (answer.c).
 */
#ifndef REFUSED_H
#define REFUSED_H

#include <errno.h>
#include <linux/audit.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "sluice.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "the system call filter knows x86_64 and aarch64"
#endif

/* Newer than some headers; the numbers are the same on all architectures (include/uapi/asm-generic/unistd.h). */
enum { CALL_MOUNT_SETATTR = 442, CALL_OPEN_TREE_ATTR = 467 };

/* Index of an argument that tells what was wanted, of those that are numbers; NONE: no argument does. */
enum { NONE = -1 };

/* X(number, name in enum sluice_call, errno, index, index): refused whatever the arguments. */
#define REFUSED_ALWAYS(X)                                                   \
	X(SYS_setns, SETNS, EPERM, 1, NONE)                                 \
	X(SYS_process_vm_readv, PROCESS_VM_READV, EPERM, NONE, NONE)        \
	X(SYS_process_vm_writev, PROCESS_VM_WRITEV, EPERM, NONE, NONE)      \
	X(SYS_pidfd_getfd, PIDFD_GETFD, EPERM, NONE, NONE)                  \
	/*                                                                  \
	 * Keys: request_key() has the kernel start a program of the host, as root and outside of the session, which for \
	 * keys of the type dns_resolver asks name servers; the session keyring is that of whoever started the agent. \
	 */                                                                 \
	X(SYS_add_key, ADD_KEY, ENOSYS, NONE, NONE)                         \
	X(SYS_request_key, REQUEST_KEY, ENOSYS, NONE, NONE)                 \
	X(SYS_keyctl, KEYCTL, ENOSYS, 0, NONE)                              \
	/* Interfaces that attacks on the kernel are made of, and that agents' programs do without. */ \
	X(SYS_userfaultfd, USERFAULTFD, EPERM, NONE, NONE)                  \
	X(SYS_perf_event_open, PERF_EVENT_OPEN, EPERM, NONE, NONE)          \
	/*                                                                  \
	 * What wants a capability that agents have not: refused before the code that asks for it is reached. Mounts could \
	 * put another socket in the place of an allowed one; the rest is the way into the kernel itself. \
	 */                                                                 \
	X(SYS_mount, MOUNT, EPERM, NONE, NONE)                              \
	X(SYS_umount2, UMOUNT2, EPERM, NONE, NONE)                          \
	X(SYS_pivot_root, PIVOT_ROOT, EPERM, NONE, NONE)                    \
	X(SYS_fsopen, FSOPEN, EPERM, NONE, NONE)                            \
	X(SYS_fspick, FSPICK, EPERM, NONE, NONE)                            \
	X(SYS_fsconfig, FSCONFIG, EPERM, NONE, NONE)                        \
	X(SYS_fsmount, FSMOUNT, EPERM, NONE, NONE)                          \
	X(SYS_move_mount, MOVE_MOUNT, EPERM, NONE, NONE)                    \
	X(SYS_open_tree, OPEN_TREE, EPERM, NONE, NONE)                      \
	X(CALL_OPEN_TREE_ATTR, OPEN_TREE_ATTR, EPERM, NONE, NONE)           \
	X(CALL_MOUNT_SETATTR, MOUNT_SETATTR, EPERM, NONE, NONE)             \
	X(SYS_open_by_handle_at, OPEN_BY_HANDLE_AT, EPERM, NONE, NONE)      \
	X(SYS_init_module, INIT_MODULE, EPERM, NONE, NONE)                  \
	X(SYS_finit_module, FINIT_MODULE, EPERM, NONE, NONE)                \
	X(SYS_delete_module, DELETE_MODULE, EPERM, NONE, NONE)              \
	X(SYS_kexec_load, KEXEC_LOAD, EPERM, NONE, NONE)                    \
	X(SYS_kexec_file_load, KEXEC_FILE_LOAD, EPERM, NONE, NONE)          \
	X(SYS_io_uring_enter, IO_URING_ENTER, ENOSYS, NONE, NONE)           \
	X(SYS_io_uring_register, IO_URING_REGISTER, ENOSYS, NONE, NONE)     \
	X(SYS_bpf, BPF, EPERM, 0, NONE)

/* The same, of calls that the filter refuses for an argument. */
#define REFUSED_SOMETIMES(X)                                    \
	X(SYS_socket, SOCKET, EAFNOSUPPORT, 0, 2)               \
	X(SYS_socketpair, SOCKETPAIR, EAFNOSUPPORT, 0, 2)       \
	X(SYS_clone, CLONE, EPERM, 0, NONE)                     \
	X(SYS_unshare, UNSHARE, EPERM, 0, NONE)                 \
	X(SYS_ptrace, PTRACE, EPERM, 0, NONE)                   \
	X(SYS_io_uring_setup, IO_URING_SETUP, ENOSYS, NONE, NONE) \
	X(SYS_ioctl, IOCTL, EPERM, 1, NONE)                     \
	X(SYS_seccomp, SECCOMP, EBUSY, 0, 1)

#endif

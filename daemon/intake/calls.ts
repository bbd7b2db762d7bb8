/** A system call that the launcher's filter refused, in the words of its manual page. */

/** `enum sluice_call` of native/sluice.h, from 1. */
export const CALLS = [
  ...[
    'foreign',
    'socket',
    'socketpair',
    'clone',
    'unshare',
    'setns',
    'ptrace',
    'process_vm_readv',
    'process_vm_writev',
  ],
  ...['pidfd_getfd', 'add_key', 'request_key', 'keyctl', 'userfaultfd', 'perf_event_open', 'mount', 'umount2'],
  ...['pivot_root', 'fsopen', 'fspick', 'fsconfig', 'fsmount', 'move_mount', 'open_tree', 'open_tree_attr'],
  ...['mount_setattr', 'open_by_handle_at', 'init_module', 'finit_module', 'delete_module', 'kexec_load'],
  ...['kexec_file_load', 'io_uring_setup', 'io_uring_enter', 'io_uring_register', 'bpf', 'ioctl', 'seccomp'],
] as const;

type Words = Readonly<Record<number, string>>;

/** include/linux/socket.h */
export const FAMILIES: Words = {
  ...{
    0: 'AF_UNSPEC',
    1: 'AF_UNIX',
    2: 'AF_INET',
    3: 'AF_AX25',
    4: 'AF_IPX',
    5: 'AF_APPLETALK',
    6: 'AF_NETROM',
    7: 'AF_BRIDGE',
  },
  ...{ 8: 'AF_ATMPVC', 9: 'AF_X25', 10: 'AF_INET6', 11: 'AF_ROSE', 15: 'AF_KEY', 16: 'AF_NETLINK', 17: 'AF_PACKET' },
  ...{ 20: 'AF_ATMSVC', 21: 'AF_RDS', 23: 'AF_IRDA', 24: 'AF_PPPOX', 26: 'AF_LLC', 27: 'AF_IB', 28: 'AF_MPLS' },
  ...{ 29: 'AF_CAN', 30: 'AF_TIPC', 31: 'AF_BLUETOOTH', 32: 'AF_IUCV', 33: 'AF_RXRPC', 34: 'AF_ISDN', 35: 'AF_PHONET' },
  ...{ 36: 'AF_IEEE802154', 37: 'AF_CAIF', 38: 'AF_ALG', 39: 'AF_NFC', 40: 'AF_VSOCK', 41: 'AF_KCM' },
  ...{ 42: 'AF_QIPCRTR', 43: 'AF_SMC', 44: 'AF_XDP', 45: 'AF_MCTP' },
};
const AF_NETLINK = 16;

/** include/uapi/linux/netlink.h */
export const NETLINK: Words = {
  ...{ 0: 'NETLINK_ROUTE', 2: 'NETLINK_USERSOCK', 4: 'NETLINK_SOCK_DIAG', 5: 'NETLINK_NFLOG', 6: 'NETLINK_XFRM' },
  ...{
    7: 'NETLINK_SELINUX',
    8: 'NETLINK_ISCSI',
    9: 'NETLINK_AUDIT',
    10: 'NETLINK_FIB_LOOKUP',
    11: 'NETLINK_CONNECTOR',
  },
  ...{ 12: 'NETLINK_NETFILTER', 15: 'NETLINK_KOBJECT_UEVENT', 16: 'NETLINK_GENERIC', 18: 'NETLINK_SCSITRANSPORT' },
  ...{ 19: 'NETLINK_ECRYPTFS', 20: 'NETLINK_RDMA', 21: 'NETLINK_CRYPTO', 22: 'NETLINK_SMC' },
};

/** Bits of include/uapi/linux/sched.h */
const NAMESPACES: Words = {
  ...{ 268435456: 'CLONE_NEWUSER', 131072: 'CLONE_NEWNS', 1073741824: 'CLONE_NEWNET', 536870912: 'CLONE_NEWPID' },
  ...{ 67108864: 'CLONE_NEWUTS', 134217728: 'CLONE_NEWIPC', 33554432: 'CLONE_NEWCGROUP', 128: 'CLONE_NEWTIME' },
};

/** enum bpf_cmd */
export const BPF_COMMANDS: readonly string[] = [
  ...[
    'MAP_CREATE',
    'MAP_LOOKUP_ELEM',
    'MAP_UPDATE_ELEM',
    'MAP_DELETE_ELEM',
    'MAP_GET_NEXT_KEY',
    'PROG_LOAD',
    'OBJ_PIN',
  ],
  ...['OBJ_GET', 'PROG_ATTACH', 'PROG_DETACH', 'PROG_TEST_RUN', 'PROG_GET_NEXT_ID', 'MAP_GET_NEXT_ID'],
  ...['PROG_GET_FD_BY_ID', 'MAP_GET_FD_BY_ID', 'OBJ_GET_INFO_BY_FD', 'PROG_QUERY', 'RAW_TRACEPOINT_OPEN', 'BTF_LOAD'],
  ...['BTF_GET_FD_BY_ID', 'TASK_FD_QUERY', 'MAP_LOOKUP_AND_DELETE_ELEM', 'MAP_FREEZE', 'BTF_GET_NEXT_ID'],
  ...['MAP_LOOKUP_BATCH', 'MAP_LOOKUP_AND_DELETE_BATCH', 'MAP_UPDATE_BATCH', 'MAP_DELETE_BATCH', 'LINK_CREATE'],
  ...['LINK_UPDATE', 'LINK_GET_FD_BY_ID', 'LINK_GET_NEXT_ID', 'ENABLE_STATS', 'ITER_CREATE', 'LINK_DETACH'],
  ...['PROG_BIND_MAP', 'TOKEN_CREATE'],
].map((name) => `BPF_${name}`);

/** include/uapi/linux/keyctl.h */
const KEYCTL_OPERATIONS = [
  ...['GET_KEYRING_ID', 'JOIN_SESSION_KEYRING', 'UPDATE', 'REVOKE', 'CHOWN', 'SETPERM', 'DESCRIBE', 'CLEAR', 'LINK'],
  ...['UNLINK', 'SEARCH', 'READ', 'INSTANTIATE', 'NEGATE', 'SET_REQKEY_KEYRING', 'SET_TIMEOUT', 'ASSUME_AUTHORITY'],
].map((name) => `KEYCTL_${name}`);

const PTRACE_REQUESTS: Words = { 16: 'PTRACE_ATTACH', 16902: 'PTRACE_SEIZE' };
const IOCTL_REQUESTS: Words = { 21522: 'TIOCSTI', 21532: 'TIOCLINUX' };

/** AUDIT_ARCH_*; x32 has the name of x86_64 and a bit of the number. */
const ABIS: Words = { 1073741827: '32-bit x86', 1073741864: '32-bit ARM', 3221225534: 'x32' };
const X32_BIT = 0x40000000;

/** Of the number that the kernel counts it by; undefined: it has none. */
export function callName(call: number): string | undefined {
  const name = CALLS[call - 1];
  return name === 'foreign' ? undefined : name;
}

/** @param detail as `SLUICE_REFUSED_SYSCALL` of native/sluice.h has it */
export function refusedCall([call, first, second]: readonly [number, number, number]): string {
  const name = CALLS[call - 1];
  switch (name) {
    case undefined:
      return 'a system call that this version does not know';
    case 'foreign': {
      const abi = ABIS[first];
      return `system call ${abi === 'x32' ? second % X32_BIT : second} of ${abi ?? `another ABI (${first.toString(16)})`}`;
    }
    case 'socket':
    case 'socketpair': {
      const family = FAMILIES[first] ?? `family ${first}`;
      return `${name}(${family}${first === AF_NETLINK ? `, ${NETLINK[second] ?? `protocol ${second}`}` : ''})`;
    }
    case 'clone':
    case 'unshare':
    case 'setns': {
      const wanted = Object.entries(NAMESPACES).filter(([bit]) => first & Number(bit));
      return wanted.length === 0 ? name : `${name}(${wanted.map(([, word]) => word).join('|')})`;
    }
    case 'ptrace':
      return `ptrace(${PTRACE_REQUESTS[first] ?? first})`;
    case 'ioctl':
      return `ioctl(${IOCTL_REQUESTS[first] ?? first})`;
    case 'bpf':
      return `bpf(${BPF_COMMANDS[first] ?? first})`;
    case 'keyctl':
      return `keyctl(${KEYCTL_OPERATIONS[first] ?? first})`;
    case 'seccomp':
      return 'seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)';
    default:
      return name;
  }
}

/**
 * What a process of a session tried, in words, of what the kernel refused by itself. Numbers are those of Linux
 * (include/uapi/linux, include/linux/socket.h); one that has no name here is told as a number.
 */
import { BPF_COMMANDS, callName, FAMILIES, NETLINK, refusedCall } from './calls.ts';
import type { KernelRefusal } from './kernel.ts';

/** In audit the word for what was tried; of `hook` the name of the LSM hook, of `syscall` that of the system call. */
export function verbOf({ kind, further, detail }: KernelRefusal): string {
  if (further) return kind;
  return (kind === 'hook' ? HOOKS[detail[0]]?.[0] : kind === 'syscall' ? callName(detail[0]) : kind) ?? kind;
}

/** One sentence. The count is not in it. */
export function attempted(refusal: KernelRefusal): string {
  const { kind, further, detail, first } = refusal;
  if (further) return `the kernel refused ${FURTHER[kind] ?? `further attempts (${kind})`}`;
  const [a, b, c] = detail;
  const where = `${first.address} port ${first.port}`;
  switch (kind) {
    case 'connect':
      return `the kernel refused connect() of ${socketOf(a, b)} to ${where}${b === UDP ? SORTING : ''}: ${reasonOf(b, c)}`;
    case 'sendto':
      return `the kernel refused a datagram of ${socketOf(a, b)} to ${where}: ${reasonOf(b, c)}`;
    case 'socket':
      return `the kernel refused socket(${named(FAMILIES, a)}, ${named(TYPES, b)}, ${protocolOf(a, c)})`;
    case 'option':
      return `the kernel refused setsockopt(${named(LEVELS, a)}, ${named(OPTIONS[a] ?? {}, b)})`;
    case 'device':
      return `the kernel refused ${deviceOf(a, b, c)}`;
    case 'bind':
      return `the kernel refused bind() of ${socketOf(a, b)} to ${where}, which is the daemon's`;
    case 'packet':
      return `the kernel dropped ${packetOf(refusal)}`;
    case 'hook':
      return `the kernel refused ${HOOKS[a]?.[1](b, c) ?? `what hook ${a} looks at`}${a in HOOKS ? ` (lsm/${HOOKS[a]![0]})` : ''}`;
    case 'syscall':
      return `the launcher's filter refused ${refusedCall(detail)}`;
    default:
      return `the kernel refused ${kind} ${detail.join(', ')}`;
  }
}

const UDP = 17;
const TCP = 6;

/** A connected UDP socket has not sent anything: where that is all, it was most likely no attempt to reach anybody. */
const SORTING = ' (nothing was sent: C libraries do so to sort the addresses of a name)';

const FURTHER: Readonly<Partial<Record<KernelRefusal['kind'], string>>> = {
  connect: 'connect() to further addresses',
  sendto: 'datagrams to further addresses',
  socket: 'sockets of further kinds',
  option: 'further socket options',
  device: 'further devices',
  bind: "bind() to further addresses with the daemon's port",
  packet: 'further packets',
  hook: 'further attempts that LSM hooks look at',
  syscall: "further system calls, by the launcher's filter",
};

/** `enum sluice_refusal_reason` of native/sluice.h. */
function reasonOf(protocol: number, reason: number): string {
  switch (reason) {
    case 1:
      return protocol === UDP ? 'UDP leads to nameservers alone' : 'only TCP leads out, and UDP to nameservers';
    case 2:
      return 'the socket is bound to an interface';
    case 3:
      return 'the socket was not made in this session';
    case 4:
      return 'sluiced did not listen';
    case 5:
      return 'there was no room to remember whose it is';
    default:
      return `reason ${reason}`;
  }
}

function socketOf(type: number, protocol: number): string {
  if (type === 1 && protocol === TCP) return 'a TCP socket';
  if (type === 2 && protocol === UDP) return 'a UDP socket';
  return `a socket of ${named(TYPES, type)} and ${named(PROTOCOLS, protocol)}`;
}

function packetOf({ detail: [inward, protocol], first }: KernelRefusal): string {
  const what =
    protocol === UNREADABLE
      ? 'a packet that is a fragment, not whole, or not of IP'
      : `a packet of ${named(PROTOCOLS, protocol).replace(/^IPPROTO_/, '')}`;
  const end = first.address === '' ? '' : ` ${inward ? 'from' : 'to'} ${first.address}`;
  return `${what}${end}${first.port === 0 ? '' : ` port ${first.port}`}${inward ? ' to a socket of the session' : ''}`;
}

/** SLUICE_UNREADABLE of native/sluice.h. */
const UNREADABLE = 0xffff;

/** access_type of struct bpf_cgroup_dev_ctx: BPF_DEVCG_ACC_* above 16 bits of BPF_DEVCG_DEV_*. */
function deviceOf(accessType: number, major: number, minor: number): string {
  const kind = (accessType & 0xffff) === 1 ? 'block' : 'character';
  const name = DEVICES[`${kind} ${major}:${minor}`];
  const device = `the ${kind} device ${major}:${minor}${name === undefined ? '' : ` (${name})`}`;
  const access = accessType >>> 16;
  if (access & 1) return `making a node of ${device}`;
  const ways = [access & 2 ? 'reading' : '', access & 4 ? 'writing' : ''].filter((way) => way !== '');
  return `opening ${device}${ways.length === 0 ? '' : ` for ${ways.join(' and ')}`}`;
}

const SOCKET_LEVEL = 1;

type Names = Readonly<Record<number, string>>;

function named(names: Names, number: number): string {
  return names[number] ?? String(number | 0);
}

function protocolOf(family: number, protocol: number): string {
  if (family === 2 || family === 10) return named(PROTOCOLS, protocol);
  return family === 16 ? named(NETLINK, protocol) : String(protocol | 0);
}

const TYPES: Names = {
  ...{ 1: 'SOCK_STREAM', 2: 'SOCK_DGRAM', 3: 'SOCK_RAW', 4: 'SOCK_RDM', 5: 'SOCK_SEQPACKET', 6: 'SOCK_DCCP' },
  ...{ 10: 'SOCK_PACKET' },
};
const PROTOCOLS: Names = {
  ...{ 0: 'IPPROTO_IP', 1: 'IPPROTO_ICMP', 2: 'IPPROTO_IGMP', 4: 'IPPROTO_IPIP', 6: 'IPPROTO_TCP', 17: 'IPPROTO_UDP' },
  ...{ 33: 'IPPROTO_DCCP', 41: 'IPPROTO_IPV6', 47: 'IPPROTO_GRE', 50: 'IPPROTO_ESP', 51: 'IPPROTO_AH' },
  ...{ 58: 'IPPROTO_ICMPV6', 132: 'IPPROTO_SCTP', 136: 'IPPROTO_UDPLITE', 255: 'IPPROTO_RAW', 262: 'IPPROTO_MPTCP' },
};
const LEVELS: Names = {
  ...{ 0: 'SOL_IP', [SOCKET_LEVEL]: 'SOL_SOCKET', 6: 'SOL_TCP', 17: 'SOL_UDP', 41: 'SOL_IPV6', 58: 'SOL_ICMPV6' },
  ...{ 132: 'SOL_SCTP', 255: 'SOL_RAW', 263: 'SOL_PACKET', 270: 'SOL_NETLINK', 279: 'SOL_ALG', 282: 'SOL_TLS' },
  ...{ 284: 'SOL_MPTCP' },
};
/** Of each level those that native/confine.bpf.c refuses. */
const OPTIONS: Readonly<Record<number, Names>> = {
  [SOCKET_LEVEL]: { 25: 'SO_BINDTODEVICE', 36: 'SO_MARK', 62: 'SO_BINDTOIFINDEX' },
  0: {
    ...{ 4: 'IP_OPTIONS', 16: 'IP_IPSEC_POLICY', 17: 'IP_XFRM_POLICY', 19: 'IP_TRANSPARENT', 32: 'IP_MULTICAST_IF' },
    ...{ 35: 'IP_ADD_MEMBERSHIP', 39: 'IP_ADD_SOURCE_MEMBERSHIP', 41: 'IP_MSFILTER', 42: 'MCAST_JOIN_GROUP' },
    ...{ 46: 'MCAST_JOIN_SOURCE_GROUP', 48: 'MCAST_MSFILTER', 50: 'IP_UNICAST_IF', 64: 'IPT_SO_SET_REPLACE' },
  },
  41: {
    ...{ 1: 'IPV6_ADDRFORM', 2: 'IPV6_2292PKTINFO', 3: 'IPV6_2292HOPOPTS', 4: 'IPV6_2292DSTOPTS', 5: 'IPV6_2292RTHDR' },
    ...{ 6: 'IPV6_2292PKTOPTIONS', 17: 'IPV6_MULTICAST_IF', 20: 'IPV6_JOIN_GROUP', 27: 'IPV6_JOIN_ANYCAST' },
    ...{ 34: 'IPV6_IPSEC_POLICY', 35: 'IPV6_XFRM_POLICY', 42: 'MCAST_JOIN_GROUP', 46: 'MCAST_JOIN_SOURCE_GROUP' },
    ...{ 48: 'MCAST_MSFILTER', 50: 'IPV6_PKTINFO', 54: 'IPV6_HOPOPTS', 55: 'IPV6_RTHDRDSTOPTS', 57: 'IPV6_RTHDR' },
    ...{ 59: 'IPV6_DSTOPTS', 64: 'IP6T_SO_SET_REPLACE', 75: 'IPV6_TRANSPARENT', 76: 'IPV6_UNICAST_IF' },
  },
  6: {
    ...{ 14: 'TCP_MD5SIG', 19: 'TCP_REPAIR', 20: 'TCP_REPAIR_QUEUE', 21: 'TCP_QUEUE_SEQ', 22: 'TCP_REPAIR_OPTIONS' },
    ...{ 31: 'TCP_ULP', 32: 'TCP_MD5SIG_EXT', 38: 'TCP_AO_ADD_KEY', 39: 'TCP_AO_DEL_KEY', 40: 'TCP_AO_INFO' },
    ...{ 41: 'TCP_AO_GET_KEYS', 43: 'TCP_AO_REPAIR' },
  },
  17: { 100: 'UDP_ENCAP' },
};
/** Documentation/admin-guide/devices.txt: those that an agent has a reason to try. */
const DEVICES: Readonly<Record<string, string>> = {
  ...{ 'character 1:1': '/dev/mem', 'character 1:2': '/dev/kmem', 'character 1:4': '/dev/port' },
  ...{ 'character 1:11': '/dev/kmsg', 'character 5:1': '/dev/console', 'character 10:200': '/dev/net/tun' },
  ...{ 'character 10:223': '/dev/uinput', 'character 10:229': '/dev/fuse', 'character 10:232': '/dev/kvm' },
  ...{
    'character 10:238': '/dev/vhost-net',
    'character 10:241': '/dev/vhost-vsock',
    'character 10:196': '/dev/vfio/vfio',
  },
  ...{
    'character 108:0': '/dev/ppp',
    'character 10:237': '/dev/loop-control',
    'character 10:236': '/dev/mapper/control',
  },
};

/** linux/magic.h: file systems whose files lsm.bpf.c refuses. */
const CGROUPS: ReadonlySet<number> = new Set([0x63677270, 0x27e0eb]);
const BPFFS = 0xcafe4a11;
/** File types of stat(2). */
const [S_IFSOCK, S_IFCHR, S_IFBLK] = [0o140000, 0o20000, 0o60000];
const KINDS_OF_FILE: Names = { [S_IFSOCK]: 'a socket', [S_IFCHR]: 'a character device', [S_IFBLK]: 'a block device' };

/** `enum sluice_hook` of native/sluice.h: the hook's name, and what is tried where it refuses. */
const HOOKS: Readonly<Record<number, readonly [name: string, tried: (what: number, more: number) => string]>> = {
  1: ['socket_connect', () => 'connect() of a socket from outside the session'],
  2: ['socket_sendmsg', () => 'to send by a socket from outside the session'],
  3: ['file_receive', (kind, magic) => `to take over ${receivedOf(kind, magic)} from outside the session`],
  4: ['ptrace_access_check', (mode) => `to ${mode & 2 ? 'trace' : 'look into'} a process outside the session`],
  5: ['task_kill', (signal) => `signal ${signal} to a process outside the session`],
  6: ['bpf', (command) => `bpf(${BPF_COMMANDS[command] ?? command})`],
  7: ['inode_permission', (magic) => (magic === BPFFS ? 'to reach into a bpffs' : 'to write to a cgroup')],
  8: ['sb_mount', () => 'a mount'],
  9: ['sb_umount', () => 'to unmount'],
  10: ['move_mount', () => 'move_mount()'],
  11: ['userns_create', () => 'a user namespace'],
};

function receivedOf(kind: number, magic: number): string {
  if (magic === BPFFS) return 'a file of a bpffs';
  return CGROUPS.has(magic) ? 'a file of a cgroup' : (KINDS_OF_FILE[kind] ?? 'a descriptor');
}

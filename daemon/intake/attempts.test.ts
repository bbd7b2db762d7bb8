import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attempted, verbOf } from './attempts.ts';
import type { KernelRefusal } from './kernel.ts';

const FIRST = { pid: 4242, uid: 70_003, cgroupId: 77n, comm: 'agent', exe: '/usr/bin/agent', address: '', port: 0 };

/** Kind, detail, and where to. */
function refusal(kind: KernelRefusal['kind'], detail: readonly number[], to: object = {}): KernelRefusal {
  const [a = 0, b = 0, c = 0] = detail;
  return { kind, further: false, detail: [a, b, c], name: '', count: 1, first: { ...FIRST, ...to } };
}
const SHOP = { address: '198.51.100.23', port: 5433 };

for (const [kind, detail, to, said] of [
  [
    'connect',
    [1, 6, 4],
    SHOP,
    'the kernel refused connect() of a TCP socket to 198.51.100.23 port 5433: sluiced did not listen',
  ],
  [
    'connect',
    [1, 6, 2],
    SHOP,
    'the kernel refused connect() of a TCP socket to 198.51.100.23 port 5433: the socket is bound to an interface',
  ],
  [
    'connect',
    [1, 6, 3],
    SHOP,
    'the kernel refused connect() of a TCP socket to 198.51.100.23 port 5433: the socket was not made in this session',
  ],
  [
    'connect',
    [1, 6, 5],
    SHOP,
    'the kernel refused connect() of a TCP socket to 198.51.100.23 port 5433: there was no room to remember whose it is',
  ],
  [
    'connect',
    [2, 17, 1],
    { address: '2001:db8::17:23', port: 443 },
    'the kernel refused connect() of a UDP socket to 2001:db8::17:23 port 443 (nothing was sent: C libraries do so to sort the addresses of a name): UDP leads to nameservers alone',
  ],
  [
    'connect',
    [5, 132, 1],
    SHOP,
    'the kernel refused connect() of a socket of SOCK_SEQPACKET and IPPROTO_SCTP to 198.51.100.23 port 5433: only TCP leads out, and UDP to nameservers',
  ],
  [
    'sendto',
    [2, 17, 1],
    SHOP,
    'the kernel refused a datagram of a UDP socket to 198.51.100.23 port 5433: UDP leads to nameservers alone',
  ],
  ['socket', [2, 3, 1], {}, 'the kernel refused socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)'],
  ['socket', [10, 1, 262], {}, 'the kernel refused socket(AF_INET6, SOCK_STREAM, IPPROTO_MPTCP)'],
  ['socket', [16, 3, 12], {}, 'the kernel refused socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)'],
  ['socket', [17, 3, 768], {}, 'the kernel refused socket(AF_PACKET, SOCK_RAW, 768)'],
  ['socket', [99, 77, 0], {}, 'the kernel refused socket(99, 77, 0)'],
  ['option', [1, 25], {}, 'the kernel refused setsockopt(SOL_SOCKET, SO_BINDTODEVICE)'],
  ['option', [0, 4], {}, 'the kernel refused setsockopt(SOL_IP, IP_OPTIONS)'],
  ['option', [41, 57], {}, 'the kernel refused setsockopt(SOL_IPV6, IPV6_RTHDR)'],
  ['option', [269, 0xffff_ffff], {}, 'the kernel refused setsockopt(269, -1)'],
  [
    'device',
    [0x6_0002, 10, 200],
    {},
    'the kernel refused opening the character device 10:200 (/dev/net/tun) for reading and writing',
  ],
  ['device', [0x2_0001, 8, 1], {}, 'the kernel refused opening the block device 8:1 for reading'],
  ['device', [0x1_0002, 1, 1], {}, 'the kernel refused making a node of the character device 1:1 (/dev/mem)'],
  ['device', [2, 1, 11], {}, 'the kernel refused opening the character device 1:11 (/dev/kmsg)'],
  [
    'bind',
    [1, 6],
    { address: '127.0.0.2', port: 41_235 },
    "the kernel refused bind() of a TCP socket to 127.0.0.2 port 41235, which is the daemon's",
  ],
  ['packet', [0, 17], SHOP, 'the kernel dropped a packet of UDP to 198.51.100.23 port 5433'],
  [
    'packet',
    [1, 6],
    SHOP,
    'the kernel dropped a packet of TCP from 198.51.100.23 port 5433 to a socket of the session',
  ],
  ['packet', [0, 47], { address: '198.51.100.23' }, 'the kernel dropped a packet of GRE to 198.51.100.23'],
  ['packet', [0, 0xffff], {}, 'the kernel dropped a packet that is a fragment, not whole, or not of IP'],
  ['hook', [1], {}, 'the kernel refused connect() of a socket from outside the session (lsm/socket_connect)'],
  ['hook', [2], {}, 'the kernel refused to send by a socket from outside the session (lsm/socket_sendmsg)'],
  [
    'hook',
    [3, 0o140000, 0x534f434b],
    {},
    'the kernel refused to take over a socket from outside the session (lsm/file_receive)',
  ],
  [
    'hook',
    [3, 0o100000, 0x63677270],
    {},
    'the kernel refused to take over a file of a cgroup from outside the session (lsm/file_receive)',
  ],
  [
    'hook',
    [3, 0o60000, 1],
    {},
    'the kernel refused to take over a block device from outside the session (lsm/file_receive)',
  ],
  [
    'hook',
    [3, 0o100000, 0xcafe4a11],
    {},
    'the kernel refused to take over a file of a bpffs from outside the session (lsm/file_receive)',
  ],
  ['hook', [4, 0x12], {}, 'the kernel refused to trace a process outside the session (lsm/ptrace_access_check)'],
  ['hook', [4, 0x9], {}, 'the kernel refused to look into a process outside the session (lsm/ptrace_access_check)'],
  ['hook', [5, 9], {}, 'the kernel refused signal 9 to a process outside the session (lsm/task_kill)'],
  ['hook', [6, 34], {}, 'the kernel refused bpf(BPF_LINK_DETACH) (lsm/bpf)'],
  ['hook', [7, 0xcafe4a11], {}, 'the kernel refused to reach into a bpffs (lsm/inode_permission)'],
  ['hook', [7, 0x63677270], {}, 'the kernel refused to write to a cgroup (lsm/inode_permission)'],
  ['hook', [8], {}, 'the kernel refused a mount (lsm/sb_mount)'],
  ['hook', [9], {}, 'the kernel refused to unmount (lsm/sb_umount)'],
  ['hook', [10], {}, 'the kernel refused move_mount() (lsm/move_mount)'],
  ['hook', [11], {}, 'the kernel refused a user namespace (lsm/userns_create)'],
  ['hook', [77], {}, 'the kernel refused what hook 77 looks at'],
] as const)
  test(`says ${said}`, () => assert.equal(attempted(refusal(kind, detail, to)), said));

test('of what is beyond the bound it says the kind', () => {
  const further = (kind: KernelRefusal['kind']) => attempted({ ...refusal(kind, []), further: true });
  assert.equal(further('sendto'), 'the kernel refused datagrams to further addresses');
  assert.equal(further('packet'), 'the kernel refused further packets');
  assert.equal(further('hook'), 'the kernel refused further attempts that LSM hooks look at');
});

test('the verb is the kind, and of an LSM hook its name', () => {
  assert.equal(verbOf(refusal('socket', [2, 3, 1])), 'socket');
  assert.equal(verbOf(refusal('hook', [5, 9])), 'task_kill');
  assert.equal(verbOf({ ...refusal('hook', []), further: true }), 'hook');
});

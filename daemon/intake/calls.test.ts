import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { attempted, verbOf } from './attempts.ts';
import { CALLS, refusedCall } from './calls.ts';

const HEADER = readFileSync(join(import.meta.dirname, '../../native/sluice.h'), 'utf8');
const told = (name: (typeof CALLS)[number], first = 0, second = 0) =>
  refusedCall([CALLS.indexOf(name) + 1, first, second]);

test('the calls have the numbers of native/sluice.h', () => {
  const listed = /enum sluice_call \{(.*?)\};/s.exec(HEADER)?.[1] ?? '';
  const names = [...listed.matchAll(/^\tSLUICE_CALL_(\w+)/gm)].map(([, name]) => name!.toLowerCase());
  assert.deepEqual(names, CALLS);
});

test('a call is told as its manual page writes it, with the argument that says what was wanted', () => {
  for (const [text, expected] of [
    [told('socket', 17, 768), 'socket(AF_PACKET)'],
    [told('socket', 16, 12), 'socket(AF_NETLINK, NETLINK_NETFILTER)'],
    [told('socket', 16, 99), 'socket(AF_NETLINK, protocol 99)'],
    [told('socket', 46), 'socket(family 46)'],
    [told('socketpair', 30), 'socketpair(AF_TIPC)'],
    [told('clone', 0x10000011), 'clone(CLONE_NEWUSER)'],
    [told('unshare', 0x10000000 | 0x20000 | 0x40000000), 'unshare(CLONE_NEWNS|CLONE_NEWUSER|CLONE_NEWNET)'],
    [told('setns'), 'setns'],
    [told('setns', 0x40000000), 'setns(CLONE_NEWNET)'],
    [told('ptrace', 16), 'ptrace(PTRACE_ATTACH)'],
    [told('ptrace', 0x4206), 'ptrace(PTRACE_SEIZE)'],
    [told('ioctl', 0x5412), 'ioctl(TIOCSTI)'],
    [told('ioctl', 0x541c), 'ioctl(TIOCLINUX)'],
    [told('bpf', 5), 'bpf(BPF_PROG_LOAD)'],
    [told('bpf', 34), 'bpf(BPF_LINK_DETACH)'],
    [told('bpf', 0xdeadbeef), 'bpf(3735928559)'],
    [told('keyctl', 1), 'keyctl(KEYCTL_JOIN_SESSION_KEYRING)'],
    [told('seccomp', 1, 8), 'seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)'],
    [told('mount'), 'mount'],
    [told('foreign', 0x40000003, 359), 'system call 359 of 32-bit x86'],
    [told('foreign', 0xc000003e, 0x40000029), 'system call 41 of x32'],
    [told('foreign', 0x28, 7), 'system call 7 of another ABI (28)'],
    [refusedCall([CALLS.length + 1, 0, 0]), 'a system call that this version does not know'],
  ])
    assert.equal(text, expected);
});

test('who refused it is said as well, and when there were too many kinds to tell', () => {
  const first = { pid: 4242, uid: 70_003, cgroupId: 77n, comm: 'agent', exe: '/usr/bin/agent', address: '::', port: 0 };
  const refusal = { kind: 'syscall', name: '', count: 3, first } as const;
  for (const [further, detail, verb, text] of [
    [false, [2, 17, 768], 'socket', "the launcher's filter refused socket(AF_PACKET)"],
    [false, [1, 0x40000003, 5], 'syscall', "the launcher's filter refused system call 5 of 32-bit x86"],
    [true, [0, 0, 0], 'syscall', "the kernel refused further system calls, by the launcher's filter"],
  ] as const) {
    const each = { ...refusal, further, detail };
    assert.deepEqual([verbOf(each), attempted(each)], [verb, text]);
  }
});

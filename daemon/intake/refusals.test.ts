import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SluiceError } from '../core/errors.ts';
import type { EventInput, Recorder } from '../core/event.ts';
import type { Session } from '../core/principal.ts';
import type { KernelRefusal } from './kernel.ts';
import { Refusals } from './refusals.ts';

const SESSION: Session = {
  id: '00112233445566778899aabbccddeeff',
  principal: { subject: 'corp:ada', groups: ['ai-agents'], issuer: 'https://login.example' },
  cgroupId: 77n,
  uid: 1001,
  agentUid: 70_003,
  command: ['agent'],
  startedAt: 0,
};
const FIRST = { pid: 4242, uid: 70_003, cgroupId: 77n, comm: 'agent', exe: '/usr/bin/agent', address: '', port: 0 };
const COMMON = { further: false, detail: [0, 0, 0], name: '', count: 1, first: FIRST } as const;
const socket = (name: string, count = 1): KernelRefusal => ({ ...COMMON, kind: 'unix', name, count });

function begin(running: readonly Session[] = [SESSION]) {
  const events: EventInput[] = [];
  const faults: unknown[] = [];
  const state = { full: false, next: [] as KernelRefusal[], lost: 0, running };
  const recorder: Recorder = {
    record(event) {
      if (state.full) throw new SluiceError('AUDIT_FULL', 'the audit store is full');
      events.push(event);
      return { done: true, committed: async () => {}, durable: async () => {} };
    },
  };
  const refusals = new Refusals({
    kernel: { refusals: () => state.next.splice(0), refusalsLost: () => state.lost },
    session: (cgroupId) => state.running.find((each) => each.cgroupId === cgroupId) ?? null,
    decide: (_, name) =>
      name === '@open'
        ? { outcome: 'allow', rule: 'r', reason: 'r opens it', policy: 'v2' }
        : { outcome: 'deny', rule: null, reason: `${name} stands under no unix entry`, policy: 'v2' },
    recorder,
    onFault: (error) => faults.push(error),
  });
  return { events, faults, state, refusals };
}

const WHOSE = {
  ...{ session: SESSION.id, subject: 'corp:ada', groups: ['ai-agents'], issuer: 'https://login.example' },
  ...{ pid: 4242, uid: 70_003, exe: '/usr/bin/agent', cgroup: '77' },
};

test('a refused socket is an operation that says whose it was, and how often', () => {
  const { events, state, refusals } = begin();
  state.next = [socket('/run/docker.sock'), socket('@tracer', 5000), socket('@open'), socket('')];
  state.next.push({ ...COMMON, kind: 'unix', further: true, count: 12 });
  refusals.look();
  const common = {
    type: 'operation',
    ...WHOSE,
    protocol: 'unix',
    verb: 'CONNECT',
    decision: 'deny',
    error: 'SOCKET_REFUSED',
  };
  const told = (name: string, reason: string, more: object = {}) => ({
    ...{ ...common, address: name, text: `CONNECT ${name}`, accesses: [{ effect: 'network', object: name }] },
    ...{ reason, message: `sluice: ${reason}`, policy: 'v2', ...more },
  });
  const others = (what: string, more: object = {}) => ({
    ...{
      ...common,
      text: `CONNECT ${what}`,
      accesses: [{ effect: 'network' }],
      message: `sluice: ${what} of the host's`,
    },
    ...more,
  });
  assert.deepEqual(events, [
    told('/run/docker.sock', '/run/docker.sock stands under no unix entry'),
    told('@tracer', '@tracer stands under no unix entry', { count: 5000 }),
    told('@open', 'it was not open to the session then, although the policy lets it now'),
    others('a socket without a name'),
    others('further sockets', { count: 12 }),
  ]);
});

test('what goes beyond a limit is a fault with where the first was to go', () => {
  const { events, state, refusals } = begin();
  const first = { ...FIRST, address: '198.51.100.23', port: 5433 };
  state.next = (['connections', 'datagrams', 'session'] as const).map((kind, i) => ({
    ...{ ...COMMON, kind, count: i + 1, first },
  }));
  refusals.look();
  assert.deepEqual(
    events.map(({ type, error, message, address, port, count }) => [type, error, message, address, port, count]),
    [
      [
        'fault',
        'FLOW_LIMIT',
        'the kernel refused 1 connection: the session has as many open as one may have',
        '198.51.100.23',
        5433,
        undefined,
      ],
      [
        'fault',
        'NAME_LIMIT',
        'the kernel dropped 2 datagrams: the session sends more in a second than one may',
        '198.51.100.23',
        5433,
        2,
      ],
      [
        'fault',
        'FLOW_LIMIT',
        'the kernel refused 3 connections: it has no room to count those of another session',
        '198.51.100.23',
        5433,
        3,
      ],
    ],
  );
  assert.partialDeepStrictEqual(events[0], WHOSE);
});

test('any other attempt is a fault that says what was tried, and by whom if anybody is known', () => {
  const { events, state, refusals } = begin();
  const nobody = { ...FIRST, pid: 0, uid: 0, exe: '', address: '198.51.100.23', port: 5433 };
  state.next = [
    { ...COMMON, kind: 'socket', detail: [2, 3, 1], count: 7 },
    { ...COMMON, kind: 'sendto', detail: [2, 17, 1], first: { ...FIRST, address: '198.51.100.23', port: 443 } },
    { ...COMMON, kind: 'packet', detail: [1, 6, 0], first: nobody },
    { ...COMMON, kind: 'packet', detail: [0, 47, 0], first: { ...nobody, pid: 4242, port: 0 } },
    { ...COMMON, kind: 'hook', detail: [5, 9, 0] },
  ];
  refusals.look();
  const common = { type: 'fault', ...WHOSE, decision: 'deny', error: 'KERNEL_REFUSED' };
  const { pid: _, uid: __, exe: ___, ...unknown } = common;
  const why = 'the kernel refused';
  assert.deepEqual(events.slice(0, 3), [
    { ...common, count: 7, verb: 'socket', message: `${why} socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)` },
    {
      ...{ ...common, verb: 'sendto', address: '198.51.100.23', port: 443 },
      message: `${why} a datagram of a UDP socket to 198.51.100.23 port 443: UDP leads to nameservers alone`,
    },
    {
      ...{ ...unknown, verb: 'packet', address: '198.51.100.23', port: 5433 },
      message: 'the kernel dropped a packet of TCP from 198.51.100.23 port 5433 to a socket of the session',
    },
  ]);
  assert.deepEqual([events[3]?.pid, events[3]?.address, events[3]?.port], [4242, '198.51.100.23', undefined]);
  assert.equal(events[4]?.verb, 'task_kill');
});

test('a session that has just ended is known; of one that never was the cgroup stays', () => {
  const { events, state, refusals } = begin();
  state.running = [];
  refusals.ended(SESSION);
  const stranger = { ...socket('@x'), first: { ...FIRST, cgroupId: 78n } };
  state.next = [socket('@x'), stranger];
  refusals.look();
  assert.deepEqual(
    events.map(({ session, cgroup, reason }) => [session, cgroup, reason]),
    [
      [SESSION.id, '77', '@x stands under no unix entry'],
      [undefined, '78', 'no session has the cgroup of the process'],
    ],
  );
});

test('what the record does not take waits, and what waits too long is counted as lost', () => {
  const { events, faults, state, refusals } = begin();
  state.full = true;
  state.next = [socket('@first'), socket('@second', 3)];
  refusals.look();
  refusals.look();
  assert.equal(events.length, 0);
  assert.ok(faults.length > 0);
  assert.equal(refusals.behind, true);
  state.full = false;
  refusals.look();
  assert.equal(refusals.behind, false);
  assert.deepEqual(
    events.map(({ address, count }) => [address, count]),
    [
      ['@first', undefined],
      ['@second', 3],
    ],
  );
  events.length = 0;
  state.full = true;
  state.next = Array.from({ length: 300 }, (_, n) => socket(`@${n}`, 2));
  refusals.look();
  state.full = false;
  state.lost = 7;
  refusals.look();
  assert.equal(events.length, 256 + 1);
  assert.deepEqual(events.at(-1), {
    ...{ type: 'fault', error: 'REFUSALS_LOST', count: 7 + 2 * 44 },
    message: "95 refusals of the kernel's could not be counted by what they were",
  });
  refusals.look();
  assert.equal(events.length, 256 + 1, 'and said once');
  state.full = true;
  state.lost = 8;
  refusals.look();
  assert.equal(refusals.behind, true, 'a number alone waits as well');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Claim, type Enforcement, exitStatus, type Finding, findings, type Witnessed } from './findings.ts';
import { GUARANTEES } from './guarantees.ts';
import type { Try } from './probe.ts';
import { guaranteesTable, summary } from './screen.ts';

const WITNESS: Witnessed = { saw: new Map(), called: new Set(), raw: true, victimUid: 995 };
const HELD: readonly Try[] = GUARANTEES.flatMap(({ probes }) =>
  probes.map((name) => ({ name: name.replace('@near', ''), escaped: false, how: 'connect: EPERM' })),
);
const WELL: Enforcement = { enforcing: true, missing: '' };

const change = (name: string, to: Partial<Try>) => HELD.map((each) => (each.name === name ? { ...each, ...to } : each));
const find = (found: readonly Finding[], name: string) => found.find((each) => each.guarantee === name)!;
const with_ = (claim: Partial<Claim>): Enforcement => ({
  ...WELL,
  guarantees: [{ name: 'udp', held: true, required: true, by: ['egress'], needs: null, ...claim }],
});
const called = new Set(HELD.map(({ name }) => name));

test('what was tried and kept is held, by what the helper names', () => {
  const found = findings({ tries: HELD, uid: 995 }, { ...WITNESS, called }, with_({}));
  assert.deepEqual([find(found, 'udp').held, find(found, 'udp').by], [true, ['egress']]);
  assert.equal(exitStatus(found), 0);
});

test('a witness is believed, not a return value', () => {
  const tries = change('udp4', { sent: true, how: '44 bytes sent' });
  const unseen = findings({ tries, uid: 995 }, { ...WITNESS, called }, WELL);
  assert.equal(find(unseen, 'udp').held, true);
  const seen = findings({ tries, uid: 995 }, { ...WITNESS, called, saw: new Map([['udp4', 'UDP over IPv4']]) }, WELL);
  assert.deepEqual([find(seen, 'udp').held, exitStatus(seen)], [false, 1]);
  // Also against the word of the helper.
  assert.equal(
    find(findings({ tries, uid: 995 }, { ...WITNESS, called, saw: new Map([['udp4', '']]) }, with_({})), 'udp').held,
    false,
  );
});

test('without root a raw packet on the loopback is nobody’s to see, so nothing is said of it', () => {
  const tries = HELD.filter(({ name }) => name === 'ping4').map((each) => ({ ...each, sent: true }));
  const found = findings({ tries, uid: 995 }, { ...WITNESS, raw: false }, WELL);
  assert.equal(find(found, 'raw').held, null);
});

test('a listener that no witness called has proved nothing', () => {
  const found = findings({ tries: HELD, uid: 995 }, WITNESS, WELL);
  assert.deepEqual([find(found, 'inbound').held, exitStatus(found)], [null, 2]);
});

test('what the helper does not hold is not held, though nothing got out', () => {
  const needs = 'Linux >= 6.7';
  const found = findings({ tries: HELD, uid: 995 }, { ...WITNESS, called }, with_({ held: false, by: [], needs }));
  assert.deepEqual([find(found, 'udp').held, find(found, 'udp').needs, exitStatus(found)], [false, needs, 1]);
});

test('a uid of its own keeps processes apart where no hook does', () => {
  const claim = with_({ name: 'kill', held: false, by: [], needs: 'BPF LSM', required: false });
  const own = findings({ tries: HELD, uid: 60_001 }, { ...WITNESS, called }, claim);
  assert.deepEqual([find(own, 'kill').held, find(own, 'kill').by], [true, ['own uid']]);
  const shared = findings({ tries: HELD, uid: 995 }, { ...WITNESS, called }, claim);
  assert.equal(find(shared, 'kill').held, false);
});

test('without a session nothing is known but what the helper says is missing', () => {
  const found = findings(null, null, { enforcing: false, missing: 'bind4' });
  assert.equal(find(found, 'port').held, false);
  assert.match(find(found, 'port').needs ?? '', /bind4/);
  assert.equal(find(found, 'udp').held, null);
  assert.deepEqual([exitStatus(found), exitStatus(findings(null, null, null))], [1, 2]);
});

test('a guarantee that only the helper knows is shown with its word', () => {
  const found = findings({ tries: HELD, uid: 995 }, { ...WITNESS, called }, with_({ name: 'clock', held: false }));
  assert.deepEqual([find(found, 'clock').held, exitStatus(found)], [false, 1]);
});

test('what came from outside can’t steer the terminal, and lines keep to the width', () => {
  const found = findings(
    { tries: change('udp4', { escaped: true, how: '\x1b[2J'.padEnd(200, 'x') }), uid: 995 },
    { ...WITNESS, called },
    WELL,
  );
  const style = { width: 80, colour: false, verbose: true };
  const text = `${guaranteesTable(found, style)}${summary(found, ['\x1b[31m'], style)}`;
  assert.ok(!text.includes('\x1b'));
  assert.ok(text.split('\n').every((line) => line.length <= 80));
});

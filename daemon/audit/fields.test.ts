import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Event } from '../core/event.ts';
import { entryOf, fieldsOf } from './fields.ts';
import { Group, MATCH_FIELDS } from './match.ts';

/** Every field that can be matched, each with a value of its own. */
const EVENT: Event = {
  ...{ schema: 4, seq: 17, time: 1, type: 'operation', session: '8f3a0011', subject: 'local:dev', groups: ['a', 'b'] },
  ...{
    issuer: 'https://i',
    flow: 'ffff0000',
    pid: 1,
    uid: 2,
    owner: 3,
    exe: '/x',
    cgroup: '4',
    address: '::1',
    port: 5,
  },
  ...{ protocol: 'postgres', resource: 'shop', account: 'app', database: 'db', op: 6, text: 't', verb: 'SELECT' },
  accesses: [
    { effect: 'read', object: 'public.v', behind: ['public.t'] },
    { effect: 'write', object: 'public.w' },
  ],
  ...{ fingerprint: 'ab', decision: 'deny', observed: 'deny', rule: 'r', reason: 'why', policy: 'p', approval: 'abcd' },
  ...{ reviewer: 'ada', masks: ['m', 'n'], error: 'E', message: 'said', count: 2, bytesIn: 9, prev: '', hash: '' },
};

test('what `sluice audit NAME=value` matches, SLUICE_NAME=value has, with the same values', () => {
  const fields = fieldsOf(EVENT);
  for (const name of MATCH_FIELDS) {
    const values = fields.filter(([field]) => field === `SLUICE_${name}`).map(([, value]) => value);
    assert.ok(values.length > 0, `no field SLUICE_${name}`);
    for (const value of values) assert.ok(new Group([`${name}=${value}`]).matches(EVENT), `${name}=${value}`);
  }
  const objects = fields.filter(([name]) => name === 'SLUICE_OBJECT').map(([, value]) => value);
  assert.deepEqual(objects, ['public.v', 'public.t', 'public.w']);
  assert.ok(fields.some(([name, value]) => name === 'SLUICE_BYTES_IN' && value === '9'));
});

test('an entry has one line for people, and a priority', () => {
  const priority = (event: Partial<Event>) =>
    Object.fromEntries(entryOf({ ...EVENT, decision: undefined, observed: undefined, ...event } as Event)).PRIORITY;
  const entry = Object.fromEntries(entryOf({ ...EVENT, text: 'a\nPRIORITY=0' }));
  assert.equal(
    entry.MESSAGE,
    '8f3a0011 local:dev shop SELECT deny (would deny) [r] approval abcd a PRIORITY=0 (2 times)',
  );
  assert.equal(entry.SYSLOG_IDENTIFIER, 'sluiced');
  assert.equal(priority({ type: 'fault' }), '3');
  assert.equal(priority({ type: 'fault', decision: 'deny' }), '4');
  assert.equal(priority({ decision: 'deny' }), '4');
  assert.equal(priority({ decision: 'approve' }), '5');
  assert.equal(priority({ decision: 'allow' }), '6');
  assert.equal(priority({ type: 'result' }), '7');
  assert.equal(priority({ type: 'flow.start', decision: 'deny' }), '4');
});

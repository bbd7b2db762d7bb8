import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Event } from '../core/event.ts';
import { clip, duration, formatter, printable, stamp } from './format.ts';

const EVENT: Event = {
  schema: 1,
  seq: 17,
  time: 1_795_342_800_123,
  type: 'operation',
  session: '8f3a00112233445566778899aabbccdd',
  subject: 'local:dev',
  resource: 'shop',
  verb: 'DROP TABLE',
  text: 'DROP TABLE\n  orders',
  decision: 'deny',
  rule: 'no ddl',
  reason: 'ddl is for the dba',
  prev: '0'.repeat(64),
  hash: 'ab'.repeat(32),
};
const AT = stamp(EVENT.time);

const line = (event: Event, options = {}): string => String(formatter('short', options)(event));

test('short: one line with who, where, what, the decision, the rule, the statement', () => {
  assert.equal(line(EVENT), `${AT} 8f3a0011 local:dev shop DROP TABLE deny [no ddl] DROP TABLE   orders\n`);
});

test('short: cut to the width, with a mark', () => {
  const cut = line(EVENT, { width: 60 });
  assert.equal(cut.length, 61);
  assert.ok(cut.endsWith('…\n'));
});

test('short: the decision has the colour, only when asked for', () => {
  assert.ok(line(EVENT, { colour: true }).includes('DROP TABLE \x1b[31mdeny\x1b[0m [no ddl]'));
  assert.ok(!line(EVENT).includes('\x1b'));
});

test('short: results, flows and others', () => {
  const base = {
    ...EVENT,
    decision: undefined,
    rule: undefined,
    reason: undefined,
    text: undefined,
    verb: undefined,
  } as unknown as Event;
  assert.equal(
    line({ ...base, type: 'result', rows: 1, micros: 1_530, masks: ['pii'] }),
    `${AT} 8f3a0011 local:dev shop result 1 row 1.5ms masked by pii\n`,
  );
  assert.equal(
    line({ ...base, type: 'result', error: '42501', message: 'refused' }),
    `${AT} 8f3a0011 local:dev shop result error 42501 refused\n`,
  );
  assert.equal(
    line({ ...base, type: 'flow.start', exe: '/usr/bin/psql', pid: 7, address: '2001:db8::1', port: 5433 }),
    `${AT} 8f3a0011 local:dev shop flow.start /usr/bin/psql[7] to [2001:db8::1]:5433\n`,
  );
  assert.equal(
    line({ ...base, type: 'approval.decided', approval: 'a1', decision: 'allow', reviewer: 'sub:ann' }),
    `${AT} 8f3a0011 local:dev shop approval.decided a1 allow by sub:ann\n`,
  );
});

test('an agent can not steer the terminal of the auditor', () => {
  const evil = '\x1b[2J\x9b31m\u202egnp.exe\r\n\0';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there
  assert.ok(!/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/.test(line({ ...EVENT, text: evil, subject: evil, rule: evil })));
  assert.equal(printable('a\nb'), 'a b');
});

test('cat, json, json-pretty', () => {
  assert.equal(formatter('cat')(EVENT), 'DROP TABLE   orders\n');
  assert.deepEqual(JSON.parse(String(formatter('json')(EVENT))), EVENT);
  assert.equal(String(formatter('json')(EVENT)).split('\n').length, 2);
  assert.deepEqual(JSON.parse(String(formatter('json-pretty')(EVENT))), EVENT);
  assert.throws(() => formatter('xml'), { code: 'AUDIT_QUERY' });
});

test('export: as systemd reads it, a value with a newline with its length in front', () => {
  const bytes = Buffer.from(formatter('export')({ ...EVENT, text: `a\n${'b'.repeat(300)}` }));
  const text = bytes.toString('latin1');
  assert.ok(
    text.startsWith(
      `__CURSOR=sluice;17;${'ab'.repeat(32)}\n__REALTIME_TIMESTAMP=1795342800123000\nSYSLOG_IDENTIFIER=sluice\n`,
    ),
  );
  const at = text.indexOf('\nMESSAGE\n') + '\nMESSAGE\n'.length;
  assert.equal(bytes.readBigUInt64LE(at), 302n);
  assert.equal(text.slice(at + 8, at + 8 + 303), `a\n${'b'.repeat(300)}\n`);
  assert.ok(text.includes('\nSLUICE_DECISION=deny\n'));
  assert.ok(text.includes('\nSLUICE_SEQ=17\n'));
  assert.ok(text.endsWith('\n\n'));
});

test('clip counts columns, not characters', () => {
  assert.equal(clip('日本語', 6), '日本語');
  assert.equal(clip('日本語x', 6), '日本…');
  assert.equal(clip('e\u0301e\u0301', 2), 'e\u0301e\u0301');
  assert.equal(clip('abc', 2), 'a…');
});

test('durations', () => {
  assert.deepEqual([999, 1_000, 1_500_000, 61_000_000, 3_720_000_000].map(duration), [
    '999us',
    '1.0ms',
    '1.5s',
    '1m01s',
    '1h02m',
  ]);
});

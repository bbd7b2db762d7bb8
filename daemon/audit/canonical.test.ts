import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EventInput } from '../core/event.ts';
import { decode, digest, Encoder, EVENT_BYTES, GENESIS, links, TEXT_BYTES } from './canonical.ts';

const OPERATION: EventInput = {
  // Not in canonical order, on purpose.
  verb: 'SELECT',
  type: 'operation',
  text: 'SELECT "näme" FROM t',
  session: '00112233445566778899aabbccddeeff',
  op: 3,
  groups: ['ai-agents', 'dev'],
  accesses: [{ effect: 'read', object: 'public.t', columns: ['näme'] }],
  decision: 'allow',
  micros: 12.6,
};

/** If this fails, every chain written before fails to verify or to be read: a new schema number is needed, not a new vector. */
test('golden vector: the same event has the same bytes and hash for ever', () => {
  const json = new Encoder().encode(OPERATION, 17, 1_795_342_800_123, 'ab'.repeat(32));
  assert.equal(
    json,
    '{"schema":5,"seq":17,"time":1795342800123,"type":"operation","session":"00112233445566778899aabbccddeeff",' +
      '"groups":["ai-agents","dev"],"op":3,"text":"SELECT \\"näme\\" FROM t","verb":"SELECT",' +
      '"accesses":[{"effect":"read","object":"public.t","columns":["näme"]}],"decision":"allow","micros":13,' +
      `"prev":"${'ab'.repeat(32)}"}`,
  );
  assert.equal(digest(json), '692b99a380b4c04631d75fd172c77c1003b9e3b041e7454dde5a527ccc751d67');
  assert.equal(digest(Buffer.from(json)), digest(json));
});

test('any text comes back as it was', () => {
  for (const text of [
    '',
    '\0\x01\x1f\x7f',
    '"\\/',
    '\ud800',
    'a\udc00b',
    '\u{1f600}',
    '\u2028\u2029',
    'é'.normalize('NFD'),
    '\ufffd',
  ]) {
    const bytes = Buffer.from(new Encoder().encode({ type: 'operation', text }, 1, 0, GENESIS));
    assert.equal(decode(bytes).text, text, JSON.stringify(text));
  }
});

test('a long text is cut between characters, says so and how long it was', () => {
  for (const pad of ['', 'a', 'ab', 'abc']) {
    const text = pad + '\u{1f600}'.repeat(TEXT_BYTES / 2);
    const event = decode(Buffer.from(new Encoder().encode({ type: 'operation', text }, 1, 0, GENESIS)));
    assert.ok(Buffer.byteLength(event.text!) <= TEXT_BYTES);
    assert.ok(Buffer.byteLength(event.text!) > TEXT_BYTES - 4);
    assert.ok(text.startsWith(event.text!));
    assert.equal(event.textBytes, Buffer.byteLength(text));
    assert.deepEqual((event as { cut?: string[] }).cut, ['text']);
  }
});

test('whatever a stage hands over, an event stays under its bound', () => {
  const nasty = '\0'.repeat(300_000);
  const event: Record<string, unknown> = { type: 'operation' };
  for (const field of [
    'session',
    'subject',
    'flow',
    'exe',
    'cgroup',
    'address',
    'protocol',
    'resource',
    'account',
    'database',
    'verb',
    'text',
    'fingerprint',
    'rule',
    'reason',
    'policy',
    'approval',
    'reviewer',
    'error',
    'message',
  ]) {
    event[field] = nasty;
  }
  event.groups = event.masks = new Array(5_000).fill('\0'.repeat(1_000));
  event.accesses = new Array(50_000).fill({ effect: 'read', object: '\u20ac' });
  event.rows = Number.NaN;
  const bytes = Buffer.from(new Encoder().encode(event as never, 1, 0, GENESIS));
  assert.ok(bytes.length < EVENT_BYTES, `${bytes.length}`);
  const back = decode(bytes);
  assert.ok(back.accesses!.length > 100);
  assert.equal(back.rows, undefined);
});

test('links are read from the bytes alone, and only from canonical ones', () => {
  const prev = 'cd'.repeat(32);
  const bytes = Buffer.from(new Encoder().encode({ ...OPERATION, text: `"prev":"${'00'.repeat(32)}"}` }, 42, 7, prev));
  assert.deepEqual(links(bytes), { seq: 42, time: 7, prev });
  for (let end = 0; end < bytes.length; end++) assert.equal(links(bytes.subarray(0, end)), null);
});

test('bytes that are no event are refused with a code', () => {
  for (const bytes of ['', '{', 'null', '[]', '{"seq":"1"}']) {
    assert.throws(() => decode(Buffer.from(bytes)), { code: 'AUDIT_BROKEN' });
  }
});

test('parts that events share give the same bytes as fields of their own', () => {
  const encoder = new Encoder();
  const { type, op, text, textBytes, error, message, rows, bytesIn, bytesOut, micros, ...rest } =
    OPERATION as never as Record<string, unknown>;
  const about: Record<string, unknown> = {};
  const act: Record<string, unknown> = {};
  const aboutNames =
    'session subject groups flow pid uid exe cgroup address port protocol resource account database'.split(' ');
  for (const [name, value] of Object.entries(rest)) (aboutNames.includes(name) ? about : act)[name] = value;
  const outcome = Object.fromEntries(
    Object.entries({ op, text, textBytes, error, message, rows, bytesIn, bytesOut, micros }).filter(
      ([, value]) => value !== undefined,
    ),
  );
  const split = { type, about, act, ...outcome } as never;
  const whole = encoder.encode(OPERATION, 17, 5, GENESIS);
  assert.equal(encoder.encode(split, 17, 5, GENESIS), whole);
  assert.equal(
    encoder.encode(split, 18, 5, GENESIS),
    whole.replace('"seq":17', '"seq":18'),
    'again, from what is kept',
  );
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SluiceError } from '../../core/errors.ts';
import { Frontend } from './frontend.ts';
import { F, message } from './wire.ts';

const LIMITS = { statement: 1000 };
/** The first length that is too long for a statement. */
const OVER = 1000 + 64 * 1024;

/** Everything that comes out, whatever pieces it goes in: head and rest of a message together, oversize ones by their head. */
function read(stream: Buffer, size: number): string[] {
  const frontend = new Frontend(LIMITS);
  const out: string[] = [];
  let begun: Buffer[] = [];
  let oversize = false;
  for (let at = 0; at < stream.length; at += size) {
    frontend.push(Buffer.from(stream.subarray(at, at + size)));
    for (;;) {
      if (frontend.outstanding > 0) {
        const rest = frontend.rest();
        if (rest === null) break;
        if (!oversize) begun.push(Buffer.from(rest));
        if (frontend.outstanding > 0) continue;
      } else {
        const frame = frontend.next();
        if (frame === null) break;
        begun = [Buffer.from(frame.bytes)];
        oversize = frame.oversize;
        if (frame.rest > 0) continue;
      }
      out.push(`${oversize ? 'oversize ' : ''}${Buffer.concat(begun).toString('latin1')}`);
    }
  }
  assert.equal(frontend.partial, false);
  return out;
}

const long = 'x'.repeat(70_000);
const STREAM = Buffer.concat([
  message(F.query, 'SELECT 1\0'),
  message(F.bind, '\0\0', long),
  message(F.sync),
  message(F.copyData, long),
  message(F.copyDone),
  message(F.query, 'y'.repeat(OVER)),
  message(F.parse, 'name\0SELECT 2\0', Buffer.alloc(2)),
  message(F.functionCall, long),
  message(F.terminate),
]);

describe('Frontend', () => {
  test('cuts a stream the same way in whatever pieces it comes', () => {
    const whole = read(STREAM, STREAM.length);
    assert.equal(whole.length, 9);
    assert.equal(whole[5]?.length, 'oversize '.length + 5 + 64);
    for (const size of [1, 2, 3, 5, 7, 64, 4096, 65_536, 65_541])
      assert.deepEqual(read(STREAM, size), whole, `${size}`);
  });

  test('what was handed out is not written over by what comes later', () => {
    const frontend = new Frontend(LIMITS);
    const bytes = Buffer.concat([message(F.query, 'SELECT 1\0'), message(F.query, 'SELECT 2\0')]);
    for (let at = 0; at < 16; at++) frontend.push(Buffer.from(bytes.subarray(at, at + 1)));
    const first = frontend.next();
    for (let at = 16; at < bytes.length; at++) frontend.push(Buffer.from(bytes.subarray(at, at + 1)));
    frontend.next();
    assert.deepEqual(first?.bytes, message(F.query, 'SELECT 1\0'));
  });

  test('a megabyte that comes byte by byte is not copied for each of them', () => {
    const frontend = new Frontend({ statement: 2 << 20 });
    const bytes = message(F.query, 'z'.repeat(1 << 20));
    const before = process.memoryUsage().arrayBuffers;
    for (let at = 0; at < bytes.length; at++) frontend.push(bytes.subarray(at, at + 1));
    assert.equal(frontend.next()?.bytes.length, bytes.length);
    // Sizes double: all of them together are below four times the last.
    assert.ok(process.memoryUsage().arrayBuffers - before < 16 << 20);
  });

  for (const [name, bytes] of Object.entries({
    'an unknown letter, with its first byte': Buffer.from([0]),
    'a letter of a login': message(F.password, 'x\0'),
    'a length below 4': Buffer.from([F.sync, 0, 0, 0, 3]),
    'a length of 1 GB': Buffer.from([F.copyData, 0x40, 0, 0, 0]),
    'a negative length': Buffer.from([F.bind, 0xff, 0xff, 0xff, 0xff]),
    'a long message of a short kind': Buffer.from([F.close, 0, 2, 0, 0]),
  })) {
    test(`refuses ${name}`, () => {
      const frontend = new Frontend(LIMITS);
      frontend.push(bytes);
      assert.throws(
        () => frontend.next(),
        (error: SluiceError) => error instanceof SluiceError && error.code === 'PROTOCOL_VIOLATION',
      );
    });
  }
});

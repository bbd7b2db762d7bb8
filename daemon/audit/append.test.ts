import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { getSystemErrorName } from 'node:util';
import { libraryPath } from '../core/library.ts';
import { openAppend } from './append.ts';
import { digest, Encoder, GENESIS } from './canonical.ts';
import { operation, place } from './fixture.ts';
import { FRAME_HEADER } from './journal.ts';
import { putHeader, RECORD_HEADER } from './run.ts';

const append = openAppend(libraryPath());

function records(count: number): { chunk: Buffer; end: number } {
  const chunk = Buffer.alloc(65_536);
  const encoder = new Encoder();
  let end = 0;
  for (let seq = 1; seq <= count; seq++) {
    encoder.take(operation(seq));
    const start = end + RECORD_HEADER;
    const next = encoder.put(chunk, start, seq, 1_800_000_000_000);
    putHeader(chunk, end, next - start, seq);
    end = next;
  }
  return { chunk, end };
}

test('a frame is written as it stands, chained, and its last hash told', (t) => {
  const path = join(place(t), 'file');
  const fd = openSync(path, 'w+');
  t.after(() => closeSync(fd));
  const { chunk, end } = records(3);
  const after = Buffer.alloc(32);
  append(fd, 2 ** 32 + 5, chunk, 0, end, Buffer.from(GENESIS, 'hex'), after);
  assert.equal(statSync(path).size, 2 ** 32 + 5 + FRAME_HEADER + end);
  let hash = GENESIS;
  for (let at = 0; at < end; ) {
    const bytes = chunk.subarray(at + RECORD_HEADER, at + RECORD_HEADER + chunk.readUInt32LE(at));
    assert.equal(JSON.parse(bytes.toString()).prev, hash);
    hash = digest(bytes);
    at += RECORD_HEADER + bytes.length;
  }
  assert.equal(after.toString('hex'), hash);
});

test('what are no records is refused, writes nothing, and leaves the hash as it was', (t) => {
  const path = join(place(t), 'file');
  const fd = openSync(path, 'w+');
  t.after(() => closeSync(fd));
  const { chunk, end } = records(2);
  const before = Buffer.from(GENESIS, 'hex');
  const after = Buffer.alloc(32, 7);
  const refused = (raw: Buffer, from: number, to: number) =>
    assert.throws(() => append(fd, 0, raw, from, to, before, after), { code: 'INTERNAL' });
  refused(chunk, 0, 0);
  refused(chunk, 8, 4);
  for (const cut of [1, 7, 8, 20, end - 1]) refused(chunk, 0, cut);
  for (const length of [0, 1, 65, end, 0x7fff_ffff, 0xffff_fff8, 0xffff_ffff]) {
    const changed = Buffer.from(chunk);
    changed.writeUInt32LE(length, 0);
    refused(changed, 0, end);
  }
  assert.equal(readFileSync(path).length, 0);
  assert.deepEqual(after, Buffer.alloc(32, 7));
});

test('errors of the system keep their names', (t) => {
  const { chunk, end } = records(1);
  const after = Buffer.alloc(32, 7);
  const write = (fd: number) => () => append(fd, 0, chunk, 0, end, Buffer.from(GENESIS, 'hex'), after);
  assert.throws(write(-1), { code: 'EBADF', errno: -constants.errno.EBADF });
  const full = openSync('/dev/full', 'w');
  t.after(() => closeSync(full));
  assert.throws(write(full), { code: 'ENOSPC' });
  assert.deepEqual(after, Buffer.alloc(32, 7));
  t.diagnostic(getSystemErrorName(-constants.errno.EDQUOT));
});

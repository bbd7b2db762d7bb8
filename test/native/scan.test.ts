/** Content scanning through the shared library, as masking calls it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { before, test } from 'node:test';
import koffi from 'koffi';

const ROOT = join(import.meta.dirname, '../..');
const SOM = 256;
const CASELESS = 1;
const TOO_MANY = -2;

type Handle = unknown;
type Match = [id: number, from: number, to: number];

let compile: (p: string[], f: number[], i: number[], n: number, streaming: number, e: Buffer, s: number) => Handle;
let scanBlock: (h: Handle, data: Buffer, len: number, out: Buffer, max: number) => number;
let free: (h: Handle) => void;
let open: (h: Handle) => Handle;
let scanChunk: (s: Handle, data: Buffer, len: number, out: Buffer, max: number) => number;
let reset: (s: Handle) => number;
let close: (s: Handle, out: Buffer | null, max: number) => number;

before(() => {
  execFileSync('make', ['-s', '-C', join(ROOT, 'native'), 'lib']);
  const lib = koffi.load(join(ROOT, 'build/native/libsluice.so'));
  compile = lib.func('void *sluice_scan_compile(str *, uint32 *, uint32 *, uint32, int, _Out_ uint8 *, size_t)');
  scanBlock = lib.func('int sluice_scan(void *, const void *, size_t, _Out_ uint8 *, uint32)');
  free = lib.func('void sluice_scan_free(void *)');
  open = lib.func('void *sluice_stream_open(void *)');
  scanChunk = lib.func('int sluice_stream_scan(void *, const void *, size_t, _Out_ uint8 *, uint32)');
  reset = lib.func('int sluice_stream_reset(void *)');
  close = lib.func('int sluice_stream_close(void *, _Out_ uint8 *, uint32)');
});

function compiled(patterns: [string, number, number][], streaming: boolean): Handle {
  const error = Buffer.alloc(256);
  const handle = compile(
    patterns.map((p) => p[0]),
    patterns.map((p) => p[1]),
    patterns.map((p) => p[2]),
    patterns.length,
    streaming ? 1 : 0,
    error,
    error.length,
  );
  assert.ok(handle, error.toString('latin1', 0, error.indexOf(0)));
  return handle;
}

function matches(out: Buffer, count: number): Match[] {
  return Array.from({ length: count }, (_, i) => [
    out.readUInt32LE(i * 12),
    out.readUInt32LE(i * 12 + 4),
    out.readUInt32LE(i * 12 + 8),
  ]);
}

const AWS: [string, number, number] = ['\\bAKIA[0-9A-Z]{16}\\b', SOM, 7];
const KEY: [string, number, number] = ['begin private key', SOM | CASELESS, 4000000000];
const TEXT = Buffer.from('x AKIAABCDEFGHIJKLMNOP y -----BEGIN PRIVATE KEY-----\n');
const FOUND: Match[] = [
  [7, 2, 22],
  [4000000000, 30, 47],
];

test('a block scan reports id, start and end of each match', () => {
  const scan = compiled([AWS, KEY], false);
  const out = Buffer.alloc(12 * 8);
  assert.deepEqual(matches(out, scanBlock(scan, TEXT, TEXT.length, out, 8)), FOUND);
  assert.equal(scanBlock(scan, Buffer.alloc(0), 0, out, 8), 0);
  free(scan);
});

test('a stream finds a match wherever the chunks are cut', () => {
  const scan = compiled([AWS, KEY], true);
  const out = Buffer.alloc(12 * 8);
  for (let cut = 0; cut <= TEXT.length; cut++) {
    const stream = open(scan);
    const found: Match[] = [];
    for (const chunk of [TEXT.subarray(0, cut), TEXT.subarray(cut)])
      found.push(...matches(out, scanChunk(stream, chunk, chunk.length, out, 8)));
    assert.equal(close(stream, out, 8), 0);
    assert.deepEqual(found, FOUND, `cut at ${cut}`);
  }
  free(scan);
});

test('a stream that had too many matches stands as before the chunk', () => {
  const scan = compiled([['ab', SOM, 1]], true);
  const out = Buffer.alloc(12 * 100);
  const stream = open(scan);
  assert.equal(scanChunk(stream, Buffer.from('a'), 1, out, 2), 0);
  const chunk = Buffer.from('babab');
  assert.equal(scanChunk(stream, chunk, chunk.length, out, 2), TOO_MANY);
  assert.deepEqual(matches(out, scanChunk(stream, chunk, chunk.length, out, 100)), [
    [1, 0, 2],
    [1, 2, 4],
    [1, 4, 6],
  ]);
  close(stream, null, 0);
  free(scan);
});

test('a match that needs the end of data comes with close, and a reset stream begins anew', () => {
  const scan = compiled([['ab$', SOM, 5]], true);
  const out = Buffer.alloc(12 * 8);
  const stream = open(scan);
  assert.equal(scanChunk(stream, Buffer.from('xa'), 2, out, 8), 0);
  assert.equal(reset(stream), 0);
  assert.equal(scanChunk(stream, Buffer.from('xxxab'), 5, out, 8), 0);
  assert.deepEqual(matches(out, close(stream, out, 8)), [[5, 3, 5]]);
  const full = open(scan);
  scanChunk(full, Buffer.from('ab'), 2, out, 8);
  assert.equal(close(full, null, 0), TOO_MANY);
  free(scan);
});

test('a pattern that is not supported is named by its id, and a handle of the other mode is refused', () => {
  const error = Buffer.alloc(256);
  assert.equal(compile(['ok', '(a)\\1'], [0, 0], [3, 42], 2, 0, error, error.length), null);
  assert.match(error.toString('latin1'), /pattern with id 42: /);
  const scan = compiled([AWS], true);
  const out = Buffer.alloc(12);
  assert.equal(scanBlock(scan, TEXT, TEXT.length, out, 1), -3);
  assert.equal(open(null), null);
  free(scan);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OutBuffer } from './out.ts';

const put = (out: OutBuffer, text: string) => out.copy(Buffer.from(text), 0, text.length);

test('what was handed over stays as it is until all of it has left, and its memory is used again then', () => {
  const out = new OutBuffer(64);
  put(out, 'first');
  const first = out.take();
  put(out, 'second');
  const second = out.take();
  put(out, 'third');
  assert.deepEqual([String(first), String(second), String(out.view())], ['first', 'second', 'third']);
  assert.equal(new Set([first.buffer, second.buffer, out.view().buffer]).size, 3);
  out.settle();
  put(out, 'x'.repeat(5));
  assert.equal(String(out.take()), 'thirdxxxxx');
  assert.equal(String(first), 'first', 'not written to before it is asked for');
  put(out, 'fourth');
  assert.ok([first.buffer, second.buffer].includes(out.view().buffer));
});

test('it takes no memory before something is written, and grows beyond its room', () => {
  const out = new OutBuffer(16);
  assert.equal(out.bytes.length, 0);
  put(out, 'a');
  assert.equal(out.bytes.length, 16);
  put(out, 'b'.repeat(100));
  assert.equal(String(out.view()), `a${'b'.repeat(100)}`);
});

test('memory that one large row took is given up after it', () => {
  const out = new OutBuffer(16);
  out.reserve(2 * 1024 * 1024);
  out.clear();
  assert.equal(out.bytes.length, 0);
  put(out, 'x'.repeat(100));
  out.clear();
  assert.equal(out.bytes.length, 100);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { partsOf, qualify } from './object.ts';

test('what qualify writes, partsOf reads back', () => {
  const odd = ['orders', 'a.b', 'a"b', '"', '""', 'Orders', 'drop', ' ', 'ünder', 'x$1', '1st', '.', 'a\nb'];
  for (const a of odd) for (const b of odd) assert.deepEqual(partsOf(qualify(a, b)), [a, b]);
});

test('two different names never look the same', () => {
  const pairs = [
    ['public', 'a.b'],
    ['public.a', 'b'],
    ['public', 'a', 'b'],
    ['"public"', 'a.b'],
    ['public"."a', 'b'],
  ];
  assert.equal(new Set(pairs.map((parts) => qualify(...parts))).size, pairs.length);
});

test('names that are not well formed have no parts', () => {
  for (const name of ['', '.', 'a.', '.a', 'a..b', '"a', 'a"b', '"a"b', '"".a'])
    assert.equal(partsOf(name), null, name);
});

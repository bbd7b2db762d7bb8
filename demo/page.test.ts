import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fold } from './page.ts';

test('lines are cut at spaces, and words longer than a line within', () => {
  assert.deepEqual(fold('one two three four', 10), ['one two', '    three', '    four']);
  assert.deepEqual(fold('x'.repeat(12), 10), ['x'.repeat(10), '    xx']);
  assert.deepEqual(fold('a\n\nb', 10), ['a', '', 'b']);
});

test('no line is longer than asked for', () => {
  for (const width of [20, 50, 97]) {
    for (const line of fold(`${'word '.repeat(60)}${'y'.repeat(250)}`, width)) assert.ok(line.length <= width, line);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Figures, median } from './figures.ts';

test('the median of an even number is the mean of the two in the middle', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});

test('a ratio is that of the medians, and is met from the least on', () => {
  const figures = new Figures();
  for (const value of [90, 100, 500]) figures.add('m', 'direct', value, '/s');
  for (const value of [10, 60, 61]) figures.add('m', 'sluice', value, '/s');
  const requirement = { measure: 'm', path: 'sluice', against: 'direct', least: 0.6 };
  assert.deepEqual(figures.ratio(requirement), { ...requirement, ratio: 0.6, met: true });
  assert.equal(figures.ratio({ ...requirement, least: 0.61 }).met, false);
});

test('a measure that was not taken meets nothing', () => {
  assert.equal(new Figures().ratio({ measure: 'm', path: 'a', against: 'b', least: 0 }).met, false);
});

test('the table has one line per measure and one column per path', () => {
  const figures = new Figures();
  figures.add('rate', 'direct', 12_345.6, 'tps');
  figures.add('rate', 'sluice', 9.876, 'tps');
  figures.add('late', 'direct', 1, 'ms');
  assert.equal(figures.table(), '           direct  sluice\nrate  tps  12,346    9.88\nlate  ms        1');
});

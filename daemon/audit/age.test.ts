import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agesFrom } from './age.ts';

const DAY = 86_400_000;

test('a clock that jumps ahead is followed slowly, one that is right again at once', () => {
  const at = { wall: 1_800_000_000_000, elapsed: 0 };
  const right = at.wall;
  const ages = agesFrom(
    undefined,
    () => at.wall,
    () => at.elapsed,
  );
  assert.equal(ages.now(), right);
  at.wall += 365 * DAY;
  assert.equal(ages.now(), right);
  assert.equal(ages.behind, 365 * DAY);
  at.wall += DAY;
  at.elapsed += DAY;
  assert.equal(ages.now(), right + 4 * DAY);
  at.wall = right + DAY;
  assert.equal(ages.now(), right + DAY);
  assert.equal(ages.behind, 0);
});

test('what was known before a start stands: a wrong clock is no faster for it', () => {
  const at = { wall: 1_800_000_000_000, elapsed: 5_000 };
  const ages = agesFrom(
    at.wall - 30 * DAY,
    () => at.wall,
    () => at.elapsed,
  );
  assert.equal(ages.now(), at.wall - 30 * DAY);
  at.wall += 10 * DAY;
  at.elapsed += 10 * DAY;
  assert.equal(ages.behind, 0, 'a month that the host was off is caught up with in ten days');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { QUOTA_MIN, Quota } from './quota.ts';

const MB = 1_048_576;

test('what was put is not held against new operations once it is known to take less', () => {
  let used = 0;
  const quota = new Quota(QUOTA_MIN, () => used);
  // Retention deleted most of it.
  quota.put(36 * MB, 0, false);
  used = 4 * MB;
  assert.equal(quota.reached(10 * MB), false);
  used = 80 * MB;
  quota.put(70 * MB, 0, false);
  assert.equal(quota.reached(10 * MB), true);
});

test('a full store is full until clearly less is taken, not each time that less was taken than expected', () => {
  let used = QUOTA_MIN - 10 * MB;
  const quota = new Quota(QUOTA_MIN, () => used);
  assert.equal(quota.reached(2 * MB), true);
  // Drained: 2 MB, where 4 were expected.
  used += MB;
  quota.put(2 * MB, 0, true);
  assert.equal(quota.reached(0), true);
  used -= 8 * MB;
  quota.put(0, 0, true);
  assert.equal(quota.reached(0), false);
  assert.equal(quota.reached(3 * MB), false);
});

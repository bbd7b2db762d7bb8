import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz } from './fuzz.ts';

test('five seconds of conversations: nothing undecided passes, nothing masked comes, nothing hangs', async () => {
  const totals = await fuzz({ seed: 20261122, seconds: 5 });
  // Conversations that were all refused or cut off would show nothing.
  assert.ok(totals.forwarded > totals.conversations && totals.refused > 0);
  assert.ok((totals.ends.whole ?? 0) > totals.conversations / 2);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { open, operation, place } from './fixture.ts';
import { QUOTA_MIN } from './quota.ts';
import { verifyChain } from './verify.ts';

test('at its quota the store refuses new operations, takes what ends old ones, and deletes nothing', async (t) => {
  const dir = place(t);
  const store = await open(dir, { quotaBytes: QUOTA_MIN });
  const text = 'x'.repeat(60_000);
  const states: boolean[] = [];
  store.watch((state) => states.push(state.ok));
  let kept = 0;
  await assert.rejects(
    async () => {
      for (let n = 1; n <= 5_000; n++) {
        const receipt = store.record(operation(n, { text }));
        await receipt.durable();
        kept++;
      }
    },
    { code: 'AUDIT_FULL', message: /quota/ },
  );
  assert.deepEqual(states, [false]);
  await store.record({ type: 'result', op: 1, rows: 1 }).durable();
  const { first, last } = store.range()!;
  assert.deepEqual([first, last], [1, kept + 1]);
  assert.equal((await verifyChain(store, store.publicKey)).ok, true);
  await store.close();
});

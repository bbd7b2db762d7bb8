import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Archive } from './archive.ts';
import { loadPublicKey } from './checkpoint.ts';
import { fill, MB, open, operation, place } from './fixture.ts';
import { QUOTA_MIN } from './quota.ts';
import { BLOCK } from './terms.ts';
import { verifyChain } from './verify.ts';

test('retention deletes the oldest by age in steps, leaves a signed record, and the rest verifies', async (t) => {
  const dir = place(t);
  let now = 1_800_000_000_000;
  const store = await open(dir, { retention: { ageMs: 1_000 }, clock: () => now, elapsed: () => now });
  await fill(store, BLOCK * 3);
  now += 10_000;
  await fill(store, BLOCK * 2, BLOCK * 3 + 1);
  await store.close();
  const archive = new Archive(dir);
  t.after(() => archive.close());
  const found = await verifyChain(archive, loadPublicKey(join(dir, 'host.pub')));
  assert.deepEqual(found.problems, []);
  assert.equal(found.prunedUpTo, BLOCK * 3 - 1);
  assert.equal(found.first, BLOCK * 3);
  assert.equal(found.last, BLOCK * 5);
  // The index went with the events.
  assert.deepEqual([...archive.blocksOf('TYPE', ['operation'], false)], [3, 4, 5]);
});

test('retention by size keeps the store under its bound while events come', async (t) => {
  const dir = place(t);
  const store = await open(dir, { retention: { bytes: 4 * MB }, quotaBytes: QUOTA_MIN });
  const text = 'x'.repeat(1_000);
  for (let n = 1; n <= 40_000; n++) {
    const receipt = store.record(operation(n, { text }));
    if (n % 100 === 0) await receipt.committed();
    if (n % 2_000 === 0) await receipt.durable();
  }
  await store.close();
  const archive = new Archive(dir);
  t.after(() => archive.close());
  const found = await verifyChain(archive, loadPublicKey(join(dir, 'host.pub')));
  assert.deepEqual(found.problems, []);
  assert.ok(found.first > 20_000, `first is ${found.first}`);
  assert.ok(statSync(join(dir, 'events.mdb')).size < 40 * MB, `${statSync(join(dir, 'events.mdb')).size}`);
});

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Archive } from './archive.ts';
import { loadPublicKey } from './checkpoint.ts';
import { open, operation, place } from './fixture.ts';
import { Journal } from './journal.ts';
import { Table } from './table.ts';
import { verifyChain } from './verify.ts';

/** fdatasync as the journal sees it; `result` says what comes of each. */
function disk(t: TestContext, result: () => Error | null): void {
  const real = fs.fdatasync;
  fs.fdatasync = ((_fd: number, done: (error: Error | null) => void) =>
    void setTimeout(() => done(result()), 5)) as typeof fs.fdatasync;
  syncBuiltinESMExports();
  t.after(() => {
    fs.fdatasync = real;
    syncBuiltinESMExports();
  });
}
const broken = () => Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' });

test('a sync that fails is told to who waits; who asks after it gets the disk only by LMDB', async (t) => {
  let fail = true;
  disk(t, () => (fail ? broken() : null));
  const store = await open(place(t));
  const put = t.mock.method(Table.prototype, 'put', async () => {
    throw broken();
  });
  const receipt = store.record(operation(1));
  await receipt.committed();
  await assert.rejects(receipt.durable(), { code: 'AUDIT_FAILED' });
  fail = false;
  let there = false;
  const after = receipt.durable().then(() => {
    there = true;
  });
  // The next try of LMDB's, before which a sync of the journal's would have come.
  for (const tried = put.mock.callCount(); put.mock.callCount() === tried; )
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(there, false);
  assert.throws(() => store.record(operation(2)), { code: 'AUDIT_FAILED' });
  assert.throws(() => store.record({ type: 'result', op: 1, rows: 1 }), { code: 'AUDIT_FAILED' });
  put.mock.restore();
  await after;
  await store.close();
});

test('close settles who waits for the disk when LMDB fails', async (t) => {
  disk(t, () => null);
  const store = await open(place(t));
  t.mock.method(Table.prototype, 'put', async () => {
    throw broken();
  });
  const receipt = store.record(operation(1));
  await receipt.committed();
  const waits = receipt.durable().then(
    () => 'ok',
    () => 'failed',
  );
  await store.close();
  assert.notEqual(await Promise.race([waits, new Promise((resolve) => setImmediate(resolve, 'never'))]), 'never');
});

test('whatever fails on the way, what was acknowledged is there, once and in order', async (t) => {
  const dir = place(t);
  let seed = 12345;
  const random = (n: number) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), seed | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) % n;
  };
  disk(t, () => (random(30) === 0 ? broken() : null));
  const store = await open(dir);
  const { append } = Journal.prototype;
  const { put } = Table.prototype;
  t.mock.method(Journal.prototype, 'append', function (this: Journal, ...words: Parameters<Journal['append']>) {
    if (random(60) === 0) throw broken();
    append.apply(this, words);
  });
  t.mock.method(Table.prototype, 'put', function (this: Table, ...words: Parameters<Table['put']>) {
    return random(6) === 0 ? Promise.reject(broken()) : put.apply(this, words);
  });
  const acked: number[] = [];
  const told: Promise<void>[] = [];
  let op = 0;
  const end = Date.now() + 2_000;
  while (Date.now() < end) {
    for (let i = random(40); i >= 0; i--) {
      const n = ++op;
      const text = 'x'.repeat(random(20) === 0 ? random(60_000) : random(200));
      try {
        const receipt = store.record(operation(n, { text }));
        told.push(
          (random(3) === 0 ? receipt.durable() : receipt.committed()).then(
            () => void acked.push(n),
            () => {},
          ),
        );
      } catch {}
    }
    await new Promise((resolve) => setTimeout(resolve, random(3)));
  }
  t.mock.restoreAll();
  await store.close();
  await Promise.all(told);
  const archive = new Archive(dir);
  const { last } = archive.range()!;
  const ops = [...archive.read(1, last + 1)].map(({ bytes }) => JSON.parse(bytes.toString()).op as number);
  assert.deepEqual(
    ops,
    [...ops].sort((a, b) => a - b),
  );
  const kept = new Set(ops);
  assert.equal(kept.size, ops.length);
  assert.deepEqual(
    acked.filter((n) => !kept.has(n)),
    [],
  );
  assert.deepEqual((await verifyChain(archive, loadPublicKey(join(dir, 'host.pub')))).problems, []);
  await archive.close();
});

test('a segment that can not begin anew after a failed sync is released again, and trusted only then', async (t) => {
  let fail = true;
  disk(t, () => (fail ? broken() : null));
  const store = await open(place(t));
  const { release } = Journal.prototype;
  let refused = 0;
  t.mock.method(Journal.prototype, 'release', function (this: Journal, upTo: number) {
    if (fail) {
      refused++;
      throw broken();
    }
    release.call(this, upTo);
  });
  const receipt = store.record(operation(1));
  await receipt.committed();
  await receipt.durable().catch(() => {});
  while (refused < 2) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.throws(() => store.record({ type: 'result', op: 1, rows: 1 }), { code: 'AUDIT_FAILED' });
  fail = false;
  while (!store.state.ok) await new Promise((resolve) => setTimeout(resolve, 20));
  await store.record(operation(2)).durable();
  await store.close();
});

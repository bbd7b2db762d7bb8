import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { open as openLmdb } from 'lmdb';
import type { Event, EventInput } from '../core/event.ts';
import { Archive } from './archive.ts';
import { openAudit } from './audit.ts';
import { loadPublicKey } from './checkpoint.ts';
import type { Log } from './log.ts';
import { query } from './query.ts';
import { type Entry, pack, unpack } from './run.ts';
import { BLOCK } from './terms.ts';
import { verifyChain } from './verify.ts';

const entry = (seq: number, text: string): Entry => ({ seq, bytes: Buffer.from(text) });
const plain = (entries: readonly Entry[]): unknown[] => entries.map(({ seq, bytes }) => [seq, bytes.toString()]);

function place(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-run-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const operation = (op: number): EventInput => ({ type: 'operation', session: `s${op % 5}`, op, text: `SELECT ${op}` });

/** First and last event of each run in LMDB. */
async function runs(dir: string): Promise<[number, number][]> {
  const root = openLmdb({ path: join(dir, 'events.mdb'), noSubdir: true, maxDbs: 8, readOnly: true });
  const events = root.openDB<Buffer, number>({ name: 'events', encoding: 'binary' });
  const found = [...events.getRange({})].map(({ key, value }): [number, number] => [
    key,
    unpack(value, key).at(-1)!.seq,
  ]);
  await root.close();
  return found;
}

async function ops(log: Log, params: Parameters<typeof query>[1]): Promise<(number | undefined)[]> {
  const found: Event[] = [];
  for await (const event of query(log, params)) found.push(event);
  return found.map(({ op }) => op);
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

test('a run comes back as it was put, also where its numbers take more than 32 bits', () => {
  for (const first of [1, 2 ** 32 - 5, 2 ** 40 + 1]) {
    const entries = [entry(first, 'a'), entry(first + 1, ''.padEnd(300, 'b')), entry(first + 4, 'c')];
    assert.deepEqual(plain(unpack(pack(entries), first)), plain(entries));
  }
  assert.deepEqual(unpack(Buffer.alloc(0), 7), []);
});

test('a run that is cut or changed at any byte never gives events out of order or out of its block', () => {
  const first = BLOCK - 3;
  const raw = pack([entry(first, 'one'), entry(first + 1, 'two'), entry(first + 2, 'three')]);
  const check = (bytes: Buffer, what: string): void => {
    const found = unpack(bytes, first);
    for (const [i, { seq }] of found.entries()) {
      assert.ok(seq >= first && seq < BLOCK && (i === 0 || seq >= found[i - 1]!.seq), `${what}: ${seq}`);
    }
  };
  for (let at = 0; at < raw.length; at++) {
    check(raw.subarray(0, at), `cut at ${at}`);
    for (const bit of [1, 0x80]) {
      const changed = Buffer.from(raw);
      changed[at]! ^= bit;
      check(changed, `changed at ${at}`);
    }
  }
  // What is behind the last event of a block has no place of its own, and is still told.
  const behind = unpack(Buffer.concat([raw, Buffer.from('x')]), first);
  assert.deepEqual(plain(behind.slice(3)), [[BLOCK - 1, 'x']]);
});

test('events of one turn over several blocks, and of short drains, are read alike from everywhere', async (t) => {
  const dir = place(t);
  let store = await openAudit({ dir, quotaBytes: 1e9, clock: Date.now });
  let op = 0;
  // One turn over two borders of blocks; then short runs: one event, a few, and what the journal held.
  while (op < 2 * BLOCK + 100) store.record(operation(++op));
  for (const count of [1, 3, BLOCK]) {
    await store.close();
    store = await openAudit({ dir, quotaBytes: 1e9, clock: Date.now });
    for (let i = 0; i < count; i++) store.record(operation(++op));
  }
  await store.close();
  const stored = await runs(dir);
  for (const [first, last] of stored) assert.equal(Math.floor(first / BLOCK), Math.floor(last / BLOCK), `${first}`);
  assert.ok(stored.length >= 6, `${stored.length} runs`);
  for (const [i, [first]] of stored.entries()) assert.equal(first, i === 0 ? 1 : stored[i - 1]![1] + 1);

  store = await openAudit({ dir, quotaBytes: 1e9, clock: Date.now });
  // These are in memory, the others in LMDB.
  for (let i = 0; i < 10; i++) store.record(operation(++op));
  await store.record(operation(++op)).committed();
  const archive = new Archive(dir);
  for (const log of [store, archive]) {
    assert.deepEqual(log.range(), { first: 1, last: op });
    assert.deepEqual(await ops(log, {}), numbers(1, op));
    assert.deepEqual(await ops(log, { reverse: true }), numbers(1, op).reverse());
    assert.deepEqual(await ops(log, { lines: BLOCK + 50 }), numbers(op - BLOCK - 49, op));
    assert.deepEqual(
      await ops(log, { matches: [['SESSION=s3']] }),
      numbers(1, op).filter((n) => n % 5 === 3),
    );
    const edges = [...stored.flat(), op - 11, op - 10, op].flatMap((seq) => [seq - 1, seq, seq + 1]);
    for (const from of edges) {
      for (const to of [from, from + 1, from + 7, from + BLOCK]) {
        const expected = numbers(Math.max(1, from), Math.min(op, to - 1));
        assert.deepEqual(
          [...log.read(from, to)].map(({ seq }) => seq),
          expected,
          `${from} to ${to}`,
        );
        assert.deepEqual(
          [...log.read(from, to, true)].map(({ seq }) => seq),
          expected.reverse(),
          `${to} to ${from}`,
        );
      }
    }
  }
  assert.deepEqual((await verifyChain(archive, loadPublicKey(join(dir, 'host.pub')))).problems, []);
  await archive.close();
  await store.close();
});

test('retention ends between two blocks, whatever the runs', async (t) => {
  const dir = place(t);
  let now = 1_800_000_000_000;
  let op = 0;
  const options = { dir, quotaBytes: 1e9, clock: () => now, elapsed: () => now, retention: { ageMs: 60_000 } };
  // Ends within a block, which has old and new events and so stays.
  while (op < BLOCK + 300) {
    const store = await openAudit(options);
    for (let i = 0; i < 331; i++) store.record(operation(++op));
    await store.close();
  }
  const store = await openAudit(options);
  now += 120_000;
  for (let i = 0; i < 2 * BLOCK; i++) store.record(operation(++op));
  await store.close();
  assert.equal((await runs(dir))[0]![0], BLOCK);
  const archive = new Archive(dir);
  t.after(() => archive.close());
  const found = await verifyChain(archive, loadPublicKey(join(dir, 'host.pub')));
  assert.deepEqual(found.problems, []);
  assert.deepEqual([found.first, found.prunedUpTo, found.last], [BLOCK, BLOCK - 1, op]);
  assert.deepEqual(await ops(archive, {}), numbers(BLOCK, op));
});

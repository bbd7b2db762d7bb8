import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Event } from '../core/event.ts';
import { type AuditStore, openAudit } from './audit.ts';
import { Follower } from './follower.ts';
import type { Log } from './log.ts';

const dir = mkdtempSync(join(tmpdir(), 'sluice-follower-'));
const cursor = join(dir, 'cursor');
after(() => rmSync(dir, { recursive: true, force: true }));

const open = (retention?: { bytes: number }): Promise<AuditStore> =>
  openAudit({ dir: join(dir, 'audit'), quotaBytes: 1e9, clock: Date.now, ...(retention ? { retention } : {}) });

/** `room`: how many it takes at once. */
function following(log: AuditStore, room = 1_000, file = cursor) {
  const seqs: number[] = [];
  const gaps: number[] = [];
  const faults: unknown[] = [];
  const sink = { room };
  const follower = new Follower({
    ...{ log, cursor: file },
    take(events: readonly Event[]) {
      const taken = events.slice(0, sink.room);
      seqs.push(...taken.map(({ seq }) => seq));
      return taken.length;
    },
    onGap: (count) => gaps.push(count),
    onFault: (error) => faults.push(error),
    onResume: () => {},
  });
  return { follower, seqs, gaps, faults, sink };
}

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const record = (store: AuditStore, count: number) => {
  let receipt = store.record({ type: 'operation', text: '1' });
  for (let n = 1; n < count; n++) receipt = store.record({ type: 'operation', text: String(n) });
  return receipt.committed();
};

test('each event is copied once, in order, across ends, by whoever takes few at a time or none', async () => {
  let store = await open();
  const first = following(store, 1);
  await record(store, 300);
  await first.follower.close();
  const copied = first.seqs.length;
  assert.ok(copied > 0 && copied < 300);
  assert.deepEqual(first.seqs, numbers(1, copied));
  await record(store, 10);
  await store.close();

  store = await open();
  const none = following(store, 0);
  await record(store, 1);
  assert.equal(none.follower.behind, 311 - copied);
  await none.follower.close();
  assert.deepEqual(none.seqs, []);

  const rest = following(store);
  await rest.follower.close();
  assert.deepEqual(rest.seqs, numbers(copied + 1, 311));
  assert.deepEqual([...first.gaps, ...none.gaps, ...rest.gaps, ...rest.faults], []);
  await store.close();
});

test('a position that is not readable begins with the next event, that of another chain with the first', async () => {
  const store = await open();
  writeFileSync(cursor, 'nonsense');
  const next = following(store);
  await record(store, 2);
  await next.follower.close();
  assert.deepEqual(next.seqs, [312, 313]);
  writeFileSync(cursor, `${'5'.padStart(16, '0')} ${'0'.repeat(32)}\n`);
  const other = following(store);
  await other.follower.close();
  assert.deepEqual(other.seqs, numbers(1, 313));
  await store.close();
});

test('one that can not go on says so once, tries ever more seldom, and goes on where it was', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  let last = 3;
  const listeners = new Set<() => void>();
  const log = {
    chain: 'c0ffee',
    range: () => ({ first: 1, last }),
    *read(from: number, to: number) {
      for (let seq = from; seq < to && seq <= last; seq++)
        yield { seq, bytes: Buffer.from(JSON.stringify({ seq, type: 'operation' })) };
    },
    subscribe(listener: () => void) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  } as unknown as Log;
  let fault: Error | null = new Error('no space');
  let tries = 0;
  const said: (number | Error)[] = [];
  const words = {
    onGap: (count: number) => said.push(count),
    onFault: (error: unknown) => said.push(error as Error),
    onResume: (ms: number) => said.push(ms),
  };
  const seqs: number[] = [];
  const file = join(dir, 'still');
  writeFileSync(file, `${'0'.padStart(16, '0')} c0ffee\n`);
  const follower = new Follower({
    ...{ log, cursor: file, elapsed: () => now, ...words },
    take(events) {
      tries++;
      if (fault !== null) throw fault;
      seqs.push(...events.map(({ seq }) => seq));
      return events.length;
    },
  });
  /** Events come all the while. */
  const pass = (ms: number) => {
    for (const end = now + ms; now < end; ) {
      now += 10;
      for (const listener of listeners) listener();
      t.mock.timers.tick(10);
    }
  };
  pass(60_000);
  assert.deepEqual(said, [fault]);
  // 0.1, 0.2, 0.4, 0.8, 1.6 and 3.2 s apart, then 5.
  assert.ok(tries > 10 && tries < 25, String(tries));
  last = 5;
  fault = null;
  pass(5_000);
  assert.deepEqual(seqs, [1, 2, 3, 4, 5]);
  const [, still] = said.splice(0);
  assert.ok(typeof still === 'number' && still >= 60_000 && still <= 65_000, String(still));

  // One that goes on and fails again within seconds stays as slow: one word when it begins, and no more.
  tries = 0;
  fault = new Error('no space again');
  last = 6;
  pass(10_000);
  assert.deepEqual(said, [fault]);
  assert.ok(tries <= 3, String(tries));
  await follower.close();
  assert.deepEqual(said, [fault]);
  assert.deepEqual(seqs, [1, 2, 3, 4, 5]);

  // Its end, by a fault, leaves the position where it was.
  const next: number[] = [];
  const after = new Follower({
    ...{ log, cursor: file, elapsed: () => now, ...words },
    take: (events) => next.push(...events.map(({ seq }) => seq)),
  });
  await after.close();
  assert.deepEqual(next, [6]);
});

test('a position that can not be written does not keep the daemon from starting', async (t) => {
  const store = await open();
  await record(store, 1);
  // It can be read and opened for writing, and takes nothing.
  const full = following(store, 1_000, '/proc/self/uid_map');
  t.after(() => store.close());
  await full.follower.close();
  assert.equal(full.faults.length, 1);
});

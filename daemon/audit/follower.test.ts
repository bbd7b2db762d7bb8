import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Event } from '../core/event.ts';
import { type AuditStore, openAudit } from './audit.ts';
import { Follower } from './follower.ts';

const dir = mkdtempSync(join(tmpdir(), 'sluice-follower-'));
const cursor = join(dir, 'cursor');
after(() => rmSync(dir, { recursive: true, force: true }));

const open = (retention?: { bytes: number }): Promise<AuditStore> =>
  openAudit({ dir: join(dir, 'audit'), quotaBytes: 1e9, clock: Date.now, ...(retention ? { retention } : {}) });

/** `room`: how many it takes at once. */
function following(log: AuditStore, room = 1_000) {
  const seqs: number[] = [];
  const gaps: number[] = [];
  const faults: unknown[] = [];
  const sink = { room };
  const follower = new Follower({
    ...{ log, cursor },
    take(events: readonly Event[]) {
      const taken = events.slice(0, sink.room);
      seqs.push(...taken.map(({ seq }) => seq));
      return taken.length;
    },
    onGap: (count) => gaps.push(count),
    onFault: (error) => faults.push(error),
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

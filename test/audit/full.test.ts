/** A disk that is really full: a small tmpfs in a mount namespace of its own would hide it from this process, so it is mounted here. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type AuditStore, openAudit } from '../../daemon/audit/audit.ts';
import { query } from '../../daemon/audit/query.ts';
import { verifyChain } from '../../daemon/audit/verify.ts';
import type { SluiceError } from '../../daemon/core/errors.ts';

/** Records until refused; returns the numbers that were acknowledged and the refusal. */
async function fill(store: AuditStore, from: number): Promise<{ kept: number[]; refusal: SluiceError }> {
  const kept: number[] = [];
  for (let op = from; ; op++) {
    try {
      await store.record({ type: 'operation', op, text: 'x'.repeat(3_000) }).durable();
      kept.push(op);
    } catch (error) {
      return { kept, refusal: error as SluiceError };
    }
  }
}

async function writable(store: AuditStore): Promise<void> {
  while (!store.state.ok)
    await new Promise<void>((resolve) => {
      const end = store.watch(() => {
        end();
        resolve();
      });
    });
}

test('a full disk refuses new operations, loses nothing, and recovers by itself when there is room', {
  timeout: 120_000,
  skip: process.getuid?.() === 0 ? false : 'mounting a tmpfs needs root',
}, async () => {
  const disk = mkdtempSync(join(tmpdir(), 'sluice-full-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=0700', 'tmpfs', disk]);
  let store: AuditStore | null = null;
  try {
    store = await openAudit({ dir: join(disk, 'audit'), quotaBytes: 1e9, clock: Date.now });
    const ballast = join(disk, 'ballast');
    const acknowledged: number[] = [];
    for (let round = 0; round < 2; round++) {
      const { bavail, bsize } = statfsSync(disk);
      writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - 2_000_000)));
      const { kept, refusal } = await fill(store, (acknowledged.at(-1) ?? 0) + 1);
      assert.equal(refusal.code, 'AUDIT_FULL', refusal.stack);
      assert.match(refusal.message, /bytes are free in/);
      acknowledged.push(...kept);
      assert.equal(store.state.ok, false);
      // What ends something already allowed still has its place.
      await store.record({ type: 'result', rows: 1 }).durable();
      rmSync(ballast);
      await writable(store);
      const after = acknowledged.at(-1)! + 1;
      await store.record({ type: 'operation', op: after, text: 'there is room again' }).durable();
      acknowledged.push(after);
    }
    const found: number[] = [];
    for await (const event of query(store, { matches: [['TYPE=operation']] })) found.push(event.op!);
    assert.deepEqual(found, acknowledged);
    assert.ok(acknowledged.length > 100);
    const proof = await verifyChain(store, store.publicKey);
    assert.deepEqual(proof.problems, []);
    assert.equal(proof.events, proof.last, 'no gap');
  } finally {
    await store?.close();
    execFileSync('umount', ['-l', disk]);
    rmSync(disk, { recursive: true, force: true });
  }
});

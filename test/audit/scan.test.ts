import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openAudit } from '../../daemon/audit/audit.ts';
import { query } from '../../daemon/audit/query.ts';
import { verifyChain } from '../../daemon/audit/verify.ts';

const COUNT = 200_000;
const MB = 1_048_576;

/** Memory of this process that is not file pages, bytes. */
function anonymous(): number {
  return Number(/RssAnon:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
}

test('200,000 events are written, read through, and verified in bounded memory', { timeout: 140_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-scan-'));
  try {
    const store = await openAudit({ dir, quotaBytes: 1e9, clock: Date.now });
    const before = anonymous();
    for (let op = 1; op <= COUNT; op++) {
      const receipt = store.record({
        type: 'operation',
        session: 'aaaa',
        op,
        text: `SELECT ${op} -- ${'x'.repeat(300)}`,
      });
      if (op % 20 === 0) await receipt.committed();
    }
    await store.record({ type: 'fault' }).durable();
    let seen = 0;
    for await (const event of query(store, { matches: [['SESSION=aaaa']], reverse: true })) {
      assert.equal(event.op, COUNT - seen);
      seen++;
    }
    assert.equal(seen, COUNT);
    let newest = 0;
    for await (const _ of query(store, { lines: 150_000 })) newest++;
    assert.equal(newest, 150_000);
    assert.equal((await verifyChain(store, store.publicKey)).ok, true);
    // The events are 100 MB of JSON and several times that as objects; what stays is the young generation and buffers.
    assert.ok(anonymous() - before < 200 * MB, `${Math.round((anonymous() - before) / MB)} MB more`);
    await store.close();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

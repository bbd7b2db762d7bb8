import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SluiceError } from '../core/errors.ts';
import type { Approval } from './approval.ts';
import { openStore } from './store.ts';

const approval = (n: number, closedAt: number | null) => ({ id: `A${n}`, closedAt, text: 'é\u0000' }) as Approval;

test('live approvals are never pruned, closed ones are, oldest first', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-store-'));
  t.after(() => rmSync(directory, { recursive: true }));
  let store = openStore(directory, 10);
  for (let n = 0; n < 5; n++) await store.put(approval(n, null));
  for (let n = 5; n < 40; n++) await store.put(approval(n, 1000 + n));
  await store.close();
  store = openStore(directory, 10);
  assert.equal(store.live().length, 5);
  assert.deepEqual(store.get('A3'), approval(3, null));
  const closed = store.closed().map((each) => each.id);
  assert.equal(closed[0], 'A39');
  assert.equal(closed.length, 10);
  await store.close();
});

test('a store that cannot be opened says which', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-store-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'file');
  writeFileSync(path, 'not a database');
  assert.throws(
    () => openStore(path),
    (error) => error instanceof SluiceError && error.code === 'STATE_FAILED' && error.message.includes(path),
  );
});

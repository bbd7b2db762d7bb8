/** For tests: stores in folders that go with the test, and events to fill them with. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { EventInput } from '../core/event.ts';
import { type AuditOptions, type AuditStore, openAudit } from './audit.ts';

export const MB = 1_048_576;

export function place(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-audit-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export function open(dir: string, more: Partial<AuditOptions> = {}): Promise<AuditStore> {
  return openAudit({ dir, quotaBytes: 1024 * MB, clock: Date.now, ...more });
}

export const operation = (n: number, more: Partial<EventInput> = {}): EventInput => ({
  type: 'operation',
  session: `5e55${'0'.repeat(28)}`,
  flow: `f10${n % 3}${'0'.repeat(12)}`,
  op: n,
  verb: 'SELECT',
  text: `SELECT ${n}`,
  decision: n % 10 === 0 ? 'deny' : 'allow',
  ...more,
});

export async function fill(store: AuditStore, count: number, from = 1): Promise<void> {
  for (let n = from; n < from + count; n++) {
    const receipt = store.record(operation(n));
    if (n % 50 === 0 || n === from + count - 1) await receipt.committed();
  }
}

/** Where metrics are read, and by whom. */
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { admit, authorise, type Gate } from '../control/access.ts';
import { descriptor } from '../control/server.ts';
import type { Config } from './config.ts';

/** Null: nowhere. */
export function metricsAt({
  metrics: { off, port, socket },
  runDir,
}: Config): { socket: string } | { port: number } | null {
  if (off) return null;
  return port === undefined ? { socket: socket ?? join(runDir, 'daemon/metrics.sock') } : { port };
}

/** Readers of the audit, and members of the group for metrics; no agent. @throws SluiceError NOT_ALLOWED. */
export async function admitReader(gate: Gate, socket: Socket, group: string): Promise<void> {
  const caller = admit(gate, descriptor(socket));
  if ((await gate.groupsOf(caller.uid)).includes(group)) return;
  await authorise(gate, caller, 'auditor', 'metrics');
}

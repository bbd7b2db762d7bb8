/** What the control socket offers of the audit. Who may call is decided there. */
import { z } from 'zod';
import { SluiceError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import { query } from './query.ts';
import { type SessionSummary, summarise } from './sessions.ts';
import type { AuditStore } from './store.ts';
import { type Verification, verifyChain } from './verify.ts';

const QUERY = z.strictObject({
  matches: z
    .array(z.array(z.string().max(5_000)).max(100))
    .max(100)
    .optional(),
  since: z.number().optional(),
  until: z.number().optional(),
  grep: z.string().max(1_000).optional(),
  lines: z.number().int().min(0).max(1_000_000).optional(),
  reverse: z.boolean().optional(),
  follow: z.boolean().optional(),
  after: z.number().int().min(0).optional(),
});

export interface AuditHandlers {
  /** @throws SluiceError AUDIT_QUERY, also while iterating. With `follow` it ends when the signal is aborted. */
  query(params: unknown, signal?: AbortSignal): AsyncIterable<Event>;
  sessions(): Promise<SessionSummary[]>;
  verify(): Promise<Verification>;
}

export function auditHandlers(store: AuditStore): AuditHandlers {
  return {
    query(params, signal) {
      const parsed = QUERY.safeParse(params);
      if (!parsed.success) {
        throw new SluiceError('AUDIT_QUERY', `the query is not valid: ${z.prettifyError(parsed.error)}`);
      }
      // Absent members are absent: the schema adds none.
      return query(store, parsed.data as Parameters<typeof query>[1], signal);
    },
    sessions: () => summarise(store),
    verify: () => verifyChain(store, store.publicKey),
  };
}

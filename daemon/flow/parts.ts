/** What a flow is given to work with. The entry of the daemon puts the stages in; a flow knows none of them by name. */

import type { SecureContext } from 'node:tls';
import type { ApprovalTerms } from '../core/decision.ts';
import type { SluiceError } from '../core/errors.ts';
import type { Recorder } from '../core/event.ts';
import type { Operation } from '../core/operation.ts';
import type { Policy } from '../core/policy.ts';
import type { Origin, Session } from '../core/principal.ts';
import type { Credential, Resource } from '../core/resource.ts';
import type { Outbox } from './outbox.ts';
import type { FindAddresses } from './reach.ts';

export interface Ask {
  readonly session: Session;
  readonly resource: string;
  readonly operation: Operation;
  readonly approval: ApprovalTerms;
  readonly rule: string | null;
  readonly reason: string;
  readonly flowId: string;
  readonly origin: Origin;
  readonly account?: string;
  readonly database?: string;
  readonly parameters?: readonly (string | null)[];
}

export type Answered =
  | { readonly kind: 'granted'; readonly id: string }
  | { readonly kind: 'refused'; readonly id: string; readonly error: SluiceError }
  | Waiting;

export interface Waiting {
  readonly kind: 'pending';
  readonly id: string;
  /** Waits at most `ms`. Granted: this caller used the approval up. Anything else is an error for the agent. */
  wait(
    ms: number,
    signal?: AbortSignal,
  ): Promise<{ readonly granted: true } | { readonly granted: false; readonly error: SluiceError }>;
}

export interface FlowParts {
  policy(): Policy;
  readonly recorder: Recorder;
  approve(ask: Ask): Promise<Answered>;
  credential(resource: Resource): Promise<Credential | null>;
  /** A server certificate for these names, from the host's CA. */
  secureContext(names: readonly string[]): Promise<SecureContext>;
  /** Whether this is the token of the session. */
  tokenIs(session: Session, text: string): boolean;
  /** What challenge-response logins need of the token; null when the session has ended. */
  verifier(session: Session): string | null;
  /** Why the session may do nothing any more: its identity has ended. Null: it holds. */
  expired(session: Session): SluiceError | null;
  /** A fault that no client is told of in full. */
  onFault(error: unknown, flow: string): void;
  /** How addresses of resources are found. Absent: as the C library finds them. */
  readonly lookup?: FindAddresses;
  readonly outbox: Outbox;
  readonly timings: Timings;
  readonly limits: FlowLimits;
}

/** Where it is told how long things took, seconds. */
export interface Timings {
  /** Added to an operation, without what it was held for approval. */
  readonly added: { observe(seconds: number): void };
  readonly held: { observe(seconds: number): void };
}

export interface FlowLimits {
  /** Milliseconds for both logins. */
  readonly greeting: number;
  /** Milliseconds that a message may stay incomplete. */
  readonly stall: number;
  /** Bytes of a client's that are kept while an act of it waits. */
  readonly ahead: number;
  /** Longest statement text kept in an event, bytes. */
  readonly eventText: number;
}

export const LIMITS: FlowLimits = { greeting: 30_000, stall: 30_000, ahead: 1024 * 1024, eventText: 64 * 1024 };

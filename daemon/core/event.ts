/** One audit record. The stable schema; additions only, and SCHEMA rises with each. */
import type { Access } from './operation.ts';

export const EVENT_SCHEMA = 5;

export type EventType =
  | 'daemon.start'
  | 'daemon.stop'
  | 'daemon.clock'
  | 'daemon.log'
  | 'session.start'
  | 'session.end'
  | 'session.refused'
  | 'session.renewed'
  | 'session.expired'
  | 'login.start'
  | 'login.end'
  | 'flow.start'
  | 'flow.end'
  | 'operation'
  | 'result'
  | 'approval.requested'
  | 'approval.decided'
  | 'approval.expired'
  | 'approval.used'
  | 'policy.loaded'
  | 'policy.rejected'
  | 'fault';

/** What a stage hands to audit. Sequence, time and hash are added by the store. Absent fields are not stored. */
export interface EventInput extends EventFields {
  readonly type: EventType;
  /**
   * Fields `session` to `database` that many events share: encoded once for as long as the object lives, which must not
   * change meanwhile. An event that has it has none of these fields itself.
   */
  readonly about?: EventFields;
  /** The same for the fields `verb` to `masks`; the text of a statement is each event's own. */
  readonly act?: Omit<EventFields, 'text' | 'textBytes'>;
}

/** In the order in which they are stored. */
export interface EventFields {
  readonly session?: string;
  readonly subject?: string;
  readonly groups?: readonly string[];
  /** Of the token that subject and groups come from. Absent: a local identity. */
  readonly issuer?: string;
  readonly flow?: string;
  readonly pid?: number;
  /** What the agent runs under. */
  readonly uid?: number;
  /** Whose session it is: uid of who asked for it, or whom root asked for. */
  readonly owner?: number;
  readonly exe?: string;
  readonly cgroup?: string;
  readonly address?: string;
  readonly port?: number;
  readonly protocol?: string;
  readonly resource?: string;
  /** Upstream account or database, where the protocol has them. */
  readonly account?: string;
  readonly database?: string;
  /** Number of the operation within its flow, from 1. `result` repeats the number of its operation. */
  readonly op?: number;
  /** Statement text, cut to the configured length; `textBytes` says how long it was. */
  readonly text?: string;
  readonly textBytes?: number;
  readonly verb?: string;
  readonly fingerprint?: string;
  readonly accesses?: readonly Access[];
  readonly decision?: 'allow' | 'deny' | 'approve';
  readonly observed?: 'deny' | 'approve';
  readonly rule?: string;
  readonly reason?: string;
  /** Policy version (content hash) that decided. */
  readonly policy?: string;
  readonly approval?: string;
  readonly reviewer?: string;
  /** Masks carried out on the result: names. */
  readonly masks?: readonly string[];
  /** Native error code sent to or received for the client (SQLSTATE). */
  readonly error?: string;
  readonly message?: string;
  readonly rows?: number;
  readonly bytesIn?: number;
  readonly bytesOut?: number;
  /** Microseconds from operation to end of its result. */
  readonly micros?: number;
  /** How often it happened, where the event stands for several. Absent: once. */
  readonly count?: number;
}

/** As stored. `prev` and `hash` are SHA-256 in lower-case hex; `hash` covers the canonical bytes with `prev`. */
export interface Event extends EventFields {
  readonly type: EventType;
  readonly schema: number;
  readonly seq: number;
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly prev: string;
  readonly hash: string;
}

/** The part of audit that the stages see. */
export interface Recorder {
  /**
   * Takes an event for the next commit. `committed` settles when the event survives the daemon's death, `durable` when it
   * is on disk; both reject when it could not be kept, and the operation must then not proceed.
   * @throws SluiceError AUDIT_FULL, AUDIT_FAILED when new operations are refused already.
   */
  record(event: EventInput): Receipt;
}

export interface Receipt {
  /** True once committed: lets a caller go on without a promise. */
  readonly done: boolean;
  committed(): Promise<void>;
  durable(): Promise<void>;
}

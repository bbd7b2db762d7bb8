/** What an approval is: asked for by a session, decided by people, used by the operation that it binds. */
import type { ApprovalTerms } from '../core/decision.ts';
import type { SluiceError } from '../core/errors.ts';
import type { Access, Operation } from '../core/operation.ts';
import type { Origin, Session } from '../core/principal.ts';

/**
 * pending: nobody or too few have decided. granted: may be used until `expiresAt`. denied: retries are refused until
 * `expiresAt`. used: a single use has been made of it. expired: its time ran out. withdrawn: its session ended.
 */
export type ApprovalState = 'pending' | 'granted' | 'denied' | 'used' | 'expired' | 'withdrawn';

export interface Vote {
  readonly subject: string;
  readonly verdict: 'approve' | 'deny';
  readonly reason?: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** One approval, as stored and as shown. Every field survives JSON. */
export interface Approval {
  /** Ten characters of Crockford's base32, random: 50 bits, no letters that are taken for digits. */
  readonly id: string;
  readonly state: ApprovalState;
  /** Digest of everything it binds, see binding.ts. */
  readonly key: string;
  readonly subject: string;
  readonly groups: readonly string[];
  /** uid of the owner of the session that asked first: nobody of this uid decides. */
  readonly uid: number;
  /** Session that asked first. The approval is bound to it only where `terms.remember` is `session`. */
  readonly session: string;
  /** Command of that session, for people to recognise it by. */
  readonly command: readonly string[];
  readonly flow: string;
  /** Which process asked first, for the events. Absent: kept by a version that did not say. */
  readonly asker?: Asker;
  readonly resource: string;
  readonly protocol: string;
  readonly account?: string;
  readonly database?: string;
  readonly verb: string;
  /** Whole: what is approved must be seen. */
  readonly text: string;
  /** Values bound to the text's placeholders, in order; null is the protocol's null. Absent: none. */
  readonly parameters?: readonly (string | null)[];
  readonly fingerprint: string;
  readonly accesses: readonly Access[];
  readonly rule: string | null;
  /** The decision's reason. */
  readonly reason: string;
  readonly terms: ApprovalTerms;
  /** In the order in which they came. Approvals count by different subjects. */
  readonly votes: readonly Vote[];
  readonly requestedAt: number;
  /**
   * End of the present state, milliseconds since the epoch: of the request, of the unused approval, of the refusal.
   * Null: until the session ends (a remembered approval after its first use), or the state is final.
   */
  readonly expiresAt: number | null;
  /** When the state became a final one. Null before. */
  readonly closedAt: number | null;
}

/** What events say of a process. */
export interface Asker {
  readonly pid: number;
  readonly uid: number;
  readonly exe: string;
  readonly cgroup: string;
  /** Of the session's token. Absent: a local identity. */
  readonly issuer?: string;
}

/** What the pipeline asks with. */
export interface Ask {
  readonly session: Session;
  /** Name of the resource. */
  readonly resource: string;
  readonly operation: Operation;
  readonly approval: ApprovalTerms;
  readonly rule: string | null;
  readonly reason: string;
  readonly flowId: string;
  /** The process that asks. */
  readonly origin: Pick<Origin, 'pid' | 'uid' | 'exe' | 'cgroupId'>;
  /** What else says where the operation happens. An approval for one database does not hold for another. */
  readonly account?: string;
  readonly database?: string;
  /** Values bound to placeholders of the text: shown to reviewers, and part of what an `exact` approval binds. */
  readonly parameters?: readonly (string | null)[];
}

/** The operation may proceed: its use is recorded and on disk. */
export interface Granted {
  readonly kind: 'granted';
  readonly id: string;
  /** Subjects that agreed. */
  readonly reviewers: readonly string[];
}

export interface Refused {
  readonly kind: 'refused';
  readonly id: string;
  /** APPROVAL_DENIED with the reviewer and the reason, made for the client. */
  readonly error: SluiceError;
}

/**
 * approved: this waiter holds the approval, its use is recorded and on disk. used: it was given, and another waiter with
 * the same operation had asked earlier and used it up. timeout: the time to hold the connection is over, or the signal
 * was aborted; the request itself goes on.
 */
export type WaitResult = 'approved' | 'denied' | 'expired' | 'used' | 'timeout';

/** `error` is made for the client. */
export type Waited =
  | { readonly granted: true; readonly result: 'approved' }
  | { readonly granted: false; readonly result: Exclude<WaitResult, 'approved'>; readonly error: SluiceError };

export interface Pending {
  readonly kind: 'pending';
  readonly id: string;
  /** When the request ends undecided, milliseconds since the epoch. */
  readonly expiresAt: number;
  /** True when this ask made the request; false when it joined one. */
  readonly created: boolean;
  /**
   * Waits for the decision, at most `ms`. Waiters are served in the order of their calls.
   * @throws SluiceError what consuming the approval can throw: the operation must then not proceed.
   */
  wait(ms: number, signal?: AbortSignal): Promise<Waited>;
  readonly reviewers: readonly string[];
}

/** What changed, for those who watch. */
export interface Change {
  readonly type: 'requested' | 'voted' | 'granted' | 'denied' | 'used' | 'expired' | 'withdrawn';
  readonly approval: Approval;
}

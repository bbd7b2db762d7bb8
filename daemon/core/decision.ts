/** A decision is a small immutable value with the rule that made it and a reason that a person can read. */

export interface ApprovalTerms {
  /** Groups whose members may decide. Empty: anyone but the requester who may use `sluice approvals`. */
  readonly reviewers: readonly string[];
  /** How many different reviewers must agree. At least 1. */
  readonly quorum: number;
  /** Lifetime of the request and of an unused approval, milliseconds. */
  readonly within: number;
  /** How long the connection is held before it fails with the approval's id, milliseconds. */
  readonly hold: number;
  /** `once`: single use. `session`: the same kind of operation is not asked again in this session. */
  readonly remember: 'once' | 'session';
  /** `exact`: the approval is for this very text. `fingerprint`: for texts that differ in constants only. */
  readonly match: 'exact' | 'fingerprint';
}

export interface Decision {
  readonly outcome: 'allow' | 'deny' | 'approve';
  /** Name of the rule, or null when nothing matched (deny by default) or sluice itself refused. */
  readonly rule: string | null;
  /** Why, for the agent and the auditor: one sentence, no newline. */
  readonly reason: string;
  /** What would be allowed or whom to ask: one sentence. Absent: nothing better than the reason is known. */
  readonly hint?: string;
  /** Present when outcome is `approve`. */
  readonly approval?: ApprovalTerms;
  /** Set where a rule file is in observe mode: what enforcement would have said. The outcome is then `allow`. */
  readonly observed?: 'deny' | 'approve';
}

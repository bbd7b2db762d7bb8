/** Decisions on a whole act: each of its operations is decided, and the strictest answer holds. */
import type { Decision } from '../core/decision.ts';
import { ERRORS, type ErrorCode, SluiceError } from '../core/errors.ts';
import type { Policy } from '../core/policy.ts';
import type { Principal, Session } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import type { Classified, Refusal, Verdict } from '../protocols/protocol.ts';

/** Decides, and keeps what was decided for as long as policy and principal stay and no rule looks at time or text. */
export class Verdicts {
  readonly #session: Session;
  readonly #resource: Resource;
  #kept = new WeakMap<Classified, Verdict>();
  #policy = '';
  #principal: Principal | null = null;

  constructor(session: Session, resource: Resource) {
    this.#session = session;
    this.#resource = resource;
  }

  of(classified: Classified, policy: Policy): Verdict {
    const { principal } = this.#session;
    if (policy.version !== this.#policy || principal !== this.#principal) {
      this.#kept = new WeakMap();
      this.#policy = policy.version;
      this.#principal = principal;
    }
    const key = classified.like ?? classified;
    const kept = this.#kept.get(key);
    if (kept !== undefined) return key === classified ? kept : { ...kept, classified };
    const now = Date.now();
    const question = { session: this.#session, resource: this.#resource, now };
    const decisions = classified.operations.map((operation) => policy.decide({ ...question, operation }));
    const plan = classified.protect(policy.obligations(principal, this.#resource));
    const verdict: Verdict = { classified, plan, policy: policy.version, principal, decisions };
    if (!policy.volatile) this.#kept.set(key, verdict);
    return verdict;
  }
}

/** The refusal that a verdict asks for, or null. */
export function refusalOf(verdict: Verdict): Refusal | null {
  const denied = verdict.decisions.find((decision) => decision.outcome === 'deny');
  if (denied !== undefined) return denialOf(denied);
  return verdict.plan.refuse ?? null;
}

function denialOf(decision: Decision): Refusal {
  const refusal = {
    code: 'POLICY_DENIED' as const,
    message:
      decision.rule === null
        ? 'sluice: the policy does not allow this'
        : `sluice: the policy's rule "${decision.rule}" refuses this`,
    detail: decision.reason,
  };
  return decision.hint === undefined ? refusal : { ...refusal, hint: decision.hint };
}

/** Faults of the host, whose messages may name what an agent has no business with. */
const OF_HOST: ReadonlySet<ErrorCode> = new Set([
  'AUDIT_FULL',
  'AUDIT_FAILED',
  'CREDENTIAL_UNAVAILABLE',
  'STATE_FAILED',
  'INTERNAL',
]);

export function refusalFrom(error: SluiceError): Refusal {
  const { complaint, position, state } = error as { complaint?: unknown; position?: unknown; state?: unknown };
  // The words of the protocol's own parser, or of the upstream, need no advice of ours.
  if (typeof complaint === 'string') {
    const native = { code: error.code, message: complaint, ...(typeof state === 'string' ? { state } : {}) };
    return typeof position === 'number' && position > 0 ? { ...native, position } : native;
  }
  // Paths and the like are for whoever runs the host; they stand in the log and in the flow's last event.
  if (OF_HOST.has(error.code))
    return { code: error.code, message: `sluice: ${ERRORS[error.code].what}`, hint: ERRORS[error.code].todo };
  return { code: error.code, message: error.message, hint: error.hint };
}

/** Whatever was thrown as an error that can be told: faults of our own are not told in full. */
export function asSluice(error: unknown): SluiceError {
  if (error instanceof SluiceError) return error;
  return new SluiceError('INTERNAL', 'sluice met a fault of its own and refused', { cause: error });
}

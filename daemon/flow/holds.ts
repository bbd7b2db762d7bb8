/** Acts that wait for people: each operation that policy holds is asked for, and the client is told that it waits. */
import { SluiceError } from '../core/errors.ts';
import type { Operation } from '../core/operation.ts';
import type { Flow } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import type { Act, Classified, Opened, Refusal, Verdict } from '../protocols/protocol.ts';
import type { FlowParts } from './parts.ts';

export interface HoldParts {
  readonly parts: FlowParts;
  readonly flow: Flow;
  readonly resource: Resource;
  readonly opened: Opened;
}

export class Holds {
  readonly #parts: HoldParts;
  readonly #tell: (text: string, detail: string) => void;
  #cancel: AbortController | null = null;

  /** `tell`: a notice for the client. */
  constructor(parts: HoldParts, tell: (text: string, detail: string) => void) {
    this.#parts = parts;
    this.#tell = tell;
  }

  /** The client does not want to wait any longer. */
  cancel(): void {
    this.#cancel?.abort();
  }

  /**
   * Ids of the approvals used, per operation; undefined where none was wanted.
   * @throws SluiceError when one is not approved: APPROVAL_…, STATEMENT_TOO_LARGE, and what recording it throws.
   */
  async approvals(act: Act, verdict: Verdict, ending: AbortSignal): Promise<readonly (string | undefined)[]> {
    const cancel = new AbortController();
    this.#cancel = cancel;
    const signal = AbortSignal.any([cancel.signal, ending]);
    const approvals: (string | undefined)[] = [];
    try {
      for (const [i, operation] of verdict.classified.operations.entries()) {
        const decision = verdict.decisions[i]!;
        const wanted = decision.outcome === 'approve' && decision.approval !== undefined;
        approvals.push(wanted ? await this.#approved(act, operation, verdict, i, signal) : undefined);
      }
    } catch (error) {
      if (cancel.signal.aborted) throw new SluiceError('APPROVAL_CANCELLED', 'canceling statement due to user request');
      throw error;
    } finally {
      this.#cancel = null;
    }
    return approvals;
  }

  /** @throws SluiceError when it is not approved. */
  async #approved(act: Act, operation: Operation, verdict: Verdict, i: number, signal: AbortSignal): Promise<string> {
    const { parts, flow, resource, opened } = this.#parts;
    const decision = verdict.decisions[i]!;
    const terms = decision.approval!;
    const parameters = act.parameters?.();
    if (parameters === null)
      throw new SluiceError(
        'STATEMENT_TOO_LARGE',
        'the parameters are larger than a reviewer is shown, so nobody can approve this',
      );
    const answered = await parts.approve({
      session: flow.session,
      resource: resource.name,
      operation,
      approval: terms,
      rule: decision.rule,
      reason: decision.reason,
      flowId: flow.id,
      origin: flow.origin,
      ...(opened.account === undefined ? {} : { account: opened.account }),
      ...(opened.database === undefined ? {} : { database: opened.database }),
      ...(parameters === undefined ? {} : { parameters }),
    });
    if (answered.kind === 'granted') return answered.id;
    if (answered.kind === 'refused') throw answered.error;
    this.#tell(
      `sluice: ${operation.verb} is held for approval ${answered.id}`,
      `${decision.reason}. The connection waits up to ${Math.round(terms.hold / 1000)} s; decide with: sluice approvals show ${answered.id}`,
    );
    const result = await answered.wait(terms.hold, signal);
    if (result.granted) return answered.id;
    throw result.error;
  }
}

/**
 * Refuses what does something else by now than when it was shown to reviewers, or wants an approval that was not given then
 * or on other terms. Null: the approvals are good for it.
 */
export function changedSince(shown: Verdict, now: Verdict): Refusal | null {
  const doings = ({ operations }: Classified) => JSON.stringify(operations.map(({ accesses }) => accesses));
  const terms = (verdict: Verdict, i: number) => JSON.stringify(verdict.decisions[i]?.approval);
  const approved = now.decisions.every(({ outcome }, i) => outcome !== 'approve' || terms(now, i) === terms(shown, i));
  if (approved && doings(shown.classified) === doings(now.classified)) return null;
  return {
    code: 'APPROVAL_PENDING',
    message:
      'sluice: what this does, or who has to approve it, has changed since it was shown for approval; send it again from its start',
  };
}

/**
 * What comes of one act: it is classified, decided, held where policy asks for people, and decided again after that, since
 * policy may have changed meanwhile, and so may what the act does. Nothing is recorded or sent here.
 */
import type { Principal, Session } from '../core/principal.ts';
import type { Act, Classified, Codec, Refusal, Verdict } from '../protocols/protocol.ts';
import { changedSince, type Holds } from './holds.ts';
import type { FlowParts } from './parts.ts';
import { asSluice, refusalFrom, refusalOf, type Verdicts } from './verdict.ts';

/** It goes (no refusal), or is refused; then without a verdict where it could not even be classified. */
export type Ruling =
  | { readonly verdict: Verdict; readonly refusal: null }
  | { readonly verdict: Verdict | null; readonly refusal: Refusal };

export interface DecidingParts {
  readonly parts: FlowParts;
  readonly session: Session;
  readonly codec: Codec;
  readonly verdicts: Verdicts;
  readonly holds: Holds;
  /** Aborted when the flow ends: what is held is given up then. */
  readonly ending: AbortSignal;
  /** Something threw: what the client is told of it. */
  readonly faultOf: (cause: unknown) => Refusal;
}

export class Deciding {
  readonly #parts: DecidingParts;
  /** When the act in hand was whole, and what of the time since it was held: milliseconds. */
  #since = 0;
  #heldFor = 0;

  constructor(parts: DecidingParts) {
    this.#parts = parts;
  }

  #principal(): Principal {
    return this.#parts.session.principal;
  }

  /** An act is whole. */
  begin(): void {
    this.#since = performance.now();
    this.#heldFor = 0;
  }

  /** What was to be done for it is done: the time since, without that which people took. */
  took(): void {
    this.#parts.parts.timings.added.observe((performance.now() - this.#since - this.#heldFor) / 1000);
  }

  /** Null: the flow ended while it was held. */
  rule(act: Act): Ruling | Promise<Ruling | null> {
    const { parts, codec, faultOf } = this.#parts;
    const { verdict } = act;
    const decided = verdict?.policy === parts.policy().version && verdict.principal === this.#principal();
    if (decided && !act.decide) return { verdict, refusal: null };
    let classified: Classified | Promise<Classified>;
    try {
      classified = codec.classify(act);
    } catch (error) {
      return { verdict: null, refusal: faultOf(error) };
    }
    if (!(classified instanceof Promise)) return this.#decided(act, classified);
    return classified.then(
      (made) => this.#decided(act, made),
      (error): Ruling => ({ verdict: null, refusal: faultOf(error) }),
    );
  }

  #decided(act: Act, classified: Classified): Ruling | Promise<Ruling | null> {
    const verdict = this.#parts.verdicts.of(classified, this.#parts.parts.policy());
    const refusal = refusalOf(verdict);
    if (refusal !== null) return { verdict, refusal };
    if (verdict.decisions.some((decision) => decision.outcome === 'approve')) {
      if (act.hold) return this.#hold(act, verdict);
      const before = act.verdict;
      if (act.record && (before?.approvals === undefined || changedSince(before, verdict) !== null)) {
        // The policy began to ask for approval, or for another one, after the step that could be held.
        const message = 'sluice: this now needs an approval; send it again from its start';
        return { verdict, refusal: { code: 'APPROVAL_PENDING', message } };
      }
    }
    return { verdict, refusal: null };
  }

  async #hold(act: Act, verdict: Verdict): Promise<Ruling | null> {
    const { holds, ending } = this.#parts;
    let approvals: readonly (string | undefined)[];
    const since = performance.now();
    try {
      approvals = await holds.approvals(act, verdict, ending);
    } catch (error) {
      this.#heldSince(since);
      return ending.aborted ? null : { verdict, refusal: refusalFrom(asSluice(error)) };
    }
    this.#heldSince(since);
    return ending.aborted ? null : this.#approved(act, verdict, approvals);
  }

  #heldSince(since: number): void {
    this.#heldFor = performance.now() - since;
    this.#parts.parts.timings.held.observe(this.#heldFor / 1000);
  }

  /** Policy may have changed while people thought about it, and so may what the act does. */
  async #approved(act: Act, shown: Verdict, approvals: readonly (string | undefined)[]): Promise<Ruling | null> {
    const { parts, codec, verdicts, ending, faultOf } = this.#parts;
    let classified: Classified;
    try {
      classified = await codec.classify(act, true);
    } catch (error) {
      return { verdict: null, refusal: faultOf(error) };
    }
    if (ending.aborted) return null;
    const verdict = verdicts.of(classified, parts.policy());
    const refusal = refusalOf(verdict) ?? changedSince(shown, verdict);
    return refusal === null ? { verdict: { ...verdict, approvals }, refusal } : { verdict, refusal };
  }
}

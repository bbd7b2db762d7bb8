/**
 * The operations of one flow as events: numbered from 1, recorded when they are decided and again when their result has
 * ended. Results come in the order in which operations went.
 */
import type { EventFields, EventInput, Receipt, Recorder } from '../core/event.ts';
import type { Principal, Session } from '../core/principal.ts';
import type { Act, Ended, Refusal, Verdict } from '../protocols/protocol.ts';
import { whose } from './about.ts';
import type { FlowParts } from './parts.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** What became of an act's operations. */
export interface Recorded {
  readonly ops: readonly number[];
  /** Waits until their events are on disk; null where all of them only read, and nothing has to be waited for. */
  readonly durable: (() => Promise<void>) | null;
}

interface Running {
  readonly op: number;
  readonly since: number;
}

export class Operations {
  readonly #recorder: Recorder;
  /** Bytes of a statement that its event holds. */
  readonly #textLimit: number;
  readonly #session: Session;
  /** What every event of this flow says. */
  readonly #fields: () => EventFields;
  /** The same, until the session's principal is another one. */
  #said: { readonly principal: Principal; readonly about: EventFields } | null = null;
  /** Whose result it is; the rest stands with its operation. */
  readonly #whose: EventFields;
  /** What events say of operations that were decided alike, by their decisions. */
  readonly #acts = new WeakMap<Verdict['decisions'], EventInput['act'] & {}>();
  readonly #running: Running[] = [];
  #count = 0;
  #last: Receipt | null = null;

  constructor({ recorder, limits }: FlowParts, session: Session, fields: () => EventFields) {
    this.#recorder = recorder;
    this.#textLimit = limits.eventText;
    this.#session = session;
    this.#fields = fields;
    this.#whose = whose(fields());
  }

  #about(): EventFields {
    const { principal } = this.#session;
    if (this.#said?.principal !== principal) this.#said = { principal, about: this.#fields() };
    return this.#said.about;
  }

  get count(): number {
    return this.#count;
  }

  /** Some went upstream whose results have not ended. */
  get running(): boolean {
    return this.#running.length > 0;
  }

  /** Of the event that was recorded last: what comes from upstream now may belong to it or to one before. */
  get last(): Receipt | null {
    return this.#last;
  }

  /** @throws SluiceError when they can't be recorded, and then must not go upstream. */
  record(verdict: Verdict): Recorded {
    const { operations } = verdict.classified;
    const ops: number[] = [];
    let changes = false;
    let receipt: Receipt | null = null;
    for (let i = 0; i < operations.length; i++) {
      ops.push(++this.#count);
      receipt = this.#recorder.record(this.#event(verdict, i, this.#count));
      if (operations[i]!.accesses.some((access) => access.effect !== 'read')) changes = true;
    }
    if (receipt === null) return { ops, durable: null };
    this.#last = receipt;
    const last = receipt;
    return { ops, durable: changes ? () => last.durable() : null };
  }

  /** They go upstream now. */
  began(ops: readonly number[]): void {
    const since = performance.now();
    for (const op of ops) this.#running.push({ op, since });
  }

  /** @throws SluiceError when the result can't be recorded. */
  ended(end: Ended): void {
    const running = this.#running.shift();
    const micros = running === undefined ? 0 : Math.round((performance.now() - running.since) * 1000);
    const event: Mutable<EventInput> = {
      type: 'result',
      about: this.#whose,
      op: end.op,
      rows: end.rows,
      bytesOut: end.bytes,
      micros,
    };
    if (end.error !== undefined) event.error = end.error;
    this.#recorder.record(event);
  }

  /** @throws SluiceError when it can't be recorded, and then must not be told either. */
  recordRefusal(act: Act, verdict: Verdict | null, refusal: Refusal): void {
    const operations = verdict?.classified.operations ?? [];
    const refused = { decision: 'deny', error: refusal.code, message: refusal.message } as const;
    if (verdict === null || operations.length === 0) {
      const text = this.#cut(act.text);
      this.#last = this.#recorder.record({
        type: 'operation',
        about: this.#about(),
        op: ++this.#count,
        ...text,
        ...refused,
        reason: refusal.message,
      });
      return;
    }
    for (let i = 0; i < operations.length; i++) {
      const event = this.#event(verdict, i, ++this.#count);
      const reason =
        verdict.decisions[i]!.outcome === 'deny' ? verdict.decisions[i]!.reason : (refusal.detail ?? refusal.message);
      const act = { ...event.act, decision: 'deny', reason } as const;
      this.#last = this.#recorder.record({ ...event, act, error: refusal.code, message: refusal.message });
    }
  }

  #event(verdict: Verdict, i: number, op: number): EventInput {
    const { text } = verdict.classified.operations[i]!;
    const event: Mutable<EventInput> = {
      type: 'operation',
      about: this.#about(),
      op,
      text,
      act: this.#act(verdict, i),
    };
    // A UTF-16 unit is at most three bytes of UTF-8.
    return text.length * 3 <= this.#textLimit ? event : Object.assign(event, this.#cut(text));
  }

  /** Statements that come again and again, if with other constants, share what is said of them. */
  #act(verdict: Verdict, i: number): EventInput['act'] & {} {
    const shared = i === 0 && verdict.approvals === undefined;
    const known = shared ? this.#acts.get(verdict.decisions) : undefined;
    if (known !== undefined) return known;
    const operation = verdict.classified.operations[i]!;
    const decision = verdict.decisions[i]!;
    const fields: Mutable<EventInput['act'] & {}> = {
      verb: operation.verb,
      fingerprint: operation.fingerprint,
      accesses: operation.accesses,
      decision: decision.outcome,
      reason: decision.reason,
      policy: verdict.policy,
    };
    if (decision.rule !== null) fields.rule = decision.rule;
    if (decision.observed !== undefined) fields.observed = decision.observed;
    if (verdict.plan.masks.length > 0) fields.masks = verdict.plan.masks;
    const approval = verdict.approvals?.[i];
    if (approval !== undefined) fields.approval = approval;
    if (shared) this.#acts.set(verdict.decisions, fields);
    return fields;
  }

  #cut(text: string): { text: string; textBytes?: number } {
    const limit = this.#textLimit;
    const bytes = Buffer.byteLength(text);
    return bytes <= limit ? { text } : { text: text.slice(0, Math.floor(limit / 3)), textBytes: bytes };
  }
}

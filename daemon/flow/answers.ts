/**
 * Questions that sluice answers itself (names), drawn once:
 *
 *   message → read → within bounds? → decide → record → ask upstream → remember addresses
 *                        │              │        │           │                 │
 *                        └──────────────┴────────┴───────────┴── refuse ───────┴→ recorded? → to the client
 *
 * Every question is an operation, and a pure read: it goes upstream at once, and nothing is told before its record is
 * committed. What the upstream says of it is a result.
 */
import { randomBytes } from 'node:crypto';
import { SluiceError } from '../core/errors.ts';
import type { EventFields, Receipt } from '../core/event.ts';
import type { NameDecision } from '../core/policy.ts';
import type { Flow, Origin, Session } from '../core/principal.ts';
import type { Allowance, AskUpstream, Inquiry, Refusal, Responder, Told } from '../protocols/protocol.ts';
import { flowFields, whose } from './about.ts';
import type { FlowParts } from './parts.ts';
import { asSluice, refusalFrom } from './verdict.ts';

export interface AnswersOptions {
  readonly responder: Responder;
  readonly ask: AskUpstream;
  /** The session was given these addresses for the name. */
  remember(session: string, name: string, addresses: readonly string[]): void;
}

export interface Datagram {
  readonly session: Session;
  readonly origin: Origin;
  readonly bytes: Buffer;
  reply(bytes: Buffer): void;
}

/** What is kept of a session. */
interface Asker {
  readonly allowance: Allowance;
  asking: number;
  /** Questions beyond its bounds that are not on record yet, and when the last record of such was. */
  over: number;
  told: number;
  /** Of the last of them. */
  about: EventFields;
}

/** Questions of one session that wait for an upstream. */
const ASKING = 64;
/** Floods are recorded at most so often, milliseconds. */
const QUIET = 1_000;

export class Answers {
  readonly #parts: FlowParts;
  readonly #options: AnswersOptions;
  readonly #askers = new Map<string, Asker>();

  constructor(parts: FlowParts, options: AnswersOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  get responder(): Responder {
    return this.#options.responder;
  }

  forget(session: string): void {
    const asker = this.#askers.get(session);
    this.#askers.delete(session);
    if (asker !== undefined && asker.over > 0) this.#record(flooded(asker), 'operation');
  }

  /** Never throws: a datagram that goes wrong is dropped, and that is recorded. */
  datagram({ session, origin, bytes, reply }: Datagram): void {
    const flow: Flow = { id: randomBytes(8).toString('hex'), session, origin, startedAt: Date.now() };
    this.answer(flow, bytes, true, 1).then(
      (answer) => {
        if (answer !== null) reply(answer);
      },
      (error) => this.#parts.onFault(error, flow.id),
    );
  }

  /** The answer to one message, or null where there is none. `op`: its number in the flow. */
  async answer(flow: Flow, message: Buffer, datagram: boolean, op: number): Promise<Buffer | null> {
    const about: EventFields = { ...flowFields(flow, null, null), protocol: this.responder.name };
    const inquiry = this.responder.read(message, datagram);
    if (inquiry === null) {
      const error = new SluiceError('PROTOCOL_VIOLATION', `${message.length} bytes that are no question`);
      this.#record({ ...about, decision: 'deny', error: error.code, message: error.message }, 'fault');
      return null;
    }
    try {
      return await this.#answer({ flow, about, inquiry, op });
    } catch (cause) {
      const error = asSluice(cause);
      if (error.code === 'INTERNAL') this.#parts.onFault(cause, flow.id);
      return inquiry.refuse(refusalFrom(error), true);
    }
  }

  async #answer(asked: Asked): Promise<Buffer> {
    const { flow, inquiry } = asked;
    const asker = this.#asker(flow.session.id);
    const now = performance.now();
    if (!asker.allowance.take(now)) return this.#tooMany(asker, asked, now);
    const policy = this.#parts.policy();
    const decision = policy.resolve({ session: flow.session, name: inquiry.name, type: inquiry.type });
    const expired = this.#parts.expired(flow.session);
    const refusal =
      expired === null ? (inquiry.fault ?? this.#refusal(asker, inquiry, decision, now)) : refusalFrom(expired);
    if (refusal !== null) {
      const receipt = this.#recordOperation(asked, decision, policy.version, refusal);
      await receipt.committed();
      return inquiry.refuse(refusal, decision.known);
    }
    const receipt = this.#recordOperation(asked, decision, policy.version, null);
    const since = performance.now();
    asker.asking++;
    let told: Told;
    try {
      told = await inquiry.answer(decision, this.#options.ask);
    } catch (cause) {
      const error = asSluice(cause);
      if (error.code === 'INTERNAL') this.#parts.onFault(cause, flow.id);
      const bytes = inquiry.refuse(refusalFrom(error), decision.known);
      told = { bytes, rows: 0, addresses: [], error: error.code, message: error.message };
    } finally {
      asker.asking--;
    }
    this.#options.remember(flow.session.id, inquiry.name, told.addresses);
    await receipt.committed();
    this.#recordResult(asked, told, since);
    return told.bytes;
  }

  #asker(session: string): Asker {
    let asker = this.#askers.get(session);
    if (asker === undefined) {
      asker = { allowance: this.responder.allowance(), asking: 0, over: 0, told: Number.NEGATIVE_INFINITY, about: {} };
      this.#askers.set(session, asker);
    }
    return asker;
  }

  #refusal(asker: Asker, inquiry: Inquiry, decision: NameDecision, now: number): Refusal | null {
    if (decision.outcome !== 'allow') {
      const hint = decision.hint === undefined ? {} : { hint: decision.hint };
      const code = decision.known ? 'NAME_TYPE' : 'NAME_UNKNOWN';
      return { code, message: `sluice: ${decision.reason}`, ...hint };
    }
    const why =
      asker.asking >= ASKING
        ? `${ASKING} questions of the session wait for an answer`
        : decision.zone === null
          ? null
          : asker.allowance.below(inquiry.name, decision.zone, now);
    return why === null ? null : { code: 'NAME_LIMIT', message: `sluice: ${why}` };
  }

  /** A flood must not fill the record: one event a second says how many there were. */
  async #tooMany(asker: Asker, { about, inquiry, op }: Asked, now: number): Promise<Buffer> {
    asker.over++;
    asker.about = { ...about, op, verb: inquiry.type, text: inquiry.operation.text };
    if (now - asker.told >= QUIET) {
      asker.told = now;
      const event = flooded(asker);
      asker.over = 0;
      await this.#parts.recorder.record({ type: 'operation', ...event }).committed();
    }
    return inquiry.refuse({ code: 'NAME_LIMIT', message: TOO_FAST }, true);
  }

  #recordOperation(
    { about, inquiry, op }: Asked,
    decision: NameDecision,
    policy: string,
    refusal: Refusal | null,
  ): Receipt {
    const { text, verb, fingerprint, accesses } = inquiry.operation;
    return this.#parts.recorder.record({
      type: 'operation',
      ...about,
      op,
      text,
      verb,
      fingerprint,
      accesses,
      decision: refusal === null ? 'allow' : 'deny',
      ...(decision.rule === null || inquiry.fault !== null ? {} : { rule: decision.rule }),
      reason: refusal === null || decision.outcome !== 'allow' ? decision.reason : refusal.message,
      policy,
      ...(refusal === null ? {} : { error: refusal.code, message: refusal.message }),
    });
  }

  #recordResult({ about, op }: Asked, told: Told, since: number): void {
    const micros = Math.round((performance.now() - since) * 1000);
    const result = {
      ...whose(about),
      op,
      rows: told.rows,
      bytesOut: told.bytes.length,
      micros,
    };
    const error = told.error === undefined ? {} : { error: told.error };
    this.#record({ ...result, ...error, ...(told.message === undefined ? {} : { message: told.message }) }, 'result');
  }

  #record(fields: EventFields, type: 'fault' | 'operation' | 'result'): void {
    try {
      this.#parts.recorder.record({ type, ...fields });
    } catch (error) {
      this.#parts.onFault(error, fields.flow ?? '');
    }
  }
}

const TOO_FAST = 'sluice: the session asks for names too fast';

function flooded({ about, over }: Asker): EventFields {
  const message = `${TOO_FAST}: ${over} refused, this is the last of them`;
  return { ...about, decision: 'deny', reason: message, error: 'NAME_LIMIT', message };
}

interface Asked {
  readonly flow: Flow;
  readonly about: EventFields;
  readonly inquiry: Inquiry;
  readonly op: number;
}

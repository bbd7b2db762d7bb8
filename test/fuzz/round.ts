/**
 * One conversation: a client's stream through the codec to the model server and back, in pieces and in an order that
 * chance decides. What must hold is said at the throws.
 */
import { SluiceError } from '../../daemon/core/errors.ts';
import { PgClassified } from '../../daemon/protocols/postgres/classify.ts';
import { PostgresCodec } from '../../daemon/protocols/postgres/codec.ts';
import { SessionNames } from '../../daemon/protocols/postgres/session.ts';
import type { Act, Classified, Ended, Outlet, Refusal, Verdict } from '../../daemon/protocols/protocol.ts';
import { clientStream, mutated } from './client.ts';
import { CANARY } from './language.ts';
import { Random } from './random.ts';
import { ModelServer } from './server.ts';
import { forbidden, OBLIGATIONS, statements, TOOLS } from './statements.ts';

const MAX_STEPS = 20_000;
/** Bytes that one small stream may make sluice send. */
const MAX_OUT = 4 << 20;

/** How a conversation went, for the run's totals. */
/** The rounds change no principal. */
const PRINCIPAL = { subject: 'local:agent', groups: [] };

export interface Outcome {
  readonly bytes: number;
  readonly refused: number;
  readonly forwarded: number;
  readonly ended: string;
}

/** Where the messages of a conversation are told, for a person who looks for a fault. */
export type Trace = (way: string, bytes: Buffer) => void;

/** @throws Error with what did not hold. */
export async function round(seed: number, trace: Trace = () => {}): Promise<Outcome> {
  const random = new Random(seed);
  const lies = random.chance(0.15);
  const mutates = random.chance(0.3);
  const made = clientStream(random, 1 + random.below(40));
  const stream = mutates ? mutated(random, made) : made;
  const talk = new Talk(random, stream, lies, trace);
  let ended = 'whole';
  try {
    await talk.run();
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    ended = error.code;
    if (error.code === 'INTERNAL') throw error;
    if (error.code.startsWith('UPSTREAM_') && !lies) throw new Error(`the codec lost track: ${error.message}`);
  }
  talk.check();
  return { bytes: stream.length, refused: talk.refused, forwarded: talk.forwarded, ended };
}

class Talk implements Outlet {
  readonly server = new ModelServer();
  refused = 0;
  forwarded = 0;
  readonly #random: Random;
  readonly #codec: PostgresCodec;
  readonly #lies: boolean;
  #stream: Buffer;
  #toClient = 0;
  #tail = '';
  #leaked = '';
  #ops = 0;
  readonly #running: number[] = [];
  #policy = 0;
  #left = false;
  readonly #trace: Trace;

  constructor(random: Random, stream: Buffer, lies: boolean, trace: Trace) {
    this.#trace = trace;
    this.#random = random;
    this.#stream = stream;
    this.#lies = lies;
    this.#codec = new PostgresCodec({
      statements: statements(() => random.chance(0.3)),
      tools: TOOLS,
      limits: { statement: 4096 },
      session: new SessionNames(),
      obligations: () => OBLIGATIONS,
      parameters: new Map([['client_encoding', 'UTF8']]),
    });
  }

  async run(): Promise<void> {
    let pending: Promise<void> | null = null;
    let waited = false;
    let quiet = 0;
    for (let steps = 0; quiet < 30; steps++) {
      if (steps > MAX_STEPS) throw new Error('it does not come to an end');
      quiet++;
      switch (this.#random.below(4)) {
        case 0:
          if (this.#stream.length > 0) {
            quiet = 0;
            const piece = this.#stream.subarray(0, 1 + this.#random.below(this.#random.chance(0.5) ? 8 : 200));
            this.#stream = this.#stream.subarray(piece.length);
            this.#trace('client >', piece);
            this.#codec.client(Buffer.from(piece));
          }
          break;
        case 1:
          if (!this.server.idle) {
            quiet = 0;
            this.server.step();
          }
          break;
        case 2: {
          const came = this.server.take();
          if (came !== null) {
            quiet = 0;
            this.#upstream(this.#lies && this.#random.chance(0.1) ? mutated(this.#random, came) : came);
          }
          break;
        }
        default:
          // What is being decided stays so for a while, and other things happen meanwhile.
          if (pending !== null) {
            quiet = 0;
            if (waited || this.#random.chance(0.5)) {
              await pending;
              pending = null;
            }
            waited = !waited;
          }
      }
      while (pending === null && !this.#left) {
        const unit = this.#codec.next();
        if (unit === null) break;
        quiet = 0;
        if (unit.kind === 'pass') this.toUpstream(unit.bytes);
        else if (unit.kind === 'end') {
          this.toUpstream(unit.bytes);
          this.#left = true;
        } else if (unit.kind === 'bad') this.#refuse(unit.act, unit.refusal);
        else pending = this.#decide(unit.act);
      }
    }
    if (this.#codec.blocked && !this.#lies && !this.server.dead && this.server.idle && this.server.answered)
      throw new Error('the codec waits for an answer that nobody owes');
  }

  #upstream(bytes: Buffer): void {
    this.#trace('         < server', bytes);
    for (let at = 0; at < bytes.length; ) {
      const size = this.#random.chance(0.5) ? bytes.length : 1 + this.#random.below(20);
      this.#codec.upstream(Buffer.from(bytes.subarray(at, at + size)), this);
      at += size;
    }
  }

  /** Null when it is done; as the flow does it. */
  #decide(act: Act): Promise<void> | null {
    if (this.#random.chance(0.02)) this.#policy++;
    if (act.verdict !== undefined && act.verdict.policy === String(this.#policy) && !act.decide) {
      this.#go(act, act.verdict);
      return null;
    }
    let classified: Classified | Promise<Classified>;
    const unreadable = (error: unknown) => {
      if (!(error instanceof SluiceError)) throw error;
      this.#refuse(act, { code: error.code, message: error.message });
    };
    try {
      classified = this.#codec.classify(act);
    } catch (error) {
      unreadable(error);
      return null;
    }
    if (classified instanceof Promise) return classified.then((made) => this.#decided(act, made), unreadable);
    if (act.hold && this.#random.chance(0.2)) return Promise.resolve().then(() => this.#decided(act, classified));
    this.#decided(act, classified);
    return null;
  }

  #decided(act: Act, classified: Classified): void {
    if (!(classified instanceof PgClassified)) throw new Error('not classified');
    const plan = classified.protect(OBLIGATIONS);
    if (classified.operations.some(forbidden) || plan.refuse !== undefined)
      this.#refuse(act, { code: 'POLICY_DENIED', message: 'refused' });
    else this.#go(act, { classified, plan, policy: String(this.#policy), principal: PRINCIPAL, decisions: [] });
  }

  #go(act: Act, verdict: Verdict): void {
    const ops: number[] = [];
    if (act.record) for (const _ of verdict.classified.operations) ops.push(++this.#ops);
    this.#running.push(...ops);
    this.forwarded++;
    this.toUpstream(this.#codec.forward(act, verdict, ops));
  }

  #refuse(act: Act, refusal: Refusal): void {
    this.refused++;
    this.toUpstream(this.#codec.refuse(act, refusal));
  }

  toUpstream(bytes: Buffer): void {
    this.#trace('         > server', bytes);
    this.server.write(bytes);
  }

  lend(bytes: Buffer): boolean {
    this.toClient(bytes);
    return true;
  }

  readonly idle = true;

  toClient(bytes: Buffer): void {
    this.#trace('client <', bytes);
    this.#toClient += bytes.length;
    if (this.#toClient > MAX_OUT) throw new Error('far more comes out than went in');
    const text = this.#tail + bytes.toString('latin1');
    if (text.includes(CANARY)) this.#leaked ||= text.slice(-200);
    this.#tail = text.slice(-CANARY.length);
  }

  ended(end: Ended): void {
    const at = this.#running.indexOf(end.op);
    if (at < 0) throw new Error(`operation ${end.op} ended twice, or never began`);
    this.#running.splice(at, 1);
  }

  check(): void {
    const [undecided] = this.server.undecided;
    if (undecided !== undefined && !this.#lies) throw new Error(`the server ran ${undecided}, which policy refuses`);
    if (this.#leaked !== '' && !this.#lies) throw new Error(`a masked value came: ${JSON.stringify(this.#leaked)}`);
  }
}

/**
 * A connection that passes unread, once it is known whom it is for. It is one operation, CONNECT, decided and on disk
 * before a byte goes upstream; of TLS the hello is read first. What neither side can see afterwards is not looked at.
 */
import { createHash } from 'node:crypto';
import { SluiceError } from '../../core/errors.ts';
import type { Resource } from '../../core/resource.ts';
import type { Act, Classified, Codec, Outlet, Plan, Refusal, Unit } from '../protocol.ts';
import { type Hello, readHello } from './hello.ts';
import { isNameOf } from './names.ts';
import type { TcpOptions } from './options.ts';

const NONE = Buffer.alloc(0);
const PLAN: Plan = Object.freeze({ masks: [] });
/** Of the text of a fingerprint. */
const HEX = 32;

/** RFC 8446 6: `type version:2 length:2 level description`; access_denied, for which a client sends no other alert back. */
const ALERT = Buffer.from([21, 3, 3, 0, 2, 2, 49]);

/** How the flow's end is told to whoever began like this: TLS has an alert, the rest is reset. */
export function farewellTo(first: Buffer): Buffer {
  return first[0] === 22 ? ALERT : NONE;
}

type State =
  /** What the client says is not known yet. */
  | 'first'
  /** It is, and waits for its decision. */
  | 'asked'
  /** Decided, and the client may be anything, so that a TLS hello has to be looked at yet. */
  | 'listening'
  | 'open';

export class TcpCodec implements Codec {
  readonly halves = true;
  readonly #resource: Resource;
  readonly #options: TcpOptions;
  #state: State = 'first';
  #first: Buffer = NONE;
  /** Chunks of the client's that go on as they are. */
  #chunks: Buffer[] = [];
  #spoken = false;

  constructor(resource: Resource, options: TcpOptions) {
    this.#resource = resource;
    this.#options = options;
  }

  client(chunk: Buffer): void {
    if (chunk.length === 0) return;
    if (this.#state === 'open') this.#chunks.push(chunk);
    else this.#first = this.#first.length === 0 ? chunk : Buffer.concat([this.#first, chunk]);
  }

  next(): Unit | null {
    switch (this.#state) {
      case 'first': {
        if (this.#options.speaks === 'anything') {
          this.#state = 'asked';
          return { kind: 'act', act: this.#act('') };
        }
        const hello = readHello(this.#first);
        if (hello.kind === 'more') return null;
        this.#state = 'asked';
        return this.#judge(hello) ?? { kind: 'act', act: this.#act(nameOf(hello)) };
      }
      case 'listening': {
        const hello = readHello(this.#first);
        if (hello.kind === 'more') return null;
        const wrong = hello.kind === 'other' ? null : this.#judge(hello);
        if (wrong !== null) return wrong;
        this.#state = 'open';
        return this.#pass(this.#first);
      }
      case 'asked':
        return null;
      case 'open': {
        const chunk = this.#chunks.shift();
        return chunk === undefined ? null : this.#pass(chunk);
      }
    }
  }

  #pass(bytes: Buffer): Unit {
    this.#first = NONE;
    return { kind: 'pass', bytes };
  }

  #act(server: string): Act {
    return { decide: true, hold: true, record: true, text: `${this.#where}${server}` };
  }

  get #where(): string {
    return `CONNECT ${this.#resource.host}:${this.#resource.port}`;
  }

  /** Why the hello does not pass, or null. */
  #judge(hello: Exclude<Hello, { kind: 'more' }>): Unit | null {
    const why = this.#wrong(hello);
    if (why === null) return null;
    const { name } = this.#resource;
    const refusal: Refusal = { code: 'TLS_NAME', message: `sluice: ${name} is passed unread, and the client ${why}` };
    return { kind: 'bad', act: this.#act(nameOf(hello)), refusal };
  }

  #wrong(hello: Exclude<Hello, { kind: 'more' }>): string | null {
    if (hello.kind === 'other') return 'does not begin with TLS';
    if (hello.kind === 'bad') return `sent ${hello.why}`;
    if (hello.encrypted && this.#options.encryptedHello === 'refuse') return 'encrypts the name that it asks for';
    if (hello.server === null)
      return this.#options.servername === 'optional' ? null : 'does not say which server it wants';
    return isNameOf(this.#resource, hello.server) ? null : `wants ${hello.server}, which is no name of it`;
  }

  get blocked(): boolean {
    return false;
  }

  /** A client that has to speak first and does not is let go after a while. */
  get partial(): boolean {
    return this.#state === 'first' || (this.#state === 'listening' && this.#first.length > 0);
  }

  classify(act: Act): Classified {
    const operation = {
      protocol: 'tcp',
      verb: 'CONNECT',
      text: act.text,
      fingerprint: createHash('sha256').update(act.text).digest('hex').slice(0, HEX),
      accesses: [{ effect: 'network' as const }],
      functions: [],
    };
    return { operations: [operation], protect: () => PLAN };
  }

  /** From here on bytes flow. */
  forward(): Buffer {
    const first = this.#first;
    const read = this.#options.speaks === 'tls';
    this.#state = read ? 'open' : 'listening';
    if (read) this.#first = NONE;
    return read ? first : NONE;
  }

  /** @throws SluiceError: a connection is refused as a whole. */
  refuse(_act: Act, refusal: Refusal): Buffer {
    throw new SluiceError(refusal.code, refusal.message, refusal.hint === undefined ? {} : { hint: refusal.hint });
  }

  upstream(chunk: Buffer, out: Outlet): void {
    // It is connected after the decision.
    if (this.#state !== 'listening' && this.#state !== 'open')
      throw new SluiceError('UPSTREAM_VIOLATION', `${this.#resource.name} speaks before it was spoken to`);
    this.#spoken = true;
    out.toClient(chunk);
  }

  /** Once the server spoke, a word of ours would be taken for one of its. */
  get atBoundary(): boolean {
    return !this.#spoken;
  }

  /** There is no way to tell. */
  notice(): Buffer {
    return NONE;
  }

  /** A server that can't be reached is no refusal: the client sees a reset, as it would of a server gone. */
  fatal(refusal: Refusal): Buffer {
    if (refusal.code.startsWith('UPSTREAM_')) return NONE;
    return farewellTo(this.#first);
  }
}

function nameOf(hello: Exclude<Hello, { kind: 'more' }>): string {
  return hello.kind === 'hello' && hello.server !== null ? ` TLS ${hello.server}` : '';
}

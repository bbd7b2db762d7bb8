/**
 * One flow after its greeting, drawn once:
 *
 *   client bytes → codec.next() → classify → decide → hold → record → codec.forward() → upstream
 *                                    │          │       │       │
 *                                    └──────────┴───────┴───────┴──→ codec.refuse(): a native error
 *   upstream bytes → wait for the record → codec.upstream(): masked → client
 *
 * What changes something goes upstream only after its record is on disk. Of a pure read the request goes at once, and no
 * byte of its result is released before the record is committed. A fault anywhere ends the flow; nothing passes then.
 */
import type net from 'node:net';
import { SluiceError } from '../core/errors.ts';
import type { Flow } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import type { Act, Codec, Ended, Opened, Outlet, Refusal, Unit, Verdict } from '../protocols/protocol.ts';
import { flowFields } from './about.ts';
import type { Released } from './channel.ts';
import { Deciding, type Ruling } from './deciding.ts';
import { Gather } from './gather.ts';
import { Holds } from './holds.ts';
import { Operations, type Recorded } from './operations.ts';
import type { FlowParts } from './parts.ts';
import { receive } from './receive.ts';
import { asSluice, refusalFrom, Verdicts } from './verdict.ts';
import { Withheld } from './withheld.ts';

/** What ended a flow, for its last event. */
export interface RelayEnd {
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly operations: number;
  readonly error?: SluiceError;
}

export interface RelayOptions {
  readonly parts: FlowParts;
  readonly flow: Flow;
  readonly resource: Resource;
  readonly opened: Opened;
  readonly client: Released;
  /** Null: it is connected when the first act was decided and is on disk. */
  readonly upstream: Released | null;
  /** Rejects with SluiceError UPSTREAM_UNREACHABLE. */
  connect(signal: AbortSignal): Promise<Released>;
  readonly done: (end: RelayEnd) => void;
}

export class Relay implements Outlet {
  readonly #parts: FlowParts;
  readonly #flow: Flow;
  readonly #resource: Resource;
  readonly #opened: Opened;
  readonly #codec: Codec;
  readonly #client: net.Socket;
  #upstream: net.Socket | null = null;
  readonly #connect: RelayOptions['connect'];
  readonly #done: (end: RelayEnd) => void;
  readonly #deciding: Deciding;
  readonly #operations: Operations;
  readonly #holds: Holds;
  readonly #ending = new AbortController();
  #busy = false;
  #ahead = 0;
  readonly #withheld: Withheld;
  /** The client said goodbye. */
  #leaving = false;
  /** The client, or the upstream, ended its side while an act waited. */
  #silent = false;
  #spent = false;
  #bytesIn = 0;
  #bytesOut = 0;
  #ended = false;
  #notice: Buffer | null = null;
  #outward: Gather | null = null;
  readonly #inward: Gather;
  #pumping = false;
  /** When the last byte of an incomplete message came; 0: none is incomplete. */
  partialSince = 0;

  constructor(options: RelayOptions) {
    this.#parts = options.parts;
    this.#flow = options.flow;
    this.#resource = options.resource;
    this.#opened = options.opened;
    this.#codec = options.opened.codec;
    this.#client = receive(options.client.socket, {
      take: (chunk) => this.#fromClient(chunk),
      // The codec keeps what it has not taken apart yet.
      idle: false,
    });
    this.#connect = options.connect;
    this.#inward = new Gather(this.#client, options.parts.outbox);
    this.#done = options.done;
    this.#operations = new Operations(options.parts, options.flow.session, () =>
      flowFields(options.flow, options.resource, options.opened),
    );
    this.#holds = new Holds(options, (text, detail) => this.#sendNotice(text, detail));
    this.#deciding = new Deciding({
      ...{ parts: options.parts, session: options.flow.session, codec: this.#codec, holds: this.#holds },
      verdicts: new Verdicts(options.flow.session, options.resource),
      ending: this.#ending.signal,
      faultOf: (cause) => this.#faultOf(cause),
    });
    this.#withheld = new Withheld({
      last: () => this.#operations.last,
      relay: (chunk) => this.#relay(chunk),
      began: () => this.#upstream?.pause(),
      empty: () => this.#released(),
      fail: (error) => this.#fail(error),
    });
    options.opened.onCancel(() => this.#holds.cancel());
    this.#listen();
    if (this.#codec.halves) this.#client.allowHalfOpen = true;
    const left = options.upstream === null ? null : this.#attach(options.upstream.socket, options.upstream.left);
    this.#send(options.opened.welcome);
    left?.();
    if (options.client.left.length > 0) this.#fromClient(options.client.left);
    // A codec may have something to decide before anybody spoke.
    else if (!this.#busy) this.#pump();
    this.#client.resume();
    this.#upstream?.resume();
    if (options.client.ended) this.#saidAll();
  }

  #listen(): void {
    this.#client.on('drain', () => this.#upstream?.resume());
    this.#client.on('end', () => this.#saidAll());
    this.#client.on('close', () => this.#finish());
    this.#client.on('error', () => this.#finish());
  }

  /** Takes the upstream's socket over. The function that it returns takes what was read of it before. */
  #attach(socket: net.Socket, left: Buffer): () => void {
    const take = (chunk: Buffer) => this.#fromUpstream(chunk);
    const idle = () => this.idle;
    const upstream = receive(socket, {
      take,
      get idle() {
        return idle();
      },
    });
    this.#upstream = upstream;
    this.#outward = new Gather(upstream, this.#parts.outbox);
    if (this.#codec.halves) upstream.allowHalfOpen = true;
    upstream.on('drain', () => this.#resumeClient());
    upstream.on('end', () => this.#lost());
    upstream.on('close', () => this.#lost());
    upstream.on('error', () => {
      if (this.#codec.halves)
        this.#fail(new SluiceError('UPSTREAM_LOST', `${this.#resource.name} reset the connection`));
      else this.#lost();
    });
    return () => {
      if (left.length > 0) take(left);
    };
  }

  // ---------------------------------------------------------------- from the client

  #fromClient(chunk: Buffer): void {
    if (this.#ended) return;
    this.#bytesIn += chunk.length;
    this.#parts.outbox.expect();
    try {
      this.#codec.client(chunk);
      if (this.#busy || this.#codec.blocked) {
        this.#ahead += chunk.length;
        if (this.#ahead > this.#parts.limits.ahead) this.#client.pause();
        if (this.#busy) return;
      }
      this.#pump();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The client ends its side: what it said before goes upstream first. */
  #saidAll(): void {
    if (!this.#codec.halves) this.#finish();
    else if (this.#busy) this.#silent = true;
    else if (!this.#ended) {
      if (this.#codec.partial) {
        this.#finish();
        return;
      }
      this.#leaving = true;
      this.#outward?.finish();
      this.#upstream?.end();
    }
  }

  #resumeClient(): void {
    if (!this.#ended && this.#ahead <= this.#parts.limits.ahead) this.#client.resume();
  }

  /** Takes units until one has to wait or none is whole. */
  #pump(): void {
    this.#pumping = true;
    try {
      // What follows a goodbye is nobody's.
      while (!this.#ended && !this.#leaving) {
        const unit = this.#codec.next();
        if (unit === null) break;
        const wait = this.#take(unit);
        if (wait !== null) {
          this.#busy = true;
          wait.then(
            () => {
              this.#busy = false;
              this.#ahead = 0;
              this.#resumeClient();
              if (!this.#ended) this.#pump();
              if (this.#silent) this.#saidAll();
              if (this.#spent) this.#lost();
            },
            (error) => this.#fail(error),
          );
          break;
        }
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#pumping = false;
      this.#sendUpstream();
    }
    if (!this.#busy && !this.#codec.blocked && this.#ahead > 0) {
      this.#ahead = 0;
      this.#resumeClient();
    }
    this.partialSince = this.#codec.partial && !this.#busy ? performance.now() : 0;
  }

  /** Null when the unit is done with; a promise while it waits. */
  #take(unit: Unit): Promise<void> | null {
    switch (unit.kind) {
      case 'pass':
        this.#toUpstream(unit.bytes);
        return null;
      case 'end':
        this.#leaving = true;
        this.#toUpstream(unit.bytes);
        this.#outward?.finish();
        this.#upstream?.end();
        return null;
      case 'bad':
        this.#deciding.begin();
        this.#refuse(unit.act, null, unit.refusal);
        return null;
      case 'act':
        this.#deciding.begin();
        return this.#decide(unit.act);
    }
  }

  #decide(act: Act): Promise<void> | null {
    const ruling = this.#deciding.rule(act);
    if (!(ruling instanceof Promise)) return this.#carryOut(act, ruling);
    return ruling.then((made) => (made === null ? undefined : (this.#carryOut(act, made) ?? undefined)));
  }

  #carryOut(act: Act, { verdict, refusal }: Ruling): Promise<void> | null {
    if (refusal === null) return this.#go(act, verdict);
    this.#refuse(act, verdict, refusal);
    return null;
  }

  #sendNotice(text: string, detail: string): void {
    this.#notice = this.#codec.notice(text, detail);
    this.#flushNotice();
  }

  #flushNotice(): void {
    if (this.#notice === null || !this.#codec.atBoundary || !this.#withheld.isEmpty) return;
    this.#send(this.#notice);
    this.#notice = null;
  }

  /** Something of our own, to the client. */
  #send(bytes: Buffer): void {
    this.#inward.add(bytes);
    this.#inward.flush();
  }

  // ---------------------------------------------------------------- record and forward

  #go(act: Act, verdict: Verdict): Promise<void> | null {
    if (!act.record) {
      this.#toUpstream(this.#codec.forward(act, verdict, []));
      return null;
    }
    const refuse = (error: unknown) => this.#toUpstream(this.#codec.refuse(act, refusalFrom(asSluice(error))));
    let recorded: Recorded;
    try {
      recorded = this.#operations.record(verdict);
    } catch (error) {
      refuse(error);
      return null;
    }
    const { ops, durable } = recorded;
    if (this.#upstream === null)
      return (durable?.() ?? Promise.resolve()).then(() => this.#reach(act, verdict, ops), refuse);
    if (durable !== null) return durable().then(() => this.#forward(act, verdict, ops), refuse);
    this.#forward(act, verdict, ops);
    return null;
  }

  /** Nothing was sent to the upstream's address before this: not so much as a SYN. */
  async #reach(act: Act, verdict: Verdict, ops: readonly number[]): Promise<void> {
    if (this.#ended) return;
    const deadline = AbortSignal.timeout(this.#parts.limits.greeting);
    const { socket, left } = await this.#connect(AbortSignal.any([this.#ending.signal, deadline]));
    if (this.#ended) {
      socket.destroy();
      return;
    }
    const before = this.#attach(socket, left);
    this.#forward(act, verdict, ops);
    before();
    socket.resume();
  }

  #forward(act: Act, verdict: Verdict, ops: readonly number[]): void {
    if (this.#ended) return;
    this.#operations.began(ops);
    this.#deciding.took();
    this.#toUpstream(this.#codec.forward(act, verdict, ops));
    // What the upstream said before may have waited for this.
    this.#inward.flush();
  }

  #refuse(act: Act, verdict: Verdict | null, refusal: Refusal): void {
    if (this.#ended) return;
    let told = refusal;
    try {
      this.#operations.recordRefusal(act, verdict, refusal);
    } catch (error) {
      told = refusalFrom(asSluice(error));
    }
    this.#deciding.took();
    this.#toUpstream(this.#codec.refuse(act, told));
  }

  #toUpstream(bytes: Buffer): void {
    if (this.#ended || bytes.length === 0) return;
    if (this.#outward === null) throw new SluiceError('INTERNAL', 'bytes for an upstream that is not connected yet');
    this.#outward.add(bytes);
    if (!this.#pumping) this.#sendUpstream();
  }

  #sendUpstream(): void {
    if (this.#outward === null || this.#outward.flush()) return;
    if (this.#upstream !== null && this.#upstream.writableLength > this.#parts.limits.ahead) this.#client.pause();
  }

  // ---------------------------------------------------------------- from the upstream

  #fromUpstream(chunk: Buffer): void {
    if (this.#ended) return;
    this.#withheld.take(chunk);
  }

  #released(): void {
    if (this.#ended) return;
    this.#flushNotice();
    if (!this.#client.writableNeedDrain) this.#upstream?.resume();
  }

  /** False when the flow has ended. */
  #relay(chunk: Buffer): boolean {
    if (this.#ended) return false;
    try {
      this.#codec.upstream(chunk, this);
    } catch (error) {
      this.#fail(error);
      return false;
    }
    this.#inward.flush();
    if (this.#client.writableNeedDrain) this.#upstream?.pause();
    this.#flushNotice();
    if (!this.#busy) this.#pump();
    return !this.#ended;
  }

  toClient(bytes: Buffer): void {
    this.#bytesOut += bytes.length;
    this.#inward.add(bytes);
  }

  lend(bytes: Buffer): boolean {
    this.toClient(bytes);
    this.#inward.flush();
    return this.idle;
  }

  /** Of the upstream's bytes nothing waits: neither for a record nor for the client to take it. */
  get idle(): boolean {
    return this.#withheld.isEmpty && this.#client.writableLength === 0;
  }

  toUpstream(bytes: Buffer): void {
    this.#toUpstream(bytes);
  }

  ended(end: Ended): void {
    try {
      this.#operations.ended(end);
    } catch (error) {
      // The operation itself is on record; new ones are refused by the same fault.
      this.#parts.onFault(error, this.#flow.id);
    }
  }

  // ---------------------------------------------------------------- ends

  #lost(): void {
    if (this.#ended) return;
    if (!this.#withheld.isEmpty) {
      this.#operations.last?.committed().then(
        () => this.#lost(),
        () => this.#finish(),
      );
      return;
    }
    if (this.#codec.halves && this.#busy) this.#spent = true;
    else if (this.#leaving) this.#finish();
    else if (this.#codec.halves && this.#upstream?.destroyed === false) {
      // It said all; the client need not have.
      this.#inward.finish();
      this.#client.end();
    } else if (this.#codec.halves) this.#finish();
    else this.#fail(new SluiceError('UPSTREAM_LOST', `${this.#resource.name} closed the connection`));
  }

  /** A fault: the client is told in its own protocol, and the flow ends. */
  #fail(cause: unknown): void {
    if (this.#ended) return;
    const error = asSluice(cause);
    if (error.code === 'INTERNAL') this.#parts.onFault(cause, this.#flow.id);
    const last = this.#codec.atBoundary ? this.#codec.fatal(refusalFrom(error)) : null;
    if (last !== null && last.length > 0 && this.#client.writable) this.#send(last);
    this.#finish(error, last === null ? this.#codec.halves : last.length === 0);
  }

  #faultOf(cause: unknown): Refusal {
    const error = asSluice(cause);
    if (error.code === 'INTERNAL') this.#parts.onFault(cause, this.#flow.id);
    return refusalFrom(error);
  }

  /** Ends the flow for a reason from outside: its session ended, the daemon stops, it stalls. */
  end(error: SluiceError): void {
    if (this.#ended) return;
    const working = this.#operations.running;
    this.#fail(error);
    // What runs upstream would go on by itself, unheard.
    if (working) this.#opened.abandon?.().catch((cause) => this.#parts.onFault(cause, this.#flow.id));
  }

  /** `reset`: the client is to see that this is no ordinary end. */
  #finish(error?: SluiceError, reset = false): void {
    if (this.#ended) return;
    this.#inward.finish();
    this.#ended = true;
    this.#ending.abort();
    if (reset) this.#client.resetAndDestroy();
    else this.#client.end();
    this.#upstream?.destroy();
    // A client that does not read any more would keep the socket open for ever.
    this.#client.setTimeout(5_000, () => this.#client.destroy());
    this.#opened.close();
    const totals = { bytesIn: this.#bytesIn, bytesOut: this.#bytesOut, operations: this.#operations.count };
    this.#done(error === undefined ? totals : { ...totals, error });
  }
}

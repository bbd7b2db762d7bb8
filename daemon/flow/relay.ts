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
import type { EventFields, Receipt } from '../core/event.ts';
import type { Operation } from '../core/operation.ts';
import type { Flow, Principal } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import type { Act, Classified, Codec, Ended, Opened, Outlet, Refusal, Unit, Verdict } from '../protocols/protocol.ts';
import type { Released } from './channel.ts';
import { Gather } from './gather.ts';
import { Operations, type Recorded } from './operations.ts';
import type { FlowParts } from './parts.ts';
import { receive } from './receive.ts';
import { refusalFrom, refusalOf, Verdicts } from './verdict.ts';

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
  readonly upstream: { socket: net.Socket; left: Buffer };
  readonly done: (end: RelayEnd) => void;
}

export class Relay implements Outlet {
  readonly #parts: FlowParts;
  readonly #flow: Flow;
  readonly #resource: Resource;
  readonly #opened: Opened;
  readonly #codec: Codec;
  readonly #client: net.Socket;
  readonly #upstream: net.Socket;
  readonly #done: (end: RelayEnd) => void;
  readonly #verdicts: Verdicts;
  readonly #operations: Operations;
  readonly #ending = new AbortController();
  #busy = false;
  #ahead = 0;
  /** Upstream chunks, each with the last record before it: that has to be committed first. */
  #held: { readonly chunk: Buffer; readonly receipt: Receipt | null }[] = [];
  /** The client said goodbye. */
  #leaving = false;
  /** The client, or the upstream, ended its side while an act waited. */
  #silent = false;
  #spent = false;
  #bytesIn = 0;
  #bytesOut = 0;
  #ended = false;
  #notice: Buffer | null = null;
  #cancelHold: AbortController | null = null;
  readonly #outward: Gather;
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
    const upstream = (chunk: Buffer) => this.#fromUpstream(chunk);
    const idle = () => this.idle;
    this.#upstream = receive(options.upstream.socket, {
      take: upstream,
      get idle() {
        return idle();
      },
    });
    this.#inward = new Gather(this.#client, options.parts.outbox);
    this.#outward = new Gather(this.#upstream, options.parts.outbox);
    this.#done = options.done;
    this.#verdicts = new Verdicts(options.flow.session, options.resource);
    this.#operations = new Operations(options.parts, options.flow.session, () =>
      flowFields(options.flow, options.resource, options.opened),
    );
    options.opened.onCancel(() => this.#cancelHold?.abort());
    this.#listen();
    if (this.#codec.halves) this.#client.allowHalfOpen = this.#upstream.allowHalfOpen = true;
    this.#send(options.opened.welcome);
    if (options.upstream.left.length > 0) this.#fromUpstream(options.upstream.left);
    if (options.client.left.length > 0) this.#fromClient(options.client.left);
    // A codec may have something to decide before anybody spoke.
    else if (!this.#busy) this.#pump();
    this.#client.resume();
    this.#upstream.resume();
    if (options.client.ended) this.#saidAll();
  }

  get #principal(): Principal {
    return this.#flow.session.principal;
  }

  #listen(): void {
    this.#client.on('drain', () => this.#upstream.resume());
    this.#client.on('end', () => this.#saidAll());
    this.#client.on('close', () => this.#finish());
    this.#client.on('error', () => this.#finish());
    this.#upstream.on('drain', () => this.#resumeClient());
    this.#upstream.on('end', () => this.#lost());
    this.#upstream.on('close', () => this.#lost());
    this.#upstream.on('error', () => {
      if (this.#codec.halves)
        this.#fail(new SluiceError('UPSTREAM_LOST', `${this.#resource.name} reset the connection`));
      else this.#lost();
    });
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
      this.#outward.finish();
      this.#upstream.end();
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
    this.partialSince = this.#codec.partial && !this.#busy ? Date.now() : 0;
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
        this.#outward.finish();
        this.#upstream.end();
        return null;
      case 'bad':
        this.#refuse(unit.act, null, unit.refusal);
        return null;
      case 'act':
        return this.#decide(unit.act);
    }
  }

  #decide(act: Act): Promise<void> | null {
    const { verdict } = act;
    const decided = verdict?.policy === this.#parts.policy().version && verdict.principal === this.#principal;
    if (decided && !act.decide) return this.#go(act, verdict);
    let classified: Classified | Promise<Classified>;
    try {
      classified = this.#codec.classify(act);
    } catch (error) {
      this.#refuse(act, null, this.#faultOf(error));
      return null;
    }
    if (classified instanceof Promise) {
      return classified.then(
        (made) => this.#decided(act, made) ?? undefined,
        (error) => this.#refuse(act, null, this.#faultOf(error)),
      );
    }
    return this.#decided(act, classified);
  }

  #decided(act: Act, classified: Classified): Promise<void> | null {
    const verdict = this.#verdicts.of(classified, this.#parts.policy());
    const refusal = refusalOf(verdict);
    if (refusal !== null) {
      this.#refuse(act, verdict, refusal);
      return null;
    }
    if (verdict.decisions.some((decision) => decision.outcome === 'approve')) {
      if (act.hold) return this.#hold(act, verdict);
      if (act.record && act.verdict?.approvals === undefined) {
        // The policy began to ask for approval after the step that could be held.
        this.#refuse(act, verdict, {
          code: 'APPROVAL_PENDING',
          message: 'sluice: this now needs an approval; send it again from its start',
        });
        return null;
      }
    }
    return this.#go(act, verdict);
  }

  // ---------------------------------------------------------------- approvals

  async #hold(act: Act, verdict: Verdict): Promise<void> {
    const approvals: (string | undefined)[] = [];
    const cancel = new AbortController();
    this.#cancelHold = cancel;
    const signal = AbortSignal.any([cancel.signal, this.#ending.signal]);
    try {
      for (const [i, operation] of verdict.classified.operations.entries()) {
        const decision = verdict.decisions[i]!;
        if (decision.outcome !== 'approve' || decision.approval === undefined) {
          approvals.push(undefined);
          continue;
        }
        approvals.push(await this.#approved(act, operation, verdict, i, signal));
      }
    } catch (error) {
      if (this.#ended) return;
      const cancelled = new SluiceError('APPROVAL_CANCELLED', 'canceling statement due to user request');
      this.#refuse(act, verdict, refusalFrom(cancel.signal.aborted ? cancelled : asSluice(error)));
      return;
    } finally {
      this.#cancelHold = null;
    }
    if (this.#ended) return;
    // Policy or catalog may have changed while people thought about it.
    const now = this.#verdicts.of(verdict.classified, this.#parts.policy());
    const refusal = refusalOf(now);
    if (refusal !== null) this.#refuse(act, now, refusal);
    else await this.#go(act, { ...now, approvals });
  }

  /** @throws SluiceError when it is not approved. */
  async #approved(act: Act, operation: Operation, verdict: Verdict, i: number, signal: AbortSignal): Promise<string> {
    const decision = verdict.decisions[i]!;
    const terms = decision.approval!;
    const parameters = act.parameters?.();
    if (parameters === null)
      throw new SluiceError(
        'STATEMENT_TOO_LARGE',
        'the parameters are larger than a reviewer is shown, so nobody can approve this',
      );
    const answered = await this.#parts.approve({
      session: this.#flow.session,
      resource: this.#resource.name,
      operation,
      approval: terms,
      rule: decision.rule,
      reason: decision.reason,
      flowId: this.#flow.id,
      ...(this.#opened.account === undefined ? {} : { account: this.#opened.account }),
      ...(this.#opened.database === undefined ? {} : { database: this.#opened.database }),
      ...(parameters === undefined ? {} : { parameters }),
    });
    if (answered.kind === 'granted') return answered.id;
    if (answered.kind === 'refused') throw answered.error;
    this.#sendNotice(
      `sluice: ${operation.verb} is held for approval ${answered.id}`,
      `${decision.reason}. The connection waits up to ${Math.round(terms.hold / 1000)} s; decide with: sluice approvals show ${answered.id}`,
    );
    const result = await answered.wait(terms.hold, signal);
    if (result.granted) return answered.id;
    throw result.error;
  }

  #sendNotice(text: string, detail: string): void {
    this.#notice = this.#codec.notice(text, detail);
    this.#flushNotice();
  }

  #flushNotice(): void {
    if (this.#notice === null || !this.#codec.atBoundary || this.#held.length > 0) return;
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
    if (durable !== null) return durable().then(() => this.#forward(act, verdict, ops), refuse);
    this.#forward(act, verdict, ops);
    return null;
  }

  #forward(act: Act, verdict: Verdict, ops: readonly number[]): void {
    if (this.#ended) return;
    this.#operations.began(ops);
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
    this.#toUpstream(this.#codec.refuse(act, told));
  }

  #toUpstream(bytes: Buffer): void {
    if (this.#ended || bytes.length === 0) return;
    this.#outward.add(bytes);
    if (!this.#pumping) this.#sendUpstream();
  }

  #sendUpstream(): void {
    if (!this.#outward.flush() && this.#upstream.writableLength > this.#parts.limits.ahead) this.#client.pause();
  }

  // ---------------------------------------------------------------- from the upstream

  #fromUpstream(chunk: Buffer): void {
    if (this.#ended) return;
    const receipt = this.#operations.last;
    if (this.#held.length > 0) this.#held.push({ chunk, receipt });
    else if (receipt !== null && !receipt.done) {
      this.#held.push({ chunk, receipt });
      this.#upstream.pause();
      this.#await(receipt);
    } else {
      this.#relay(chunk);
    }
  }

  #await(receipt: Receipt): void {
    receipt.committed().then(
      () => this.#release(receipt),
      (error) => this.#fail(error),
    );
  }

  /** Lets go what waited for this record, up to what waits for a later one. */
  #release(committed: Receipt): void {
    for (let first = this.#held[0]; first !== undefined && !this.#ended; first = this.#held[0]) {
      const { chunk, receipt } = first;
      if (receipt !== null && receipt !== committed && !receipt.done) {
        this.#await(receipt);
        return;
      }
      this.#held.shift();
      this.#relay(chunk);
    }
    this.#flushNotice();
    if (!this.#ended && !this.#client.writableNeedDrain) this.#upstream.resume();
  }

  #relay(chunk: Buffer): void {
    if (this.#ended) return;
    try {
      this.#codec.upstream(chunk, this);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#inward.flush();
    if (this.#client.writableNeedDrain) this.#upstream.pause();
    this.#flushNotice();
    if (!this.#busy) this.#pump();
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
    return this.#held.length === 0 && this.#client.writableLength === 0;
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
    if (this.#held.length > 0) {
      this.#operations.last?.committed().then(
        () => this.#lost(),
        () => this.#finish(),
      );
      return;
    }
    if (this.#codec.halves && this.#busy) this.#spent = true;
    else if (this.#leaving) this.#finish();
    else if (this.#codec.halves && !this.#upstream.destroyed) {
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
    this.#upstream.destroy();
    // A client that does not read any more would keep the socket open for ever.
    this.#client.setTimeout(5_000, () => this.#client.destroy());
    this.#opened.close();
    const totals = { bytesIn: this.#bytesIn, bytesOut: this.#bytesOut, operations: this.#operations.count };
    this.#done(error === undefined ? totals : { ...totals, error });
  }
}

export function flowFields(flow: Flow, resource: Resource | null, opened: Opened | null): EventFields {
  return {
    session: flow.session.id,
    subject: flow.session.principal.subject,
    groups: flow.session.principal.groups,
    ...(flow.session.principal.issuer === undefined ? {} : { issuer: flow.session.principal.issuer }),
    flow: flow.id,
    pid: flow.origin.pid,
    uid: flow.origin.uid,
    exe: flow.origin.exe,
    cgroup: String(flow.origin.cgroupId),
    address: flow.origin.address,
    port: flow.origin.port,
    ...(resource === null ? {} : { resource: resource.name, protocol: resource.protocol }),
    ...(opened?.account === undefined ? {} : { account: opened.account }),
    ...(opened?.database === undefined ? {} : { database: opened.database }),
  };
}

/** Whatever was thrown as an error that can be told: faults of our own are not told in full. */
export function asSluice(error: unknown): SluiceError {
  if (error instanceof SluiceError) return error;
  return new SluiceError('INTERNAL', 'sluice met a fault of its own and refused', { cause: error });
}

/** All flows of the daemon: each arrival finds its resource and protocol here, or is told why it has none. */

import type net from 'node:net';
import { SluiceError } from '../core/errors.ts';
import type { Flow } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import type { Protocol } from '../protocols/protocol.ts';
import { flowFields } from './about.ts';
import { Answers, type AnswersOptions, type Datagram } from './answers.ts';
import { SocketChannel } from './channel.ts';
import { runConversation } from './conversation.ts';
import { type RunningFlow, runFlow } from './flow.ts';
import type { FlowParts } from './parts.ts';
import { refusalFrom } from './verdict.ts';

export interface Arrival {
  readonly flow: Flow;
  readonly socket: net.Socket;
}

/** How long a client without a resource is listened to, milliseconds. */
const HEARING = 5_000;
/** Bytes in which every protocol knows itself. */
const SNIFF = 4096;

export class Flows {
  readonly #running = new Set<RunningFlow>();
  #parts: FlowParts | null = null;
  #protocols: ReadonlyMap<string, Protocol> = new Map();
  #answers: Answers | null = null;

  /** `answers`: how questions for names are answered. Absent: they are refused, like everything without a resource. */
  serve(parts: FlowParts, protocols: ReadonlyMap<string, Protocol>, answers?: AnswersOptions): void {
    this.#parts = parts;
    this.#protocols = protocols;
    this.#answers = answers === undefined ? null : new Answers(parts, answers);
  }

  get size(): number {
    return this.#running.size;
  }

  /** @throws SluiceError when nothing can be recorded; the caller closes the socket. */
  arrive({ flow, socket }: Arrival): void {
    const parts = this.#parts;
    if (parts === null) throw new SluiceError('INTERNAL', 'a connection came before the daemon was ready');
    const expired = parts.expired(flow.session);
    if (expired !== null) {
      void this.#decline(parts, { flow, socket }, null, expired);
      return;
    }
    const { address, port, names } = flow.origin;
    if (port === this.#answers?.responder.port) {
      this.#run(runConversation(parts, this.#answers, flow, socket));
      return;
    }
    const meant = parts.policy().resourcesAt(address, port, names);
    if (meant.length > 1) void this.#choose(parts, flow, socket, meant);
    else this.#serve(parts, flow, socket, meant);
  }

  #serve(parts: FlowParts, flow: Flow, socket: net.Socket, meant: readonly Resource[], first?: Buffer): void {
    const resource = meant.length === 1 ? meant[0]! : null;
    const protocol = resource === null ? undefined : this.#protocols.get(resource.protocol);
    if (resource === null || protocol === undefined)
      void this.#decline(parts, { flow, socket }, resource, unserved(flow, meant), first);
    else this.#run(runFlow({ parts, flow, resource, protocol, socket, ...(first === undefined ? {} : { first }) }));
  }

  /**
   * Several resources have names at this address. Where they are of one protocol, whose clients say whom they want, and
   * one of them is meant by that, it is that one; the protocol itself checks the name again.
   */
  async #choose(parts: FlowParts, flow: Flow, socket: net.Socket, meant: readonly Resource[]): Promise<void> {
    const [name, ...others] = new Set(meant.map((resource) => resource.protocol));
    const protocol = others.length > 0 ? undefined : this.#protocols.get(name!);
    const channel = new SocketChannel(socket, AbortSignal.timeout(HEARING), 'the client');
    let first = Buffer.alloc(0);
    let chosen = meant;
    try {
      for (let server: string | null | undefined = 'more'; server === 'more' && first.length <= SNIFF * 8; ) {
        const chunk = await channel.read();
        if (chunk === null) break;
        first = Buffer.concat([first, chunk]);
        server = protocol?.serverName?.(first) ?? null;
        if (server === null || server === 'more') continue;
        const named = parts.policy().resourcesAt('', flow.origin.port, [server]);
        if (named.length === 1 && meant.includes(named[0]!)) chosen = named;
      }
    } catch (error) {
      // Without a name it stays undecided.
      if (!(error instanceof SluiceError)) parts.onFault(error, flow.id);
    }
    try {
      const { socket: taken, left } = channel.release();
      this.#serve(parts, flow, taken, chosen, Buffer.concat([first, left]));
    } catch (error) {
      socket.destroy();
      parts.onFault(error, flow.id);
    }
  }

  /** Nothing else comes by datagram: the kernel turns those to the responder's port here and refuses the rest. */
  datagram(datagram: Datagram): void {
    this.#answers?.datagram(datagram);
  }

  #run(running: RunningFlow): void {
    this.#running.add(running);
    void running.ended.finally(() => this.#running.delete(running));
  }

  async #decline(
    parts: FlowParts,
    { flow, socket }: Arrival,
    resource: Resource | null,
    error: SluiceError,
    heard?: Buffer,
  ): Promise<void> {
    const deadline = AbortSignal.timeout(HEARING);
    try {
      const fields = {
        ...flowFields(flow, resource, null),
        decision: 'deny',
        error: error.code,
        message: error.message,
      } as const;
      parts.recorder.record({ type: 'flow.start', ...fields });
      const channel = new SocketChannel(socket, deadline, 'the client');
      const first = heard ?? (await channel.read());
      if (first !== null) {
        channel.unread(first);
        const known = [...this.#protocols.values()].find((each) => each.recognise(first.subarray(0, SNIFF)) === 'yes');
        await known?.decline(channel, refusalFrom(error));
      }
    } catch (fault) {
      if (!(fault instanceof SluiceError)) parts.onFault(fault, flow.id);
    } finally {
      socket.end();
      socket.setTimeout(HEARING, () => socket.destroy());
    }
  }

  endSession(session: string, error: SluiceError): void {
    for (const running of this.#running) if (running.flow.session.id === session) running.end(error);
    this.#answers?.forget(session);
  }

  /** Ends flows whose client began a message and does not go on. */
  sweep(stall: number): void {
    const now = performance.now();
    for (const running of this.#running) {
      const since = running.partialSince;
      if (since !== 0 && now - since > stall) {
        running.end(
          new SluiceError('PROTOCOL_TIMEOUT', `a message was begun and not ended within ${Math.round(stall / 1000)} s`),
        );
      }
    }
  }

  async close(error: SluiceError): Promise<void> {
    const all = [...this.#running];
    for (const running of all) running.end(error);
    await Promise.allSettled(all.map((running) => running.ended));
  }
}

/** Why nobody serves a flow: what is no resource, may be one of several, or speaks what this version does not. */
function unserved({ origin }: Flow, meant: readonly Resource[]): SluiceError {
  const { address, port, names } = origin;
  const where = `${address} port ${port}${names.length === 0 ? '' : `, which is ${names.slice(0, 3).join(', ')}`}`;
  const [resource, ...others] = meant;
  if (resource === undefined)
    return new SluiceError('FLOW_NO_RESOURCE', `sluice: the policy has no resource at ${where}`, {
      hint: 'ask for the address to be added to the policy as a resource',
    });
  if (others.length > 0)
    return new SluiceError(
      'FLOW_NO_RESOURCE',
      `sluice: ${where} may be any of ${meant.map((each) => each.name).join(', ')}`,
      { hint: 'the names of several resources lead to this address: a TLS client can say which one, by SNI' },
    );
  return new SluiceError(
    'FLOW_NO_RESOURCE',
    `sluice: this version does not speak the protocol ${resource.protocol} of ${resource.name}`,
  );
}

/** All flows of the daemon: each arrival finds its resource and protocol here, or is told why it has none. */

import type net from 'node:net';
import { SluiceError } from '../core/errors.ts';
import type { Flow } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import type { Protocol } from '../protocols/protocol.ts';
import { SocketChannel } from './channel.ts';
import { type RunningFlow, runFlow } from './flow.ts';
import type { FlowParts } from './parts.ts';
import { flowFields } from './relay.ts';
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

  serve(parts: FlowParts, protocols: ReadonlyMap<string, Protocol>): void {
    this.#parts = parts;
    this.#protocols = protocols;
  }

  get size(): number {
    return this.#running.size;
  }

  /** @throws SluiceError when nothing can be recorded; the caller closes the socket. */
  arrive({ flow, socket }: Arrival): void {
    const parts = this.#parts;
    if (parts === null) throw new SluiceError('INTERNAL', 'a connection came before the daemon was ready');
    const resource = parts.policy().resourceAt(flow.origin.address, flow.origin.port);
    const protocol = resource === null ? undefined : this.#protocols.get(resource.protocol);
    const expired = parts.expired(flow.session);
    if (expired !== null || resource === null || protocol === undefined) {
      void this.#decline(parts, { flow, socket }, resource, expired ?? unserved(flow, resource));
      return;
    }
    const running = runFlow({ parts, flow, resource, protocol, socket });
    this.#running.add(running);
    void running.ended.finally(() => this.#running.delete(running));
  }

  async #decline(
    parts: FlowParts,
    { flow, socket }: Arrival,
    resource: Resource | null,
    error: SluiceError,
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
      const first = await channel.read();
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
  }

  /** Ends flows whose client began a message and does not go on. */
  sweep(now: number, stall: number): void {
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

/** Why nobody serves a flow: what is no resource, or speaks what this version does not. */
function unserved(flow: Flow, resource: Resource | null): SluiceError {
  const { address, port } = flow.origin;
  return resource === null
    ? new SluiceError('FLOW_NO_RESOURCE', `sluice: the policy has no resource at ${address} port ${port}`, {
        hint: 'ask for the address to be added to the policy as a resource',
      })
    : new SluiceError(
        'FLOW_NO_RESOURCE',
        `sluice: this version does not speak the protocol ${resource.protocol} of ${resource.name}`,
      );
}

/**
 * Where redirected datagrams arrive: the listener's port, UDP, on both loopback addresses. The kernel says of each whose it
 * is; one of which it says nothing is dropped.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { SluiceError } from '../core/errors.ts';
import type { Recorder } from '../core/event.ts';
import type { Origin, Session } from '../core/principal.ts';
import type { KernelOrigin } from './kernel.ts';
import type { Kind } from './sockets.ts';
import { turnedAway } from './turned-away.ts';

export interface DatagramArrival {
  readonly session: Session;
  readonly origin: Origin;
  readonly bytes: Buffer;
  /** To where it came from. Lost when the client is gone. */
  reply(bytes: Buffer): void;
}

export interface DatagramsOptions {
  /** The kernel's record of a datagram from this address and port; null: it sent none such here. */
  origin(address: string, port: number, bytes: Buffer): KernelOrigin | null;
  session(cgroupId: bigint): Session | null;
  names(session: string, address: string): readonly string[];
  readonly recorder: Recorder;
  arrive(arrival: DatagramArrival): void;
  onFault(error: unknown): void;
}

/** Datagrams without an origin are recorded at most so often, milliseconds. */
const QUIET = 1_000;
/** Those that count as sent twice: a client that asks several servers from one socket sends the same bytes to each. */
const TWICE = 256;

export class Datagrams {
  readonly #options: DatagramsOptions;
  readonly #sockets: Socket[] = [];
  readonly #recent = new Set<string>();
  #dropped = 0;
  #told = Number.NEGATIVE_INFINITY;

  constructor(options: DatagramsOptions) {
    this.#options = options;
  }

  async bind(descriptors: ReadonlyMap<Kind, number>): Promise<void> {
    for (const type of ['udp4', 'udp6'] as const) {
      const fd = descriptors.get(type);
      if (fd === undefined) continue;
      const socket = await open(type, fd);
      this.#sockets.push(socket);
      socket.on('error', (error) => this.#options.onFault(error));
      socket.on('message', (bytes, from) => this.#receive(socket, bytes, from));
    }
  }

  close(): void {
    for (const socket of this.#sockets.splice(0)) socket.close();
  }

  #receive(socket: Socket, bytes: Buffer, from: RemoteInfo): void {
    let origin: KernelOrigin | null = null;
    try {
      const sent = `${from.address} ${from.port} ${bytes.toString('latin1', 0, 64)}`;
      origin = this.#options.origin(from.address, from.port, bytes);
      if (origin === null) {
        if (!this.#recent.has(sent)) this.#drop(from);
        return;
      }
      this.#note(sent);
      const session = this.#options.session(origin.cgroupId);
      if (session === null)
        throw new SluiceError(
          'FLOW_NO_SESSION',
          `no session has the cgroup ${origin.cgroupId} of process ${origin.pid}`,
        );
      const names = this.#options.names(session.id, origin.address);
      this.#options.arrive({
        session,
        origin: { ...origin, names },
        bytes,
        reply: (answer) => {
          // The client may be gone: nobody else's fault, and nobody's to hear of.
          if (this.#sockets.includes(socket)) socket.send(answer, from.port, from.address, () => {});
        },
      });
    } catch (error) {
      turnedAway(this.#options, origin, error);
    }
  }

  #note(sent: string): void {
    this.#recent.add(sent);
    if (this.#recent.size > TWICE) this.#recent.delete(this.#recent.values().next().value!);
  }

  /** Anybody on the host can send these as fast as he likes: they must not fill the record. */
  #drop(from: RemoteInfo): void {
    this.#dropped++;
    const now = performance.now();
    if (now - this.#told < QUIET) return;
    this.#told = now;
    const count = this.#dropped;
    this.#dropped = 0;
    const text = `${count === 1 ? 'a datagram came that the kernel' : `${count} datagrams came that the kernel`} did not redirect, the last from ${from.address} port ${from.port}`;
    turnedAway(this.#options, null, new SluiceError('FLOW_UNKNOWN', text));
  }
}

function open(type: 'udp4' | 'udp6', fd: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket({ type, ipv6Only: type === 'udp6' });
    socket.once('error', reject);
    socket.bind({ fd, exclusive: true }, () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

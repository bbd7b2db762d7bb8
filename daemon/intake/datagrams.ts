/**
 * Where redirected datagrams arrive: the listener's port, UDP, on both loopback addresses. The kernel says of each whose it
 * is; one of which it says nothing is dropped.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { SluiceError } from '../core/errors.ts';
import type { Recorder } from '../core/event.ts';
import type { Origin, Session } from '../core/principal.ts';
import type { KernelOrigin } from './kernel.ts';
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

const SOCKETS = [
  { type: 'udp4', address: '127.0.0.1' },
  { type: 'udp6', address: '::1' },
] as const;
/** Bytes that wait while the daemon is busy. */
const ROOM = 1024 * 1024;
/** Datagrams without an origin are recorded at most so often, milliseconds. */
const QUIET = 1_000;
/** Those that count as sent twice: a client that asks several servers from one socket sends the same bytes to each. */
const TWICE = 256;

export class Datagrams {
  readonly #options: DatagramsOptions;
  readonly #sockets: Socket[] = [];
  readonly #recent = new Set<string>();
  #dropped = 0;
  #told = 0;

  constructor(options: DatagramsOptions) {
    this.#options = options;
  }

  /** Rejects when the port is taken; nothing is open then. */
  async bind(port: number): Promise<void> {
    try {
      for (const { type, address } of SOCKETS) {
        const socket = createSocket({ type, ipv6Only: type === 'udp6' });
        this.#sockets.push(socket);
        await new Promise<void>((resolve, reject) => {
          socket.once('error', reject);
          socket.bind({ port, address, exclusive: true }, () => {
            socket.off('error', reject);
            resolve();
          });
        });
        socket.on('error', (error) => this.#options.onFault(error));
        socket.on('message', (bytes, from) => this.#receive(socket, bytes, from));
        socket.setRecvBufferSize(ROOM);
      }
    } catch (error) {
      this.close();
      throw error;
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
    const now = Date.now();
    if (now - this.#told < QUIET) return;
    this.#told = now;
    const count = this.#dropped;
    this.#dropped = 0;
    const text = `${count === 1 ? 'a datagram came that the kernel' : `${count} datagrams came that the kernel`} did not redirect, the last from ${from.address} port ${from.port}`;
    turnedAway(this.#options, null, new SluiceError('FLOW_UNKNOWN', text));
  }
}

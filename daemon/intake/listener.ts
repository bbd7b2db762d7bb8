/**
 * Where redirected connections arrive: one port on both loopback addresses, or on the one that the host has. The kernel says
 * of each accepted socket who made it and where it meant to go; one of which it says nothing, or which no session is behind,
 * gets no further.
 */
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { SluiceError } from '../core/errors.ts';
import type { Recorder } from '../core/event.ts';
import type { Flow, Session } from '../core/principal.ts';
import type { Datagrams } from './datagrams.ts';
import type { KernelOrigin } from './kernel.ts';
import type { Sockets } from './sockets.ts';
import { turnedAway } from './turned-away.ts';

export interface Arrival {
  readonly flow: Flow;
  readonly socket: net.Socket;
}

export interface ListenerOptions {
  /** The kernel's record of the accepted socket with this descriptor; null: it was not redirected. */
  origin(fd: number): KernelOrigin | null;
  session(cgroupId: bigint): Session | null;
  names(session: string, address: string): readonly string[];
  /** Of the same port. */
  readonly datagrams: Pick<Datagrams, 'bind' | 'close'>;
  readonly recorder: Recorder;
  arrive(arrival: Arrival): void;
  onFault(error: unknown): void;
  /** Connections at once. */
  readonly limit: number;
  /** Of these, for one session. */
  readonly sessionLimit: number;
}

/** Connections that wait to be accepted, on each address. */
const BACKLOG = 1024;

export class Listener {
  readonly #options: ListenerOptions;
  readonly #servers: net.Server[] = [];
  #open = 0;
  /** By session; those without a connection are not in it. */
  readonly #of = new Map<string, number>();
  port = 0;

  constructor(options: ListenerOptions) {
    this.#options = options;
  }

  async listen({ port, descriptors }: Sockets): Promise<void> {
    this.port = port;
    for (const kind of ['tcp4', 'tcp6'] as const) {
      const fd = descriptors.get(kind);
      if (fd !== undefined) await this.#serve(fd);
    }
    await this.#options.datagrams.bind(descriptors);
  }

  close(): void {
    for (const server of this.#servers.splice(0)) server.close();
    this.#options.datagrams.close();
  }

  #serve(fd: number): Promise<void> {
    const server = net.createServer({ pauseOnConnect: true, noDelay: true, keepAlive: true }, (socket) =>
      this.#accept(socket),
    );
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      // The number of connections that wait is given anew with each listen(2).
      server.listen({ fd, backlog: BACKLOG }, () => {
        server.off('error', reject);
        server.on('error', (error) => this.#options.onFault(error));
        this.#servers.push(server);
        resolve();
      });
    });
  }

  #accept(socket: net.Socket): void {
    this.#open++;
    socket.once('close', () => this.#open--);
    // Until somebody takes the socket over, a reset must not end the daemon.
    socket.on('error', () => {});
    let origin: KernelOrigin | null = null;
    try {
      // Node has no public way to a socket's descriptor; the kernel's record hangs on it.
      const fd = (socket as unknown as { _handle: { fd: number } | null })._handle?.fd ?? -1;
      origin = fd < 0 ? null : this.#options.origin(fd);
      const session = this.#admit(origin);
      this.#count(session.id, 1);
      socket.once('close', () => this.#count(session.id, -1));
      const names = this.#options.names(session.id, origin!.address);
      const id = randomBytes(8).toString('hex');
      const flow: Flow = { id, session, origin: { ...origin!, names }, startedAt: Date.now() };
      this.#options.arrive({ flow, socket });
    } catch (error) {
      socket.destroy();
      turnedAway(this.#options, origin, error);
    }
  }

  /** @throws SluiceError FLOW_UNKNOWN, FLOW_NO_SESSION, FLOW_LIMIT. */
  #admit(origin: KernelOrigin | null): Session {
    if (origin === null) throw new SluiceError('FLOW_UNKNOWN', 'a connection came that the kernel did not redirect');
    if (origin.port === this.port && isLoopback(origin.address))
      throw new SluiceError('FLOW_UNKNOWN', 'an agent connected to the daemon itself');
    if (this.#open > this.#options.limit)
      throw new SluiceError('FLOW_LIMIT', `${this.#options.limit} connections are open already`);
    const session = this.#options.session(origin.cgroupId);
    if (session === null)
      throw new SluiceError('FLOW_NO_SESSION', `no session has the cgroup ${origin.cgroupId} of process ${origin.pid}`);
    if ((this.#of.get(session.id) ?? 0) >= this.#options.sessionLimit)
      throw new SluiceError('FLOW_LIMIT', `the session has ${this.#options.sessionLimit} connections open already`);
    return session;
  }

  #count(session: string, change: 1 | -1): void {
    const count = (this.#of.get(session) ?? 0) + change;
    if (count === 0) this.#of.delete(session);
    else this.#of.set(session, count);
  }
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.') || address.startsWith('::ffff:127.');
}

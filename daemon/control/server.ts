/**
 * The control socket: a UNIX stream socket that every local user may connect to. Who connected is asked of the kernel, once,
 * at accept; agents are told so and let go. Lines, requests in flight and connections are bounded.
 */
import { chmod, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { SluiceError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { type Access, admit, authorise, type Caller, type Gate } from './access.ts';
import { type Answer, encode, Lines, parseRequest, REQUEST_BYTES, toWire } from './wire.ts';

export interface Call {
  readonly caller: Caller;
  /** Set where the handler's access is `mapped`. */
  readonly principal: Principal | null;
  /** Aborted when the caller has gone or cancels. */
  readonly signal: AbortSignal;
}

export type Params = Readonly<Record<string, unknown>>;

/** An answer, or an async iterable whose items are streamed. */
export interface Handler {
  readonly access: Access;
  answer(params: Params, call: Call): unknown;
}

export type Handlers = Readonly<Record<string, Handler>>;

export interface ControlOptions {
  readonly path: string;
  readonly gate: Gate;
  readonly handlers: Handlers;
  /** Faults of handlers, which callers are not told in full. */
  readonly onFault: (error: unknown) => void;
  /** Default 256. */
  readonly connections?: number;
  /** Requests under way on one connection; more are refused. Default 16. */
  readonly requests?: number;
  /** Milliseconds that a connection without a request under way may stay silent. Default 60,000. */
  readonly idle?: number;
}

export class ControlServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /**
   * Listens. A socket that a dead daemon left is replaced, a live one is not.
   * @throws SluiceError CONFIG_INVALID.
   */
  static async open(options: ControlOptions): Promise<ControlServer> {
    const server = createServer({ allowHalfOpen: true });
    const control = new ControlServer(server);
    server.on('connection', (socket) => control.#serve(socket, options));
    try {
      await listen(server, options.path).catch(async (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EADDRINUSE' || (await answers(options.path))) throw error;
        await unlink(options.path);
        await listen(server, options.path);
      });
      // Who may do what is decided by who connects, so anybody may connect.
      await chmod(options.path, 0o666);
    } catch (cause) {
      server.close();
      throw new SluiceError('CONFIG_INVALID', `listening on ${options.path}: ${(cause as Error).message}`, {
        hint: 'check that no other sluiced runs and that the directory belongs to it',
        cause,
      });
    }
    return control;
  }

  /** Connections are cut, and with them what they wait for. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #serve(socket: Socket, options: ControlOptions): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
    socket.setTimeout(options.idle ?? 60_000, () => socket.destroy());
    const refuse = (error: unknown) => {
      socket.removeAllListeners('data');
      // Read on, so that what was sent does not turn the answer into a reset.
      socket.resume();
      socket.end(encode({ id: null, error: toWire(error) } satisfies Answer));
    };
    if (this.#sockets.size > (options.connections ?? 256)) {
      refuse(new SluiceError('NOT_ALLOWED', 'too many connections to the control socket', { hint: 'try again' }));
      return;
    }
    let caller: Caller;
    try {
      caller = admit(options.gate, descriptor(socket));
    } catch (error) {
      refuse(error);
      return;
    }
    const connection = new Connection(socket, caller, options);
    const lines = new Lines(REQUEST_BYTES);
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const line of lines.feed(chunk)) connection.take(line);
      } catch (error) {
        refuse(error);
      }
    });
    socket.on('end', () => connection.finish());
    socket.on('close', () => connection.abort());
  }
}

class Connection {
  readonly #socket: Socket;
  readonly #caller: Caller;
  readonly #options: ControlOptions;
  readonly #running = new Map<number, AbortController>();
  #finished = false;

  constructor(socket: Socket, caller: Caller, options: ControlOptions) {
    this.#socket = socket;
    this.#caller = caller;
    this.#options = options;
  }

  /** @throws SluiceError PROTOCOL_VIOLATION: the connection ends. */
  take(line: Buffer): void {
    const request = parseRequest(line);
    const { id } = request;
    if ('cancel' in request) {
      this.#running.get(id)?.abort();
      return;
    }
    if (this.#running.has(id)) throw new SluiceError('PROTOCOL_VIOLATION', `request ${id} is under way already`);
    if (this.#running.size >= (this.#options.requests ?? 16)) {
      const error = new SluiceError('NOT_ALLOWED', 'too many requests on one connection', { hint: 'wait for answers' });
      void this.#send({ id, error: toWire(error) });
      return;
    }
    const controller = new AbortController();
    this.#running.set(id, controller);
    // While one is under way, silence is no fault.
    this.#socket.setTimeout(0);
    void this.#answer(id, request.method, request.params, controller.signal).finally(() => {
      this.#running.delete(id);
      if (this.#running.size > 0) return;
      this.#socket.setTimeout(this.#options.idle ?? 60_000);
      if (this.#finished) this.#socket.end();
    });
  }

  /**
   * The caller has closed its side, which looks the same whether it only sends no more or is gone: what waits or streams is
   * stopped, what is about to be answered still is.
   */
  finish(): void {
    this.#finished = true;
    this.abort();
    if (this.#running.size === 0) this.#socket.end();
  }

  abort(): void {
    for (const controller of this.#running.values()) controller.abort();
  }

  async #answer(id: number, method: string, params: Params, signal: AbortSignal): Promise<void> {
    try {
      const { handlers, gate } = this.#options;
      const handler = Object.hasOwn(handlers, method) ? handlers[method] : undefined;
      if (handler === undefined) {
        throw new SluiceError(
          'PROTOCOL_UNSUPPORTED',
          `this sluiced knows no method ${JSON.stringify(method.slice(0, 64))}`,
          {
            hint: 'use the sluice of the same version',
          },
        );
      }
      const principal = await authorise(gate, this.#caller, handler.access, method);
      const result = await handler.answer(params, { caller: this.#caller, principal, signal });
      if (!isStream(result)) {
        await this.#send({ id, result: result ?? null });
        return;
      }
      for await (const item of result) {
        if (signal.aborted) break;
        await this.#send({ id, item });
      }
      await this.#send({ id, end: true });
    } catch (error) {
      if (!(error instanceof SluiceError)) this.#options.onFault(error);
      await this.#send({ id, error: toWire(error) });
    }
  }

  /** Resolves when the socket takes more: a slow reader holds its own stream up, nothing else. */
  async #send(answer: Answer): Promise<void> {
    const socket = this.#socket;
    if (!socket.writable) return;
    // Items that are ready together go out together.
    if (socket.writableCorked === 0) {
      socket.cork();
      process.nextTick(() => socket.uncork());
    }
    if (socket.write(encode(answer))) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        socket.off('drain', done);
        socket.off('close', done);
        resolve();
      };
      socket.on('drain', done);
      socket.on('close', done);
    });
  }
}

function isStream(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

/** Node offers no public way to it; -1 makes the peer unknown, and it is refused. */
export function descriptor(socket: Socket): number {
  const handle = (socket as unknown as { _handle?: { fd?: number } })._handle;
  return handle?.fd ?? -1;
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Whether somebody accepts at this path. Anything but a plain refusal counts as yes. */
export function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  });
}

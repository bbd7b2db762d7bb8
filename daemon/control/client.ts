/** The caller's side of the control socket. */
import { connect, type Socket } from 'node:net';
import { SluiceError } from '../core/errors.ts';
import { ANSWER_BYTES, encode, fromWire, Lines, parseObject } from './wire.ts';

interface Waiting {
  result(value: unknown): void;
  item(value: unknown): void;
  end(): void;
  fail(error: SluiceError): void;
}

export class ControlClient {
  readonly #socket: Socket;
  readonly #path: string;
  readonly #waiting = new Map<number, Waiting>();
  #lost: SluiceError | null = null;
  #next = 1;
  /** Calls that wait for their answer. */
  #calls = 0;

  private constructor(socket: Socket, path: string) {
    this.#socket = socket;
    this.#path = path;
    const lines = new Lines(ANSWER_BYTES);
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const line of lines.feed(chunk)) this.#take(parseObject(line));
      } catch (error) {
        this.#fail(error as SluiceError);
      }
    });
    const lost = (cause?: Error) =>
      this.#fail(
        new SluiceError(
          'DAEMON_UNREACHABLE',
          `sluiced closed the connection on ${path}${cause ? `: ${cause.message}` : ''}`,
          {
            hint: 'see the daemon log: journalctl -u sluiced',
            cause,
          },
        ),
      );
    socket.on('error', lost);
    socket.on('close', () => lost());
  }

  /** @throws SluiceError DAEMON_UNREACHABLE; NOT_ALLOWED within a session. */
  static connect(path: string): Promise<ControlClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.once('error', (cause: NodeJS.ErrnoException) =>
        reject(
          // By a hook of native/, which closes the host's sockets to agents; permissions of files give EACCES.
          cause.code === 'EPERM'
            ? new SluiceError('NOT_ALLOWED', "this process runs in a session, and an agent can't control sluice", {
                cause,
              })
            : new SluiceError(
                'DAEMON_UNREACHABLE',
                `sluiced does not answer on ${path}: ${REASONS[cause.code ?? ''] ?? cause.message}`,
                { cause },
              ),
        ),
      );
      socket.once('connect', () => {
        socket.removeAllListeners('error');
        resolve(new ControlClient(socket, path));
      });
    });
  }

  /** @throws SluiceError as the daemon answers, or DAEMON_UNREACHABLE when the connection is lost. */
  call(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    this.#calls++;
    this.#socket.resume();
    return new Promise((resolve, reject) => {
      this.#send(method, params, {
        result: resolve,
        item: () => {},
        end: () => resolve(undefined),
        fail: reject,
      });
    }).finally(() => this.#calls--);
  }

  /** Items as they come; leaving the loop, or the signal, stops the stream. @throws as `call`. */
  async *stream(
    method: string,
    params: Readonly<Record<string, unknown>> = {},
    signal?: AbortSignal,
  ): AsyncGenerator<unknown, void, void> {
    const items: unknown[] = [];
    const over: { reason: 'ended' | SluiceError | null } = { reason: null };
    let wake = () => {};
    const settle = (reason: 'ended' | SluiceError) => {
      over.reason = reason;
      wake();
    };
    const id = this.#send(method, params, {
      result: (value) => {
        items.push(value);
        settle('ended');
      },
      item: (value) => {
        items.push(value);
        // Unread items stay in the socket's buffers, not here, unless a call on the same connection waits behind them.
        if (items.length >= AHEAD && this.#calls === 0) this.#socket.pause();
        wake();
      },
      end: () => settle('ended'),
      fail: settle,
    });
    const stop = () => settle('ended');
    signal?.addEventListener('abort', stop, { once: true });
    try {
      while (!signal?.aborted) {
        if (items.length > 0) {
          yield items.shift();
          continue;
        }
        this.#socket.resume();
        if (over.reason === 'ended') return;
        if (over.reason !== null) throw over.reason;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      signal?.removeEventListener('abort', stop);
      this.#socket.resume();
      if (this.#waiting.delete(id) && this.#socket.writable) this.#socket.write(encode({ id, cancel: true }));
    }
  }

  close(): void {
    this.#lost ??= new SluiceError('DAEMON_UNREACHABLE', `the connection to ${this.#path} is closed`);
    this.#socket.destroy();
  }

  #send(method: string, params: Readonly<Record<string, unknown>>, waiting: Waiting): number {
    const id = this.#next++;
    if (this.#lost !== null) waiting.fail(this.#lost);
    else {
      this.#waiting.set(id, waiting);
      this.#socket.write(encode({ id, method, params }));
    }
    return id;
  }

  #take(answer: Record<string, unknown>): void {
    if ('error' in answer && typeof answer.id !== 'number') {
      this.#fail(fromWire(answer.error));
      return;
    }
    const id = answer.id as number;
    const waiting = this.#waiting.get(id);
    // A stream that was left still has items under way.
    if (waiting === undefined) return;
    if ('item' in answer) {
      waiting.item(answer.item);
      return;
    }
    this.#waiting.delete(id);
    if ('error' in answer) waiting.fail(fromWire(answer.error));
    else if ('end' in answer) waiting.end();
    else waiting.result(answer.result);
  }

  /** The first fault is the one that says why. */
  #fail(error: SluiceError): void {
    this.#lost ??= error;
    for (const waiting of this.#waiting.values()) waiting.fail(this.#lost);
    this.#waiting.clear();
    this.#socket.destroy();
  }
}

/** Items of one stream that are kept before the socket is left unread. */
const AHEAD = 256;

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket',
  ECONNREFUSED: 'nobody listens there',
  EACCES: 'permission denied',
};

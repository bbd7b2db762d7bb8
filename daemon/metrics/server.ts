/**
 * Where metrics are read: `GET /metrics` on a UNIX socket or a port of the loopback addresses. Agents reach neither: their
 * connections to loopback go to the policy like all others, UNIX sockets of the host are closed to them by the kernel, and
 * who connects to this one is asked of the kernel once more.
 */
import { chmodSync, unlinkSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { SluiceError } from '../core/errors.ts';

export interface MetricsServerOptions {
  /** Path of a UNIX socket, or a port of 127.0.0.1. */
  readonly at: { readonly socket: string } | { readonly port: number };
  /** Whether the process at the other end may read them; asked of UNIX sockets. Rejects with why not. */
  admit(socket: Socket): Promise<void>;
  text(): Promise<string>;
  onFault(error: unknown): void;
}

const TYPE = 'text/plain; version=0.0.4; charset=utf-8';
/** Connections at once, and how long one may take to say what it wants, milliseconds. */
const CONNECTIONS = 16;
const PATIENCE = 10_000;

export class MetricsServer {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** A socket that a dead daemon left is replaced. @throws SluiceError CONFIG_INVALID. */
  static async open(options: MetricsServerOptions): Promise<MetricsServer> {
    const { at } = options;
    const server = createServer(
      { headersTimeout: PATIENCE, requestTimeout: PATIENCE, keepAliveTimeout: 5_000, maxHeaderSize: 8_192 },
      (request, response) => {
        const path = (request.url ?? '').replace(/\?.*$/, '');
        if (path !== '/metrics') return end(response, 404, 'metrics are at /metrics\n');
        if (request.method !== 'GET' && request.method !== 'HEAD') return end(response, 405, 'GET only\n');
        const allowed = 'socket' in at ? options.admit(request.socket) : Promise.resolve();
        allowed
          .then(
            () => options.text().then((text) => end(response, 200, text, TYPE)),
            (error) => end(response, 403, `${error instanceof SluiceError ? error.message : 'not allowed'}\n`),
          )
          .catch((error) => {
            options.onFault(error);
            end(response, 500, 'see the daemon log\n');
          });
      },
    );
    server.maxConnections = CONNECTIONS;
    server.unref();
    try {
      if ('socket' in at && !(await answers(at.socket))) unlink(at.socket);
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        if ('socket' in at) server.listen(at.socket, resolve);
        else server.listen(at.port, '127.0.0.1', resolve);
      });
      // Who may read is decided by who connects.
      if ('socket' in at) chmodSync(at.socket, 0o666);
    } catch (cause) {
      server.close();
      const where = 'socket' in at ? at.socket : `port ${at.port} of 127.0.0.1`;
      throw new SluiceError('CONFIG_INVALID', `listening for metrics on ${where}: ${(cause as Error).message}`, {
        hint: 'correct metrics in sluiced.json',
        cause,
      });
    }
    server.on('error', options.onFault);
    return new MetricsServer(server);
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }
}

function end(response: ServerResponse, status: number, body: string, type = 'text/plain; charset=utf-8'): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

function unlink(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** Whether somebody listens there. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

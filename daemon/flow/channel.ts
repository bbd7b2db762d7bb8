/** A socket as the greeting sees it: read at will, written, turned into TLS. Afterwards the flow takes the socket over. */

import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';
import { SluiceError } from '../core/errors.ts';
import type { Resource } from '../core/resource.ts';
import type { Channel, Upstream } from '../protocols/protocol.ts';
import { type FindAddresses, reach } from './reach.ts';

export interface Released {
  readonly socket: net.Socket;
  readonly left: Buffer;
  readonly ended: boolean;
}

export class SocketChannel implements Channel {
  #socket: net.Socket;
  readonly #deadline: AbortSignal;
  #unread: Buffer[] = [];
  #ended = false;
  #error: Error | null = null;
  #wake: (() => void) | null = null;
  readonly #whose: string;
  readonly #onData = (chunk: Buffer) => {
    this.#unread.push(chunk);
    this.#socket.pause();
    this.#wake?.();
  };
  readonly #onEnd = () => {
    this.#ended = true;
    this.#wake?.();
  };
  readonly #onError = (error: Error) => {
    this.#error = error;
    this.#ended = true;
    this.#wake?.();
  };

  constructor(socket: net.Socket, deadline: AbortSignal, whose: string) {
    this.#socket = socket;
    this.#deadline = deadline;
    this.#whose = whose;
    this.#listen();
    deadline.addEventListener('abort', () => this.#wake?.(), { once: true });
  }

  get socket(): net.Socket {
    return this.#socket;
  }

  get encrypted(): boolean {
    return this.#socket instanceof tls.TLSSocket;
  }

  #listen(): void {
    this.#socket.on('data', this.#onData);
    this.#socket.on('end', this.#onEnd);
    this.#socket.on('close', this.#onEnd);
    this.#socket.on('error', this.#onError);
    this.#socket.pause();
  }

  #leave(): void {
    this.#socket.pause();
    this.#socket.off('data', this.#onData);
    this.#socket.off('end', this.#onEnd);
    this.#socket.off('close', this.#onEnd);
  }

  /** Takes a new socket in the place of the old, e.g. TLS over it. */
  replace(socket: net.Socket): void {
    this.#leave();
    this.#socket = socket;
    this.#listen();
  }

  async read(): Promise<Buffer | null> {
    for (;;) {
      const bytes = this.#unread.shift();
      if (bytes !== undefined) return bytes;
      if (this.#deadline.aborted)
        throw new SluiceError('PROTOCOL_TIMEOUT', `${this.#whose} did not finish its login in time`);
      if (this.#error !== null && this.#whose !== 'the client')
        throw new SluiceError(
          'UPSTREAM_LOST',
          `${this.#whose} broke the connection during login: ${this.#error.message}`,
        );
      if (this.#ended) return null;
      this.#socket.resume();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }

  unread(bytes: Buffer): void {
    if (bytes.length > 0) this.#unread.unshift(bytes);
  }

  write(bytes: Buffer): void {
    if (!this.#socket.destroyed) this.#socket.write(bytes);
  }

  /** Gives the socket back, paused, with what was read and not used. `ended`: its end was told already, and is not told again. */
  release(): Released {
    this.#leave();
    this.#socket.off('error', this.#onError);
    // What came after the pause.
    for (let more = this.#more(); more !== null; more = this.#more()) this.#unread.push(more);
    const left = this.#unread.length === 1 ? this.#unread[0]! : Buffer.concat(this.#unread);
    this.#unread = [];
    return { socket: this.#socket, left, ended: this.#ended };
  }

  #more(): Buffer | null {
    return this.#socket.read() as Buffer | null;
  }
}

/** The connection to the resource. */
export class UpstreamChannel extends SocketChannel implements Upstream {
  readonly #resource: Resource;

  constructor(socket: net.Socket, deadline: AbortSignal, resource: Resource) {
    super(socket, deadline, `${resource.name} at ${resource.host}:${resource.port}`);
    this.#resource = resource;
  }

  async startTls(wanted: {
    readonly alpn?: string;
    readonly clientCertificate?: { readonly cert: string; readonly key: string };
  }): Promise<Buffer> {
    const { host, name, tls: mode, ca } = this.#resource;
    const plain = this.release();
    if (plain.left.length > 0) {
      // Bytes before the handshake would be taken for bytes inside it (CVE-2021-23222).
      throw new SluiceError(
        'UPSTREAM_TLS',
        `${name} sent ${plain.left.length} bytes in clear text after it agreed to TLS`,
      );
    }
    const verify = mode === 'verify-full' || mode === 'verify-ca';
    const options: tls.ConnectionOptions = {
      socket: plain.socket,
      rejectUnauthorized: verify,
      minVersion: 'TLSv1.2',
    };
    if (ca !== undefined) options.ca = readFileSync(ca);
    if (net.isIP(host) === 0) options.servername = host;
    if (mode === 'verify-ca') options.checkServerIdentity = () => undefined;
    else options.host = host;
    if (wanted.alpn !== undefined) options.ALPNProtocols = [wanted.alpn];
    if (wanted.clientCertificate !== undefined) Object.assign(options, wanted.clientCertificate);
    const secure = tls.connect(options);
    await new Promise<void>((resolve, reject) => {
      secure.once('secureConnect', resolve);
      secure.once('error', (cause) =>
        reject(
          new SluiceError(
            'UPSTREAM_TLS',
            `TLS with ${name} at ${host}:${this.#resource.port} failed: ${cause.message}`,
            { cause },
          ),
        ),
      );
      secure.once('close', () =>
        reject(new SluiceError('UPSTREAM_TLS', `${name} closed the connection during the TLS handshake`)),
      );
    });
    secure.removeAllListeners('close');
    secure.removeAllListeners('error');
    this.replace(secure);
    const raw = secure.getPeerX509Certificate()?.raw;
    if (raw === undefined) throw new SluiceError('UPSTREAM_TLS', `${name} showed no certificate`);
    return raw;
  }

  end(): void {
    this.socket.destroy();
  }
}

/**
 * `lookup`: how its host's address is found. Absent: as the C library finds it.
 * @throws SluiceError UPSTREAM_UNREACHABLE.
 */
export function connectUpstream(resource: Resource, signal: AbortSignal, lookup?: FindAddresses): Promise<net.Socket> {
  const { name, host, port } = resource;
  return reach({ host, port, signal, lookup }).catch((cause: Error) => {
    throw new SluiceError('UPSTREAM_UNREACHABLE', `${name} at ${host}:${port} does not answer: ${cause.message}`, {
      cause,
    });
  });
}

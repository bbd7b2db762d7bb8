/** One intercepted connection from its acceptance to its end: greeting, relay, last event. */
import type net from 'node:net';
import tls from 'node:tls';
import { SluiceError } from '../core/errors.ts';
import type { Flow } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import type { Host, Opened, Protocol, Upstream } from '../protocols/protocol.ts';
import { flowFields } from './about.ts';
import { connectUpstream, SocketChannel, UpstreamChannel } from './channel.ts';
import type { FlowParts } from './parts.ts';
import { Relay, type RelayEnd } from './relay.ts';
import { asSluice, refusalFrom } from './verdict.ts';

export interface RunningFlow {
  readonly flow: Flow;
  /** Ends it; the client is told why. */
  end(error: SluiceError): void;
  /** When an incomplete message of the client's was last added to; 0: none. */
  readonly partialSince: number;
  readonly ended: Promise<void>;
}

export interface FlowOptions {
  readonly parts: FlowParts;
  readonly flow: Flow;
  readonly resource: Resource;
  readonly protocol: Protocol;
  readonly socket: net.Socket;
  /** Bytes that were read to recognise the protocol. */
  readonly first?: Buffer;
}

/** Never rejects: whatever goes wrong is told to the client, recorded, and ends this flow alone. */
export function runFlow(options: FlowOptions): RunningFlow {
  const { parts, flow, resource, protocol, socket } = options;
  const greeting = new AbortController();
  let relay: Relay | null = null;
  let refused: SluiceError | null = null;
  const timer = setTimeout(() => greeting.abort(), parts.limits.greeting);
  const ended = run();

  async function run(): Promise<void> {
    const started = parts.recorder.record({ type: 'flow.start', ...flowFields(flow, resource, null) });
    let opened: Opened | null = null;
    let end: RelayEnd = { bytesIn: 0, bytesOut: 0, operations: 0 };
    const channel = new SocketChannel(socket, greeting.signal, 'the client');
    const upstreams = new Set<UpstreamChannel>();
    try {
      await started.committed();
      if (options.first !== undefined) channel.unread(options.first);
      opened = await protocol.greet(new GreetingHost(options, channel, greeting.signal, upstreams));
      clearTimeout(timer);
      if (opened !== null) {
        if (refused !== null) {
          opened.close();
          throw refused;
        }
        const kept = opened.upstream as UpstreamChannel | null;
        if (kept !== null) upstreams.delete(kept);
        const made = opened;
        end = await new Promise<RelayEnd>((done) => {
          relay = new Relay({
            parts,
            flow,
            resource,
            opened: made,
            client: channel.release(),
            upstream: kept === null ? null : kept.release(),
            connect: async (signal) => {
              const socket = await connectUpstream(resource, signal, parts.lookup);
              return new UpstreamChannel(socket, signal, resource).release();
            },
            done,
          });
        });
      }
    } catch (cause) {
      const error = greeting.signal.aborted
        ? (refused ?? new SluiceError('PROTOCOL_TIMEOUT', 'the login was not finished in time'))
        : asSluice(cause);
      if (error.code === 'INTERNAL') parts.onFault(cause, flow.id);
      const last = protocol.farewell(refusalFrom(error));
      if (last.length > 0) channel.write(last);
      else channel.socket.resetAndDestroy();
      end = { ...end, error };
    } finally {
      clearTimeout(timer);
      for (const upstream of upstreams) upstream.end();
      channel.socket.end();
      channel.socket.setTimeout(5_000, () => channel.socket.destroy());
      recordEnd(parts, flow, resource, opened, end);
    }
  }

  return {
    flow,
    ended: ended.catch((error) => {
      // The flow could not even be recorded.
      const told = asSluice(error);
      if (told.code === 'INTERNAL') parts.onFault(error, flow.id);
      socket.end(protocol.farewell(refusalFrom(told)));
      socket.setTimeout(5_000, () => socket.destroy());
    }),
    end(error) {
      refused = error;
      if (relay === null) greeting.abort();
      else relay.end(error);
    },
    get partialSince() {
      return relay?.partialSince ?? 0;
    },
  };
}

function recordEnd(parts: FlowParts, flow: Flow, resource: Resource, opened: Opened | null, end: RelayEnd): void {
  const base = flowFields(flow, resource, opened);
  const fault = end.error === undefined ? {} : { error: end.error.code, message: end.error.message };
  try {
    parts.recorder.record({ type: 'flow.end', ...base, bytesIn: end.bytesIn, bytesOut: end.bytesOut, ...fault });
  } catch (error) {
    parts.onFault(error, flow.id);
  }
}

class GreetingHost implements Host {
  readonly flow: Flow;
  readonly resource: Resource;
  readonly client: SocketChannel;
  readonly #parts: FlowParts;
  readonly #signal: AbortSignal;
  readonly #upstreams: Set<UpstreamChannel>;

  constructor(options: FlowOptions, client: SocketChannel, signal: AbortSignal, upstreams: Set<UpstreamChannel>) {
    this.flow = options.flow;
    this.resource = options.resource;
    this.client = client;
    this.#parts = options.parts;
    this.#signal = signal;
    this.#upstreams = upstreams;
  }

  obligations() {
    return this.#parts.policy().obligations(this.flow.session.principal, this.resource);
  }

  get readsOnly() {
    return this.#parts.policy().readsOnly(this.flow.session.principal, this.resource);
  }

  async startTls(alpn?: string): Promise<Buffer | null> {
    const names = [this.resource.host, this.flow.origin.address];
    const secureContext = await this.#parts.secureContext(names);
    const { socket, left } = this.client.release();
    if (left.length > 0) socket.unshift(left);
    const secure = new tls.TLSSocket(socket, {
      isServer: true,
      secureContext,
      ...(alpn === undefined ? {} : { ALPNProtocols: [alpn] }),
      SNICallback: (name, done) => {
        this.#parts.secureContext([name, ...names]).then(
          (context) => done(null, context),
          (error) => done(error as Error),
        );
      },
    });
    await new Promise<void>((resolve, reject) => {
      const fail = (cause?: Error) =>
        reject(
          new SluiceError(
            'PROTOCOL_VIOLATION',
            `the TLS handshake with the client failed: ${cause?.message ?? 'it closed the connection'}`,
            { cause },
          ),
        );
      secure.once('secure', resolve);
      secure.once('error', fail);
      secure.once('close', fail);
      this.#signal.addEventListener('abort', () => fail(new Error('it took too long')), { once: true });
    });
    secure.removeAllListeners('error');
    secure.removeAllListeners('close');
    this.client.replace(secure);
    const shown = secure.getCertificate() as { raw?: Buffer } | null;
    return shown?.raw ?? null;
  }

  async connect(): Promise<Upstream> {
    const socket = await connectUpstream(this.resource, this.#signal, this.#parts.lookup);
    const upstream = new UpstreamChannel(socket, this.#signal, this.resource);
    this.#upstreams.add(upstream);
    return upstream;
  }

  /** Where the credential names no account, the policy may; the client's choice comes last. */
  async credential() {
    const read = await this.#parts.credential(this.resource);
    const user = this.resource.credential?.user;
    return read === null || user === undefined ? read : { user, ...read };
  }

  tokenIs(text: string): boolean {
    return this.#parts.tokenIs(this.flow.session, text);
  }

  verifier(): string | null {
    return this.#parts.verifier(this.flow.session);
  }
}

/**
 * Asks the host's resolvers, one after the other: each question from a socket of its own, connected, so that the kernel
 * takes no answer from anybody else, at a port that the kernel chose by chance.
 */
import { createSocket } from 'node:dgram';
import net from 'node:net';
import { SluiceError } from '../core/errors.ts';
import type { AskUpstream } from '../protocols/protocol.ts';

export interface ResolverAddress {
  /** IPv4 or IPv6, a scope behind `%` where it has one. */
  readonly host: string;
  readonly port: number;
}

export interface ResolversOptions {
  /** Those that are asked now, in this order. */
  servers(): readonly ResolverAddress[];
  /** Questions at once. */
  readonly limit: number;
}

type Judge = Parameters<AskUpstream>[1];
type Verdict = ReturnType<Judge>;

/** One resolver has so long, milliseconds; all of them together so long, which is less than clients wait. */
const TRY = 1_500;
const ALL = 4_500;
const ROUNDS = 2;
/** Answers that are none, before a try is given up: somebody is guessing ids. */
const WRONG = 64;

export class Resolvers {
  readonly #options: ResolversOptions;
  #asking = 0;

  constructor(options: ResolversOptions) {
    this.#options = options;
  }

  /** Questions that wait for an answer. */
  get asking(): number {
    return this.#asking;
  }

  readonly ask: AskUpstream = async (question, judge) => {
    const servers = this.#options.servers();
    if (servers.length === 0)
      throw new SluiceError('UPSTREAM_UNREACHABLE', 'sluice: no resolver is configured on this host', {
        hint: 'name one under resolvers in sluiced.json, or in /etc/resolv.conf',
      });
    if (this.#asking >= this.#options.limit)
      throw new SluiceError('NAME_LIMIT', `sluice: ${this.#asking} questions wait for resolvers already`);
    this.#asking++;
    try {
      return await askAll(servers, question, judge);
    } finally {
      this.#asking--;
    }
  };
}

async function askAll(servers: readonly ResolverAddress[], question: Buffer, judge: Judge): Promise<Buffer> {
  const until = performance.now() + ALL;
  let why = 'no answer in time';
  for (let round = 0; round < ROUNDS; round++) {
    for (const server of servers) {
      const left = until - performance.now();
      if (left <= 0) break;
      try {
        return await askOne(server, question, judge, Math.min(TRY, left));
      } catch (error) {
        why = (error as Error).message;
      }
    }
  }
  const all = servers.map(({ host, port }) => (port === 53 ? host : `${host} port ${port}`)).join(', ');
  throw new SluiceError('UPSTREAM_UNREACHABLE', `sluice: no resolver answered (${all}): ${why}`);
}

async function askOne(server: ResolverAddress, question: Buffer, judge: Judge, ms: number): Promise<Buffer> {
  const signal = AbortSignal.timeout(ms);
  const first = await byDatagram(server, question, judge, signal);
  if (first.verdict === 'yes') return first.reply;
  if (first.verdict === 'next') throw new Error('it could not say');
  const reply = await byStream(server, question, signal);
  if (judge(reply) !== 'yes') throw new Error('its answer over TCP is none');
  return reply;
}

/** Rejects when it does not answer. */
function byDatagram(
  { host, port }: ResolverAddress,
  question: Buffer,
  judge: Judge,
  signal: AbortSignal,
): Promise<{ readonly reply: Buffer; readonly verdict: Exclude<Verdict, 'no'> }> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(net.isIPv6(host.replace(/%.*$/, '')) ? 'udp6' : 'udp4');
    let wrong = 0;
    let over = false;
    const close = () => {
      if (over) return false;
      over = true;
      socket.close();
      return true;
    };
    const end = (error: Error) => {
      if (close()) reject(error);
    };
    const late = () => end(new Error('no answer in time'));
    signal.addEventListener('abort', late, { once: true });
    socket.once('close', () => signal.removeEventListener('abort', late));
    socket.on('error', end);
    socket.on('message', (reply) => {
      const verdict = over ? 'no' : judge(reply);
      if (verdict !== 'no') {
        close();
        resolve({ reply, verdict });
      } else if (++wrong === WRONG) end(new Error(`${WRONG} answers that are none`));
    });
    socket.connect(port, host, () => {
      if (!over) socket.send(question, () => {});
    });
  });
}

/** `length:2 message`, one each way. */
function byStream({ host, port }: ResolverAddress, question: Buffer, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, noDelay: true, signal });
    let came = Buffer.alloc(0);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed before its answer was whole')));
    socket.once('connect', () => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(question.length);
      socket.write(Buffer.concat([length, question]));
    });
    socket.on('data', (chunk: Buffer) => {
      came = Buffer.concat([came, chunk]);
      if (came.length < 2 || came.length < 2 + came.readUInt16BE(0)) return;
      resolve(came.subarray(2, 2 + came.readUInt16BE(0)));
      socket.destroy();
    });
  });
}

/**
 * The first address of a host that answers: happy eyeballs (RFC 8305, section 5).
 *
 *   addresses as they are found, families in turn → an attempt; the next one when it fails, or has not answered for a while
 *   → the first that answers is the connection, the others are dropped
 *
 * Agents' clients can't do this for themselves, as sluice accepts all of their connections. Nor does Node's own way
 * (autoSelectFamily) serve: it gives an attempt up when the next one begins, so that a host a quarter of a second away is
 * out of reach as soon as another address of its name is dead.
 */
import { lookup as systemLookup } from 'node:dns/promises';
import net from 'node:net';

/**
 * The addresses of a name: a list, or several where some are found later than others. No list is empty.
 * Throws Error when there are none.
 */
export type FindAddresses = (name: string) => AsyncIterable<readonly string[]>;

/** Milliseconds until the next address is tried as well (RFC 8305, section 8: Connection Attempt Delay). */
const NEXT = 250;
/** Attempts at once. For a further one the oldest is given up. */
const AT_ONCE = 8;

export interface Reach {
  /** A name or an address. */
  readonly host: string;
  readonly port: number;
  readonly signal: AbortSignal;
  /** How the addresses of a name are found. Absent: as the C library finds them. */
  readonly lookup?: FindAddresses | undefined;
  /** Begins an attempt. Absent: net.connect. */
  readonly open?: ((address: string, port: number) => net.Socket) | undefined;
}

/** @throws Error of the look-up, or one that says of each address why it can't be had. */
export async function reach({ host, port, signal, lookup = bySystem, open = connect }: Reach): Promise<net.Socket> {
  if (signal.aborted) throw new Error(`the addresses of ${host} were not found in time`);
  return new Promise((resolve, reject) => {
    const attempts = new Map<net.Socket, string>();
    const faults: string[] = [];
    const waiting = new Turns();
    /** More addresses may come. */
    let looking = true;
    let over = false;
    let timer: NodeJS.Timeout | undefined;
    const giveUp = (socket: net.Socket) => {
      attempts.delete(socket);
      socket.removeAllListeners('connect');
      // It may fail yet, and nobody is to hear of it.
      socket.destroy();
    };
    const finish = () => {
      over = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', late);
      for (const socket of [...attempts.keys()]) giveUp(socket);
    };
    const fail = (error = new Error(faults.join('; '))) => {
      finish();
      reject(error);
    };
    const late = () => {
      for (const address of attempts.values()) faults.push(`no answer from ${address} in time`);
      if (faults.length === 0) faults.push(`the addresses of ${host} were not found in time`);
      fail();
    };
    const next = () => {
      clearTimeout(timer);
      timer = undefined;
      const address = waiting.take();
      if (address !== undefined) attempt(address);
      else if (attempts.size === 0 && !looking) fail();
    };
    const attempt = (address: string) => {
      const [oldest] = attempts.keys();
      if (oldest !== undefined && attempts.size >= AT_ONCE) {
        faults.push(`no answer from ${attempts.get(oldest)}`);
        giveUp(oldest);
      }
      const socket = open(address, port);
      attempts.set(socket, address);
      const failed = (fault: Error) => {
        if (!attempts.has(socket)) return;
        faults.push(fault.message);
        giveUp(socket);
        next();
      };
      socket.on('error', failed);
      socket.once('connect', () => {
        attempts.delete(socket);
        socket.off('error', failed);
        finish();
        resolve(socket);
      });
      timer = setTimeout(next, NEXT);
    };
    const look = async () => {
      let none: Error | null = new Error(`${host} has no address`);
      try {
        for await (const found of net.isIP(host) === 0 ? lookup(host) : [[host]]) {
          if (over) return;
          none = null;
          waiting.add(found);
          // Else the one that was begun last still has the time that is its own.
          if (timer === undefined) next();
        }
      } catch (error) {
        if (none !== null) none = error as Error;
      }
      looking = false;
      if (over) return;
      if (none !== null) fail(none);
      else if (timer === undefined) next();
    };
    signal.addEventListener('abort', late, { once: true });
    void look();
  });
}

function connect(host: string, port: number): net.Socket {
  return net.connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 });
}

async function* bySystem(host: string): AsyncGenerator<readonly string[]> {
  const found = await systemLookup(host, { all: true });
  if (found.length > 0) yield found.map(({ address }) => address);
}

/** Addresses as they are found, but by turns of one family and the other (RFC 8305, section 4). */
class Turns {
  readonly #waiting = new Map<number, string[]>([
    [4, []],
    [6, []],
  ]);
  /** Whose turn it is. */
  #family: number | null = null;

  add(addresses: readonly string[]): void {
    for (const address of addresses) {
      this.#family ??= net.isIP(address);
      this.#waiting.get(net.isIP(address))?.push(address);
    }
  }

  take(): string | undefined {
    if (this.#family === null) return undefined;
    const [mine, other] = this.#family === 4 ? [4, 6] : [6, 4];
    const address = this.#waiting.get(mine)!.shift() ?? this.#waiting.get(other)!.shift();
    if (address !== undefined) this.#family = net.isIP(address) === 4 ? 6 : 4;
    return address;
  }
}

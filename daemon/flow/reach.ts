/**
 * The first address of a host that answers: happy eyeballs (RFC 8305, section 5).
 *
 *   addresses, families in turn → an attempt; the next one when it fails, or has not answered for a while → the first that
 *   answers is the connection, the others are dropped
 *
 * Agents' clients can't do this for themselves, as sluice accepts all of their connections. Nor does Node's own way
 * (autoSelectFamily) serve: it gives an attempt up when the next one begins, so that a host a quarter of a second away is
 * out of reach as soon as another address of its name is dead.
 */
import { lookup as systemLookup } from 'node:dns';
import net, { type LookupFunction } from 'node:net';

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
  readonly lookup?: LookupFunction | undefined;
  /** Begins an attempt. Absent: net.connect. */
  readonly open?: ((address: string, port: number) => net.Socket) | undefined;
}

/** @throws Error of the look-up, or one that says of each address why it can't be had. */
export async function reach({ host, port, signal, lookup, open = connect }: Reach): Promise<net.Socket> {
  const addresses = inTurn(await addressesOf(host, signal, lookup ?? systemLookup));
  if (addresses.length === 0) throw new Error(`${host} has no address`);
  if (signal.aborted) throw new Error(`the addresses of ${host} were not found in time`);
  return new Promise((resolve, reject) => {
    const attempts = new Map<net.Socket, string>();
    const faults: string[] = [];
    let timer: NodeJS.Timeout | undefined;
    const giveUp = (socket: net.Socket) => {
      attempts.delete(socket);
      socket.removeAllListeners('connect');
      // It may fail yet, and nobody is to hear of it.
      socket.destroy();
    };
    const finish = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', late);
      for (const socket of [...attempts.keys()]) giveUp(socket);
    };
    const late = () => {
      for (const address of attempts.values()) faults.push(`no answer from ${address} in time`);
      finish();
      reject(new Error(faults.join('; ')));
    };
    const next = () => {
      clearTimeout(timer);
      const address = addresses.shift();
      if (address !== undefined) attempt(address);
      else if (attempts.size === 0) {
        finish();
        reject(new Error(faults.join('; ')));
      }
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
    signal.addEventListener('abort', late, { once: true });
    next();
  });
}

function connect(host: string, port: number): net.Socket {
  return net.connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 });
}

/** As they are found, but by turns of one family and the other (RFC 8305, section 4). */
function inTurn(addresses: readonly string[]): string[] {
  const first = addresses.filter((each) => net.isIP(each) === net.isIP(addresses[0]!));
  const second = addresses.filter((each) => !first.includes(each));
  return first
    .flatMap((each, i) => (i < second.length ? [each, second[i]!] : [each]))
    .concat(second.slice(first.length));
}

function addressesOf(host: string, signal: AbortSignal, lookup: LookupFunction): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`the addresses of ${host} were not found in time`));
    if (signal.aborted) return late();
    if (net.isIP(host) !== 0) return resolve([host]);
    signal.addEventListener('abort', late, { once: true });
    lookup(host, { all: true }, (error, found) => {
      signal.removeEventListener('abort', late);
      if (error !== null) reject(error);
      else resolve((found as { address: string }[]).map(({ address }) => address));
    });
  });
}

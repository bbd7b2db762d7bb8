/**
 * Keys for cancelling. A client gets a key that sluice made, never the server's: with it, and from the same session, the
 * query that runs on its flow can be cancelled, and no other. Source: PostgreSQL documentation, "Canceling Requests in
 * Progress".
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { B, message, STARTUP } from './wire.ts';

export interface CancelKey {
  readonly pid: number;
  readonly secret: Buffer;
}

interface Entry {
  readonly session: string;
  readonly secret: Buffer;
  readonly upstream: CancelKey | null;
  readonly aborts: (() => void)[];
}

export class CancelKeys {
  readonly #entries = new Map<number, Entry>();

  /** A key for a new flow. `long`: the client speaks protocol 3.2 and takes keys of more than four bytes. */
  issue(session: string, upstream: CancelKey | null, long: boolean): { key: CancelKey; entry: Entry } {
    let pid: number;
    // Process numbers are positive int32; clients keep them as such.
    do pid = randomBytes(4).readUInt32BE(0) & 0x7fffffff;
    while (pid === 0 || this.#entries.has(pid));
    const secret = randomBytes(long ? 32 : 4);
    const entry: Entry = { session, secret, upstream, aborts: [] };
    this.#entries.set(pid, entry);
    return { key: { pid, secret }, entry };
  }

  revoke(pid: number): void {
    this.#entries.delete(pid);
  }

  /** The flow that this key is of, when it was given to this session. */
  find(session: string, pid: number, secret: Buffer): Entry | null {
    const entry = this.#entries.get(pid);
    if (entry === undefined || entry.session !== session) return null;
    return entry.secret.length === secret.length && timingSafeEqual(entry.secret, secret) ? entry : null;
  }
}

/** BackendKeyData: pid(int32) secret */
export function backendKeyData(key: CancelKey): Buffer {
  const pid = Buffer.alloc(4);
  pid.writeUInt32BE(key.pid);
  return message(B.backendKeyData, pid, key.secret);
}

/** CancelRequest: length(int32) code(int32) pid(int32) secret */
export function cancelRequest(key: CancelKey): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt32BE(12 + key.secret.length, 0);
  head.writeUInt32BE(STARTUP.cancel, 4);
  head.writeUInt32BE(key.pid, 8);
  return Buffer.concat([head, key.secret]);
}

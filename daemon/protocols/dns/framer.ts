/** DNS over TCP: `length:2 message`, as often as the client likes (RFC 1035 4.2.2, RFC 7766). */

import { SluiceError } from '../../core/errors.ts';

export class Framer {
  readonly #limit: number;
  #parts: Buffer[] = [];
  #size = 0;

  /** `limit`: bytes of the longest message. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#parts.push(chunk);
    this.#size += chunk.length;
  }

  /**
   * The next whole message, a copy of its own, or null.
   * @throws SluiceError PROTOCOL_VIOLATION when it is announced as longer than the limit
   */
  next(): Buffer | null {
    if (this.#size < 2) return null;
    const all = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts, this.#size);
    const end = 2 + all.readUInt16BE(0);
    if (end - 2 > this.#limit)
      throw new SluiceError('PROTOCOL_VIOLATION', `a DNS message of ${end - 2} bytes; at most ${this.#limit} are read`);
    this.#parts = [all];
    if (all.length < end) return null;
    const rest = all.subarray(end);
    this.#parts = rest.length === 0 ? [] : [rest];
    this.#size = rest.length;
    return Buffer.from(all.subarray(2, end));
  }

  get partial(): boolean {
    return this.#size > 0;
  }
}

export function frame(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

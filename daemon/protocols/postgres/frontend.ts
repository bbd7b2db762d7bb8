/**
 * Cuts the client's bytes into messages. A message is handed out whole, except those that may be of any size (Bind,
 * FunctionCall, CopyData): of these the head comes as soon as it is there, the rest as it arrives. A statement longer
 * than the limit is handed out as oversize and its bytes are left to be skipped, so that the connection stays usable.
 */
import { SluiceError } from '../../core/errors.ts';
import { F, MAX_MESSAGE } from './wire.ts';

export interface FrontendLimits {
  /** Longest statement text that is parsed, bytes. */
  readonly statement: number;
}

export interface Frame {
  readonly letter: number;
  /** Letter, length and body as far as they are here. */
  readonly bytes: Buffer;
  /** Bytes of this message that come later through rest(). 0: it is whole. */
  readonly rest: number;
  /** Longer than the limit: only the head is here, and the rest must be skipped. */
  readonly oversize: boolean;
}

/** Every other message is short: two names, an oid, a cause of failure. */
const SMALL = 64 * 1024;
/** Bind and FunctionCall up to here come whole; of longer ones this much comes first. */
const HEAD = 64 * 1024;

const SIZED = new Set<number>([
  F.bind,
  F.close,
  F.copyData,
  F.copyDone,
  F.copyFail,
  F.describe,
  F.execute,
  F.flush,
  F.functionCall,
  F.parse,
  F.query,
  F.sync,
  F.terminate,
]);

export class Frontend {
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  /** End of what has come; behind it may be room for more. */
  #end = 0;
  /** The buffer was made here, and may be written behind #end. */
  #own = false;
  #rest = 0;
  readonly #limits: FrontendLimits;

  constructor(limits: FrontendLimits) {
    this.#limits = limits;
  }

  push(chunk: Buffer): void {
    const left = this.#end - this.#at;
    const size = left + chunk.length;
    if (left === 0) {
      this.#bytes = chunk;
      this.#own = false;
    } else if (this.#own && this.#bytes.length - this.#end >= chunk.length) {
      chunk.copy(this.#bytes, this.#end);
      this.#end += chunk.length;
      return;
    } else {
      // Twice the room where little is added to much: a message that comes byte by byte is not copied for each of them.
      const grown = Buffer.allocUnsafe(left > chunk.length ? 2 * size : size);
      this.#bytes.copy(grown, 0, this.#at, this.#end);
      chunk.copy(grown, left);
      this.#bytes = grown;
      this.#own = true;
    }
    this.#at = 0;
    this.#end = size;
  }

  /** True while a message is begun and not ended. */
  get partial(): boolean {
    return this.#rest > 0 || this.#at < this.#end;
  }

  /** Bytes of the message handed out last that have arrived since, or null. */
  rest(): Buffer | null {
    if (this.#rest === 0 || this.#at === this.#end) return null;
    const bytes = this.#bytes.subarray(this.#at, Math.min(this.#at + this.#rest, this.#end));
    this.#at += bytes.length;
    this.#rest -= bytes.length;
    return bytes;
  }

  /** How much of the message handed out last is still to come. */
  get outstanding(): number {
    return this.#rest;
  }

  /**
   * The next message, or null when more bytes are needed. Only to be called when nothing is outstanding.
   * @throws SluiceError PROTOCOL_VIOLATION on an unknown letter or a length that cannot be.
   */
  next(): Frame | null {
    const bytes = this.#bytes;
    const start = this.#at;
    const here = this.#end - start;
    if (here < 5) {
      // A wrong letter is known from its first byte; waiting for four more would let a probe hang.
      if (here > 0) this.#known(bytes[start]!);
      return null;
    }
    const letter = bytes[start]!;
    this.#known(letter);
    const length = bytes.readUInt32BE(start + 1);
    const size = length + 1;
    if (length < 4 || length > MAX_MESSAGE) {
      throw new SluiceError(
        'PROTOCOL_VIOLATION',
        `a message '${String.fromCharCode(letter)}' came with the length ${length}`,
      );
    }
    const statement = letter === F.query || letter === F.parse;
    if (statement && size > this.#limits.statement + SMALL) {
      if (here < 5 + 64) return null;
      return this.#hand(letter, 5 + 64, size, true);
    }
    if (letter === F.copyData) return this.#hand(letter, Math.min(here, size), size, false);
    if ((letter === F.bind || letter === F.functionCall) && size > HEAD) {
      if (here < HEAD) return null;
      return this.#hand(letter, HEAD, size, false);
    }
    if (!statement && size > HEAD) {
      throw new SluiceError(
        'PROTOCOL_VIOLATION',
        `a message '${String.fromCharCode(letter)}' of ${length} bytes came; it may have ${SMALL}`,
      );
    }
    if (here < size) return null;
    return this.#hand(letter, size, size, false);
  }

  #hand(letter: number, taken: number, size: number, oversize: boolean): Frame {
    const bytes = this.#bytes.subarray(this.#at, this.#at + taken);
    this.#at += taken;
    this.#rest = size - taken;
    return { letter, bytes, rest: this.#rest, oversize };
  }

  #known(letter: number): void {
    if (!SIZED.has(letter)) {
      throw new SluiceError(
        'PROTOCOL_VIOLATION',
        `the byte 0x${letter.toString(16).padStart(2, '0')} begins no message of PostgreSQL's protocol`,
      );
    }
  }
}

/** Backend or frontend messages cut out of a byte stream, each whole and none longer than a bound. */
import { type ErrorCode, SluiceError } from '../../../core/errors.ts';

export interface Message {
  readonly letter: number;
  readonly body: Buffer;
}

/** letter(1) length(int32, counts itself) body(length - 4) */
export class MessageReader {
  readonly #limit: number;
  readonly #fault: ErrorCode;
  #pending: Buffer = Buffer.alloc(0);

  /** `limit`: longest body, bytes. `fault`: code of the error when a length breaks it. */
  constructor(limit: number, fault: ErrorCode) {
    this.#limit = limit;
    this.#fault = fault;
  }

  push(chunk: Buffer): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
  }

  /** Null: more bytes are needed. @throws SluiceError when the length is impossible or beyond the limit */
  next(): Message | null {
    const bytes = this.#pending;
    if (bytes.length < 5) return null;
    const length = bytes.readUInt32BE(1);
    if (length < 4 || length - 4 > this.#limit) {
      const letter = JSON.stringify(String.fromCharCode(bytes[0]!));
      throw new SluiceError(
        this.#fault,
        `a message ${letter} of length ${length} came; at most ${this.#limit + 4} is allowed here`,
      );
    }
    if (bytes.length < 1 + length) return null;
    this.#pending = bytes.subarray(1 + length);
    return { letter: bytes[0]!, body: bytes.subarray(5, 1 + length) };
  }

  /** What has come and was not read as a message. */
  rest(): Buffer {
    return this.#pending;
  }
}

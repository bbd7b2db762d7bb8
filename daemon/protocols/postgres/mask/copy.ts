/**
 * Masking of COPY … TO STDOUT. The server sends a stream in CopyData messages whose borders mean nothing, though it puts
 * one row into each; rows are therefore put together first, and a row that comes in parts goes out in one message.
 */
import { SluiceError } from '../../../core/errors.ts';
import { Candidates } from '../../../masking/candidates.ts';
import type { MaskKey } from '../../../masking/key.ts';
import type { Detection } from '../../../masking/text.ts';
import type { CopyOut } from '../sql/model.ts';
import { B } from '../wire.ts';
import type { Plan } from './columns.ts';
import { CopyBinary } from './copy-binary.ts';
import { CopyLines } from './copy-lines.ts';
import { CopyColumns, type CopyFormat } from './copy-rows.ts';
import type { ConstantRows, RowLibrary } from './library.ts';
import { OutBuffer } from './out.ts';

/** Longest row that is held to be masked, bytes. */
export const MAX_COPY_ROW = 32 * 1024 * 1024;
/** letter(1) length(4) */
const MESSAGE_HEAD = 5;

export interface CopyMaskerOptions {
  readonly maxRow?: number;
  /** For speed alone: rewrites chunks of whole rows in text whose masks are constant. */
  readonly native?: RowLibrary;
  /** client_encoding is one where bytes of longer characters look like ASCII: SJIS, BIG5, GBK, UHC, GB18030, JOHAB. */
  readonly asciiUnsafe?: boolean;
}

/** One per COPY; holds at most one incomplete row. */
export class CopyMasker {
  readonly #format: CopyFormat;
  readonly #candidates: Candidates | null;
  readonly #maxRow: number;
  readonly #constant: ConstantRows | null;
  readonly #waiting = new OutBuffer(1024);

  /**
   * @param plan by position; 'all' masks every column
   * @param types oid per column, 0 where not known. As many as CopyOutResponse announces columns.
   */
  constructor(
    plan: Plan,
    copy: CopyOut,
    types: readonly number[],
    detection: Detection | null,
    key: MaskKey,
    options: CopyMaskerOptions = {},
  ) {
    const binary = copy.format === 'binary';
    const columns = new CopyColumns(plan, types, binary ? 1 : 0, detection, key);
    this.#format = binary ? new CopyBinary(columns) : new CopyLines(columns, copy, options.asciiUnsafe === true);
    this.#candidates = detection === null ? null : new Candidates(detection.scanner);
    this.#maxRow = options.maxRow ?? MAX_COPY_ROW;
    const native = options.native;
    this.#constant = native !== undefined && this.#format instanceof CopyLines ? this.#format.constants(native) : null;
  }

  /**
   * Payload bytes in order; what is complete goes to `out`, masked.
   * @throws SluiceError MASK_ROW_TOO_LARGE, UPSTREAM_VIOLATION
   */
  push(data: Buffer, from: number, to: number, out: OutBuffer): void {
    if (from >= to) return;
    if (this.#waiting.length > 0) this.#join(data, from, to, out);
    else this.#rows(data, from, to, out, this.#scan(data, from, to));
  }

  /**
   * Masks chunk[start, end), complete CopyData messages ('d' length(int32) payload), into messages of the same kind: one
   * for each that completes a row.
   * @throws SluiceError MASK_ROW_TOO_LARGE; UPSTREAM_VIOLATION also when a length lies or another message is among them
   */
  messages(chunk: Buffer, start: number, end: number, out: OutBuffer): void {
    if (start < 0 || end > chunk.length || start > end) throw violation('a range outside its chunk');
    if (this.#constant !== null && this.#waiting.length === 0 && this.#format.pastHeader) {
      if (this.#constant.mask(chunk, start, end, out)) return;
    }
    let candidates = start < end ? this.#scan(chunk, start, end) : null;
    let at = start;
    while (at < end) {
      if (end - at < MESSAGE_HEAD || chunk[at] !== B.copyData) throw violation('something else than CopyData');
      const next = at + 1 + chunk.readUInt32BE(at + 1);
      if (next < at + MESSAGE_HEAD || next > end) throw violation('a message whose length lies');
      const head = out.length;
      out.reserve(MESSAGE_HEAD);
      out.length += MESSAGE_HEAD;
      if (this.#waiting.length > 0) {
        this.#join(chunk, at + MESSAGE_HEAD, next, out);
        candidates = next < end ? this.#scan(chunk, next, end) : null; // joining scanned other bytes
      } else if (next > at + MESSAGE_HEAD) this.#rows(chunk, at + MESSAGE_HEAD, next, out, candidates);
      const size = out.length - head - 1;
      if (size === 4) out.length = head;
      else {
        out.bytes[head] = B.copyData;
        out.bytes.writeUInt32BE(size, head + 1);
      }
      at = next;
    }
  }

  /** The stream has ended (CopyDone): nothing may be left but a last row without its newline, which is masked whole. */
  end(out: OutBuffer): void {
    const waiting = this.#waiting;
    if (waiting.length > 0) this.#format.rest(waiting.bytes, 0, waiting.length, out);
    waiting.clear();
  }

  /** Where no row is waiting. */
  #rows(data: Buffer, from: number, to: number, out: OutBuffer, candidates: Candidates | null): void {
    const next = this.#format.rows(data, from, to, out, candidates);
    if (next < to) this.#wait(data, next, to);
  }

  /** Puts bytes behind the row that is waiting. */
  #join(data: Buffer, from: number, to: number, out: OutBuffer): void {
    const waiting = this.#waiting;
    const completes = this.#format.completes(data, from, to, waiting.length);
    this.#wait(data, from, to);
    if (!completes) return;
    const held = waiting.bytes;
    const length = waiting.length;
    const next = this.#format.rows(held, 0, length, out, this.#scan(held, 0, length));
    if (next === 0) return;
    held.copy(held, 0, next, length);
    waiting.length = length - next;
  }

  /** The candidates, or null where there are none. */
  #scan(data: Buffer, from: number, to: number): Candidates | null {
    return this.#candidates?.scan(data, from, to) === true ? this.#candidates : null;
  }

  #wait(data: Buffer, from: number, to: number): void {
    if (this.#waiting.length + to - from > this.#maxRow)
      throw new SluiceError('MASK_ROW_TOO_LARGE', `a row of COPY is longer than ${this.#maxRow} bytes`);
    this.#waiting.copy(data, from, to);
  }
}

function violation(what: string): SluiceError {
  return new SluiceError('UPSTREAM_VIOLATION', `masking COPY: the server sent ${what}`);
}

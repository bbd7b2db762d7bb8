/**
 * Masking of result rows. Runs of complete DataRow messages go in, the same rows with masked values come out; what is
 * between masked values is copied in one piece, also across rows.
 *
 * Where masked columns become the same bytes in every row (redact, NULL), one call of libsluice rewrites the chunk
 * (native/lib/rows.c). All else goes through the walker here, which also has the last word on rows that call refuses.
 */
import { SluiceError } from '../../../core/errors.ts';
import { Candidates } from '../../../masking/candidates.ts';
import type { MaskKey } from '../../../masking/key.ts';
import type { Detection } from '../../../masking/text.ts';
import { B } from '../wire.ts';
import {
  type ColumnAction,
  type ColumnType,
  columnActions,
  digitsOf,
  maskContent,
  type Plan,
  wholeAction,
} from './columns.ts';
import type { ConstantRows, RowLibrary } from './library.ts';
import type { OutBuffer } from './out.ts';
import { maskValue } from './values.ts';

/** letter(1) length(4) columns(2) */
const ROW_HEAD = 7;

/** One per result (RowDescription and plan); holds no rows between calls. */
export class RowMasker {
  readonly #columns: readonly ColumnAction[];
  readonly #detection: Detection | null;
  readonly #key: MaskKey;
  /** Nothing is masked by column, and no column needs a look at each value. */
  readonly #passes: boolean;
  readonly #digits: boolean;
  readonly #constant: ConstantRows | null;
  readonly #candidates: Candidates | null;

  /**
   * @param plan 'all': every column is masked, whatever comes
   * @param native null: the walker alone (for tests and measurements)
   */
  constructor(
    plan: Plan,
    fields: readonly ColumnType[],
    detection: Detection | null,
    key: MaskKey,
    native: RowLibrary | null = null,
  ) {
    this.#columns = columnActions(plan, fields, detection !== null);
    this.#detection = detection;
    this.#candidates = detection === null ? null : new Candidates(detection.scanner);
    this.#key = key;
    this.#passes = this.#columns.every((column) => column.pass) && plan !== 'all' && plan.length === fields.length;
    this.#digits = this.#columns.some((column) => column.search === 'digits');
    const constant = !this.#passes && this.#columns.every((column) => column.pass || column.constant !== undefined);
    this.#constant = constant && native !== null ? native.constantRows(this.#columns) : null;
  }

  /**
   * Masks chunk[start, end), complete DataRow messages, and appends them to `out`.
   *
   *   'D' length(int32, without the letter) columns(int16), per column: length(int32, -1 is NULL) bytes
   *
   * A row with another number of columns than the fields is masked whole.
   * @throws SluiceError UPSTREAM_VIOLATION when a length lies or another message is among them; `out` is then as before.
   */
  mask(chunk: Buffer, start: number, end: number, out: OutBuffer): void {
    if (start < 0 || end > chunk.length || start > end) throw violation('a range outside its chunk');
    if (start === end) return;
    const found = this.#candidates?.scan(chunk, start, end) === true;
    const looks = found || (this.#digits && this.#detection !== null);
    if (!looks) {
      if (this.#constant?.mask(chunk, start, end, out) === true) return;
    }
    const before = out.length;
    try {
      this.#walk(chunk, start, end, out, looks);
    } catch (error) {
      out.length = before;
      throw error;
    }
  }

  #walk(chunk: Buffer, start: number, end: number, out: OutBuffer, looks: boolean): void {
    const columns = this.#columns;
    let at = start;
    let copied = start;
    while (at < end) {
      const row = at;
      if (end - at < ROW_HEAD || chunk[at] !== B.dataRow) throw violation('something else than a row');
      const rowEnd = at + 1 + int32(chunk, at + 1);
      if (rowEnd < at + ROW_HEAD || rowEnd > end) throw violation('a row whose length lies');
      const count = (chunk[at + 5]! << 8) | chunk[at + 6]!;
      const ragged = count !== columns.length;
      at += ROW_HEAD;
      let header = -1;
      let grown = 0;
      for (let i = 0; i < count; i++) {
        if (rowEnd - at < 4) throw violation('a row that ends within a length');
        const column = columns[i];
        const word = int32(chunk, at);
        if (word === -1 && (ragged || column?.fills !== true)) {
          at += 4;
          continue;
        }
        const length = word === -1 ? 0 : word;
        if (length < 0 || length > rowEnd - at - 4) throw violation('a value longer than its row');
        const valueEnd = at + 4 + length;
        let masked: Buffer | null | undefined;
        if (ragged || column === undefined) masked = wholeAction(column);
        else if (!column.pass) {
          masked = column.constant;
          if (masked === undefined)
            masked = maskValue(
              column.kind,
              column.typeOid,
              column.format,
              chunk.subarray(at + 4, valueEnd),
              column.plain,
              this.#key,
            );
        } else if (looks && column.search !== 'none') masked = this.#content(chunk, at + 4, valueEnd, column);
        if (masked !== undefined) {
          out.copy(chunk, copied, at);
          if (header < 0) header = out.length - (at - row);
          out.int32(masked === null ? -1 : masked.length);
          if (masked !== null) out.copy(masked, 0, masked.length);
          grown += (masked === null ? 0 : masked.length) - length;
          copied = valueEnd;
        }
        at = valueEnd;
      }
      if (at !== rowEnd) throw violation('a row longer than its values');
      if (grown !== 0) out.bytes.writeUInt32BE(rowEnd - row - 1 + grown, header + 1);
    }
    out.copy(chunk, copied, end);
  }

  /** The value with what was found in it masked; undefined where nothing was. */
  #content(chunk: Buffer, from: number, to: number, column: ColumnAction): Buffer | null | undefined {
    const detection = this.#detection!;
    if (column.search === 'digits') {
      const value = chunk.subarray(from, to);
      const digits = digitsOf(column, value);
      if (digits === null || detection.scanner.spans(digits).length === 0) return undefined;
      return maskContent(detection, column, value, [], this.#key);
    }
    const candidates = this.#candidates!;
    if (!candidates.touch(from, to)) return undefined;
    const spans = candidates.spans(chunk, from, to);
    if (spans.length === 0) return undefined;
    for (const span of spans) {
      span.from -= from;
      span.to -= from;
    }
    return maskContent(detection, column, chunk.subarray(from, to), spans, this.#key);
  }
}

function int32(bytes: Buffer, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

function violation(what: string): SluiceError {
  return new SluiceError('UPSTREAM_VIOLATION', `masking rows: the server sent ${what}`);
}

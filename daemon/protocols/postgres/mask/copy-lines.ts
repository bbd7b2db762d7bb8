/**
 * COPY in text and csv. Source: "File Formats" of COPY (sql-copy.html), CopyAttributeOutText and CopyAttributeOutCSV in
 * commands/copyto.c.
 *
 *   text  fields parted by the delimiter, \ before a character that isn't meant as it stands, rows ended by a newline
 *   csv   fields parted by the delimiter, quoted where needed; within quotes the escape character before quote or escape
 */
import type { Candidates } from '../../../masking/candidates.ts';
import type { CopyOut } from '../sql/model.ts';
import type { CopyColumns, CopyFormat } from './copy-rows.ts';
import type { ConstantRows, RowLibrary } from './library.ts';
import type { OutBuffer } from './out.ts';

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const BACKSLASH = 0x5c;
const FULL_STOP = 0x2e;
const NONE = -1;

/** Escapes of the text format that stand for another byte. */
const ESCAPES: Readonly<Record<string, number>> = { b: 8, f: 12, n: 10, r: 13, t: 9, v: 11 };

export class CopyLines implements CopyFormat {
  readonly #columns: CopyColumns;
  readonly #csv: boolean;
  readonly #delimiter: number;
  readonly #quote: number;
  readonly #escape: number;
  readonly #null: Buffer;
  /**
   * The marker stands for NULL alone. In text another one is written for NULL and for a value that is the same, so one that
   * passed would answer a guess.
   */
  readonly #told: boolean;
  /** Per column: 1 when it has to be looked at. */
  readonly #busy: Uint8Array;
  /** Per column: what a constant mask is on the wire. */
  readonly #encoded: readonly (Buffer | undefined)[];
  /** In encodings where a byte of a longer character may look like ASCII, rows with such bytes are masked whole. */
  readonly #asciiUnsafe: boolean;
  readonly #masks: boolean;
  /** Bytes outside quotes that mean something; all others are run over. */
  readonly #special = new Uint8Array(256);
  #header: boolean;

  constructor(columns: CopyColumns, options: CopyOut, asciiUnsafe: boolean) {
    this.#columns = columns;
    this.#csv = options.format === 'csv';
    this.#delimiter = options.delimiter.charCodeAt(0);
    this.#quote = this.#csv ? options.quote.charCodeAt(0) : NONE;
    this.#escape = this.#csv ? options.escape.charCodeAt(0) : BACKSLASH;
    this.#null = Buffer.from(options.null);
    this.#told = this.#csv || options.null === '\\N' || options.null === '';
    this.#header = options.header;
    this.#asciiUnsafe = asciiUnsafe;
    this.#busy = Uint8Array.from(columns.actions, (column) => (column.pass ? 0 : 1));
    this.#masks = this.#busy.includes(1);
    for (const byte of [this.#delimiter, NEWLINE, this.#csv ? this.#quote : BACKSLASH]) this.#special[byte] = 1;
    if (this.#asciiUnsafe) this.#special.fill(1, 0x80);
    this.#encoded = columns.actions.map((column) =>
      column.pass || column.constant === undefined ? undefined : this.#encode(column.constant),
    );
  }

  /** For chunks that nothing but constants are put into; null where each row has to be looked at, as the header has. */
  constants(library: RowLibrary): ConstantRows | null {
    const { actions, detection } = this.#columns;
    if (this.#csv || this.#asciiUnsafe || detection !== null || actions.length === 0) return null;
    if (!actions.every((column, i) => column.pass || this.#encoded[i] !== undefined)) return null;
    const filled = this.#told ? actions : actions.map((column) => ({ ...column, fills: !column.pass }));
    return library.constantCopy(filled, this.#encoded, this.#delimiter, this.#null);
  }

  /** The header has passed, or there is none. */
  get pastHeader(): boolean {
    return !this.#header;
  }

  completes(data: Buffer, from: number, to: number): boolean {
    const at = data.indexOf(NEWLINE, from);
    return at >= 0 && at < to;
  }

  rows(data: Buffer, from: number, to: number, out: OutBuffer, candidates: Candidates | null): number {
    const { actions } = this.#columns;
    const busy = this.#busy;
    const special = this.#special;
    const delimiter = this.#delimiter;
    const whole = this.#masks || this.#columns.detection !== null;
    const width = actions.length;
    // Escapes can stand within a value that detectors look for. Quotes in csv can't, while they are doubled by quotes.
    const decodes = this.#columns.detection !== null && (!this.#csv || this.#escape !== this.#quote);
    let i = from;
    let copied = from;
    let row = from;
    // State at the beginning of the row, to go back to when it turns out to be another one than announced.
    let outBefore = out.length;
    let copiedBefore = copied;
    let field = 0;
    let start = from;
    let escaped = false;
    let beyond = false;
    for (; i < to; i++) {
      while (i < to && special[data[i]!] === 0) i++;
      if (i >= to) break;
      const byte = data[i]!;
      if (byte !== delimiter && byte !== NEWLINE) {
        if (byte >= 0x80) beyond = true;
        else {
          escaped = true;
          i = byte === BACKSLASH && !this.#csv ? i + 1 : this.#closing(data, i + 1, to);
        }
        continue;
      }
      if (this.#header) {
        if (byte === delimiter) continue;
        this.#header = false;
      } else {
        if (field < width) {
          let instead: Buffer | undefined;
          if (busy[field] === 1) instead = this.#masked(data, start, i, field);
          else if ((escaped && decodes) || candidates?.touch(start, i) === true)
            instead = this.#searched(data, start, i, field, escaped ? null : candidates);
          if (instead !== undefined) {
            out.copy(data, copied, start);
            out.copy(instead, 0, instead.length);
            copied = i;
          }
        }
        field++;
        start = i + 1;
        escaped = false;
        if (byte === delimiter) continue;
        const fields = field === 1 && row === i ? Math.min(1, width) : field;
        const marker = i - row === 2 && data[row] === BACKSLASH && data[row + 1] === FULL_STOP; // \. ends old streams
        if ((fields !== width && whole) || (beyond && this.#masks) || marker) {
          out.length = outBefore;
          out.copy(data, copiedBefore, row);
          if (marker) out.copy(data, row, i + 1);
          else this.#whole(out, true);
          copied = i + 1;
        }
      }
      row = start = i + 1;
      outBefore = out.length;
      copiedBefore = copied;
      field = 0;
      beyond = false;
    }
    out.length = outBefore;
    out.copy(data, copiedBefore, row);
    return row;
  }

  /** Position of the quote that closes, `to` when it isn't there yet. */
  #closing(data: Buffer, at: number, to: number): number {
    const quote = this.#quote;
    const escapes = this.#escape;
    for (let i = at; i < to; i++) {
      const byte = data[i]!;
      if (byte === escapes && i + 1 < to && (data[i + 1] === quote || data[i + 1] === escapes)) i++;
      else if (byte === quote) return i;
    }
    return to;
  }

  rest(_data: Buffer, from: number, to: number, out: OutBuffer): void {
    if (from < to) this.#whole(out, false);
  }

  /** Undefined for a NULL that stays as it is. */
  #masked(data: Buffer, from: number, to: number, field: number): Buffer | undefined {
    const stays = this.#told && !this.#columns.actions[field]!.fills;
    if (stays && this.#isNull(data, from, to)) return undefined;
    const constant = this.#encoded[field];
    if (constant !== undefined) return constant;
    const column = this.#columns.actions[field]!;
    return this.#encode(this.#columns.masked(column, this.#decode(data, from, to)));
  }

  /** `candidates` where the value stands in `data` as it is, null where it has to be read first. */
  #searched(data: Buffer, from: number, to: number, field: number, candidates: Candidates | null): Buffer | undefined {
    const column = this.#columns.actions[field]!;
    if (column.search === 'none' || this.#isNull(data, from, to)) return undefined;
    const masked =
      candidates === null
        ? this.#columns.searched(column, this.#decode(data, from, to))
        : this.#columns.searchedIn(column, data, from, to, candidates);
    return masked === undefined ? undefined : this.#encode(masked);
  }

  /** Every value of the row replaced, however its fields are to be read; nothing of it passes. */
  #whole(out: OutBuffer, ends: boolean): void {
    const count = Math.max(1, this.#columns.actions.length);
    for (let i = 0; i < count; i++) {
      const value = this.#encode(this.#columns.whole(i));
      out.copy(value, 0, value.length);
      const parts = i + 1 < count;
      if (!parts && !ends) continue;
      out.reserve(1);
      out.bytes[out.length++] = parts ? this.#delimiter : NEWLINE;
    }
  }

  #isNull(data: Buffer, from: number, to: number): boolean {
    const marker = this.#null;
    if (to - from !== marker.length) return false;
    for (let i = 0; i < marker.length; i++) if (data[from + i] !== marker[i]) return false;
    return true;
  }

  #decode(data: Buffer, from: number, to: number): Buffer {
    return this.#csv ? this.#decodeCsv(data, from, to) : decodeText(data, from, to);
  }

  #decodeCsv(data: Buffer, from: number, to: number): Buffer {
    const out = Buffer.allocUnsafe(to - from);
    let length = 0;
    let quoted = false;
    for (let i = from; i < to; i++) {
      const byte = data[i]!;
      if (
        quoted &&
        byte === this.#escape &&
        i + 1 < to &&
        (data[i + 1] === this.#quote || data[i + 1] === this.#escape)
      )
        out[length++] = data[++i]!;
      else if (byte === this.#quote) quoted = !quoted;
      else out[length++] = byte;
    }
    return out.subarray(0, length);
  }

  /** Masked values are ASCII, parts of a searched one may be anything. */
  #encode(value: Buffer | null): Buffer {
    if (value === null) return this.#null;
    return this.#csv ? this.#encodeCsv(value) : this.#encodeText(value);
  }

  #encodeText(value: Buffer): Buffer {
    const out = Buffer.allocUnsafe(value.length * 2);
    let length = 0;
    for (const byte of value) {
      const letter = byte < 0x20 ? 'btnvfr'['\b\t\n\v\f\r'.indexOf(String.fromCharCode(byte))] : undefined;
      if (byte === BACKSLASH || byte === this.#delimiter || letter !== undefined) out[length++] = BACKSLASH;
      out[length++] = letter === undefined ? byte : letter.charCodeAt(0);
    }
    return out.subarray(0, length);
  }

  /** Quotes where the server would; a value that reads like NULL or the end marker is quoted as well. */
  #encodeCsv(value: Buffer): Buffer {
    const special = [this.#delimiter, this.#quote, NEWLINE, RETURN];
    const plain = !special.some((byte) => value.includes(byte)) && !value.equals(this.#null) && value[0] !== BACKSLASH;
    if (plain) return value;
    const out = Buffer.allocUnsafe(value.length * 2 + 2);
    let length = 0;
    out[length++] = this.#quote;
    for (const byte of value) {
      if (byte === this.#quote || byte === this.#escape) out[length++] = this.#escape;
      out[length++] = byte;
    }
    out[length++] = this.#quote;
    return out.subarray(0, length);
  }
}

function decodeText(data: Buffer, from: number, to: number): Buffer {
  const out = Buffer.allocUnsafe(to - from);
  let length = 0;
  for (let i = from; i < to; i++) {
    if (data[i] === BACKSLASH && i + 1 < to) {
      i++;
      out[length++] = ESCAPES[String.fromCharCode(data[i]!)] ?? data[i]!;
    } else out[length++] = data[i]!;
  }
  return out.subarray(0, length);
}

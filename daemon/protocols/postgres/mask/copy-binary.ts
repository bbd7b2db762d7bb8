/**
 * COPY in binary. Source: "Binary Format" of COPY (sql-copy.html).
 *
 *   header   PGCOPY\n\xff\r\n\0  flags(int32, 0)  length of extension(int32, 0)
 *   row      columns(int16), per column length(int32, -1 is NULL) bytes
 *   trailer  -1(int16)
 */
import { SluiceError } from '../../../core/errors.ts';
import type { Candidates } from '../../../masking/candidates.ts';
import type { CopyColumns, CopyFormat } from './copy-rows.ts';
import type { OutBuffer } from './out.ts';

const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1');
const HEAD = SIGNATURE.length + 8;
const TRAILER = 0xffff;

export class CopyBinary implements CopyFormat {
  readonly #columns: CopyColumns;
  #state: 'header' | 'rows' | 'ended' = 'header';
  /** Bytes of the waiting row (or header) that are needed before it is worth another look. */
  #needed = 0;

  constructor(columns: CopyColumns) {
    this.#columns = columns;
  }

  get pastHeader(): boolean {
    return this.#state !== 'header';
  }

  completes(_data: Buffer, from: number, to: number, waiting: number): boolean {
    return waiting + to - from >= this.#needed;
  }

  rows(data: Buffer, from: number, to: number, out: OutBuffer, candidates: Candidates | null): number {
    let at = from;
    for (;;) {
      const next = this.#state === 'header' ? this.#head(data, at, to) : this.#row(data, at, to, out, candidates);
      if (next < 0) return at;
      if (this.#state === 'header') {
        out.copy(data, at, next);
        this.#state = 'rows';
      }
      at = next;
      if (at === to) return at;
    }
  }

  rest(): void {
    throw violation('a stream that ends within a row');
  }

  #wait(from: number, needed: number): number {
    this.#needed = needed - from;
    return -1;
  }

  #head(data: Buffer, at: number, to: number): number {
    const there = Math.min(to - at, SIGNATURE.length);
    if (data.compare(SIGNATURE, 0, there, at, at + there) !== 0) throw violation('no header');
    if (to - at < HEAD) return this.#wait(at, at + HEAD);
    if (data.readUInt32BE(at + SIGNATURE.length) !== 0) throw violation('flags that are not known');
    // No server has ever sent an extension; one would be bytes of unknown meaning.
    if (data.readUInt32BE(at + SIGNATURE.length + 4) !== 0) throw violation('a header extension');
    return at + HEAD;
  }

  /** One past the row, or negative when it isn't complete; `out` then stands as before. */
  #row(data: Buffer, row: number, to: number, out: OutBuffer, candidates: Candidates | null): number {
    if (this.#state === 'ended') throw violation('rows behind the trailer');
    if (to - row < 2) return this.#wait(row, row + 2);
    const count = data.readUInt16BE(row);
    let at = row + 2;
    if (count === TRAILER) {
      this.#state = 'ended';
      out.copy(data, row, at);
      return at;
    }
    const { actions } = this.#columns;
    const before = out.length;
    let copied = row;
    for (let i = 0; i < count; i++) {
      const length = to - at < 4 ? 0 : data.readInt32BE(at);
      if (length < -1) throw violation('a length that lies');
      const end = at + 4 + Math.max(0, length);
      if (to < end) {
        out.length = before;
        return this.#wait(row, end);
      }
      const column = actions[i];
      if (length >= 0 || (column?.fills === true && count === actions.length)) {
        let masked: Buffer | null | undefined;
        if (count !== actions.length || column === undefined) masked = this.#columns.whole(i);
        else if (!column.pass) masked = this.#columns.masked(column, data.subarray(at + 4, end));
        else if (column.search === 'digits') masked = this.#columns.searched(column, data.subarray(at + 4, end));
        else if (column.search !== 'none' && candidates?.touch(at + 4, end) === true)
          masked = this.#columns.searchedIn(column, data, at + 4, end, candidates);
        if (masked !== undefined) {
          out.copy(data, copied, at);
          out.int32(masked === null ? -1 : masked.length);
          if (masked !== null) out.copy(masked, 0, masked.length);
          copied = end;
        }
      }
      at = end;
    }
    out.copy(data, copied, at);
    return at;
  }
}

function violation(what: string): SluiceError {
  return new SluiceError('UPSTREAM_VIOLATION', `masking COPY in binary: the server sent ${what}`);
}

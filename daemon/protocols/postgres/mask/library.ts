/** The row walkers of libsluice.so: native/lib/rows.c. */
import koffi from 'koffi';
import { SluiceError } from '../../../core/errors.ts';
import { libraryPath } from '../../../core/library.ts';
import type { ColumnAction } from './columns.ts';
import type { OutBuffer } from './out.ts';

const ROW_PASS = -2;
const ROW_NULL = -1;
/** struct sluice_column: length(int32) offset(uint32) fills(uint32), host byte order. */
const COLUMN_WORDS = 3;
/** letter, length, columns; and the length of each column */
const ROW_LEAST = 7;
const LENGTH_WORD = 4;
/** letter, length; and what ends each field */
const COPY_LEAST = 5;
/** A chunk that might grow further is walked by hand, which takes what it needs. */
const MOST_ROOM = 64 * 1024 * 1024;

type MaskRows = (
  input: Buffer,
  start: number,
  end: number,
  columns: Int32Array,
  count: number,
  texts: Buffer,
  out: Buffer,
  room: number,
) => number;

type MaskCopy = (
  input: Buffer,
  start: number,
  end: number,
  columns: Int32Array,
  count: number,
  texts: Buffer,
  delimiter: number,
  nullText: Buffer,
  nullLength: number,
  out: Buffer,
  room: number,
) => number;

/** Rewrites whole chunks whose masked columns have constants. */
export interface ConstantRows {
  /** False when the chunk has to be walked by hand: lengths that lie, or a row of another width. `out` is then unchanged. */
  mask(chunk: Buffer, start: number, end: number, out: OutBuffer): boolean;
}

export interface RowLibrary {
  /** DataRow messages, for columns that all pass or have a constant. */
  constantRows(columns: readonly ColumnAction[]): ConstantRows;
  /** CopyData messages of COPY in text, each one row. Per column its constant as it is written, undefined: passes. */
  constantCopy(
    columns: readonly ColumnAction[],
    constants: readonly (Buffer | undefined)[],
    delimiter: number,
    nullText: Buffer,
  ): ConstantRows;
}

/** @throws SluiceError CONFIG_INVALID when the library is missing or is none. */
export function openRowLibrary(path: string = libraryPath()): RowLibrary {
  let maskRows: MaskRows;
  let maskCopy: MaskCopy;
  const range = 'const void *, uint32_t, uint32_t, const void *, uint32_t, const void *';
  try {
    const library = koffi.load(path);
    maskRows = library.func(`int64_t sluice_mask_rows(${range}, void *, uint32_t)`);
    maskCopy = library.func(`int64_t sluice_mask_copy(${range}, uint8_t, const void *, uint32_t, void *, uint32_t)`);
  } catch (cause) {
    throw new SluiceError('CONFIG_INVALID', `could not load ${path}`, { cause, hint: 'run make -C native' });
  }
  return {
    constantRows(columns) {
      const constants = columns.map((column) => (column.pass ? undefined : (column.constant ?? null)));
      const table = tableOf(columns, constants);
      const least = ROW_LEAST + LENGTH_WORD * columns.length;
      return filling(least, table.size, (chunk, start, end, out, room) =>
        maskRows(chunk, start, end, table.words, columns.length, table.texts, out, room),
      );
    },
    constantCopy(columns, constants, delimiter, nullText) {
      const table = tableOf(columns, constants);
      const count = constants.length;
      const marker = Buffer.concat([nullText, Buffer.alloc(1)]); // never without an address
      return filling(COPY_LEAST + count, table.size, (chunk, start, end, out, room) =>
        maskCopy(chunk, start, end, table.words, count, table.texts, delimiter, marker, nullText.length, out, room),
      );
    },
  };
}

interface Table {
  readonly words: Int32Array;
  readonly texts: Buffer;
  /** Bytes of all replacements. */
  readonly size: number;
}

/** undefined: the column passes; null: it becomes NULL. */
function tableOf(columns: readonly ColumnAction[], constants: readonly (Buffer | null | undefined)[]): Table {
  const texts = Buffer.concat([...constants.map((constant) => constant ?? Buffer.alloc(0)), Buffer.alloc(1)]);
  const words = new Int32Array(Math.max(1, constants.length) * COLUMN_WORDS);
  let size = 0;
  for (const [i, constant] of constants.entries()) {
    words[i * COLUMN_WORDS] = constant === undefined ? ROW_PASS : constant === null ? ROW_NULL : constant.length;
    words[i * COLUMN_WORDS + 1] = size;
    words[i * COLUMN_WORDS + 2] = columns[i]!.fills ? 1 : 0;
    size += constant?.length ?? 0;
  }
  return { words, texts, size };
}

type Fill = (chunk: Buffer, start: number, end: number, out: Buffer, room: number) => number;

/** @param least bytes of the shortest row @param most bytes that replacements can add to it */
function filling(least: number, most: number, fill: Fill): ConstantRows {
  return {
    mask(chunk, start, end, out) {
      const room = end - start + Math.ceil((end - start) / least) * most;
      if (room > MOST_ROOM) return false;
      out.reserve(room);
      const at = out.length;
      const written = fill(chunk, start, end, at === 0 ? out.bytes : out.bytes.subarray(at), room);
      if (written < 0) return false;
      out.length = at + written;
      return true;
    },
  };
}

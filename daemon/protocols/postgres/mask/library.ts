/** The row walker of libsluice.so: native/lib/rows.c. */
import koffi from 'koffi';
import { SluiceError } from '../../../core/errors.ts';
import { libraryPath } from '../../../masking/library.ts';
import type { ColumnAction } from './columns.ts';
import type { OutBuffer } from './out.ts';

const ROW_PASS = -2;
const ROW_NULL = -1;
/** struct sluice_column: length(int32) offset(uint32), host byte order. */
const COLUMN_WORDS = 2;
/** letter, length, columns; and the length of each column */
const ROW_LEAST = 7;
const LENGTH_WORD = 4;

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

export interface ConstantRows {
  /** False when the chunk has to be walked by hand: lengths that lie, or a row of another width. `out` is then unchanged. */
  mask(chunk: Buffer, start: number, end: number, out: OutBuffer): boolean;
}

export interface RowLibrary {
  /** For columns that all pass or have a constant. */
  constantRows(columns: readonly ColumnAction[]): ConstantRows;
}

/** @throws SluiceError CONFIG_INVALID when the library is missing or is none. */
export function openRowLibrary(path: string = libraryPath()): RowLibrary {
  let maskRows: MaskRows;
  try {
    maskRows = koffi
      .load(path)
      .func(
        'int64_t sluice_mask_rows(const void *, uint32_t, uint32_t, const void *, uint32_t, const void *, void *, uint32_t)',
      );
  } catch (cause) {
    throw new SluiceError('CONFIG_INVALID', `could not load ${path}`, { cause, hint: 'run make -C native' });
  }
  return { constantRows: (columns) => constantRows(maskRows, columns) };
}

function constantRows(maskRows: MaskRows, columns: readonly ColumnAction[]): ConstantRows {
  const texts = Buffer.concat([...columns.map((column) => column.constant ?? Buffer.alloc(0)), Buffer.alloc(1)]);
  const words = new Int32Array(Math.max(1, columns.length) * COLUMN_WORDS);
  let offset = 0;
  for (const [i, column] of columns.entries()) {
    const length = column.constant?.length ?? 0;
    words[i * COLUMN_WORDS] = column.pass ? ROW_PASS : column.constant === null ? ROW_NULL : length;
    words[i * COLUMN_WORDS + 1] = offset;
    offset += length;
  }
  const rowLeast = ROW_LEAST + LENGTH_WORD * columns.length;
  return {
    mask(chunk, start, end, out) {
      // The most that the replacements can add: every value empty before.
      const room = end - start + Math.ceil((end - start) / rowLeast) * offset;
      out.reserve(room);
      const at = out.length;
      const view = at === 0 ? out.bytes : out.bytes.subarray(at);
      const written = maskRows(chunk, start, end, words, columns.length, texts, view, Math.min(room, 0x7fffffff));
      if (written < 0) return false;
      out.length = at + written;
      return true;
    },
  };
}

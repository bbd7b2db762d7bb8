/** What the three formats of COPY share: columns, how a value is masked, and rows that aren't as announced. */
import type { Candidates } from '../../../masking/candidates.ts';
import type { MaskKey } from '../../../masking/key.ts';
import type { Detection } from '../../../masking/text.ts';
import { type ColumnAction, columnActions, digitsOf, maskContent, type Plan, wholeAction } from './columns.ts';
import type { OutBuffer } from './out.ts';
import { maskValue } from './values.ts';

/** One format's walker. Stateless but for what stands before the first row. */
export interface CopyFormat {
  /**
   * Masks the complete rows of data[from, to) into `out` and returns where the first incomplete one begins.
   * `candidates` of a scan of these bytes; null where it found nothing.
   */
  rows(data: Buffer, from: number, to: number, out: OutBuffer, candidates: Candidates | null): number;
  readonly pastHeader: boolean;
  /** False when these bytes can't complete the row that is waiting; `waiting` bytes stand before them. */
  completes(data: Buffer, from: number, to: number, waiting: number): boolean;
  /** What is left when the stream ends without an end of row. */
  rest(data: Buffer, from: number, to: number, out: OutBuffer): void;
}

/** The plan over columns of which a value's type may not be known (0: text in text and csv). */
export class CopyColumns {
  readonly actions: readonly ColumnAction[];
  readonly detection: Detection | null;
  readonly #key: MaskKey;

  constructor(plan: Plan, types: readonly number[], format: number, detection: Detection | null, key: MaskKey) {
    const text = 25;
    const fields = types.map((oid) => ({ typeOid: oid === 0 && format === 0 ? text : oid, format }));
    this.actions = columnActions(plan, fields, detection !== null);
    this.detection = detection;
    this.#key = key;
  }

  /** The value under the column's mask; null is SQL NULL. Only for columns that don't pass. */
  masked(column: ColumnAction, value: Buffer): Buffer | null {
    if (column.constant !== undefined) return column.constant;
    return maskValue(column.kind, column.typeOid, column.format, value, column.plain, this.#key);
  }

  /** The value with what the detectors find in it masked; undefined where that is nothing. */
  searched(column: ColumnAction, value: Buffer): Buffer | null | undefined {
    const detection = this.detection;
    if (detection === null || column.search === 'none') return undefined;
    const looked = column.search === 'digits' ? digitsOf(column, value) : value;
    if (looked === null) return undefined;
    const spans = detection.scanner.spans(looked);
    return spans.length === 0 ? undefined : maskContent(detection, column, value, spans, this.#key);
  }

  /** As `searched`, for a value that stands in data[from, to) as it is, by the candidates of the scan of `data`. */
  searchedIn(
    column: ColumnAction,
    data: Buffer,
    from: number,
    to: number,
    candidates: Candidates,
  ): Buffer | null | undefined {
    const spans = candidates.spans(data, from, to);
    if (spans.length === 0) return undefined;
    for (const span of spans) {
      span.from -= from;
      span.to -= from;
    }
    return maskContent(this.detection!, column, data.subarray(from, to), spans, this.#key);
  }

  /** For a row with another number of columns. */
  whole(index: number): Buffer | null {
    return wholeAction(this.actions[index]);
  }
}

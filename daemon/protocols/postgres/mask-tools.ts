/** What masking lends to the codec. */
import type { ColumnMask, Obligations } from '../../core/mask.ts';
import type { CopyOut, OutputMask } from './sql/model.ts';
import type { Field } from './wire.ts';

/** The memory that masked bytes are written to. */
export interface Lending {
  /** What came out last is still in use: it stays as it is, and other memory takes its place. */
  keep(): void;
  /** All that was kept has left: it may be written to again. */
  reclaim(): void;
}

/** Rewrites complete DataRow messages of one result. */
export interface RowMasking {
  /** `bytes` holds whole messages from `start` to `end`. What comes out is overwritten by the next call, unless kept. */
  mask(bytes: Buffer, start: number, end: number): Buffer;
  readonly memory: Lending;
}

/** Rewrites the CopyData messages of one COPY TO STDOUT. */
export interface CopyMasking {
  /** As RowMasking.mask; what comes out may be empty while a row is incomplete. */
  messages(bytes: Buffer, start: number, end: number): Buffer;
  readonly memory: Lending;
  /** The payload that is left at CopyDone. */
  end(): Buffer;
}

export interface MaskTools {
  rows(
    outputs: readonly (OutputMask | null)[] | 'all',
    fields: readonly Field[] | null,
    obligations: Obligations,
  ): RowMasking | null;
  /** `types`: oid of each column, 0 where it is not known. */
  copy(
    outputs: readonly (OutputMask | null)[] | 'all',
    options: CopyOut,
    types: readonly number[],
    obligations: Obligations,
  ): CopyMasking | null;
  /** The body of an ErrorResponse or NoticeResponse without what may quote values. */
  withhold(body: Buffer, obligations: Obligations): Buffer;
  /** Detectors over the texts of an ErrorResponse or NoticeResponse. */
  scanReport(body: Buffer, obligations: Obligations): Buffer;
  scanText(text: string, obligations: Obligations): string;
  /** The mask on a column, null where there is none, 'unknown' where the catalog does not have the table. */
  column(tableOid: number, attnum: number, obligations: Obligations): ColumnMask | null | 'unknown';
}

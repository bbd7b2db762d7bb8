/** What reading needs of a chain, be it the running store's or the files of one at rest. */

import type { Mark, Pruned } from './checkpoint.ts';
import type { Entry } from './run.ts';

export interface Log {
  /** First and last sequence number; null when there is no event. */
  range(): { first: number; last: number } | null;
  /** Events with from <= seq < to, oldest first or (`reverse`) newest first. Bytes are valid until the caller next awaits. */
  read(from: number, to: number, reverse?: boolean): Iterable<Entry>;
  /** Blocks of terms.ts that can hold an event with one of these values, or (`prefix`) with one that begins so. */
  blocksOf(name: string, values: readonly string[], prefix: boolean): Set<number>;
  /** Least and greatest time in a block; null when not known. */
  span(block: number): { readonly from: number; readonly to: number } | null;
  /** Calls after each commit until the returned function is called. */
  subscribe(listener: () => void): () => void;
  marks(): Iterable<Mark>;
  head(): Mark | null;
  pruned(): Pruned | null;
  readonly chain: string;
}

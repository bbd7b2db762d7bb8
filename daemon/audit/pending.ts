/**
 * What is committed and not in LMDB yet, oldest first and without a gap, and the terms to index with it. Turns whose records
 * stand one behind the other are kept as one stretch: thousands of objects that live for a fraction of a second each would be
 * most of what the garbage collector has to do.
 */
import type { EventInput } from '../core/event.ts';
import { blockEnd, type Entry, RUN_BYTES, type Stretch, unpack } from './run.ts';
import { BLOCK, BlockTerms, type FreshTerm } from './terms.ts';

/** One transaction each: several at once, one of them failing, leave lmdb-js with promises that never settle. */
const BATCH_EVENTS = 16_384;
const BATCH_BYTES = 8_388_608;

/** The oldest stretches, for one transaction. */
export interface Batch {
  readonly stretches: readonly Stretch[];
  readonly terms: readonly FreshTerm[];
  readonly events: number;
  readonly bytes: number;
}

type Growing = { -readonly [K in keyof Stretch]: Stretch[K] };

export class Pending {
  #stretches: Growing[] = [];
  /** The last stretch, as long as turns may be added to it. */
  #open: Growing | null = null;
  #terms = new BlockTerms(-1);
  /** By number. Those of the turn that is not committed yet are among them. */
  #fresh: FreshTerm[] = [];
  #seq = 0;
  #events = 0;
  #bytes = 0;

  get events(): number {
    return this.#events;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** First event that waits; undefined: none. */
  get first(): number | undefined {
    return this.#stretches[0]?.first;
  }

  /** Collects the terms of an event of the turn that is next. */
  index(event: EventInput, seq: number): void {
    const block = Math.floor(seq / BLOCK);
    if (block !== this.#terms.block) this.#terms = new BlockTerms(block);
    this.#seq = seq;
    this.#terms.add(event, this.#add);
  }

  readonly #add = (key: string): void => {
    this.#fresh.push({ key, seq: this.#seq });
  };

  push(turn: Stretch): void {
    const { first, last, chunk, start, end, from, to } = turn;
    this.#events += last - first + 1;
    this.#bytes += end - start;
    const open = this.#open;
    if (open !== null && follows(open, turn) && end - open.start <= RUN_BYTES) {
      open.last = last;
      open.end = end;
      open.to = to;
    } else {
      this.#open = { first, last, chunk, start, end, from, to };
      this.#stretches.push(this.#open);
    }
  }

  /** The events from `seq` on are not kept: their terms have to be collected again. */
  takeBack(seq: number): void {
    while ((this.#fresh.at(-1)?.seq ?? 0) >= seq) this.#fresh.pop();
    this.#terms = new BlockTerms(-1);
  }

  batch(): Batch {
    let count = 0;
    let events = 0;
    let bytes = 0;
    for (; count < this.#stretches.length && events < BATCH_EVENTS && bytes < BATCH_BYTES; count++) {
      const { first, last, start, end } = this.#stretches[count]!;
      events += last - first + 1;
      bytes += end - start;
    }
    const stretches = this.#stretches.slice(0, count);
    if (stretches.at(-1) === this.#open) this.#open = null;
    const last = stretches.at(-1)?.last ?? 0;
    return { stretches, terms: this.#fresh.filter(({ seq }) => seq <= last), events, bytes };
  }

  /** The batch is in LMDB. */
  drop(batch: Batch): void {
    this.#stretches.splice(0, batch.stretches.length);
    this.#events -= batch.events;
    this.#bytes -= batch.bytes;
    const last = batch.stretches.at(-1)?.last ?? 0;
    this.#fresh = this.#fresh.filter(({ seq }) => seq > last);
  }

  /** Events with from <= seq < to, oldest first. */
  read(from: number, to: number): Entry[] {
    let at = this.#stretches.length;
    while (at > 0 && this.#stretches[at - 1]!.last >= from) at--;
    const entries: Entry[] = [];
    for (; at < this.#stretches.length && this.#stretches[at]!.first < to; at++) {
      const { chunk, start, end, first } = this.#stretches[at]!;
      for (const entry of unpack(chunk.subarray(start, end), first))
        if (entry.seq >= from && entry.seq < to) entries.push(entry);
    }
    return entries;
  }

  addBlocks(blocks: Set<number>): void {
    for (const { first } of this.#stretches) blocks.add(Math.floor(first / BLOCK));
  }
}

/** Its records stand behind those of the stretch, and in the same block. */
function follows(stretch: Stretch, turn: Stretch): boolean {
  return turn.chunk === stretch.chunk && turn.start === stretch.end && turn.first < blockEnd(stretch.first);
}

/** What is committed and not in LMDB yet: turns, oldest first and without a gap, and the terms to index with them. */
import type { EventInput } from '../core/event.ts';
import { type Entry, unpack } from './run.ts';
import { BLOCK, BlockTerms, type FreshTerm } from './terms.ts';
import type { Turn } from './turn.ts';

/** One transaction each: several at once, one of them failing, leave lmdb-js with promises that never settle. */
const BATCH_EVENTS = 16_384;
const BATCH_BYTES = 8_388_608;

/** The oldest turns, for one transaction. */
export interface Batch {
  readonly turns: readonly Turn[];
  readonly terms: readonly FreshTerm[];
  readonly events: number;
  readonly bytes: number;
}

export class Pending {
  #turns: Turn[] = [];
  #terms = new BlockTerms(-1);
  /** By number. Those of the turn that is not committed yet are among them. */
  #fresh: FreshTerm[] = [];
  #seq = 0;
  #events = 0;
  #bytes = 0;

  get turns(): number {
    return this.#turns.length;
  }

  get events(): number {
    return this.#events;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** First event that waits; undefined: none. */
  get first(): number | undefined {
    return this.#turns[0]?.first;
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

  push(turn: Turn): void {
    this.#turns.push(turn);
    this.#events += turn.last - turn.first + 1;
    this.#bytes += turn.end - turn.start;
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
    for (; count < this.#turns.length && events < BATCH_EVENTS && bytes < BATCH_BYTES; count++) {
      const { first, last, start, end } = this.#turns[count]!;
      events += last - first + 1;
      bytes += end - start;
    }
    const turns = this.#turns.slice(0, count);
    const last = turns.at(-1)?.last ?? 0;
    return { turns, terms: this.#fresh.filter(({ seq }) => seq <= last), events, bytes };
  }

  /** The batch is in LMDB. */
  drop(batch: Batch): void {
    this.#turns.splice(0, batch.turns.length);
    this.#events -= batch.events;
    this.#bytes -= batch.bytes;
    const last = batch.turns.at(-1)?.last ?? 0;
    this.#fresh = this.#fresh.filter(({ seq }) => seq > last);
  }

  /** Events with from <= seq < to, oldest first. */
  read(from: number, to: number): Entry[] {
    let at = this.#turns.length;
    while (at > 0 && this.#turns[at - 1]!.last >= from) at--;
    const entries: Entry[] = [];
    for (; at < this.#turns.length && this.#turns[at]!.first < to; at++) {
      const { chunk, start, end, first } = this.#turns[at]!;
      for (const entry of unpack(chunk.subarray(start, end), first))
        if (entry.seq >= from && entry.seq < to) entries.push(entry);
    }
    return entries;
  }

  addBlocks(blocks: Set<number>): void {
    for (const { first } of this.#turns) blocks.add(Math.floor(first / BLOCK));
  }
}

/**
 * The events in LMDB, and what is kept beside them. One environment `events.mdb`, databases:
 *
 *   events   seq → canonical bytes
 *   terms    [term, block] → nothing: the term occurs in that block of BLOCK events (terms.ts)
 *   blocks   block → {from, to}: least and greatest time in it, milliseconds since the epoch
 *   marks    seq → signed checkpoint
 *   state    'chain' → random id of this chain; 'pruned' → signed record of what retention took away
 *
 * Writes go through lmdb-js's own writer thread, in transactions of thousands of events that are synced to disk; the event
 * loop pays one microsecond an event.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { type Database, open, type RootDatabase } from 'lmdb';
import type { EventInput } from '../core/event.ts';
import { decode } from './canonical.ts';
import type { Mark, Pruned } from './checkpoint.ts';
import { checkHeader } from './header.ts';
import type { Entry } from './journal.ts';
import { BLOCK, BlockTerms, term } from './terms.ts';

export interface Span {
  readonly from: number;
  readonly to: number;
}

/** An entry with what the index needs; `input` absent after a restart, when it is read from the bytes. */
export interface Row extends Entry {
  readonly time: number;
  readonly input: EventInput;
}

const NOTHING = Buffer.alloc(0);
const nothing = (): void => {};

export class Table {
  readonly #root: RootDatabase;
  readonly #events: Database<Buffer, number>;
  readonly #terms: Database<Buffer, [string, number]>;
  readonly #blocks: Database<Span, number>;
  readonly #marks: Database<Mark, number>;
  readonly #state: Database<unknown, string>;
  #open: BlockTerms = new BlockTerms(-1);
  #span: { from: number; to: number } = { from: 0, to: 0 };

  /** @param mapBytes address space to reserve: far above what may be used, so that the map never has to move. */
  constructor(dir: string, mapBytes: number, readOnly = false) {
    const path = join(dir, 'events.mdb');
    if (existsSync(path)) checkHeader(path);
    // noReadAhead is an option of the library that its types leave out.
    const options = {
      path,
      noSubdir: true,
      maxDbs: 8,
      mapSize: mapBytes,
      noReadAhead: true,
      readOnly,
    };
    this.#root = open(options);
    this.#events = this.#root.openDB({ name: 'events', encoding: 'binary' });
    this.#terms = this.#root.openDB({ name: 'terms', encoding: 'binary' });
    this.#blocks = this.#root.openDB({ name: 'blocks', encoding: 'json' });
    this.#marks = this.#root.openDB({ name: 'marks', encoding: 'json' });
    this.#state = this.#root.openDB({ name: 'state', encoding: 'json' });
  }

  /** Bytes of pages in use; the file may be larger by free pages, which are used before it grows. */
  get bytesUsed(): number {
    let pages = 0;
    let pageSize = 4096;
    for (const db of [this.#events, this.#terms, this.#blocks, this.#marks, this.#state]) {
      const stats = db.getStats() as Record<string, number>;
      pages += stats.treeBranchPageCount! + stats.treeLeafPageCount! + stats.overflowPages!;
      pageSize = stats.pageSize!;
    }
    return pages * pageSize;
  }

  /** Puts events in one transaction with their index. Resolves when they are on disk; rejects when they are not kept. */
  async put(rows: readonly Row[], mark: Mark | null): Promise<void> {
    const writes = new Writes(this.#root);
    for (const row of rows) {
      const block = Math.floor(row.seq / BLOCK);
      if (block !== this.#open.block) this.#turn(block, row.time, writes);
      writes.add(this.#events.put(row.seq, row.bytes));
      this.#open.add(row.input, (key) => writes.add(this.#terms.put([key, block], NOTHING)));
      if (row.time < this.#span.from) this.#span.from = row.time;
      if (row.time > this.#span.to) this.#span.to = row.time;
    }
    if (rows.length > 0) writes.add(this.#blocks.put(this.#open.block, { ...this.#span }));
    if (mark !== null) writes.add(this.#marks.put(mark.seq, mark));
    try {
      await writes.done();
    } catch (error) {
      // What the failed transaction held has to be indexed again.
      this.#open = new BlockTerms(-1);
      throw error;
    }
    await this.#root.flushed;
  }

  #turn(block: number, time: number, writes: Writes): void {
    if (this.#open.block >= 0) writes.add(this.#blocks.put(this.#open.block, { ...this.#span }));
    this.#open = new BlockTerms(block);
    const known = this.#blocks.get(block);
    this.#span = known === undefined ? { from: time, to: time } : { ...known };
  }

  /** Removes events up to and with `upTo` and leaves the signed record of it. Resolves when on disk. */
  async prune(from: number, upTo: number, record: Pruned): Promise<void> {
    const writes = new Writes(this.#root);
    writes.add(this.#state.put('pruned', record));
    for (let seq = from; seq <= upTo; seq++) writes.add(this.#events.remove(seq));
    for (const { key } of this.#marks.getRange({ start: 0, end: upTo + 1 })) writes.add(this.#marks.remove(key));
    for (let block = Math.floor(from / BLOCK); (block + 1) * BLOCK <= upTo + 1; block++) {
      writes.add(this.#blocks.remove(block));
      // The terms of a block are found from its events, which are visible until this transaction is.
      const terms = new BlockTerms(block);
      for (const entry of this.read(block * BLOCK, (block + 1) * BLOCK)) {
        terms.add(decode(entry.bytes), (key) => writes.add(this.#terms.remove([key, block])));
      }
    }
    await writes.done();
    await this.#root.flushed;
  }

  /** First and last sequence number; null when empty. */
  range(): { first: number; last: number } | null {
    let first: number | undefined;
    let last: number | undefined;
    for (const key of this.#events.getKeys({ limit: 1 })) first = key;
    for (const key of this.#events.getKeys({ limit: 1, reverse: true })) last = key;
    return first === undefined || last === undefined ? null : { first, last };
  }

  get(seq: number): Buffer | undefined {
    return this.#events.get(seq);
  }

  /** Events with from <= seq < to, oldest first or (`reverse`) newest first. */
  *read(from: number, to: number, reverse = false): Generator<Entry> {
    if (to <= from) return;
    const range = reverse ? { start: to - 1, end: from - 1, reverse } : { start: from, end: to };
    for (const { key, value } of this.#events.getRange({ ...range, snapshot: false })) yield { seq: key, bytes: value };
  }

  /** Blocks in which one of the terms occurs, or (`prefix`) a term that begins so. */
  blocksOf(name: string, values: readonly string[], prefix: boolean): Set<number> {
    const blocks = new Set<number>();
    for (const value of values) {
      const key = term(name, value);
      const range = { start: [key, 0], end: [prefix ? `${key}\uffff` : key, Number.MAX_SAFE_INTEGER] } as const;
      for (const [, block] of this.#terms.getKeys(range as never)) blocks.add(block);
    }
    return blocks;
  }

  span(block: number): Span | undefined {
    return this.#blocks.get(block);
  }

  *marks(): Generator<Mark> {
    for (const { value } of this.#marks.getRange({ snapshot: false })) yield value;
  }

  state<T>(key: string): T | undefined {
    return this.#state.get(key) as T | undefined;
  }

  async setState(key: string, value: unknown): Promise<void> {
    const writes = new Writes(this.#root);
    writes.add(this.#state.put(key, value));
    await writes.done();
    await this.#root.flushed;
  }

  close(): Promise<void> {
    return this.#root.close();
  }
}

/**
 * The promises of one transaction. lmdb-js gives most writes the same promise, but not all; each one that rejects unheard
 * would end the process. They reject with a general error whose `commitError` is a promise that rejects with the real one.
 */
class Writes {
  readonly #root: RootDatabase;
  readonly #promises: Promise<unknown>[] = [];
  #last: Promise<boolean> | null = null;

  constructor(root: RootDatabase) {
    this.#root = root;
  }

  add(write: Promise<boolean>): void {
    if (write === this.#last) return;
    this.#last = write;
    this.#promises.push(write);
  }

  /** @throws Error of the system or of LMDB */
  async done(): Promise<void> {
    // lmdb-js opens the batch with an instruction that has a promise of its own; it exists once its immediate has run.
    await turn();
    this.#root.committed.then(nothing, nothing);
    const failed = (await Promise.allSettled(this.#promises)).find((outcome) => outcome.status === 'rejected');
    if (failed === undefined) return;
    const general = failed.reason as Error & { commitError?: Promise<never> };
    if (general.commitError !== undefined) await general.commitError;
    throw general;
  }
}

/**
 * The events in LMDB, and what is kept beside them. One environment `events.mdb`, databases:
 *
 *   events   seq of the first → a run of consecutive events (run.ts), up to RUN_BYTES of them unless one turn had more
 *   terms    [term, block] → nothing: the term occurs in that block of BLOCK events (terms.ts)
 *   blocks   block → {from, to}: least and greatest time in it, milliseconds since the epoch
 *   marks    seq → signed checkpoint
 *   state    'chain' → random id of this chain; 'pruned' → signed record of what retention took away
 *
 * Writes go through lmdb-js's own writer thread, in transactions of thousands of events that are synced to disk. A value for
 * each event would cost several microseconds of each, most of it in the writer thread and in pages of the tree.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { type Database, open, type RootDatabase } from 'lmdb';
import { decode } from './canonical.ts';
import type { Mark, Pruned } from './checkpoint.ts';
import { checkHeader } from './header.ts';
import { type Entry, type Stretch, unpack } from './run.ts';
import { BLOCK, BlockTerms, type FreshTerm, term } from './terms.ts';

export interface Span {
  readonly from: number;
  readonly to: number;
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

  /**
   * Puts events in one transaction with their index, each stretch as a run. Resolves when they are on disk; rejects when they
   * are not kept. Until then their bytes must not change. Called again only when the one before has ended.
   */
  async put(stretches: readonly Stretch[], terms: readonly FreshTerm[], mark: Mark | null): Promise<void> {
    const writes = new Writes(this.#root);
    for (const { first, chunk, start, end } of stretches)
      writes.add(this.#events.put(first, chunk.subarray(start, end)), chunk);
    this.#putSpans(stretches, writes);
    for (const { key, seq } of terms) writes.add(this.#terms.put([key, Math.floor(seq / BLOCK)], NOTHING));
    if (mark !== null) writes.add(this.#marks.put(mark.seq, mark));
    await writes.done();
    await this.#root.flushed;
  }

  #putSpans(stretches: readonly Stretch[], writes: Writes): void {
    const spans = new Map<number, Span>();
    for (const { first, from, to } of stretches) {
      const block = Math.floor(first / BLOCK);
      const known = spans.get(block) ?? this.#blocks.get(block);
      spans.set(block, known === undefined ? { from, to } : { from: known.from, to });
    }
    for (const [block, span] of spans) writes.add(this.#blocks.put(block, span));
  }

  /** Removes events up to and with `upTo`, the last of a block, and leaves the signed record of it. Resolves when on disk. */
  async prune(from: number, upTo: number, record: Pruned): Promise<void> {
    const writes = new Writes(this.#root);
    writes.add(this.#state.put('pruned', record));
    for (const first of this.#events.getKeys({ start: from, end: upTo + 1 })) writes.add(this.#events.remove(first));
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
    let last: Entry | undefined;
    for (const key of this.#events.getKeys({ limit: 1 })) first = key;
    for (const { key, value } of this.#events.getRange({ limit: 1, reverse: true })) last = unpack(value, key).at(-1);
    return first === undefined || last === undefined ? null : { first, last: last.seq };
  }

  get(seq: number): Buffer | undefined {
    for (const { bytes } of this.read(seq, seq + 1)) return bytes;
    return undefined;
  }

  /** Events with from <= seq < to, oldest first or (`reverse`) newest first. */
  *read(from: number, to: number, reverse = false): Generator<Entry> {
    if (to <= from) return;
    let start = from;
    // The run that holds `from` may begin before it, in the same block.
    const before = { start: from, end: Math.floor(from / BLOCK) * BLOCK - 1, reverse: true, limit: 1 };
    for (const first of this.#events.getKeys(before)) start = first;
    const range = reverse ? { start: to - 1, end: start - 1, reverse } : { start, end: to };
    for (const { key, value } of this.#events.getRange({ ...range, snapshot: false })) {
      const entries = unpack(value, key);
      if (reverse) entries.reverse();
      for (const entry of entries) if (entry.seq >= from && entry.seq < to) yield entry;
    }
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
  /** Its writer thread reads values where they stand, which must not be freed before. */
  readonly #held = new Set<Buffer>();
  #last: Promise<boolean> | null = null;

  constructor(root: RootDatabase) {
    this.#root = root;
  }

  add(write: Promise<boolean>, held?: Buffer): void {
    if (held !== undefined) this.#held.add(held);
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
    this.#held.clear();
    if (failed === undefined) return;
    const general = failed.reason as Error & { commitError?: Promise<never> };
    if (general.commitError !== undefined) await general.commitError;
    throw general;
  }
}

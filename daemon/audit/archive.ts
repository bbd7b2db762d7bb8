/** A store's directory, read without the daemon: for `--dir`, on a stopped host or a copy. Writes nothing. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import { digest, GENESIS } from './canonical.ts';
import { type Mark, type Pruned, readHead } from './checkpoint.ts';
import { readJournal } from './journal.ts';
import type { Log } from './log.ts';
import type { Entry } from './run.ts';
import { type Span, Table } from './table.ts';
import { BLOCK } from './terms.ts';

const MAP_BYTES = 1_073_741_824;

export class Archive implements Log {
  readonly #dir: string;
  readonly #table: Table;
  readonly #tail: readonly Entry[];
  readonly #range: { first: number; last: number } | null;

  /** @throws SluiceError AUDIT_QUERY when the directory holds no store, AUDIT_BROKEN when LMDB can't read it. */
  constructor(dir: string) {
    if (!existsSync(join(dir, 'events.mdb'))) throw new SluiceError('AUDIT_QUERY', `there is no audit store in ${dir}`);
    this.#dir = dir;
    try {
      this.#table = new Table(dir, MAP_BYTES, true);
    } catch (cause) {
      if (cause instanceof SluiceError) throw cause;
      throw new SluiceError(
        'AUDIT_BROKEN',
        `the audit store in ${dir} can not be opened: ${(cause as Error).message}`,
        { cause },
      );
    }
    const range = this.#table.range();
    const pruned = this.pruned();
    const end =
      range === null
        ? { seq: pruned?.seq ?? 0, hash: pruned?.hash ?? GENESIS }
        : { seq: range.last, hash: digest(this.#table.get(range.last)!) };
    this.#tail = readJournal(dir, end);
    const first = range?.first ?? this.#tail[0]?.seq;
    const last = this.#tail.at(-1)?.seq ?? range?.last;
    this.#range = first === undefined || last === undefined ? null : { first, last };
  }

  range(): { first: number; last: number } | null {
    return this.#range;
  }

  *read(from: number, to: number, reverse = false): Generator<Entry> {
    const edge = this.#tail[0]?.seq ?? Number.POSITIVE_INFINITY;
    const tail = this.#tail.filter(({ seq }) => seq >= from && seq < to);
    if (reverse) yield* tail.reverse();
    yield* this.#table.read(from, Math.min(to, edge), reverse);
    if (!reverse) yield* tail;
  }

  blocksOf(name: string, values: readonly string[], prefix: boolean): Set<number> {
    const blocks = this.#table.blocksOf(name, values, prefix);
    for (const { seq } of this.#tail) blocks.add(Math.floor(seq / BLOCK));
    return blocks;
  }

  span(block: number): Span | null {
    const edge = this.#tail[0]?.seq ?? Number.POSITIVE_INFINITY;
    return (block + 1) * BLOCK > edge ? null : (this.#table.span(block) ?? null);
  }

  /** Nothing new comes to files at rest. */
  subscribe(): () => void {
    return () => {};
  }

  marks(): Iterable<Mark> {
    return this.#table.marks();
  }

  head(): Mark | null {
    return readHead(this.#dir);
  }

  pruned(): Pruned | null {
    return this.#table.state<Pruned>('pruned') ?? null;
  }

  get chain(): string {
    return this.#table.state<string>('chain') ?? '';
  }

  close(): Promise<void> {
    return this.#table.close();
  }
}

/**
 * Copies the chain to somewhere else, in order, behind the events that are kept already: the copy can be slow, full or gone
 * for a time, and neither loses an event nor holds up whoever records one. Where it stands is kept in a file, so that a
 * daemon that is started again goes on there. One that is killed may copy its last batch again, under the same numbers.
 */
import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs';
import type { Event } from '../core/event.ts';
import type { Log } from './log.ts';
import { parse } from './query.ts';

export interface FollowerOptions {
  readonly log: Log;
  /** File that is made when it is not there; the copy then begins with the next event. Of another chain: with its first. */
  readonly cursor: string;
  /** How many were taken, from the first. */
  take(events: readonly Event[]): number;
  /** So many can't be copied any more: retention deleted them first. */
  onGap(count: number): void;
  onFault(error: unknown): void;
}

/** Events copied at once: a millisecond of the event loop. */
const BATCH = 64;
/** From the first new event to the batch that it is in, milliseconds. */
const GATHER = 50;
/**
 * Between two batches when there are more, milliseconds: flows come first. So the copy takes a tenth of the event loop at
 * most, and falls behind where more than some 5,000 events come in a second, to catch up later.
 */
const PAUSE = 10;
/** Until it is tried again when not all was taken, milliseconds. */
const RETRY = 100;
/** Longest that close() tries, milliseconds. */
const FLUSH = 500;
/** Digits of the position, so that every line is as long and replaces the one before in one write. */
const DIGITS = 16;

export class Follower {
  readonly #options: FollowerOptions;
  readonly #file: number;
  #at: number;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;
  readonly #unsubscribe: () => void;

  constructor(options: FollowerOptions) {
    this.#options = options;
    const { log, cursor } = options;
    const known = read(cursor);
    this.#at = known === null ? (log.range()?.last ?? 0) : known.chain === log.chain ? known.seq : 0;
    this.#file = openSync(cursor, constants.O_RDWR | constants.O_CREAT, 0o600);
    this.#save();
    this.#unsubscribe = log.subscribe(() => this.#wake(GATHER));
    this.#wake(0);
  }

  /** Events that are kept and not copied yet. */
  get behind(): number {
    return Math.max(0, (this.#options.log.range()?.last ?? 0) - this.#at);
  }

  /** Copies what there is, as far as it is taken soon. */
  async close(): Promise<void> {
    const end = Date.now() + FLUSH;
    while (this.behind > 0 && Date.now() < end)
      if (!this.#copy()) await new Promise((resolve) => setTimeout(resolve, PAUSE));
    this.#closed = true;
    this.#unsubscribe();
    if (this.#timer !== null) clearTimeout(this.#timer);
    closeSync(this.#file);
  }

  #wake(ms: number): void {
    if (this.#timer !== null || this.#closed) return;
    this.#timer = setTimeout(this.#turn, ms).unref();
  }

  readonly #turn = (): void => {
    this.#timer = null;
    if (this.behind === 0) return;
    let whole = false;
    try {
      whole = this.#copy();
    } catch (error) {
      this.#options.onFault(error);
    }
    if (this.behind > 0) this.#wake(whole ? PAUSE : RETRY);
  };

  /** False: it has no room for more. */
  #copy(): boolean {
    const { log, take, onGap } = this.#options;
    const first = log.range()?.first ?? 1;
    if (first > this.#at + 1) {
      onGap(first - this.#at - 1);
      this.#at = first - 1;
    }
    const seqs: number[] = [];
    const events: Event[] = [];
    for (const { seq, bytes } of log.read(this.#at + 1, this.#at + 1 + BATCH)) {
      seqs.push(seq);
      events.push(parse(bytes));
    }
    // None, though there should be: they were taken out of the store. `sluice verify` says so; the copy goes on behind them.
    if (events.length === 0) this.#at = Math.min(this.#at + BATCH, log.range()?.last ?? this.#at);
    const taken = events.length === 0 ? 0 : take(events);
    if (taken > 0) this.#at = seqs[taken - 1]!;
    this.#save();
    return taken === events.length;
  }

  #save(): void {
    writeSync(this.#file, `${String(this.#at).padStart(DIGITS, '0')} ${this.#options.log.chain}\n`, 0);
  }
}

function read(path: string): { seq: number; chain: string } | null {
  let text: string;
  try {
    text = readFileSync(path, 'latin1');
  } catch {
    return null;
  }
  const [, seq, chain = ''] = /^(\d{16}) (\w+)\n/.exec(text) ?? [];
  return seq === undefined ? null : { seq: Number(seq), chain };
}

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
  /** It can't go on. It stays where it is and tries again and again, without another word until `onResume`. */
  onFault(error: unknown): void;
  /** It goes on where it stood, after so many milliseconds. */
  onResume(ms: number): void;
  /** Monotonic, milliseconds. Absent: performance.now. */
  readonly elapsed?: () => number;
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
/** Until it is tried again when not all was taken, or after a fault; each further fault doubles that. Milliseconds. */
const RETRY = 100;
const RETRY_MOST = 5_000;
/** Longest that close() tries, milliseconds. */
const FLUSH = 500;
/** Digits of the position, so that every line is as long and replaces the one before in one write. */
const DIGITS = 16;

export class Follower {
  readonly #options: FollowerOptions;
  readonly #file: number;
  #at: number;
  /** What the file says. */
  #saved = -1;
  /** Since when it stands still; null: it does not. */
  #still: number | null = null;
  #resumed = Number.NEGATIVE_INFINITY;
  #retry = RETRY;
  readonly #elapsed: () => number;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;
  readonly #unsubscribe: () => void;

  constructor(options: FollowerOptions) {
    this.#options = options;
    this.#elapsed = options.elapsed ?? (() => performance.now());
    const { log, cursor } = options;
    const known = read(cursor);
    this.#at = known === null ? (log.range()?.last ?? 0) : known.chain === log.chain ? known.seq : 0;
    this.#file = openSync(cursor, constants.O_RDWR | constants.O_CREAT, 0o600);
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
    while (!this.#done && Date.now() < end) {
      const copied = this.#tryCopy();
      if (copied === null) break;
      if (!copied) await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
    this.#closed = true;
    this.#unsubscribe();
    if (this.#timer !== null) clearTimeout(this.#timer);
    closeSync(this.#file);
  }

  get #done(): boolean {
    return this.behind === 0 && this.#saved === this.#at;
  }

  #wake(ms: number): void {
    if (this.#timer !== null || this.#closed) return;
    this.#timer = setTimeout(this.#turn, ms).unref();
  }

  readonly #turn = (): void => {
    this.#timer = null;
    if (this.#done) return;
    const copied = this.#tryCopy();
    if (copied === null) this.#wake(this.#retry);
    else if (!this.#done) this.#wake(copied ? PAUSE : RETRY);
  };

  /** Null: it could not be copied. */
  #tryCopy(): boolean | null {
    let copied: boolean;
    try {
      copied = this.#copy();
    } catch (error) {
      this.#standStill(error);
      return null;
    }
    if (this.#still !== null) {
      this.#resumed = this.#elapsed();
      this.#options.onResume(this.#resumed - this.#still);
      this.#still = null;
    }
    return copied;
  }

  #standStill(error: unknown): void {
    const now = this.#elapsed();
    // What goes on for a moment and fails again is as slow, and says as little, as what fails all the time.
    const again = this.#still !== null || now - this.#resumed < RETRY_MOST;
    this.#retry = again ? Math.min(this.#retry * 2, RETRY_MOST) : RETRY;
    if (this.#still !== null) return;
    this.#still = now;
    this.#options.onFault(error);
  }

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
    if (this.#saved === this.#at) return;
    writeSync(this.#file, `${String(this.#at).padStart(DIGITS, '0')} ${this.#options.log.chain}\n`, 0);
    this.#saved = this.#at;
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

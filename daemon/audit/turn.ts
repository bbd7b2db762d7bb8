/** The events of one event-loop turn: they are committed together, so they share one receipt, and nothing is kept of each. */

import type { SluiceError } from '../core/errors.ts';
import type { Receipt } from '../core/event.ts';
import type { Stretch } from './run.ts';

interface Waiter {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: SluiceError) => void;
}

const KEPT = Promise.resolve();

export class Turn implements Receipt, Stretch {
  done = false;
  /** Sequence number of its first and last event. */
  readonly first: number;
  last: number;
  /** The chain's end before it and, when committed, with it. */
  readonly before: string;
  after: string;
  /** Where the records of its events stand. */
  readonly chunk: Buffer;
  readonly start: number;
  end: number;
  /** Time of its first and last event. */
  readonly from: number;
  to: number;
  #error: SluiceError | null = null;
  #onDisk = false;
  #committed: Waiter | null = null;
  #durable: Waiter | null = null;
  readonly #sync: () => void;

  /** @param sync asks for the disk; called once committed, when someone waits for `durable`. */
  constructor(first: number, before: string, chunk: Buffer, start: number, time: number, sync: () => void) {
    this.first = first;
    this.last = first - 1;
    this.before = this.after = before;
    this.chunk = chunk;
    this.start = this.end = start;
    this.from = this.to = time;
    this.#sync = sync;
  }

  /** True when someone waits for the disk. */
  get awaited(): boolean {
    return this.#durable !== null;
  }

  get onDisk(): boolean {
    return this.#onDisk;
  }

  committed(): Promise<void> {
    if (this.done) return KEPT;
    if (this.#error !== null) return Promise.reject(this.#error);
    this.#committed ??= waiter();
    return this.#committed.promise;
  }

  durable(): Promise<void> {
    if (this.#onDisk) return KEPT;
    if (this.#error !== null) return Promise.reject(this.#error);
    if (this.#durable === null) {
      this.#durable = waiter();
      if (this.done) this.#sync();
    }
    return this.#durable.promise;
  }

  /** The process may die now. */
  commit(): void {
    this.done = true;
    this.#committed?.resolve();
    this.#committed = null;
    if (this.#durable !== null) this.#sync();
  }

  /** The power may fail now. */
  settle(): void {
    this.#onDisk = true;
    this.#durable?.resolve();
    this.#durable = null;
  }

  fail(error: SluiceError): void {
    this.#error = error;
    this.#committed?.reject(error);
    this.#durable?.reject(error);
    this.#committed = null;
    this.#durable = null;
  }
}

function waiter(): Waiter {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  return { promise, resolve, reject };
}

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
  /** Where the records of its events stand. */
  readonly chunk: Buffer;
  readonly start: number;
  end: number;
  /** Time of its first and last event. */
  readonly from: number;
  to: number;
  #error: SluiceError | null = null;
  #committed: Waiter | null = null;
  readonly #onDisk: (seq: number) => Promise<void>;

  /** @param onDisk resolves when that event, which is committed, is on disk, and asks for it. */
  constructor(first: number, chunk: Buffer, start: number, time: number, onDisk: (seq: number) => Promise<void>) {
    this.first = first;
    this.last = first - 1;
    this.chunk = chunk;
    this.start = this.end = start;
    this.from = this.to = time;
    this.#onDisk = onDisk;
  }

  committed(): Promise<void> {
    if (this.done) return KEPT;
    if (this.#error !== null) return Promise.reject(this.#error);
    this.#committed ??= Promise.withResolvers<void>();
    return this.#committed.promise;
  }

  durable(): Promise<void> {
    return this.done ? this.#onDisk(this.last) : this.committed().then(() => this.#onDisk(this.last));
  }

  /** The process may die now. */
  commit(): void {
    this.done = true;
    this.#committed?.resolve();
    this.#committed = null;
  }

  /** Not kept, or not told of before it was lost. */
  fail(error: SluiceError): void {
    this.#error = error;
    this.#committed?.reject(error);
    this.#committed = null;
  }
}

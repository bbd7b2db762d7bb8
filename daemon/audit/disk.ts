/** How far the chain is on disk, and who waits for more of it. */
import type { SluiceError } from '../core/errors.ts';

interface Waiter {
  readonly seq: number;
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: SluiceError) => void;
}

const THERE = Promise.resolve();

export class Disk {
  #upTo: number;
  #waiters: Waiter[] = [];
  readonly #ask: () => void;
  #ended: SluiceError | null = null;

  /** @param upTo events up to this one are there. @param ask asks the disk for more. */
  constructor(upTo: number, ask: () => void) {
    this.#upTo = upTo;
    this.#ask = ask;
  }

  /** Number of the last event that is there: the power may fail. */
  get upTo(): number {
    return this.#upTo;
  }

  /** Someone waits. */
  get awaited(): boolean {
    return this.#waiters.length > 0;
  }

  /** Resolves when the event, which is committed, is on disk; rejects when the disk fails before. */
  readonly reach = (seq: number): Promise<void> => {
    if (seq <= this.#upTo) return THERE;
    if (this.#ended !== null) return Promise.reject(this.#ended);
    const last = this.#waiters.at(-1);
    if (last?.seq === seq) return last.promise;
    const waiter = { seq, ...Promise.withResolvers<void>() };
    this.#waiters.push(waiter);
    this.#ask();
    return waiter.promise;
  };

  reached(upTo: number): void {
    if (upTo <= this.#upTo) return;
    this.#upTo = upTo;
    const waiting = this.#waiters;
    if (waiting.length === 0) return;
    this.#waiters = waiting.filter(({ seq }) => seq > upTo);
    for (const { seq, resolve } of waiting) if (seq <= upTo) resolve();
  }

  /** Nothing more will be there. */
  end(error: SluiceError): void {
    this.#ended = error;
    this.failed(error);
  }

  failed(error: SluiceError): void {
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }
}

/** One publisher, any number of readers, each with a bounded queue: a reader that does not read is dropped, not waited for. */
import { SluiceError } from '../core/errors.ts';

export class Feed<T> {
  readonly #readers = new Set<Reader<T>>();
  readonly #limit: number;

  /** @param limit items a reader may be behind. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  publish(item: T): void {
    for (const reader of this.#readers) reader.put(item, this.#limit);
  }

  /** Items published from this call on. Ends when the signal is aborted or the feed is closed. */
  subscribe(signal?: AbortSignal): AsyncIterableIterator<T> {
    const reader: Reader<T> = new Reader<T>(() => this.#readers.delete(reader));
    if (signal?.aborted) reader.end();
    else {
      this.#readers.add(reader);
      signal?.addEventListener('abort', () => reader.end(), { once: true });
    }
    return reader;
  }

  close(): void {
    for (const reader of this.#readers) reader.end();
  }
}

class Reader<T> implements AsyncIterableIterator<T> {
  readonly #queue: T[] = [];
  readonly #leave: () => void;
  #ended = false;
  #failed: SluiceError | null = null;
  #wake: (() => void) | null = null;

  constructor(leave: () => void) {
    this.#leave = leave;
  }

  put(item: T, limit: number): void {
    if (this.#queue.length >= limit) {
      this.#failed = new SluiceError('APPROVAL_LIMIT', `a watcher fell ${limit} changes behind and was dropped`, {
        hint: 'watch again; the list has the present state',
      });
      this.end();
      return;
    }
    this.#queue.push(item);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#leave();
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<T>> {
    for (;;) {
      if (this.#queue.length > 0) return { done: false, value: this.#queue.shift()! };
      if (this.#failed !== null) throw this.#failed;
      if (this.#ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }

  async return(): Promise<IteratorResult<T>> {
    this.#queue.length = 0;
    this.end();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/**
 * Changes of a session that the server has not acknowledged yet, in order. A client may send thousands of steps ahead, and
 * nearly all of them make or replace the unnamed statement and portal: these are kept apart, so that each step looks at
 * the few others alone and not at all before it.
 */
import type { Change } from './session.ts';

export interface Pending {
  readonly segment: number;
  readonly change: Change;
  /** Place among all. */
  readonly order: number;
}

const NONE: readonly Pending[] = [];

export class PendingChanges {
  #count = 0;
  readonly #unnamed = { prepared: new Queue(), portal: new Queue() };
  readonly #others = new Queue();

  get empty(): boolean {
    return this.#others.size === 0 && this.#unnamed.prepared.size === 0 && this.#unnamed.portal.size === 0;
  }

  push(segment: number, change: Change): void {
    this.#queueOf(change).push({ segment, change, order: this.#count++ });
  }

  /** Acknowledged or failed. Nearly always the first ones. */
  remove(change: Change): void {
    this.#queueOf(change).remove(change);
  }

  /** The last change of the unnamed statement or portal. */
  unnamed(kind: 'prepared' | 'portal'): Pending | undefined {
    return this.#unnamed[kind].last;
  }

  /** All but those of unnamed ones, last first. */
  others(): Iterable<Pending> {
    return this.#others.size === 0 ? NONE : this.#others.backwards();
  }

  /** True when one of these, of another segment than this, is such. */
  someBefore(segment: number, such: (change: Change) => boolean): boolean {
    return this.#others.some((entry) => entry.segment !== segment && such(entry.change));
  }

  #queueOf(change: Change): Queue {
    const unnamed = (change.kind === 'prepared' || change.kind === 'portal') && change.name === '';
    return unnamed ? this.#unnamed[change.kind] : this.#others;
  }
}

/** Added to at its end, mostly taken from at its beginning. */
class Queue {
  #items: Pending[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  get last(): Pending | undefined {
    return this.size === 0 ? undefined : this.#items.at(-1);
  }

  push(item: Pending): void {
    this.#items.push(item);
  }

  remove(change: Change): void {
    const items = this.#items;
    let at = this.#head;
    while (at < items.length && items[at]!.change !== change) at++;
    if (at === items.length) return;
    if (at !== this.#head) {
      items.splice(at, 1);
      return;
    }
    if (items.length === 1) {
      items.pop();
      return;
    }
    this.#head++;
    if (this.#head * 2 > items.length) {
      this.#items = items.slice(this.#head);
      this.#head = 0;
    }
  }

  *backwards(): IterableIterator<Pending> {
    for (let i = this.#items.length - 1; i >= this.#head; i--) yield this.#items[i]!;
  }

  some(such: (item: Pending) => boolean): boolean {
    for (let i = this.#head; i < this.#items.length; i++) if (such(this.#items[i]!)) return true;
    return false;
  }
}

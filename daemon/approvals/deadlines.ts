/**
 * Deadlines of any number behind one timer: a binary heap by time. They are instants, since they outlive the process, by a
 * clock that does not jump of itself: when the wall clock was set, `shift` moves them along.
 */

/** The longest that setTimeout takes; longer ones fire at once. */
const MAX_DELAY = 2 ** 31 - 1;

export interface Deadline {
  at: number;
  /** Called once, from the timer. Must not throw. Null once run or cancelled. */
  run: (() => void) | null;
}

export class Deadlines {
  #heap: Deadline[] = [];
  /** Cancelled ones that are still in the heap. */
  #dead = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #clock: () => number;

  constructor(clock: () => number) {
    this.#clock = clock;
  }

  /** Calls `run` at `at` (milliseconds since the epoch) or as soon as may be after it. */
  add(at: number, run: () => void): Deadline {
    const deadline = { at, run };
    this.#push(deadline);
    if (this.#heap[0] === deadline) this.#arm();
    return deadline;
  }

  /** No effect on one that has run. */
  cancel(deadline: Deadline): void {
    if (deadline.run === null) return;
    deadline.run = null;
    this.#dead++;
    // Cancelled ones stay in the heap until their time; when they are the greater part, they are not worth carrying.
    if (this.#dead <= 64 || this.#dead * 2 <= this.#heap.length) return;
    const kept = this.#heap.filter((each) => each.run !== null);
    this.#dead = 0;
    this.#heap = [];
    for (const each of kept) this.#push(each);
    this.#arm();
  }

  /** The clock was set by so much, and every deadline with it. */
  shift(by: number): void {
    for (const each of this.#heap) each.at += by;
    this.#arm();
  }

  /** Forgets all of them. */
  clear(): void {
    this.#heap = [];
    this.#dead = 0;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  get size(): number {
    return this.#heap.length;
  }

  #arm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const first = this.#heap[0];
    if (first === undefined) return;
    const delay = Math.min(Math.max(first.at - this.#clock(), 0), MAX_DELAY);
    this.#timer = setTimeout(() => this.#fire(), delay);
    // Connections keep the daemon alive, an approval that may expire does not.
    this.#timer.unref();
  }

  #fire(): void {
    const now = this.#clock();
    for (let first = this.#heap[0]; first !== undefined && first.at <= now; first = this.#heap[0]) {
      this.#pop();
      const { run } = first;
      if (run === null) {
        this.#dead--;
        continue;
      }
      first.run = null;
      run();
    }
    this.#arm();
  }

  #push(deadline: Deadline): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(deadline);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]!.at <= deadline.at) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = deadline;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child++;
      if (heap[child]!.at >= last.at) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

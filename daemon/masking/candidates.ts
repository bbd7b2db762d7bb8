/** The candidates of one scan, handed out field by field in the order of the bytes. */
import type { Span } from './detectors/detector.ts';
import type { Scanner } from './scanner.ts';

export class Candidates {
  readonly #scanner: Scanner;
  #next = 0;
  #count = 0;

  constructor(scanner: Scanner) {
    this.#scanner = scanner;
  }

  /** Scans data[from, to); fields are then asked for in ascending order. True when there is anything to look at. */
  scan(data: Uint8Array, from: number, to: number): boolean {
    this.#next = 0;
    this.#count = this.#scanner.scan(data, from, to);
    return this.#count !== 0;
  }

  /** May there be a value within the field [from, to)? */
  touch(from: number, to: number): boolean {
    if (this.#count < 0) return true;
    while (this.#next < this.#count && this.#scanner.end(this.#next) <= from) this.#next++;
    // An anchor may look one byte past its value.
    return this.#next < this.#count && this.#scanner.end(this.#next) <= to + 1;
  }

  /** Values within the field data[from, to), where `touch` said that there may be; the whole field when there are too many. */
  spans(data: Uint8Array, from: number, to: number): Span[] {
    if (this.#count < 0) return [{ from, to }];
    const first = this.#next;
    let last = first;
    while (last < this.#count && this.#scanner.end(last) <= to + 1) last++;
    this.#next = last;
    return this.#scanner.spansOf(data, first, last, from, to);
  }
}

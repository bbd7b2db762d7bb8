/**
 * Finds what the detectors of a policy look for. Vectorscan finds anchors over a whole buffer in one call, the rule of
 * each anchor then decides. The usual chunk has no anchor at all and costs that one call.
 */
import { SluiceError } from '../core/errors.ts';
import type { Rule, Span } from './detectors/detector.ts';
import { DETECTOR_NAMES, DETECTORS } from './detectors/table.ts';
import { MATCH_WORDS, openScanLibrary, type ScanLibrary, TOO_MANY } from './library.ts';

const CASELESS = 1;
const FIRST_ROOM = 4096;
/** Candidates held for one scan. More of them in one buffer is taken for everything being a match. */
const MOST_CANDIDATES = 256 * 1024;

/** The state of one flow or of one thread: scans of one scanner don't overlap. Patterns are compiled once, here. */
export class Scanner {
  readonly names: readonly string[];
  readonly #library: ScanLibrary;
  readonly #handle: unknown;
  readonly #rules: readonly Rule[];
  #matches = new Uint32Array(FIRST_ROOM * MATCH_WORDS);
  /** Of `spans`. */
  #apart = new Uint32Array(64 * MATCH_WORDS);
  readonly #span: Span = { from: 0, to: 0 };

  /**
   * @param names detectors of the table, at least one
   * @throws SluiceError POLICY_INVALID for an unknown name, CONFIG_INVALID when libsluice.so is missing.
   */
  constructor(names: readonly string[], library: ScanLibrary = openScanLibrary()) {
    for (const name of names)
      if (!DETECTOR_NAMES.includes(name))
        throw new SluiceError('POLICY_INVALID', `there is no detector ${name}`, {
          hint: `use ${DETECTOR_NAMES.join(', ')}`,
        });
    this.names = names;
    this.#library = library;
    this.#rules = DETECTORS.filter((detector) => names.includes(detector.name)).flatMap((detector) => detector.rules);
    this.#handle = library.compile(
      this.#rules.map((rule) => rule.anchor),
      Uint32Array.from(this.#rules, (rule) => (rule.caseless === true ? CASELESS : 0)),
      Uint32Array.from(this.#rules.keys()),
    );
  }

  close(): void {
    this.#library.free(this.#handle);
  }

  /**
   * Candidates in data[from, to), in ascending order of their ends; read them by `end` and `verify` before the next scan.
   * -1 when there are too many to look at: the caller has to treat the whole range as found.
   */
  scan(data: Uint8Array, from: number, to: number): number {
    const part = from === 0 && to === data.length ? data : data.subarray(from, to);
    for (;;) {
      const room = this.#matches.length / MATCH_WORDS;
      const count = this.#library.scan(this.#handle, part, to - from, this.#matches, room);
      if (count >= 0) {
        if (from !== 0) for (let i = 0; i < count; i++) this.#matches[i * MATCH_WORDS + 2]! += from;
        return count;
      }
      if (count !== TOO_MANY) throw new SluiceError('INTERNAL', `content scan failed with ${count}`);
      if (room >= MOST_CANDIDATES) return -1;
      this.#matches = new Uint32Array(this.#matches.length * 4);
    }
  }

  /** One past the anchor of candidate `index` of the last scan. */
  end(index: number): number {
    return this.#matches[index * MATCH_WORDS + 2]!;
  }

  /** Does candidate `index` make a value within data[low, high)? Then its range is in `span`. */
  verify(index: number, data: Uint8Array, low: number, high: number, span: Span): boolean {
    return this.#rules[this.#matches[index * MATCH_WORDS]!]!.verify(data, this.end(index), low, high, span);
  }

  /**
   * Values within a text, merged and in order; the whole text when there are too many candidates. The candidates of the
   * last `scan` stay.
   */
  spans(text: Uint8Array): Span[] {
    const matches = this.#matches;
    this.#matches = this.#apart;
    try {
      const count = this.scan(text, 0, text.length);
      if (count < 0) return [{ from: 0, to: text.length }];
      return count === 0 ? [] : this.spansOf(text, 0, count, 0, text.length);
    } finally {
      this.#apart = this.#matches;
      this.#matches = matches;
    }
  }

  /** Values within data[low, high) from candidates `first` to `last` (exclusive) of the last scan, merged and in order. */
  spansOf(data: Uint8Array, first: number, last: number, low: number, high: number): Span[] {
    const found: Span[] = [];
    const span = this.#span;
    let rule = -1;
    for (let i = first; i < last; i++) {
      // Anchors of one rule repeat along one value.
      const previous = found[found.length - 1];
      const id = this.#matches[i * MATCH_WORDS]!;
      if (previous !== undefined && id === rule && this.end(i) <= previous.to) continue;
      if (!this.verify(i, data, low, high, span)) continue;
      found.push({ from: span.from, to: span.to });
      rule = id;
    }
    if (found.length < 2) return found;
    found.sort((a, b) => a.from - b.from);
    const merged: Span[] = [found[0]!];
    for (const next of found) {
      const last = merged[merged.length - 1]!;
      if (next.from < last.to) last.to = Math.max(last.to, next.to);
      else if (next !== last) merged.push(next);
    }
    return merged;
  }
}

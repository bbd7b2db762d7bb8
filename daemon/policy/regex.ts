/**
 * Regular expressions for conditions, in time linear in the text whatever the pattern: JavaScript's backtrack, and the text
 * comes from an agent. Syntax is RE2's without Unicode classes (regex-syntax.ts). A pattern becomes a Thompson NFA; a DFA
 * is made from it as the text needs states, and is thrown away and begun anew when it grows past a bound, so a character
 * costs at most one pass over the NFA. Only asked: does the text hold a match?
 */
import { type Inst, parseRegex } from './regex-syntax.ts';

const MAX_STATES = 1000;

/** Before or after the text. */
const EDGE = -1;

interface State {
  /** NFA threads before assertions are followed, in order. */
  readonly threads: readonly number[];
  /** What stood before: the class of the last character, or the edge of the text. */
  readonly before: number;
  readonly next: (State | true | null)[];
}

export class Regex {
  readonly source: string;
  readonly #program: readonly Inst[];
  /** First code points of the character classes, ascending; all within a class behave alike. */
  readonly #starts: readonly number[];
  /** Classes of the first 128 code points. */
  readonly #ascii: Uint16Array;
  readonly #states = new Map<string, State>();
  readonly #start: State;

  /** @throws RegexError with the offset of what is not supported or not well formed. */
  constructor(source: string) {
    this.source = source;
    this.#program = parseRegex(source);
    const cuts = new Set([0, 10, 11, 48, 58, 65, 91, 95, 96, 97, 123]);
    for (const inst of this.#program) {
      if (inst.op === 'chars') for (const [from, to] of inst.ranges) cuts.add(from).add(to + 1);
    }
    this.#starts = [...cuts].filter((c) => c <= 0x10ffff).sort((a, b) => a - b);
    this.#ascii = new Uint16Array(128);
    for (let c = 0; c < 128; c++) this.#ascii[c] = this.#search(c);
    this.#start = this.#state([], EDGE);
  }

  /** Linear in the length of the text. */
  test(text: string): boolean {
    let state = this.#start;
    for (let i = 0; i < text.length; i++) {
      let c = text.charCodeAt(i);
      let cls: number;
      if (c < 128) cls = this.#ascii[c]!;
      else {
        c = text.codePointAt(i)!;
        if (c > 0xffff) i++;
        cls = this.#search(c);
      }
      const next = state.next[cls + 1] ?? this.#step(state, cls);
      if (next === true) return true;
      state = next;
    }
    return (state.next[0] ?? this.#step(state, EDGE)) === true;
  }

  /** Index of the class that holds a code point. */
  #search(c: number): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const mid = (low + high + 1) >> 1;
      if (this.#starts[mid]! <= c) low = mid;
      else high = mid - 1;
    }
    return low;
  }

  #state(threads: readonly number[], before: number): State {
    // Of what stood before, only these matter to assertions.
    const kind =
      before === EDGE ? EDGE : this.#starts.indexOf(this.#isNewline(before) ? 10 : this.#isWord(before) ? 97 : 0);
    const key = `${kind}:${threads.join()}`;
    let state = this.#states.get(key);
    if (state === undefined) {
      if (this.#states.size >= MAX_STATES) {
        // States point at each other: without cutting them apart the old ones would stay reachable.
        for (const old of this.#states.values()) old.next.fill(null);
        this.#states.clear();
      }
      state = { threads, before: kind, next: new Array(this.#starts.length + 1).fill(null) };
      this.#states.set(key, state);
    }
    return state;
  }

  #isNewline(cls: number): boolean {
    return cls !== EDGE && this.#starts[cls] === 10;
  }

  #isWord(cls: number): boolean {
    if (cls === EDGE) return false;
    const c = this.#starts[cls]!;
    return (c >= 48 && c < 58) || (c >= 65 && c < 91) || c === 95 || (c >= 97 && c < 123);
  }

  /** Follows jumps and assertions, knowing what stands before and after, then takes one character of class `cls`. */
  #step(state: State, cls: number): State | true {
    const seen = new Uint8Array(this.#program.length);
    const stack = [0, ...state.threads];
    const after: number[] = [];
    const c = cls === EDGE ? EDGE : this.#starts[cls]!;
    let found = false;
    while (stack.length > 0) {
      const pc = stack.pop()!;
      if (seen[pc] === 1) continue;
      seen[pc] = 1;
      const inst = this.#program[pc]!;
      if (inst.op === 'match') found = true;
      else if (inst.op === 'split') stack.push(...inst.to);
      else if (inst.op === 'assert') {
        if (this.#holds(inst.what, state.before, cls)) stack.push(pc + 1);
      } else if (c !== EDGE && inst.ranges.some(([from, to]) => from <= c && c <= to)) after.push(pc + 1);
    }
    const next = found
      ? true
      : this.#state(
          [...new Set(after)].sort((a, b) => a - b),
          cls,
        );
    // Set after a possible clearing, so at most one link leads from a state that was cut to one that wasn't.
    state.next[cls + 1] = next;
    return next;
  }

  #holds(what: string, before: number, after: number): boolean {
    switch (what) {
      case 'start':
        return before === EDGE;
      case 'end':
        return after === EDGE;
      case 'line-start':
        return before === EDGE || this.#isNewline(before);
      case 'line-end':
        return after === EDGE || this.#isNewline(after);
      case 'word-edge':
        return this.#isWord(before) !== this.#isWord(after);
      default:
        return this.#isWord(before) === this.#isWord(after);
    }
  }
}

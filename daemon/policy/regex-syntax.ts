/**
 * Syntax of regular expressions for conditions, RE2's subset: literals, `.`, classes, `\d \w \s \b \B \A \z` (ASCII),
 * groups (plain, `?:`, named), `|`, `* + ? {n,m}` (also lazy), `^ $`, flags `(?i) (?m) (?s)` for a group or its rest.
 * Not: backreferences, lookaround, possessive quantifiers, `\p`, `\Q`. Compiled to instructions of a Thompson NFA.
 */

export type Range = readonly [number, number];

/** Without `to`, control goes to the next instruction. */
export type Inst =
  | { readonly op: 'chars'; readonly ranges: readonly Range[] }
  | { readonly op: 'split'; readonly to: readonly number[] }
  | { readonly op: 'assert'; readonly what: string }
  | { readonly op: 'match' };

export class RegexError extends Error {
  /** Index in the pattern, in UTF-16 units. */
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.name = 'RegexError';
    this.offset = offset;
  }
}

/** Characters of a pattern. */
const MAX_PATTERN = 1000;
/** Instructions after `{n,m}` is written out. */
const MAX_PROGRAM = 2000;
const MAX_REPEAT = 1000;
const MAX_DEPTH = 100;
const LAST = 0x10ffff;

type Tree =
  | { readonly kind: 'empty' }
  | { readonly kind: 'chars'; readonly ranges: readonly Range[] }
  | { readonly kind: 'assert'; readonly what: string }
  | { readonly kind: 'all' | 'any'; readonly of: readonly Tree[] }
  | { readonly kind: 'repeat'; readonly of: Tree; readonly least: number; readonly most: number };

const DIGIT: readonly Range[] = [[48, 57]];
const WORD: readonly Range[] = [
  [48, 57],
  [65, 90],
  [95, 95],
  [97, 122],
];
const SPACE: readonly Range[] = [
  [9, 10],
  [12, 13],
  [32, 32],
];
const ESCAPES: Readonly<Record<string, number>> = { n: 10, t: 9, r: 13, f: 12, v: 11, a: 7 };
/** Beyond upper and lower case: the Kelvin sign and the long s fold to letters of ASCII. */
const FOLDS: Readonly<Record<string, readonly number[]>> = { k: [0x212a], s: [0x17f] };

export function complement(ranges: readonly Range[]): Range[] {
  const out: Range[] = [];
  let from = 0;
  for (const [a, b] of [...ranges].sort((x, y) => x[0] - y[0])) {
    if (a > from) out.push([from, a - 1]);
    from = Math.max(from, b + 1);
  }
  if (from <= LAST) out.push([from, LAST]);
  return out;
}

/** Adds the other case of each letter. Ranges past 4,096 characters are folded in ASCII only. */
function fold(ranges: readonly Range[]): Range[] {
  const out: Range[] = [...ranges];
  const add = (c: number): void => {
    const text = String.fromCodePoint(c);
    for (const other of [text.toLowerCase(), text.toUpperCase()]) {
      const code = other.codePointAt(0)!;
      if (code !== c && other.length === String.fromCodePoint(code).length) out.push([code, code]);
    }
    for (const code of FOLDS[text.toLowerCase()] ?? []) out.push([code, code]);
  };
  for (const [a, b] of ranges) {
    const end = b - a > 4096 ? Math.min(b, 127) : b;
    for (let c = a; c <= end; c++) add(c);
  }
  return out;
}

interface Flags {
  readonly i: boolean;
  readonly m: boolean;
  readonly s: boolean;
}

class Reader {
  readonly #source: string;
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#source = source;
  }

  whole(): Tree {
    const tree = this.#alternatives({ i: false, m: false, s: false });
    if (this.#at < this.#source.length) throw this.#error('unmatched )');
    return tree;
  }

  #error(message: string, at = this.#at): RegexError {
    return new RegexError(message, at);
  }

  #eat(text: string): boolean {
    if (!this.#source.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  /** Next code point. */
  #take(): number {
    const c = this.#source.codePointAt(this.#at);
    if (c === undefined) throw this.#error('ends too early');
    this.#at += c > 0xffff ? 2 : 1;
    return c;
  }

  #alternatives(outer: Flags): Tree {
    if (++this.#depth > MAX_DEPTH) throw this.#error(`groups nested more than ${MAX_DEPTH} deep`);
    let flags = outer;
    const branches: Tree[] = [];
    let items: Tree[] = [];
    while (this.#at < this.#source.length && this.#source[this.#at] !== ')') {
      if (this.#eat('|')) {
        branches.push({ kind: 'all', of: items });
        items = [];
        continue;
      }
      const set = this.#flags(flags);
      if (set !== null) flags = set;
      else items.push(this.#quantified(flags));
    }
    this.#depth--;
    branches.push({ kind: 'all', of: items });
    return branches.length === 1 ? branches[0]! : { kind: 'any', of: branches };
  }

  /** `(?i)` for the rest of the group. */
  #flags(flags: Flags): Flags | null {
    const found = /^\(\?([ims]*)(?:-([ims]+))?\)/.exec(this.#source.slice(this.#at, this.#at + 12));
    if (found === null || (found[1] === '' && found[2] === undefined)) return null;
    this.#at += found[0].length;
    return withFlags(flags, found[1]!, found[2] ?? '');
  }

  #quantified(flags: Flags): Tree {
    const from = this.#at;
    let tree = this.#atom(flags);
    let bounds = this.#bounds();
    if (bounds !== null) {
      const [least, most] = bounds;
      this.#eat('?');
      tree = { kind: 'repeat', of: tree, least, most };
      const at = this.#at;
      bounds = this.#bounds();
      if (bounds !== null) throw this.#error('two quantifiers in a row', at);
      if (this.#source[from] === '^' || this.#source[from] === '$')
        throw this.#error('a quantifier needs something to repeat', at - 1);
    }
    return tree;
  }

  #bounds(): [number, number] | null {
    if (this.#eat('*')) return [0, Infinity];
    if (this.#eat('+')) return [1, Infinity];
    if (this.#eat('?')) return [0, 1];
    const found = /^\{(\d{1,6})(?:(,)(\d{1,6})?)?\}/.exec(this.#source.slice(this.#at, this.#at + 20));
    if (found === null) return null;
    const least = Number(found[1]);
    const most = found[2] === undefined ? least : found[3] === undefined ? Infinity : Number(found[3]);
    if (least > MAX_REPEAT || (most > MAX_REPEAT && most !== Infinity) || most < least)
      throw this.#error(`a repetition goes up to ${MAX_REPEAT}, the lesser number first`);
    this.#at += found[0].length;
    return [least, most];
  }

  #atom(flags: Flags): Tree {
    const from = this.#at;
    const c = this.#take();
    switch (String.fromCodePoint(c)) {
      case '.':
        return { kind: 'chars', ranges: flags.s ? [[0, LAST]] : complement([[10, 10]]) };
      case '^':
        return { kind: 'assert', what: flags.m ? 'line-start' : 'start' };
      case '$':
        return { kind: 'assert', what: flags.m ? 'line-end' : 'end' };
      case '(':
        return this.#group(flags, from);
      case '[':
        return { kind: 'chars', ranges: this.#class(flags, from) };
      case '\\':
        return this.#escape(flags, from);
      case '*':
      case '+':
      case '?':
        throw this.#error('a quantifier needs something to repeat', from);
      default:
        return { kind: 'chars', ranges: flags.i ? fold([[c, c]]) : [[c, c]] };
    }
  }

  #group(flags: Flags, from: number): Tree {
    let inner = flags;
    if (this.#source[this.#at] === '?') {
      const found = /^\?(?:([ims]*)(?:-([ims]+))?:|P?<[A-Za-z_]\w*>)/.exec(this.#source.slice(this.#at, this.#at + 80));
      if (found === null) throw this.#error('lookaround and other (?…) are not supported', from);
      inner = withFlags(flags, found[1] ?? '', found[2] ?? '');
      this.#at += found[0].length;
    }
    const tree = this.#alternatives(inner);
    if (!this.#eat(')')) throw this.#error('a ( is not closed', from);
    return tree;
  }

  #escape(flags: Flags, from: number): Tree {
    const letter = this.#source[this.#at];
    const what = { b: 'word-edge', B: 'no-word-edge', A: 'start', z: 'end' }[letter ?? ''];
    if (what !== undefined) {
      this.#at++;
      return { kind: 'assert', what };
    }
    const ranges = this.#escaped(from);
    return { kind: 'chars', ranges: flags.i ? fold(ranges) : ranges };
  }

  /** After a backslash, within a class or outside. */
  #escaped(from: number): readonly Range[] {
    const c = this.#take();
    const letter = String.fromCodePoint(c);
    const set = { d: DIGIT, w: WORD, s: SPACE }[letter.toLowerCase()];
    if (set !== undefined) return letter === letter.toLowerCase() ? set : complement(set);
    const plain = ESCAPES[letter];
    if (plain !== undefined) return [[plain, plain]];
    if (letter === 'x') {
      const found = /^(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})/.exec(this.#source.slice(this.#at, this.#at + 8));
      const code = found === null ? Number.NaN : Number.parseInt(found[1] ?? found[2]!, 16);
      if (!(code <= LAST)) throw this.#error('\\x takes two hex digits, or up to six in braces', from);
      this.#at += found![0].length;
      return [[code, code]];
    }
    if (/[0-9A-Za-z]/.test(letter))
      throw this.#error(
        /[1-9]/.test(letter) ? 'backreferences are not supported' : `\\${letter} is not supported`,
        from,
      );
    return [[c, c]];
  }

  #class(flags: Flags, from: number): readonly Range[] {
    const not = this.#eat('^');
    const ranges: Range[] = [];
    for (let first = true; ; first = false) {
      if (this.#at >= this.#source.length) throw this.#error('a [ is not closed', from);
      if (!first && this.#eat(']')) break;
      if (this.#source.startsWith('[:', this.#at))
        throw this.#error('[:name:] is not supported, write the range', this.#at);
      const item = this.#classItem();
      const next = this.#source[this.#at + 1];
      if (
        item.length === 1 &&
        item[0]![0] === item[0]![1] &&
        this.#source[this.#at] === '-' &&
        next !== undefined &&
        next !== ']'
      ) {
        this.#at++;
        const at = this.#at;
        const end = this.#classItem();
        if (end.length !== 1 || end[0]![0] !== end[0]![1] || end[0]![0] < item[0]![0])
          throw this.#error('not a range', at);
        ranges.push([item[0]![0], end[0]![0]]);
      } else ranges.push(...item);
    }
    const folded = flags.i ? fold(ranges) : ranges;
    return not ? complement(folded) : folded;
  }

  #classItem(): readonly Range[] {
    const from = this.#at;
    const c = this.#take();
    return c === 92 ? this.#escaped(from) : [[c, c]];
  }
}

function withFlags(flags: Flags, on: string, off: string): Flags {
  const value = (f: 'i' | 'm' | 's'): boolean => (on.includes(f) || flags[f]) && !off.includes(f);
  return { i: value('i'), m: value('m'), s: value('s') };
}

type Building =
  | { op: 'chars'; ranges: readonly Range[] }
  | { op: 'split'; to: number[] }
  | { op: 'assert'; what: string }
  | { op: 'match' };

function emit(tree: Tree, program: Building[]): void {
  if (program.length > MAX_PROGRAM)
    throw new RegexError(`too large once its repetitions are written out (${MAX_PROGRAM} steps)`, 0);
  switch (tree.kind) {
    case 'empty':
      return;
    case 'chars':
      program.push({ op: 'chars', ranges: tree.ranges });
      return;
    case 'assert':
      program.push({ op: 'assert', what: tree.what });
      return;
    case 'all':
      for (const part of tree.of) emit(part, program);
      return;
    case 'any': {
      const split = { op: 'split' as const, to: [] as number[] };
      program.push(split);
      const ends: { to: number[] }[] = [];
      for (const part of tree.of) {
        split.to.push(program.length);
        emit(part, program);
        const end = { op: 'split' as const, to: [] as number[] };
        program.push(end);
        ends.push(end);
      }
      for (const end of ends) end.to.push(program.length);
      return;
    }
    default:
      repeat(tree, program);
  }
}

function repeat(tree: Tree & { kind: 'repeat' }, program: Building[]): void {
  for (let i = 0; i < tree.least; i++) emit(tree.of, program);
  if (tree.most === Infinity) {
    const head = program.length;
    const split = { op: 'split' as const, to: [head + 1] };
    program.push(split);
    emit(tree.of, program);
    program.push({ op: 'split', to: [head] });
    split.to.push(program.length);
    return;
  }
  const splits: { to: number[] }[] = [];
  for (let i = tree.least; i < tree.most; i++) {
    const split = { op: 'split' as const, to: [program.length + 1] };
    program.push(split);
    splits.push(split);
    emit(tree.of, program);
  }
  for (const split of splits) split.to.push(program.length);
}

/** @throws RegexError */
export function parseRegex(source: string): readonly Inst[] {
  if (source.length > MAX_PATTERN) throw new RegexError(`a pattern has at most ${MAX_PATTERN} characters`, 0);
  const program: Building[] = [];
  emit(new Reader(source).whole(), program);
  program.push({ op: 'match' });
  return program;
}

/**
 * What a detector is. A rule has an anchor, a short pattern that Vectorscan finds in the raw bytes (block mode, no start
 * offsets, so one match per place and not one per possible end), and a function that looks around the anchor, finds the
 * whole value and holds it against its checksum.
 */

/** Half-open byte range. Reused between calls, so that a scan makes no garbage. */
export interface Span {
  from: number;
  to: number;
}

/**
 * `end`: one past the last byte of the anchor. Nothing outside `low` to `high` is looked at (the field, or the text). True
 * when there is a value, which is then in `span`. A value cut off by `high` counts where its beginning is telling enough.
 */
export type Verify = (data: Uint8Array, end: number, low: number, high: number, span: Span) => boolean;

export interface Rule {
  /** PCRE subset of Vectorscan, over bytes. */
  readonly anchor: string;
  readonly caseless?: boolean;
  readonly verify: Verify;
}

export interface Detector {
  readonly name: string;
  /** For `sluice policy` and README: what it finds. */
  readonly finds: string;
  readonly rules: readonly Rule[];
}

/** A set of bytes as a table of 256 flags. Written as in a bracket expression: `A-Za-z0-9_`. */
export function bytesOf(set: string): Uint8Array {
  const table = new Uint8Array(256);
  const chars = Buffer.from(set, 'latin1');
  for (let i = 0; i < chars.length; i++) {
    const first = chars[i]!;
    if (chars[i + 1] === 0x2d && i + 2 < chars.length) {
      table.fill(1, first, chars[i + 2]! + 1);
      i += 2;
    } else table[first] = 1;
  }
  return table;
}

export const DIGITS = bytesOf('0-9');
export const ALNUM = bytesOf('A-Za-z0-9');
export const BASE64URL = bytesOf('A-Za-z0-9_-');
export const BASE64 = bytesOf('A-Za-z0-9+/');

/** First position from `at` whose byte is not in the set, at most `high`. */
export function runEnd(data: Uint8Array, at: number, high: number, set: Uint8Array): number {
  let i = at;
  while (i < high && set[data[i]!] === 1) i++;
  return i;
}

/** First position of the run of bytes in the set that ends before `at`, at least `low`. */
export function runStart(data: Uint8Array, at: number, low: number, set: Uint8Array): number {
  let i = at;
  while (i > low && set[data[i - 1]!] === 1) i--;
  return i;
}

/**
 * A fixed prefix and a body of at least `least` bytes of `body`. What follows is taken along: a secret with more behind it
 * is still one. `bounded`: not right after a letter or digit, for prefixes that words end in.
 */
export function prefixed(prefix: string, body: string, least: number, bounded = false): Rule {
  const set = bytesOf(body);
  const width = Buffer.from(prefix.replaceAll('\\', ''), 'latin1').length;
  // A few bytes of the body make the anchor rare; the rest is cheaper to look at here.
  const peek = Math.min(least, 6);
  return {
    anchor: `${prefix}[${body}]{${peek}}`,
    verify(data, end, low, high, span) {
      const from = end - peek - width;
      if (from < low || end > high) return false;
      if (bounded && from > low && ALNUM[data[from - 1]!] === 1) return false;
      const to = runEnd(data, from + width, high, set);
      if (to - from - width < least) return false;
      span.from = from;
      span.to = to;
      return true;
    },
  };
}

/**
 * Takes secrets out. What is kept is named, and all other text goes: a list of what is dangerous is never complete.
 * Numbers, truth values and the names of keys stay. `scrub` is a second look, at texts that are kept as they are.
 */
import { createHmac, randomBytes } from 'node:crypto';

/** What of a value is kept. */
export interface Kept {
  /** Texts, by paths of keys with dots; `*` stands for one of any name or place in a list: `identity.providers.*.name`. */
  readonly texts: readonly string[];
  /** Keys, beside those of the paths, whose values are not kept. Another one is somebody's text as well. */
  readonly keys: readonly string[];
}

const REMOVED = (text: string): string => `(removed: ${text.length} characters)`;

/** The same value with every text replaced that is not kept. */
export function redact(value: unknown, kept: Kept): unknown {
  const paths = kept.texts.map((each) => each.split('.'));
  const words = new Set([...kept.keys, ...paths.flat()]);
  const named = (path: readonly string[]) => paths.some((each) => matches(each.slice(0, path.length), path));
  const walk = (each: unknown, path: readonly string[]): unknown => {
    if (typeof each === 'string') return paths.some((pattern) => matches(pattern, path)) ? scrub(each) : REMOVED(each);
    if (Array.isArray(each)) return each.map((item, i) => walk(item, [...path, String(i)]));
    if (typeof each !== 'object' || each === null) return each;
    const entries = Object.entries(each).map(([key, item]) => {
      const below = [...path, key];
      return [words.has(key) || named(below) ? key : REMOVED(key), walk(item, below)];
    });
    return Object.fromEntries(entries);
  };
  return walk(value, []);
}

function matches(pattern: readonly string[], path: readonly string[]): boolean {
  return pattern.length === path.length && pattern.every((word, i) => word === '*' || word === path[i]);
}

/** What secrets look like wherever they stand: URLs with passwords, tokens, keys, `password=…`. */
const SECRETS: readonly (readonly [RegExp, string])[] = [
  [/(\w:\/\/[^\s:/@]*):[^\s/@]+@/g, '$1:(removed)@'],
  [/-----BEGIN [A-Z ]*-----[\s\S]*?(?:-----END [A-Z ]*-----|$)/g, '(removed: PEM)'],
  [/\beyJ[\w-]{8,}(?:\.[\w-]*){0,4}/g, '(removed: token)'],
  [/\bsluice_[\w-]{16,}/g, '(removed: token)'],
  [/\b(bearer|basic)\s+[\w.~+/=-]{6,}/gi, '$1 (removed)'],
  [
    /\b([\w-]*(?:password|passwd|pwd|secret|token|api[-_]?key|credential)["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;}]+)/gi,
    '$1(removed)',
  ],
];

export function scrub(text: string): string {
  return SECRETS.reduce((left, [pattern, instead]) => left.replace(pattern, instead), text);
}

/**
 * Names for values, the same for the same value within one bundle: who it was can be told apart, and not found out. The
 * key is thrown away with the process.
 */
export function pseudonyms(key: Buffer = randomBytes(32)): (value: string) => string {
  return (value) => `#${createHmac('sha256', key).update(value).digest('hex').slice(0, 12)}`;
}

/** What is wrong with a policy file, and where. Printed like a compiler does: `file:line:column: path: message`. */

export interface Diagnostic {
  readonly severity: 'error' | 'warning';
  readonly file: string;
  /** From 1. 0: the file as a whole. */
  readonly line: number;
  readonly column: number;
  /** `rules[2].tables[0]`; empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
  /** What to write instead, as a sentence: `did you mean "columns"?` */
  readonly suggestion?: string;
}

export type Path = readonly (string | number)[];

const PLAIN_KEY = /^[A-Za-z_][\w-]*$/;

export function pathText(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (PLAIN_KEY.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}

export function diagnosticText(d: Diagnostic): string {
  const where = d.line === 0 ? d.file : `${d.file}:${d.line}:${d.column}`;
  const kind = d.severity === 'warning' ? 'warning: ' : '';
  const path = d.path === '' ? '' : `${d.path}: `;
  return `${where}: ${kind}${path}${d.message}${d.suggestion === undefined ? '' : ` (${d.suggestion})`}`;
}

/** In the order of the files given, then by position. */
export function sortDiagnostics(list: readonly Diagnostic[], files: readonly string[]): Diagnostic[] {
  const order = new Map(files.map((file, i) => [file, i]));
  const rank = (d: Diagnostic): number => order.get(d.file) ?? files.length;
  return [...list].sort((a, b) => rank(a) - rank(b) || a.line - b.line || a.column - b.column);
}

/** Longest word that is compared: beyond it a suggestion would cost more than it helps. */
const LONGEST = 64;

/** Edits (insert, delete, replace, swap of neighbours) from one word to the other. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, before[j - 2]! + 1);
      row.push(least);
    }
    before = last;
    last = row;
  }
  return last[b.length]!;
}

/** The known word nearest to what was written, or undefined when none is near. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  if (word.length > LONGEST) return undefined;
  const lower = word.toLowerCase();
  let best: string | undefined;
  let least = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    if (candidate.length > LONGEST) continue;
    const d = distance(lower, candidate.toLowerCase());
    if (d < least) [best, least] = [candidate, d];
  }
  return best;
}

/** `did you mean "x"?`, or the whole list when nothing is near and the list is short. */
export function suggest(word: string, known: Iterable<string>): { suggestion?: string } {
  const words = [...known];
  const near = nearest(word, words);
  if (near !== undefined) return { suggestion: `did you mean ${JSON.stringify(near)}?` };
  if (words.length > 0 && words.length <= 16) return { suggestion: `known: ${words.join(', ')}` };
  return {};
}

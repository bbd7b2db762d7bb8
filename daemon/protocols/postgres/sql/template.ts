/**
 * One cache entry for statements that differ in numbers alone: `SELECT abalance FROM accounts WHERE aid = 4711;`.
 *
 * Why no number can change the analysis: the text has no quote, `$`, backslash or comment, so it has no string, no quoted
 * name and nothing that is cut into tokens otherwise than it looks; it begins with SELECT, INSERT, UPDATE or DELETE and is
 * one statement. A number that is replaced stands right behind `=`, `<` or `>`, so it is the operand of an operator (or the
 * value of a named argument or of SET): never the place of a column in ORDER BY or GROUP BY, a LIMIT, a type's length, or
 * an option. It has at most nine digits and no letter, dot or digit beside it, so it is an integer constant of the same
 * type whatever its value, and the same functions and operators are chosen. Analysis looks at the value of constants only
 * where they are strings, numbers of ORDER BY and GROUP BY, or options of utility statements.
 */

/** Of each character: 0 not plain, 1 plain, 2 looked at more closely. */
const CLASS = new Uint8Array(128);
for (const c of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.,()*+ \n') CLASS[c.charCodeAt(0)] = 1;
for (const c of '=<>;-/') CLASS[c.charCodeAt(0)] = 2;

const DASH = 0x2d;
const SLASH = 0x2f;
const STAR = 0x2a;
const SEMICOLON = 0x3b;
const MAX_LENGTH = 4096;
const MAX_DIGITS = 9;
const PLACEHOLDER = '\u0000';

const isDigit = (c: number): boolean => c >= 48 && c <= 57;
const isBlank = (c: number): boolean => c === 32 || c === 10;
const isComparison = (c: number): boolean => c >= 0x3c && c <= 0x3e;
const isWord = (c: number): boolean =>
  (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || isDigit(c) || c === 95 || c === 46;

/** Cheap test that comes first: the statement's first letter. */
export function isTemplate(text: string): boolean {
  if (text.length > MAX_LENGTH || text.length < 8) return false;
  switch (text.charCodeAt(0) | 32) {
    case 0x73:
      return startsWith(text, 'select ');
    case 0x69:
      return startsWith(text, 'insert ');
    case 0x75:
      return startsWith(text, 'update ');
    case 0x64:
      return startsWith(text, 'delete ');
  }
  return false;
}

function startsWith(text: string, word: string): boolean {
  for (let i = 1; i < word.length; i++) {
    const c = text.charCodeAt(i);
    if ((i === word.length - 1 ? c : c | 32) !== word.charCodeAt(i)) return false;
  }
  return true;
}

/** The text with its numbers replaced, or null where it holds none or anything that is not plain. */
export function templateOf(text: string): string | null {
  let key = '';
  let copied = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 128) return null;
    const kind = CLASS[c];
    if (kind === 1) continue;
    if (kind === 0) return null;
    const next = text.charCodeAt(i + 1);
    if ((c === DASH && next === DASH) || (c === SLASH && next === STAR)) return null;
    if (c === SEMICOLON && !endsAfter(text, i)) return null;
    if (!isComparison(c)) continue;
    let from = i + 1;
    while (isBlank(text.charCodeAt(from))) from++;
    let end = from;
    while (isDigit(text.charCodeAt(end))) end++;
    if (end === from) continue;
    if (end - from <= MAX_DIGITS && !isWord(text.charCodeAt(end))) {
      key += text.slice(copied, from) + PLACEHOLDER;
      copied = end;
    }
    i = end - 1;
  }
  return copied === 0 ? null : key + text.slice(copied);
}

/** Nothing but blanks and semicolons from here on. */
function endsAfter(text: string, from: number): boolean {
  for (let i = from; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c !== SEMICOLON && !isBlank(c)) return false;
  }
  return true;
}

/** The text of the one statement, as the parser cuts it out. */
export function statementText(text: string): string {
  const end = text.indexOf(';');
  return (end < 0 ? text : text.slice(0, end)).trim();
}

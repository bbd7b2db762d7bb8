/**
 * Text for a terminal. Statements, commands and reasons come from agents: nothing of them may move the cursor, change
 * colours, reverse the reading order or stand where a line of ours would.
 */

/** C0 and C1 controls, DEL, line and paragraph separators, bidirectional controls, invisible and private characters, lone surrogates. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;
const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\t': '\\t', '\r': '\\r' };

/** On one line, with everything unsafe written as an escape. */
export function visible(text: string): string {
  return text.replace(UNSAFE, (c) => NAMED[c] ?? `\\u{${c.codePointAt(0)!.toString(16)}}`);
}

/**
 * Keeps line ends and tabs (as spaces). Every line on the screen begins with a margin, `|` or `:` where one is continued,
 * so that none can pass for ours, however long lines and runs of spaces are laid out.
 */
export function quoted(text: string, mark: string, width: number): string {
  const room = Math.max(width - 4, 16);
  let out = '';
  for (const line of text.split(/\r\n|\n/)) {
    let margin = `  ${mark} `;
    for (const part of cut(visible(line.replaceAll('\t', '    ')), room)) {
      out += `${margin}${part}\n`;
      margin = '  : ';
    }
  }
  return out;
}

/** Pieces of at most so many columns; one empty piece for an empty text. */
function cut(text: string, width: number): string[] {
  const pieces: string[] = [];
  let piece = '';
  let used = 0;
  for (const c of text) {
    const more = columns(c);
    if (used + more > width) {
      pieces.push(piece);
      piece = '';
      used = 0;
    }
    piece += c;
    used += more;
  }
  return [...pieces, piece];
}

/** Terminal columns: two for East Asian wide characters and emoji, none for combining marks. */
export function columns(text: string): number {
  let count = 0;
  for (const c of text) count += /\p{M}/u.test(c) ? 0 : WIDE.test(c) ? 2 : 1;
  return count;
}

const WIDE =
  /[\u1100-\u115F\u2E80-\uA4CF\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60\uFFE0-\uFFE6]|\p{Emoji_Presentation}/u;

/** Cut to so many columns, with an ellipsis. */
export function clip(text: string, width: number): string {
  if (columns(text) <= width) return text;
  let out = '';
  let used = 1;
  for (const c of text) {
    used += columns(c);
    if (used > width) break;
    out += c;
  }
  return width < 1 ? '' : `${out}…`;
}

/** Breaks words into lines; a word longer than a line is cut hard, not clipped. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (let word of text.split(/ +/)) {
    while (columns(line === '' ? word : `${line} ${word}`) > width) {
      if (line === '') {
        const [head = '', ...rest] = cut(word, width);
        lines.push(head);
        word = rest.join('');
      } else {
        lines.push(line);
        line = '';
      }
    }
    if (word !== '') line = line === '' ? word : `${line} ${word}`;
  }
  if (line !== '' || lines.length === 0) lines.push(line);
  return lines;
}

/** Rows of already visible cells; the last column gets what is left of the width. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], width: number): string {
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((row) => columns(row[i]!))));
  return all
    .map((row) => {
      const cells = row.map((cell, i) => (i === row.length - 1 ? cell : cell + ' '.repeat(widths[i]! - columns(cell))));
      return `${clip(cells.join('  ').trimEnd(), width)}\n`;
    })
    .join('');
}

/** `label  value` lines, values wrapped under themselves. Values are made visible here. */
export function fields(pairs: readonly (readonly [string, string])[], width: number): string {
  const indent = Math.max(...pairs.map(([label]) => columns(label))) + 2;
  return pairs
    .flatMap(([label, value]) =>
      wrap(visible(value), Math.max(width - indent, 16)).map(
        (line, i) => `${(i === 0 ? label : '').padEnd(indent)}${line}\n`,
      ),
    )
    .join('');
}

/** `sluice-agent-7 (70006)`, or `uid 70006` where the host has no name for it. */
export function account({ uid, user }: { readonly uid: number; readonly user: string }): string {
  return user === String(uid) ? `uid ${uid}` : `${visible(user)} (${uid})`;
}

/** `3 s`, `4 min`, `2 h`, `5 d`: rounded down, never `0`. */
export function span(ms: number): string {
  const s = Math.max(Math.floor(ms / 1000), 1);
  if (s < 120) return `${s} s`;
  if (s < 7_200) return `${Math.floor(s / 60)} min`;
  if (s < 172_800) return `${Math.floor(s / 3_600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/** Local time as `2026-11-22 10:04:05`. */
export function moment(ms: number): string {
  const date = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return date.toISOString().slice(0, 19).replace('T', ' ');
}

/** `812 B`, `4.2 MB`. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

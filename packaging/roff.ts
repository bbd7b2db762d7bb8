/** Text to roff, with the macros of man(7). */

/** One run of text: nothing in it is taken as a request or an escape, and hyphens are those of command lines. */
export function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replace(/[’]/g, '\\(cq')
    .replace(/[…]/g, '...')
    .replace(/^\./gm, '\\&.');
}

/** Prose: `code` becomes bold, a new line is a line of its own, an empty line a paragraph. */
export function prose(text: string): string {
  return text
    .trim()
    .split(/\n\s*\n/)
    .map((paragraph) => {
      const parts = paragraph.replace(/\s*\n\s*/g, ' ').split(/`([^`]+)`/);
      const line = parts.map((part, i) => (i % 2 === 1 ? `\\fB${escaped(part)}\\fR` : escaped(part))).join('');
      return line.replace(/^(['.])/, '\\&$1').replace(/([.!?:]) +(?=[A-Z])/g, '$1\n');
    })
    .join('\n.PP\n');
}

export const bold = (text: string): string => `\\fB${escaped(text)}\\fR`;

/** `<kind>` and `[file]` as italics. */
export const value = (text: string): string =>
  text.replace(/[A-Za-z]+[A-Za-z.-]*|[^A-Za-z]+/g, (part) =>
    /^[A-Za-z]/.test(part) ? `\\fI${escaped(part)}\\fR` : escaped(part.replace(/[<>]/g, '')),
  );

/** A term and what it is. */
export const item = (term: string, text: string): string => `.TP\n${term}\n${text === '' ? '\\&' : prose(text)}`;

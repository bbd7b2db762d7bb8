/** What the demo prints: a page that a person reads from top to bottom, at most 100 columns wide. */

const WIDTH = 100;
const INDENT = '   ';

/** Cuts lines longer than `width` at spaces where there are any, and indents what follows further. */
export function fold(text: string, width: number): string[] {
  return text.split('\n').flatMap((line) => {
    const parts: string[] = [];
    let rest = line;
    while (rest.length > width) {
      const space = rest.lastIndexOf(' ', width);
      const at = space > width / 2 ? space : width;
      parts.push(rest.slice(0, at));
      rest = `    ${rest.slice(at).trimStart()}`;
    }
    return [...parts, rest];
  });
}

export class Page {
  readonly #out: NodeJS.WriteStream;
  #step = 0;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  #style(code: number, text: string): string {
    return this.#out.isTTY ? `\x1b[${code}m${text}\x1b[0m` : text;
  }

  title(text: string): void {
    this.#out.write(`\n${this.#style(1, text)}\n`);
  }

  /** Begins a numbered step. */
  step(text: string): void {
    this.#step += 1;
    this.#out.write(`\n${this.#style(1, `${this.#step}. ${text}`)}\n`);
  }

  /** Words of the demo itself. */
  say(text: string): void {
    for (const line of fold(text, WIDTH - INDENT.length)) this.#out.write(`${INDENT}${line}`.trimEnd().concat('\n'));
  }

  /** A command, as the reader could type it. */
  command(text: string): void {
    this.#out.write('\n');
    for (const line of fold(`$ ${text}`, WIDTH - INDENT.length)) this.#out.write(`${INDENT}${this.#style(36, line)}\n`);
  }

  /** What a command printed. */
  output(text: string): void {
    const trimmed = text.replace(/\n+$/, '');
    if (trimmed === '') return;
    for (const line of fold(trimmed, WIDTH - INDENT.length)) this.#out.write(`${INDENT}${line}`.trimEnd().concat('\n'));
  }
}

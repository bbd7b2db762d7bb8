/** One statement of a batch as libpg-query lists it: bytes of UTF-8; location absent means 0, length absent or 0 up to the end. */
export interface RawStatement {
  readonly stmt?: unknown;
  readonly stmt_location?: number;
  readonly stmt_len?: number;
}

/** The text of each statement of a batch, without the white space around it. */
export function statementTexts(text: string, statements: readonly RawStatement[]): string[] {
  const bytes = Buffer.byteLength(text) === text.length ? null : Buffer.from(text);
  return statements.map(({ stmt_location: from = 0, stmt_len: length = 0 }) => {
    const to = length === 0 ? undefined : from + length;
    return (bytes === null ? text.slice(from, to) : bytes.toString('utf8', from, to)).trim();
  });
}

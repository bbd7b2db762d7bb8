/**
 * Patterns of policy over qualified names. A `*` stands for a whole part and never for a piece of one, so that `public.*`
 * can't match `publicx.t`. Parts are written as core/object.ts writes names: `public."Odd Name"`.
 */
import { partsOf, qualify } from '../core/object.ts';

/** A name split once: `parts` null where it isn't well formed. */
export interface ObjectName {
  readonly text: string;
  readonly parts: readonly string[] | null;
  /** Canonical text of a name of two parts, '' of any other. */
  readonly key: string;
}

export function objectName(text: string): ObjectName {
  const parts = partsOf(text);
  return { text, parts, key: parts?.length === 2 ? qualify(...parts) : '' };
}

/** Splits a name often seen only once. Bounded: names come from statements. */
export class NameTable {
  readonly #seen = new Map<string, ObjectName>();

  get(text: string): ObjectName {
    let name = this.#seen.get(text);
    if (name === undefined) {
      name = objectName(text);
      if (this.#seen.size >= 4096) this.#seen.clear();
      if (text.length <= 512) this.#seen.set(text, name);
    }
    return name;
  }
}

export type Fault = { readonly message: string; readonly suggestion?: string };

const UNQUOTED = /^[^\p{Lu}\p{Lt}\s".*[\](){}?,;:'`\\/]+$/u;

/** Parts of a pattern; a `*` is null. */
function patternParts(pattern: string): (string | null)[] | Fault {
  const raw: string[] = [];
  let part = '';
  let quoted = false;
  for (const c of pattern) {
    if (c === '"') quoted = !quoted;
    if (c === '.' && !quoted) {
      raw.push(part);
      part = '';
    } else part += c;
  }
  raw.push(part);
  if (quoted) return { message: `${pattern}: a quote is not closed` };
  const parts: (string | null)[] = [];
  for (const text of raw) {
    if (text === '*') parts.push(null);
    else if (text.startsWith('"')) {
      const inner = partsOf(text);
      if (inner?.length !== 1) return { message: `${pattern}: ${text} is not a quoted name` };
      parts.push(inner[0]!);
    } else if (text === '') return { message: `${pattern}: a part is empty` };
    else if (text.includes('*'))
      return { message: `${pattern}: a * stands for a whole part of a name, never for a piece of one` };
    else if (/[\p{Lu}\p{Lt}]/u.test(text)) {
      const lower = pattern.replace(text, text.toLowerCase());
      return {
        message: `${pattern}: names without quotes are in lower case`,
        suggestion: `write ${lower}, or ${pattern.replace(text, `"${text}"`)} for a name with capitals`,
      };
    } else if (!UNQUOTED.test(text))
      return {
        message: `${pattern}: ${text} needs double quotes`,
        suggestion: `write '${pattern.replace(text, qualify(text))}'`,
      };
    else parts.push(text);
  }
  return parts;
}

export interface NamePattern {
  /** As written. */
  readonly text: string;
  /** Null stands for any. Both null: every named object. */
  readonly schema: string | null;
  readonly name: string | null;
}

/** `schema.name`, `schema.*`, `*.name`, or `*` and `*.*` for every name. */
export function namePattern(text: string): NamePattern | Fault {
  const parts = patternParts(text);
  if (!Array.isArray(parts)) return parts;
  if (parts.length === 1 && parts[0] === null) return { text, schema: null, name: null };
  if (parts.length === 1)
    return {
      message: `${text} does not say in which schema`,
      suggestion: `did you mean public.${text}? *.${text} is every schema's`,
    };
  if (parts.length !== 2)
    return {
      message: `${text} has ${parts.length} parts, a pattern has two: schema.name`,
      ...(parts.length === 3 ? { suggestion: 'columns stand under columns:' } : {}),
    };
  return { text, schema: parts[0]!, name: parts[1]! };
}

/** `schema.table.column`, `table.column`, `*.column`. Returns the fault, or null when it is well formed. */
export function columnPatternFault(text: string): Fault | null {
  const parts = patternParts(text);
  if (!Array.isArray(parts)) return parts;
  if (parts.length === 1)
    return { message: `${text} does not say of which table`, suggestion: `did you mean "*.${text}"?` };
  if (parts.length > 3)
    return { message: `${text} has ${parts.length} parts, a column has at most three: schema.table.column` };
  if (parts.at(-1) === null) return { message: `${text}: name each column, a mask does not take * for one` };
  if (parts.length === 3 && parts.includes(null))
    return { message: `${text}: * stands only in *.column`, suggestion: `did you mean "*.${qualify(parts[2]!)}"?` };
  return null;
}

/** Patterns compiled to sets: one lookup or three decide. */
export class NameSet {
  readonly patterns: readonly NamePattern[];
  readonly any: boolean;
  readonly #exact: ReadonlySet<string>;
  readonly #schemas: ReadonlySet<string>;
  readonly #names: ReadonlySet<string>;

  constructor(patterns: readonly NamePattern[]) {
    this.patterns = patterns;
    this.any = patterns.some((p) => p.schema === null && p.name === null);
    this.#exact = new Set(
      patterns.flatMap((p) => (p.schema !== null && p.name !== null ? [qualify(p.schema, p.name)] : [])),
    );
    this.#schemas = new Set(patterns.flatMap((p) => (p.schema !== null && p.name === null ? [p.schema] : [])));
    this.#names = new Set(patterns.flatMap((p) => (p.schema === null && p.name !== null ? [p.name] : [])));
  }

  /** For rules that grant: the name is of two parts and surely meant. */
  has(name: ObjectName): boolean {
    if (this.any) return true;
    if (name.key === '') return false;
    return this.#exact.has(name.key) || this.#schemas.has(name.parts![0]!) || this.#names.has(name.parts![1]!);
  }

  /**
   * For rules that forbid: the name could be one of them. A name of one part may be the schema that holds them (DROP
   * SCHEMA public), or a thing in any; one that isn't understood could be anything.
   */
  mayHave(name: ObjectName): boolean {
    if (name.key !== '' || this.any) return this.has(name);
    if (name.parts?.length !== 1) return true;
    const part = name.parts[0]!;
    return this.#names.size > 0 || this.patterns.some((p) => p.schema === part || p.name === part);
  }

  /** Every name that `other` has, this has too, as far as the patterns show. */
  covers(other: NameSet): boolean {
    return other.patterns.every((p) =>
      this.patterns.some((q) => (q.schema === null || q.schema === p.schema) && (q.name === null || q.name === p.name)),
    );
  }
}

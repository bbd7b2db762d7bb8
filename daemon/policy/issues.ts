/** Turns what zod found into diagnostics that a person can act on: what is wrong, where, and what was probably meant. */
import { z } from 'zod';
import { nearest, type Path, suggest } from './diagnostic.ts';
import type { Report } from './source.ts';

type Json = Record<string, unknown>;

const KINDS: Readonly<Record<string, string>> = {
  object: 'a mapping',
  record: 'a mapping',
  array: 'a list',
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
};

function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'an empty value';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value === 'string') return 'text';
  return String(value);
}

function at(data: unknown, path: Path): unknown {
  let value = data;
  for (const step of path) value = (value as Record<string | number, unknown> | null | undefined)?.[step];
  return value;
}

/** Keys known at a path, from the schema's own JSON Schema. */
function keysAt(schema: Json, path: Path): string[] {
  let here: Json[] = [schema];
  const spread = (list: Json[]): Json[] => list.flatMap((s) => [s, ...((s.anyOf as Json[] | undefined) ?? [])]);
  for (const step of path) {
    here = spread(here).flatMap((s) => {
      const next =
        typeof step === 'number'
          ? s.items
          : ((s.properties as Record<string, Json> | undefined)?.[step] ?? s.additionalProperties);
      return typeof next === 'object' && next !== null ? [next as Json] : [];
    });
  }
  return spread(here).flatMap((s) => Object.keys((s.properties as Json | undefined) ?? {}));
}

/** Checks data against a schema and reports each fault below `base`. Null when there was one. */
export function validate<T extends z.ZodType>(
  schema: T,
  data: unknown,
  report: Report,
  base: Path = [],
): z.output<T> | null {
  const result = schema.safeParse(data);
  if (result.success) return result.data;
  const described = z.toJSONSchema(schema, { io: 'input' }) as Json;
  for (const issue of result.error.issues) tell(issue, [], { data, described, report, base });
  return null;
}

interface Context {
  readonly data: unknown;
  readonly described: Json;
  readonly report: Report;
  readonly base: Path;
}

function tell(issue: z.core.$ZodIssue, above: Path, context: Context): void {
  const path = [...above, ...(issue.path as (string | number)[])];
  const { report, base } = context;
  const value = at(context.data, path);
  const full = [...base, ...path];
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = keysAt(context.described, path);
      for (const key of issue.keys)
        report([...full, key], `unknown key ${JSON.stringify(key)}`, { key: true, ...suggest(key, known) });
      return;
    }
    case 'invalid_value': {
      const words = issue.values.map(String);
      if (value === undefined) report(full, `is missing: ${words.join(' or ')}`);
      else report(full, `${shown(value)} is not known here`, { suggestion: near(value, words) });
      return;
    }
    case 'invalid_type':
      if (value === undefined)
        report(full.slice(0, -1), `${JSON.stringify(String(path.at(-1) ?? 'the file'))} is missing`);
      else report(full, `expected ${KINDS[issue.expected] ?? issue.expected}, found ${kindOf(value)}`);
      return;
    case 'invalid_union': {
      // The branch that got furthest is the one that was meant.
      const deep = issue.errors.filter((branch) =>
        branch.some(
          (inner) =>
            inner.path.length > 0 ||
            inner.code === 'unrecognized_keys' ||
            inner.code === 'custom' ||
            inner.code === 'too_small',
        ),
      );
      if (deep.length === 1) for (const inner of deep[0]!) tell(inner as z.core.$ZodIssue, path, context);
      else if (value === undefined)
        report(full.slice(0, -1), `${JSON.stringify(String(path.at(-1)))} is missing: ${issue.message}`);
      else report(full, `${issue.message}; found ${kindOf(value)}`, wrapped(value));
      return;
    }
    case 'invalid_key':
      report(full, issue.issues[0]?.message ?? issue.message, { key: true });
      return;
    case 'too_big':
    case 'too_small':
      report(full, issue.message === '' || /^(Too|Invalid)/.test(issue.message) ? bound(issue) : issue.message);
      return;
    default:
      report(full, issue.message);
  }
}

const bound = (issue: z.core.$ZodIssueTooBig | z.core.$ZodIssueTooSmall): string =>
  issue.code === 'too_big' ? `has to be at most ${issue.maximum}` : `has to be at least ${issue.minimum}`;

const shown = (value: unknown): string =>
  typeof value === 'string' ? JSON.stringify(value.slice(0, 60)) : kindOf(value);

const near = (value: unknown, words: readonly string[]): string => {
  const word = typeof value === 'string' ? nearest(value, words) : undefined;
  return word === undefined ? `known: ${words.join(', ')}` : `did you mean ${JSON.stringify(word)}?`;
};

/** `allow: read` for `allow: [read]` is the commonest slip. */
const wrapped = (value: unknown): { suggestion?: string } =>
  typeof value === 'string' && /^[\w.*-]+$/.test(value) ? { suggestion: `for one, write [${value}]` } : {};

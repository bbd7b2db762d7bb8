/** Field matches of a query, as journalctl has them: same field several times is OR, different fields AND, `+` between groups OR. */
import { SluiceError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';

/** Each inner list is one group of `FIELD=value`. Empty: everything matches. */
export type Matches = readonly (readonly string[])[];

type Read = (event: Event) => string | number | undefined | readonly (string | undefined)[];

interface Field {
  readonly read: Read;
  /** Key in the canonical JSON, where the value stands as a plain string: lets events be passed over unparsed. */
  readonly key?: string;
  /** Ids may be given by their first characters, at least ID_CHARS. */
  readonly id?: true;
}

const ID_CHARS = 4;

const FIELDS: Readonly<Record<string, Field>> = {
  SEQ: { read: (e) => e.seq },
  TYPE: { read: (e) => e.type, key: 'type' },
  SESSION: { read: (e) => e.session, key: 'session', id: true },
  SUBJECT: { read: (e) => e.subject, key: 'subject' },
  GROUP: { read: (e) => e.groups },
  ISSUER: { read: (e) => e.issuer, key: 'issuer' },
  FLOW: { read: (e) => e.flow, key: 'flow', id: true },
  PID: { read: (e) => e.pid },
  UID: { read: (e) => e.uid },
  OWNER: { read: (e) => e.owner },
  EXE: { read: (e) => e.exe, key: 'exe' },
  CGROUP: { read: (e) => e.cgroup, key: 'cgroup' },
  ADDRESS: { read: (e) => e.address, key: 'address' },
  PORT: { read: (e) => e.port },
  PROTOCOL: { read: (e) => e.protocol, key: 'protocol' },
  RESOURCE: { read: (e) => e.resource, key: 'resource' },
  ACCOUNT: { read: (e) => e.account, key: 'account' },
  DATABASE: { read: (e) => e.database, key: 'database' },
  OP: { read: (e) => e.op },
  VERB: { read: (e) => e.verb, key: 'verb' },
  FINGERPRINT: { read: (e) => e.fingerprint, key: 'fingerprint' },
  EFFECT: { read: (e) => e.accesses?.map((access) => access.effect) },
  OBJECT: { read: (e) => e.accesses?.flatMap((access) => [access.object, ...(access.behind ?? [])]) },
  DECISION: { read: (e) => e.decision, key: 'decision' },
  OBSERVED: { read: (e) => e.observed, key: 'observed' },
  RULE: { read: (e) => e.rule, key: 'rule' },
  POLICY: { read: (e) => e.policy, key: 'policy' },
  APPROVAL: { read: (e) => e.approval, key: 'approval', id: true },
  REVIEWER: { read: (e) => e.reviewer, key: 'reviewer' },
  MASK: { read: (e) => e.masks },
  ERROR: { read: (e) => e.error, key: 'error' },
  COUNT: { read: (e) => e.count },
};

/** Names that a match may have. */
export const MATCH_FIELDS: readonly string[] = Object.keys(FIELDS);

/**
 * Arguments of the command line into groups.
 * @throws SluiceError AUDIT_QUERY for an unknown field, a missing `=` or an empty group.
 */
export function parseMatches(args: readonly string[]): string[][] {
  const groups: string[][] = [[]];
  for (const arg of args) {
    if (arg === '+') {
      groups.push([]);
      continue;
    }
    const equals = arg.indexOf('=');
    if (equals < 1) {
      throw new SluiceError('AUDIT_QUERY', `"${arg}" is not a match`, {
        hint: 'write FIELD=value, for example DECISION=deny; -g finds words',
      });
    }
    checkField(arg.slice(0, equals));
    groups.at(-1)!.push(arg);
  }
  if (args.length > 0 && groups.some((group) => group.length === 0)) {
    throw new SluiceError('AUDIT_QUERY', '+ stands between two matches', {
      hint: 'for example DECISION=deny + DECISION=approve',
    });
  }
  return args.length === 0 ? [] : groups;
}

export function checkField(name: string): void {
  if (Object.hasOwn(FIELDS, name)) return;
  const near = MATCH_FIELDS.map((field) => [distance(name.toUpperCase(), field), field] as const).sort(
    (a, b) => a[0] - b[0],
  )[0]!;
  throw new SluiceError('AUDIT_QUERY', `there is no field ${name}`, {
    hint: near[0] <= 3 ? `did you mean ${near[1]}?` : `the fields are ${MATCH_FIELDS.join(' ')}`,
  });
}

/** One group, ready to run: per field the values of which one must be there. */
export class Group {
  readonly fields: readonly { readonly name: string; readonly values: readonly string[]; readonly prefix: boolean }[];
  readonly #needles: readonly (readonly Buffer[])[];

  constructor(matches: readonly string[]) {
    const byName = new Map<string, string[]>();
    for (const match of matches) {
      const equals = match.indexOf('=');
      const name = match.slice(0, equals);
      checkField(name);
      byName.set(name, [...(byName.get(name) ?? []), match.slice(equals + 1)]);
    }
    this.fields = [...byName].map(([name, values]) => ({
      name,
      values,
      prefix: FIELDS[name]!.id === true && values.every((value) => value.length >= ID_CHARS),
    }));
    this.#needles = this.fields.flatMap(({ name, values, prefix }) => {
      const { key } = FIELDS[name]!;
      if (key === undefined) return [];
      return [
        values.map((value) =>
          Buffer.from(`"${key}":${prefix ? JSON.stringify(value).slice(0, -1) : JSON.stringify(value)}`),
        ),
      ];
    });
  }

  /** False when canonical bytes can't match: then they need no parsing. */
  possible(bytes: Buffer): boolean {
    return this.#needles.every((any) => any.some((needle) => bytes.includes(needle)));
  }

  matches(event: Event): boolean {
    return this.fields.every(({ name, values, prefix }) => {
      const found = FIELDS[name]!.read(event);
      const has = (value: string | number | undefined): boolean =>
        value !== undefined &&
        values.some((wanted) => (prefix ? String(value).startsWith(wanted) : String(value) === wanted));
      return Array.isArray(found) ? found.some(has) : has(found as string | number | undefined);
    });
  }
}

/**
 * A pattern of -g: literal text, `|` between alternatives, `.*` for any run of characters; `\` takes the next character
 * literally. All in lower case, it ignores case. Nothing more of regular expressions: their matching can take exponential
 * time, and the text searched comes from the agent.
 */
export class Pattern {
  readonly #alternatives: readonly (readonly string[])[];
  readonly #fold: boolean;

  constructor(pattern: string) {
    if (pattern === '' || pattern.length > 1000)
      throw new SluiceError('AUDIT_QUERY', 'a pattern has between 1 and 1000 characters');
    this.#fold = pattern === pattern.toLowerCase();
    const alternatives: string[][] = [['']];
    for (let at = 0; at < pattern.length; at++) {
      const parts = alternatives.at(-1)!;
      if (pattern[at] === '\\' && at + 1 < pattern.length) parts[parts.length - 1] += pattern[++at]!;
      else if (pattern[at] === '|') alternatives.push(['']);
      else if (pattern.startsWith('.*', at)) {
        parts.push('');
        at++;
      } else parts[parts.length - 1] += pattern[at]!;
    }
    this.#alternatives = alternatives;
  }

  found(text: string | undefined): boolean {
    if (text === undefined) return false;
    const where = this.#fold ? text.toLowerCase() : text;
    return this.#alternatives.some((parts) => {
      let at = 0;
      for (const part of parts) {
        const next = where.indexOf(part, at);
        if (next < 0) return false;
        at = next + part.length;
      }
      return true;
    });
  }
}

/** Levenshtein distance, for suggestions; both are short. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= Math.min(a.length, 40); i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}

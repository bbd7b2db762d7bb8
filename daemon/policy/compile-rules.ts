/** Rules, masks and detectors: what stands in them compiled, checked for sense and breadth, resources by their names. */
import { EFFECTS, type Effect } from '../core/operation.ts';
import type { Resource } from '../core/resource.ts';
import { broad, EVERYTHING, placeOf, starGroups, type Taken, unneeded, whoOf } from './compile-entry.ts';
import { type Condition, ConditionCompiler, ConditionError } from './condition.ts';
import { type Path, suggest } from './diagnostic.ts';
import type { DetectRule, MaskRule } from './obligation.ts';
import { columnPatternFault, type NamePattern, NameSet, namePattern } from './pattern.ts';
import type { Kind, Rule } from './rule.ts';
import { type DetectEntry, type Kit, type MaskEntry, milliseconds, type RuleEntry } from './schema.ts';
import type { Report, Source } from './source.ts';
import { plain } from './text.ts';

export class Rules {
  readonly #kit: Kit;
  readonly #taken: Taken;
  readonly #resources: ReadonlyMap<string, Resource>;
  readonly #conditions = new ConditionCompiler();
  readonly rules: Rule[] = [];
  readonly masks: MaskRule[] = [];
  readonly detect: DetectRule[] = [];

  /** `resources`: all of them, of all files. */
  constructor(kit: Kit, taken: Taken, resources: ReadonlyMap<string, Resource>) {
    this.#kit = kit;
    this.#taken = taken;
    this.#resources = resources;
  }

  /** `observe`: of a file in that mode. */
  rule(entry: RuleEntry, path: Path, source: Source, report: Report, observe: boolean): void {
    this.#taken.take('rule', entry.name, source, [...path, 'name'], report);
    const kinds = (['allow', 'deny', 'approve'] as const).filter((kind) => entry[kind] !== undefined);
    if (kinds.length !== 1)
      report(
        path,
        kinds.length === 0
          ? 'needs one of allow, deny and approve'
          : `has ${kinds.join(' and ')}: a rule does one of them`,
      );
    const kind: Kind = kinds[0] ?? 'deny';
    const effects = entry[kind] ?? EVERYTHING;
    const tables = this.#names(entry.tables, [...path, 'tables'], report);
    if (kind !== 'approve') {
      for (const key of ['reviewers', 'quorum', 'within', 'hold', 'remember', 'match'] as const) {
        if (entry[key] !== undefined) report([...path, key], `${key} goes with approve only`, { key: true });
      }
    } else if (entry.reviewers === undefined)
      report(path, 'an approve rule needs reviewers', { suggestion: 'reviewers: {groups: […]}, or reviewers: anyone' });
    if (entry.remember === 'session' && entry.match === 'exact')
      report([...path, 'match'], 'remember: session is about the same kind of operation: it needs match: fingerprint');
    if (kind === 'allow' && entry.columns !== undefined)
      report([...path, 'columns'], "columns can't be allowed one by one: rows come whole", {
        key: true,
        suggestion: 'deny the others, or mask them',
      });
    for (const [i, column] of (entry.columns ?? []).entries())
      if (/[.*]/.test(column))
        report([...path, 'columns', i], `${column} is not the name of a column`, {
          suggestion: 'tables stand under tables:',
        });
    const rule: Rule = {
      name: plain(entry.name),
      kind,
      everything: effects === EVERYTHING,
      effects: new Set<Effect>(effects === EVERYTHING ? EFFECTS : effects),
      who: entry.who === 'everyone' ? null : whoOf(entry.who),
      on: this.#on(entry.on, [...path, 'on'], report),
      tables,
      columns: entry.columns === undefined ? null : new Set(entry.columns),
      functions: this.#names(entry.functions, [...path, 'functions'], report),
      verbs: entry.verbs?.map((verb, i) => verbOf(verb, [...path, 'verbs', i], report)) ?? null,
      when: this.#when(entry.when, [...path, 'when'], report),
      reason: entry.reason === undefined ? null : plain(entry.reason),
      hint: entry.hint === undefined ? null : plain(entry.hint),
      terms: kind === 'approve' ? termsOf(entry) : null,
      observe,
      place: placeOf(source, path),
    };
    starGroups(entry, path, report);
    breadthOf(rule, entry, path, report);
    this.rules.push(rule);
  }

  mask(entry: MaskEntry, path: Path, source: Source, report: Report): void {
    for (const [i, column] of entry.columns.entries()) {
      const fault = columnPatternFault(column);
      if (fault !== null)
        report(
          [...path, 'columns', i],
          fault.message,
          fault.suggestion === undefined ? {} : { suggestion: fault.suggestion },
        );
    }
    const on = this.#on(entry.on, [...path, 'on'], report);
    const name = plain(entry.name ?? `mask of ${entry.columns[0]}`);
    if (entry.name !== undefined) this.#taken.take('mask', name, source, [...path, 'name'], report);
    const mask = Object.freeze({
      name,
      columns: Object.freeze([...entry.columns]),
      with: entry.with,
      conditions: entry.conditions,
    });
    this.masks.push({ mask, on, unless: whoOf(entry.unless), place: placeOf(source, path) });
  }

  detectors(entry: DetectEntry, path: Path, source: Source, report: Report): void {
    const full =
      typeof entry === 'string'
        ? { detectors: [entry], with: 'redact' as const, on: EVERYTHING, unless: undefined }
        : entry;
    full.detectors.forEach((name, j) => {
      if (!this.#kit.detectors.includes(name))
        report(
          typeof entry === 'string' ? path : [...path, 'detectors', j],
          `there is no detector ${JSON.stringify(name)}`,
          suggest(name, this.#kit.detectors),
        );
    });
    this.detect.push({
      detectors: full.detectors,
      with: full.with,
      on: this.#on(full.on ?? EVERYTHING, [...path, 'on'], report),
      unless: whoOf(full.unless),
      place: placeOf(source, path),
    });
  }

  #on(on: string | readonly string[], path: Path, report: Report): ReadonlySet<string> | null {
    if (on === EVERYTHING) return null;
    const names = typeof on === 'string' ? [on] : on;
    names.forEach((name, i) => {
      const where = typeof on === 'string' ? path : [...path, i];
      if (name === EVERYTHING)
        report(where, 'everything stands by itself, not in a list', { suggestion: 'on: everything' });
      else if (!this.#resources.has(name))
        report(where, `there is no resource ${JSON.stringify(name)}`, suggest(name, this.#resources.keys()));
    });
    return new Set(names);
  }

  #names(patterns: readonly string[] | undefined, path: Path, report: Report): NameSet | null {
    if (patterns === undefined) return null;
    const good: NamePattern[] = [];
    patterns.forEach((text, i) => {
      const parsed = namePattern(text);
      if ('message' in parsed)
        report([...path, i], parsed.message, parsed.suggestion === undefined ? {} : { suggestion: parsed.suggestion });
      else good.push(parsed);
    });
    return new NameSet(good);
  }

  #when(source: string | undefined, path: Path, report: Report): Condition | null {
    if (source === undefined) return null;
    try {
      return this.#conditions.compile(source);
    } catch (cause) {
      if (!(cause instanceof ConditionError)) throw cause;
      const near = cause.unknown === undefined ? {} : suggest(cause.unknown.word, cause.unknown.known);
      report(path, `${cause.message} (character ${cause.offset + 1} of the condition)`, near);
      return null;
    }
  }
}

function verbOf(verb: string, path: Path, report: Report): string {
  const words = verb.toUpperCase().replace(/\s+/g, ' ');
  if (words.endsWith(' *')) return words.slice(0, -1);
  if (words.includes('*')) report(path, `${verb}: a * stands for the words after the first, as DROP *`);
  return words;
}

function breadthOf(rule: Rule, entry: RuleEntry, path: Path, report: Report): void {
  if (rule.kind === 'deny') {
    if (entry.breadth !== undefined)
      report([...path, 'breadth'], 'a deny rule may always be broad: leave it out', { warning: true });
    return;
  }
  const breadth: [string, Path][] = [];
  if (rule.who === null && rule.on === null) breadth.push(['it is about everyone on everything', [...path, 'who']]);
  if (rule.kind === 'allow' && rule.everything) breadth.push(['it allows everything', [...path, 'allow']]);
  const star = rule.tables?.patterns.findIndex((pattern) => pattern.schema === null && pattern.name === null) ?? -1;
  if (star >= 0) breadth.push([`${entry.tables![star]} is every object there is`, [...path, 'tables', star]]);
  for (const [what, where] of breadth) broad(entry.breadth, what, where, report);
  if (breadth.length === 0) unneeded(entry.breadth, path, report);
}

function termsOf(entry: RuleEntry): NonNullable<Rule['terms']> {
  const remember = entry.remember ?? 'once';
  return Object.freeze({
    reviewers: Object.freeze(
      entry.reviewers === undefined || entry.reviewers === 'anyone' ? [] : [...entry.reviewers.groups],
    ),
    quorum: entry.quorum ?? 1,
    within: milliseconds(entry.within ?? '10m'),
    hold: milliseconds(entry.hold ?? '60s'),
    remember,
    match: entry.match ?? (remember === 'session' ? 'fingerprint' : 'exact'),
  });
}

/**
 * One analysis in progress: what it has found so far, and the snapshot of the catalog with what has been learnt from it.
 * Bodies of views and functions are analysed in runs of their own, whose findings are kept and joined to each statement
 * that uses them.
 */
import { type Access, EFFECTS, type Effect } from '../../../core/operation.ts';
import type { Catalog, ColumnRef, Names, Relation, SessionChange, Use } from './model.ts';
import type { ParsedBatch, ParsedFunction } from './parser.ts';
import { ColumnRefs, type Source, type Value } from './scope.ts';

/** A text that the parser refused is as unknown as a text can be. */
export interface Unparsable {
  readonly unparsable: string;
}

/** Texts already parsed. A text that is not there yet is noted in `needs`, and the analysis is run again once it is. */
export interface Texts {
  readonly sql: ReadonlyMap<string, ParsedBatch | Unparsable>;
  readonly plpgsql: ReadonlyMap<string, ParsedFunction | Unparsable>;
}

export interface Needs {
  readonly sql: Set<string>;
  readonly plpgsql: Set<string>;
}

/** A use inside a body: as Use, with what of it comes from arguments. */
export interface Seen extends Omit<Use, 'origin'> {
  readonly value: Value;
}

export interface Reach {
  readonly effect: Effect;
  readonly object?: string | undefined;
  readonly behind: ReadonlySet<string>;
  readonly columns: Set<string>;
  /** Comes out of a function's body. */
  readonly deep: boolean;
}

/** What a view or a function's body does, whoever uses it. */
export interface Summary {
  /** Columns that come out, or null when not known. */
  readonly outputs: readonly { readonly name: string; readonly value: Value }[] | null;
  readonly reaches: readonly Reach[];
  readonly functions: ReadonlySet<string>;
  readonly relations: ReadonlySet<Relation>;
  readonly columns: ReadonlySet<ColumnRef>;
  readonly seen: readonly Seen[];
  readonly changes: readonly SessionChange[];
  readonly opaque?: string;
  readonly forbidden?: string;
  readonly unclassified?: string;
}

/** Everything that holds for one version of the catalog: summaries by relation or function and search path. */
export class Snapshot {
  readonly catalog: Catalog;
  readonly refs = new ColumnRefs();
  readonly summaries = new Map<string, Summary>();
  /** Bodies being analysed right now: met again, they are recursive. */
  readonly busy = new Set<string>();

  constructor(catalog: Catalog) {
    this.catalog = catalog;
  }
}

export interface Calls {
  readonly effectful: number;
  readonly counted: number;
}

const NONE: ReadonlyMap<string, readonly never[]> = new Map<string, readonly never[]>();
/** Summaries kept for one catalog: one for each body and search path. */
const MAX_SUMMARIES = 10_000;
/** How many nodes one statement may visit, bodies included. */
const BUDGET = 400_000;

/** Shared by the runs of one analysis. */
export class Budget {
  left = BUDGET;
  /** A body was nested too deeply to be followed: what was found of those around it holds here only. */
  cut = false;
  /** A name led to nothing in the catalog. */
  unresolved = false;
  /** Summaries that hold for this analysis alone, made while texts were missing. */
  readonly passing = new Map<string, Summary>();
}

export class Run {
  readonly names: Names;
  readonly snapshot: Snapshot;
  readonly texts: Texts;
  readonly needs: Needs;
  readonly budget: Budget;
  /** Bodies nested around this one. */
  readonly depth: number;

  readonly reaches = new Map<string, Reach>();
  /** Each with its access; that of a relation being written comes only once a column of it is read. */
  readonly sources: { readonly source: Source; readonly reach: () => Reach; readonly late: boolean }[] = [];
  readonly functions = new Set<string>();
  readonly relations = new Set<Relation>();
  readonly defines = new Set<Relation>();
  readonly columns = new Set<ColumnRef>();
  readonly renamedSchemas = new Set<string>();
  seen: Seen[] = [];
  readonly changes: SessionChange[] = [];
  opaque: string | undefined;
  forbidden: string | undefined;
  unclassified: string | undefined;
  /** Within EXPLAIN: functions may be run by the planner and their values shown. */
  explaining = false;
  /** Within the body of a view or a function, whoever uses it. */
  ofBody = false;
  /** The answer hangs on prepared statements or cursors and is not kept. */
  transient = false;
  /** How many calls so far do more than compute. */
  effectful = 0;
  /** How many subqueries and functions of the user's own so far, whose runs the server counts. */
  counted = 0;
  /** Sources that names were found in since it was last emptied. */
  touched = new Set<Source>();

  constructor(names: Names, snapshot: Snapshot, texts: Texts, needs: Needs, outer?: Run) {
    this.names = names;
    this.snapshot = snapshot;
    this.texts = texts;
    this.needs = needs;
    this.budget = outer?.budget ?? new Budget();
    this.depth = outer === undefined ? 0 : outer.depth + 1;
  }

  get catalog(): Catalog {
    return this.names.catalog;
  }

  /** A run for a statement within this one. */
  inner(): Run {
    return this.#within(this.names);
  }

  /**
   * A run for a body of the catalog, whose names are looked up in these paths. What it finds is kept for others, so it
   * knows nothing of this session's statements and cursors.
   */
  body(paths: Names['paths']): Run {
    const run = this.#within({ ...this.names, paths, prepared: NONE, cursors: NONE });
    run.ofBody = true;
    return run;
  }

  #within(names: Names): Run {
    const run = new Run(names, this.snapshot, this.texts, this.needs, this);
    run.explaining = this.explaining;
    run.ofBody = this.ofBody;
    return run;
  }

  /** Nothing was missing so far: what was found is worth keeping. */
  get ready(): boolean {
    return this.needs.sql.size === 0 && this.needs.plpgsql.size === 0;
  }

  /** What is known of a body, or undefined. */
  known(key: string): Summary | undefined {
    return this.snapshot.summaries.get(key) ?? this.budget.passing.get(key);
  }

  keep(key: string, summary: Summary): void {
    if (this.snapshot.summaries.size >= MAX_SUMMARIES) this.snapshot.summaries.clear();
    const lasting = this.ready && this.budget.left >= 0 && !this.budget.cut;
    (lasting ? this.snapshot.summaries : this.budget.passing).set(key, summary);
  }

  /** Statements of a text of the catalog; null: not known (yet). */
  parsed(text: string): ParsedBatch | null {
    const found = this.texts.sql.get(text);
    if (found === undefined) this.needs.sql.add(text);
    if (found === undefined || 'unparsable' in found) return null;
    return found;
  }

  parsedPlpgsql(text: string): ParsedFunction | null {
    const found = this.texts.plpgsql.get(text);
    if (found === undefined) this.needs.plpgsql.add(text);
    if (found === undefined || 'unparsable' in found) return null;
    return found;
  }

  /** Counts a step; false once the statement has taken too many, and it is then unclassified. */
  step(): boolean {
    if (--this.budget.left >= 0) return true;
    this.unknown('the statement reaches too much for an analysis');
    return false;
  }

  reach(effect: Effect, object?: string, behind: Iterable<string> = [], deep = false): Reach {
    const key = `${deep ? '!' : ''}${effect} ${object ?? ''}`;
    let found = this.reaches.get(key);
    if (found === undefined) {
      found = { effect, object, behind: new Set(behind), columns: new Set(), deep };
      this.reaches.set(key, found);
    } else {
      for (const name of behind) (found.behind as Set<string>).add(name);
    }
    return found;
  }

  reachAll(effects: readonly Effect[], object?: string): void {
    for (const effect of effects) this.reach(effect, object);
  }

  /** It may do anything. */
  unknown(reason: string): void {
    this.unclassified ??= reason;
    this.opaque ??= reason;
    this.reachAll(EFFECTS);
  }

  /**
   * The server is going to say that there is nothing of a name. Should there be by then, it may do anything; but like a
   * relation that is not known it has nothing to do with what is protected.
   */
  missing(reason: string): void {
    this.budget.unresolved = true;
    this.unclassified ??= reason;
    this.reachAll(EFFECTS);
  }

  /** It runs something that can't be seen; it may do anything, but it is known what it is. */
  blind(reason: string): void {
    this.opaque ??= reason;
    this.reachAll(EFFECTS);
  }

  use(how: Use['how'], value: Value, where: string, into?: ColumnRef): void {
    if (value.columns.length === 0 && value.untraced === undefined && value.args === 0) return;
    for (const ref of value.columns) this.columns.add(ref);
    this.seen.push(into === undefined ? { how, value, where } : { how, value, where, into });
  }

  get calls(): Calls {
    return { effectful: this.effectful, counted: this.counted };
  }

  /**
   * Whether such a call is made can hang on what stands beside it (`CASE WHEN x THEN nextval('a') END`), and what it did
   * tells of that later. How often a subquery ran is shown by EXPLAIN ANALYZE, and by the views of statistics, which count
   * scans and calls. `before`: their number before these values were looked at.
   */
  guard(before: Calls, value: Value, where: string): Value {
    if (this.effectful > before.effectful) this.use('call', value, `condition of a call with effects in ${where}`);
    if (this.counted === before.counted) return value;
    if (this.explaining) this.use('compute', value, where);
    return { ...value, risky: true };
  }

  /** Joins what a body does to what this one does. */
  join(summary: Summary, deep: boolean): void {
    for (const { effect, object, behind, columns } of summary.reaches) {
      const reach = this.reach(effect, object, behind, deep);
      for (const column of columns) reach.columns.add(column);
    }
    for (const name of summary.functions) this.functions.add(name);
    for (const relation of summary.relations) this.relations.add(relation);
    this.opaque ??= summary.opaque;
    this.forbidden ??= summary.forbidden;
    if (summary.unclassified !== undefined) this.unknown(summary.unclassified);
    this.changes.push(...summary.changes);
  }

  /** What this run found, to be kept. */
  summary(outputs: Summary['outputs']): Summary {
    this.settle();
    return {
      outputs,
      reaches: [...this.reaches.values()],
      functions: this.functions,
      relations: this.relations,
      columns: this.columns,
      seen: distinct(this.seen),
      changes: [...new Set(this.changes)],
      ...(this.opaque === undefined ? {} : { opaque: this.opaque }),
      ...(this.forbidden === undefined ? {} : { forbidden: this.forbidden }),
      ...(this.unclassified === undefined ? {} : { unclassified: this.unclassified }),
    };
  }

  /** Writes the columns read of each source into its access. */
  settle(): void {
    for (const { source, reach, late } of this.sources) {
      if (late && source.used.size === 0) continue;
      const { columns } = reach();
      for (const column of source.used) columns.add(column);
    }
  }

  /** Accesses for the policy, each effect and object once. */
  accesses(): Access[] {
    this.settle();
    const merged = new Map<
      string,
      { behind: Set<string>; columns: Set<string>; effect: Effect; object: string | undefined }
    >();
    for (const { effect, object, behind, columns } of this.reaches.values()) {
      const key = `${effect} ${object ?? ''}`;
      const found = merged.get(key);
      if (found === undefined) merged.set(key, { effect, object, behind: new Set(behind), columns: new Set(columns) });
      else {
        for (const name of behind) found.behind.add(name);
        for (const name of columns) found.columns.add(name);
      }
    }
    // Reading what has no name of its own is part of whatever else is done.
    if (merged.size > 1) merged.delete('read ');
    return [...merged.values()].map(({ effect, object, behind, columns }) => {
      if (object === undefined) return { effect };
      const access: { -readonly [K in keyof Access]: Access[K] } = { effect, object };
      if (behind.size > 0) access.behind = [...behind];
      if (columns.size > 0) access.columns = [...columns];
      return access;
    });
  }
}

/** Each use once: bodies that call bodies would double them at every level. */
function distinct(seen: readonly Seen[]): Seen[] {
  const found = new Map<string, Seen>();
  for (const use of seen) {
    const { columns, args, untraced, plain } = use.value;
    const refs = columns.map(({ relation, column }) => `${relation.oid}.${column.attnum}`).join();
    const into = use.into === undefined ? '' : `${use.into.relation.oid}.${use.into.column.attnum}`;
    found.set([use.how, use.where, into, refs, args, plain, untraced ?? ''].join('\0'), use);
  }
  return [...found.values()];
}

/** As rules name it. */
export function objectName(relation: { readonly schema: string; readonly name: string }): string {
  return `${relation.schema}.${relation.name}`;
}

/**
 * Parses texts, analyses their statements one after the other, and keeps the answers. Statements of one text change what
 * names mean to those after them before the session can know it, so that is followed here.
 */
import { SluiceError } from '../../../core/errors.ts';
import { analyze, analyzeCall, type Unready } from './analyze.ts';
import { Snapshot, type Texts, type Unparsable } from './analyze-run.ts';
import type { Analysis, Catalog, Names, Origin, SessionChange } from './model.ts';
import type { ParsedBatch, ParsedFunction, SqlParser } from './parser.ts';
import { type Node, tagOf } from './scope-tree.ts';
import { isTemplate, statementText, templateOf } from './template.ts';

export interface AnalyzerOptions {
  /** Bytes of statement texts whose analyses are kept, roughly twice that at most. */
  readonly cacheBytes?: number;
  /** Bytes of texts of the catalog that are kept parsed. */
  readonly bodyBytes?: number;
}

const CACHE_BYTES = 8 << 20;
const BODY_BYTES = 64 << 20;
/** Bytes of a parse tree per character of its text. */
const TREE_BYTES = 100;
/** An analysis is larger than its text by about this many bytes. */
const ENTRY_BYTES = 3_000;
/** Bodies call bodies: each round finds the texts of one level more. */
const MAX_ROUNDS = 64;
const MAX_CONTEXTS = 64;
/** Paths that may hold at one place of a text. */
const MAX_PATHS = 16;

/** Answers for one catalog and search path. Two generations: what was not asked for during one is dropped with the next. */
interface Generation {
  young: Map<string, readonly Analysis[]>;
  old: Map<string, readonly Analysis[]>;
}

interface Asked {
  readonly text: string;
  readonly types: readonly number[];
  /** What its answer is kept under. */
  readonly key: string;
  readonly template: string | null;
}

/** Statements that hang on prepared statements or cursors are analysed anew each time. */
const TRANSIENT = new Set(['ExecuteStmt', 'FetchStmt', 'DeclareCursorStmt', 'CreateTableAsStmt', 'ExplainStmt']);

export class Analyzer {
  readonly #parser: Pick<SqlParser, 'parse' | 'parsePlpgsql'>;
  readonly #cacheBytes: number;
  readonly #bodyBytes: number;
  readonly #snapshots = new WeakMap<Catalog, Snapshot>();
  readonly #contextKeys = new WeakMap<object, string>();
  /** Catalogs of two servers can agree in name, account and version, so each snapshot has a number of its own. */
  readonly #catalogIds = new WeakMap<Catalog, number>();
  #catalogs = 0;
  #contexts = new Map<string, Generation>();
  #sql = new Map<string, ParsedBatch | Unparsable>();
  #plpgsql = new Map<string, ParsedFunction | Unparsable>();
  #kept = 0;
  /** Of the younger generation, all contexts together. */
  #bytes = 0;

  constructor(parser: Pick<SqlParser, 'parse' | 'parsePlpgsql'>, options: AnalyzerOptions = {}) {
    this.#parser = parser;
    this.#cacheBytes = options.cacheBytes ?? CACHE_BYTES;
    this.#bodyBytes = options.bodyBytes ?? BODY_BYTES;
  }

  /**
   * One analysis per statement of the text; at once where the answer is kept. The same object for the same text as long as
   * it is kept. `types`: oids that a Parse declares for parameters, those of the server's own types left out.
   * @throws (or rejects with) SluiceError STATEMENT_UNPARSABLE, STATEMENT_TOO_LARGE, STATEMENT_TOO_COMPLEX, INTERNAL
   */
  analyze(
    text: string,
    names: Names,
    types: readonly number[] = [],
  ): readonly Analysis[] | Promise<readonly Analysis[]> {
    const generation = this.#generation(names);
    const template = types.length === 0 && isTemplate(text) ? templateOf(text) : null;
    if (template !== null) {
      const found = this.#lookup(generation, template);
      if (found !== undefined) return [withText(found[0]!, statementText(text))];
    }
    // No text holds a NUL.
    const key = types.length === 0 ? text : `${text}\0${types}`;
    const known = this.#lookup(generation, key);
    if (known !== undefined) return known;
    return this.#analyzeNew({ text, types, key, template }, names, generation);
  }

  /** The analysis of a protocol FunctionCall. */
  analyzeCall(oid: number, names: Names): Analysis | Promise<Analysis> {
    const first = analyzeCall(oid, names, this.#snapshot(names.catalog), this.#texts());
    if (!('needs' in first)) return first;
    return this.#settle(first, () => analyzeCall(oid, names, this.#snapshot(names.catalog), this.#texts()));
  }

  async #analyzeNew(
    { text, types, key, template }: Asked,
    names: Names,
    generation: Generation,
  ): Promise<readonly Analysis[]> {
    const kept = this.#sql.get(text);
    const batch = kept !== undefined && !('unparsable' in kept) ? kept : await this.#parser.parse(text);
    const analyses: Analysis[] = [];
    let transient = false;
    let now = names;
    /** Every path that held somewhere in this text: a rollback may bring back any. */
    let ever = names.paths;
    for (const statement of batch.statements) {
      const here = now;
      const work = () => analyze(statement, here, this.#snapshot(names.catalog), this.#texts(), types);
      const first = work();
      const analysis = 'needs' in first ? await this.#settle(first, work) : first;
      analyses.push(analysis);
      const tag = tagOf(statement.tree as Node);
      for (const change of analysis.changes) {
        now = after(now, names, ever, change, tag === 'VariableSetStmt');
        ever = distinct([...ever, ...now.paths], names.catalog);
      }
      transient ||= TRANSIENT.has(tag);
    }
    if (transient) {
      this.#keepSql(text, batch);
      return analyses;
    }
    // Only a lone statement whose text is just what the template says of it can stand for others.
    if (template !== null && analyses.length === 1 && analyses[0]!.operation.text === statementText(text)) {
      this.#keep(generation, template, analyses);
      return [withText(analyses[0]!, analyses[0]!.operation.text)];
    }
    this.#keep(generation, key, analyses);
    return analyses;
  }

  /** Parses what an analysis lacks and runs it again, until it lacks nothing. */
  async #settle(first: Unready, work: () => Analysis | Unready): Promise<Analysis> {
    let { needs } = first;
    for (let round = 0; round < MAX_ROUNDS; round++) {
      await Promise.all([
        ...[...needs.sql].map(async (text) => this.#keepSql(text, await parsed(() => this.#parser.parse(text)))),
        ...[...needs.plpgsql].map(async (text) =>
          this.#keepPlpgsql(text, await parsed(() => this.#parser.parsePlpgsql(text))),
        ),
      ]);
      const next = work();
      if (!('needs' in next)) return next;
      ({ needs } = next);
    }
    throw new SluiceError('STATEMENT_TOO_COMPLEX', 'views and functions are nested too deeply to be followed');
  }

  #texts(): Texts {
    return { sql: this.#sql, plpgsql: this.#plpgsql };
  }

  #keepSql(text: string, value: ParsedBatch | Unparsable): void {
    this.#count(text);
    this.#sql.set(text, value);
  }

  #keepPlpgsql(text: string, value: ParsedFunction | Unparsable): void {
    this.#count(text);
    this.#plpgsql.set(text, value);
  }

  #count(text: string): void {
    this.#kept += text.length * TREE_BYTES;
    if (this.#kept <= this.#bodyBytes) return;
    this.#sql = new Map();
    this.#plpgsql = new Map();
    this.#kept = 0;
  }

  #snapshot(catalog: Catalog): Snapshot {
    let found = this.#snapshots.get(catalog);
    if (found === undefined) {
      found = new Snapshot(catalog);
      this.#snapshots.set(catalog, found);
    }
    return found;
  }

  #generation(names: Names): Generation {
    const key = this.#contextKey(names);
    let found = this.#contexts.get(key);
    if (found === undefined) {
      // Catalogs that are gone leave their answers behind; they go when there are too many.
      if (this.#contexts.size >= MAX_CONTEXTS) this.#contexts = new Map();
      found = { young: new Map(), old: new Map() };
      this.#contexts.set(key, found);
    }
    return found;
  }

  /** The catalog and the paths as one string; remembered per Names object. */
  #contextKey(names: Names): string {
    let key = this.#contextKeys.get(names);
    if (key === undefined) {
      const { catalog, paths, stale } = names;
      let id = this.#catalogIds.get(catalog);
      if (id === undefined) {
        id = ++this.#catalogs;
        this.#catalogIds.set(catalog, id);
      }
      key = JSON.stringify([id, paths, stale ?? false]);
      this.#contextKeys.set(names, key);
    }
    return key;
  }

  #keep(generation: Generation, key: string, analyses: readonly Analysis[]): void {
    generation.young.set(key, analyses);
    this.#bytes += key.length * 2 + ENTRY_BYTES * analyses.length;
    if (this.#bytes < this.#cacheBytes) return;
    this.#bytes = 0;
    for (const [context, one] of this.#contexts) {
      if (one.young.size === 0) this.#contexts.delete(context);
      one.old = one.young;
      one.young = new Map();
    }
  }

  #lookup(generation: Generation, key: string): readonly Analysis[] | undefined {
    const young = generation.young.get(key);
    if (young !== undefined) return young;
    const old = generation.old.get(key);
    if (old !== undefined) this.#keep(generation, key, old);
    return old;
  }
}

/**
 * What names mean after a change that the server is going to make. `start`: before the whole text. `ever`: paths that held
 * in it so far. `certain`: it is made whenever the statement succeeds; a set_config() in a query may not even be called.
 */
function after(names: Names, start: Names, ever: Names['paths'], change: SessionChange, certain: boolean): Names {
  switch (change.kind) {
    case 'search-path': {
      const all = [...names.catalog.schemas];
      if (change.path === 'unknown') return { ...names, paths: distinct([...names.paths, all], names.catalog) };
      if (change.path === 'default')
        return { ...names, paths: distinct([...start.paths, ...names.paths, names.catalog.searchPath], names.catalog) };
      return { ...names, paths: certain ? [change.path] : distinct([...names.paths, change.path], names.catalog) };
    }
    case 'rollback':
    case 'rollback-to':
    case 'discard':
      return { ...names, paths: distinct([...ever, names.catalog.searchPath], names.catalog), stale: true };
    case 'commit':
      return { ...names, paths: ever };
    case 'catalog':
      return { ...names, stale: true };
    case 'prepare':
      return { ...names, prepared: new Map(names.prepared).set(change.name, change.analyses) };
    case 'close':
      return change.name === null ? { ...names, cursors: new Map() } : names;
    case 'declare': {
      const cursors = new Map<string, readonly (readonly Origin[] | null)[]>(names.cursors);
      return { ...names, cursors: cursors.set(change.name, [...(cursors.get(change.name) ?? []), change.outputs]) };
    }
  }
  return names;
}

/** Each path once; all schemas in place of too many. */
function distinct(paths: Names['paths'], catalog: Catalog): Names['paths'] {
  const once = new Map(paths.map((path) => [path.join('\0'), path]));
  return once.size > MAX_PATHS ? [[...catalog.schemas]] : [...once.values()];
}

function withText(template: Analysis, text: string): Analysis {
  return { ...template, operation: { ...template.operation, text }, template };
}

const REFUSED = new Set(['STATEMENT_UNPARSABLE', 'STATEMENT_TOO_LARGE', 'STATEMENT_TOO_COMPLEX']);

/** A body that the parser refuses is one that nothing is known of. */
async function parsed<T>(work: () => Promise<T>): Promise<T | Unparsable> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SluiceError && REFUSED.has(error.code)) return { unparsable: error.message };
    throw error;
  }
}

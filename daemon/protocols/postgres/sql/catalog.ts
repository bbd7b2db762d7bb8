/**
 * The catalog of one database as one account sees it, in immutable snapshots. Asking whether it changed is one round
 * trip of few milliseconds; a change reads all of it anew in one transaction. What the server brings along is read once
 * and shared between snapshots, and between databases of servers that are the same in it.
 */
import { createHash } from 'node:crypto';
import { SluiceError } from '../../../core/errors.ts';
import type { Row } from '../login/client.ts';
import { listed, Objects, type TypeParts, typeParts } from './catalog-parts.ts';
import {
  BEGIN,
  COMMIT,
  FIRST_USER_OID,
  fingerprint,
  IDENTITY,
  OWN_PATH,
  PATH_SCHEMAS,
  PATH_SETTING,
  SYSTEM_IDENTITY,
  SYSTEM_PARTS,
  userParts,
} from './catalog-queries.ts';
import type { Catalog, Func, Relation, TypeCode } from './model.ts';

/** Errcode of a lock that was not had within lock_timeout. */
const LOCK_NOT_AVAILABLE = '55P03';
const NONE: readonly never[] = Object.freeze([]);
const NO_CODE: TypeCode = Object.freeze({ functions: NONE, checks: NONE });
/** A view dropped while the catalog is read makes reading fail; another try sees it gone. */
const TRIES = 3;
/** Servers whose own objects are kept. */
const MAX_SYSTEMS = 8;

/** What QueryClient offers. */
export interface CatalogClient {
  stream(sql: string, take: (result: number, row: Row | null) => void): Promise<void>;
}

/** The server's own objects, by what tells servers apart. One per daemon. */
export class SystemCatalogs {
  readonly #known = new Map<string, Promise<Objects>>();

  of(identity: string, load: () => Promise<Objects>): Promise<Objects> {
    const known = this.#known.get(identity);
    if (known !== undefined) return known;
    const loading = load();
    this.#known.set(identity, loading);
    loading.catch(() => this.#known.delete(identity));
    if (this.#known.size > MAX_SYSTEMS) this.#known.delete(this.#known.keys().next().value!);
    return loading;
  }
}

export class CatalogSource {
  readonly #client: CatalogClient;
  readonly #systems: SystemCatalogs;
  #system: Objects | null = null;
  #snapshot: Snapshot | null = null;
  /** The transactions that the last look saw, '' where that is not known, and the sums that it found. */
  #seen = '';
  #fingerprint = '';
  /** SHA-256 over every row of the snapshot. */
  #content = '';
  /** Whether ALTER ROLE or ALTER DATABASE set this session's search_path; null: not known yet. */
  #pathIsSet: boolean | null = null;

  /** `client` has logged in as the account, to the database, and is used for nothing else. */
  constructor(client: CatalogClient, systems: SystemCatalogs = new SystemCatalogs()) {
    this.#client = client;
    this.#systems = systems;
  }

  /** The snapshot that holds now; the same object while nothing changed. @throws SluiceError CATALOG_UNAVAILABLE */
  async catalog(): Promise<Catalog> {
    if (this.#snapshot !== null && !(await this.changed())) return this.#snapshot;
    return this.#guarded(() => this.#load());
  }

  /** Whether the catalog differs from the last snapshot, or may. @throws SluiceError CATALOG_UNAVAILABLE */
  async changed(): Promise<boolean> {
    let look: Row = [];
    await this.#guarded(() =>
      this.#client.stream([BEGIN, OWN_PATH, fingerprint(this.#seen), COMMIT].join(';'), (_, row) => {
        if (row !== null) look = row;
      }),
    );
    const [seen = null, sums = null] = look;
    if (sums === null && seen !== null && seen === this.#seen) return false;
    if (sums !== this.#fingerprint) return true;
    this.#seen = seen ?? '';
    return false;
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await work();
      } catch (error) {
        const refused = error instanceof SluiceError && error.code === 'UPSTREAM_QUERY';
        // A batch that failed inside its transaction leaves the session in it.
        if (refused) await this.#client.stream('ROLLBACK', () => {}).catch(() => undefined);
        if (refused && tries < TRIES) continue;
        if (error instanceof SluiceError && error.code === 'CATALOG_UNAVAILABLE') throw error;
        const why = error instanceof SluiceError ? error.message : 'sluice failed';
        throw new SluiceError('CATALOG_UNAVAILABLE', `the catalog could not be read: ${why}`, { cause: error });
      }
    }
  }

  async #load(): Promise<Snapshot> {
    const first: (Row | undefined)[] = [];
    const questions = [BEGIN, IDENTITY, OWN_PATH, SYSTEM_IDENTITY, COMMIT];
    await this.#client.stream(questions.join(';'), (result, row) => {
      if (row !== null) first[result] = row;
    });
    const server = Number(first[0]?.[0]);
    if (!Number.isInteger(server)) throw new SluiceError('CATALOG_UNAVAILABLE', 'the server did not tell its version');
    this.#system ??= await this.#systems.of(first[1]?.[0] ?? '', () => this.#loadSystem());
    try {
      return await this.#loadUser(server, this.#system, false);
    } catch (error) {
      if (!(error instanceof SluiceError && error.message.includes(`SQLSTATE ${LOCK_NOT_AVAILABLE}`))) throw error;
      await this.#client.stream('ROLLBACK', () => {});
      return this.#loadUser(server, this.#system, true);
    }
  }

  async #loadSystem(): Promise<Objects> {
    const objects = new Objects(true);
    const { relations, columns, functions } = SYSTEM_PARTS;
    const take = [
      (row: Row) => objects.relation(row),
      (row: Row) => objects.column(row),
      (row: Row) => objects.func(row),
    ];
    await this.#client.stream([BEGIN, OWN_PATH, relations, columns, functions, COMMIT].join(';'), (result, row) => {
      if (row !== null) take[result]!(row);
    });
    objects.complete();
    return objects;
  }

  /** `locked`: somebody keeps relations locked that views and the like name; what those do stays unknown for now. */
  async #loadUser(server: number, system: Objects, locked: boolean): Promise<Snapshot> {
    const objects = new Objects(false);
    const builder = new Snapshot(server, system, objects, (this.#snapshot?.version ?? 0) + 1);
    const digest = createHash('sha256');
    const secured = new Set<number>();
    const toast = new Set<string | null | undefined>();
    const sums = fingerprint('');
    let found: Row = [];
    let setting: string | null = null;
    let pathNow: string[] = [];
    const parts = userParts(server, locked);
    const steps: [string, ((row: Row) => void) | null][] = [
      [BEGIN, null],
      [IDENTITY, ([, user, database, path]) => builder.session(user!, database!, JSON.parse(path!))],
      [OWN_PATH, null],
      [
        sums,
        (row) => {
          found = row;
        },
      ],
      [
        PATH_SETTING,
        ([text]) => {
          setting = text ?? null;
        },
      ],
      [PATH_SCHEMAS[0]!, () => {}],
      [
        PATH_SCHEMAS[1]!,
        ([path]) => {
          pathNow = JSON.parse(path!);
        },
      ],
      [PATH_SCHEMAS[2]!, null],
      [parts.schemas, ([name]) => builder.addSchema(name!)],
      [
        parts.relations,
        (row) => {
          objects.relation(row);
          if (row[5] === 't') secured.add(Number(row[0]));
          if (/^pg_toast/.test(row[1]!)) toast.add(row[0]);
        },
      ],
      [parts.columns, (row) => objects.column(row)],
      [parts.inherits, (row) => objects.inherits(row)],
      [parts.rules, (row) => objects.rule(row)],
      [parts.triggers, (row) => objects.trigger(row)],
      [parts.policies, (row) => objects.policy(row, secured)],
      [parts.functions, (row) => objects.func(row)],
      [parts.aggregates, (row) => objects.aggregate(row)],
      [parts.unnamed, ([oid]) => builder.addUnnamed(Number(oid))],
      [parts.operators, (row) => builder.operator(row)],
      [parts.types, (row) => builder.type(row)],
      [parts.checks, (row) => builder.check(row)],
      [parts.casts, (row) => builder.cast(row)],
      [COMMIT, null],
    ];
    const answers = steps.filter(([, take]) => take !== null);
    await this.#client.stream(steps.map(([sql]) => sql).join(';'), (result, row) => {
      if (row === null) return;
      const [sql, take] = answers[result]!;
      take!(row);
      // The fingerprint may differ where nothing else does (TRUNCATE), or only the oid of a TOAST table, whose name goes by
      // that of its table (REFRESH MATERIALIZED VIEW): then the old snapshot holds.
      const passing = sql === sums || ((sql === parts.relations || sql === parts.columns) && toast.has(row[0]));
      if (!passing) digest.update(`${result}\0${row.join('\0')}\0`);
    });
    // What ALTER … SET said at login stays in this session after ALTER … RESET.
    if (setting === null && this.#pathIsSet === true) {
      throw new SluiceError(
        'CATALOG_UNAVAILABLE',
        'search_path of the account was reset; sluice has to connect anew to know it',
      );
    }
    this.#pathIsSet = setting !== null;
    if (setting !== null) builder.searchPath = withoutImplicit(pathNow);
    builder.complete();
    // One that lacks texts counts as changed at the next look.
    this.#seen = locked ? '' : (found[0] ?? '');
    this.#fingerprint = locked ? '' : (found[1] ?? '');
    const content = digest.digest('hex');
    if (this.#snapshot !== null && content === this.#content) return this.#snapshot;
    this.#content = content;
    this.#snapshot = builder;
    return builder;
  }
}

/** A path that names pg_catalog has it where it says; searching it first anyway finds no other relation first than the server does only then. */
function withoutImplicit(path: readonly string[]): readonly string[] {
  return path.filter((schema) => !/^pg_(?:temp|toast_temp)_/.test(schema));
}

class Snapshot implements Catalog {
  readonly server: number;
  readonly version: number;
  user = '';
  database = '';
  searchPath: readonly string[] = NONE;
  readonly schemas = new Set<string>();
  readonly #system: Objects;
  readonly #own: Objects;
  readonly #operators = new Map<string, number[]>();
  readonly #types = new Map<number, TypeParts>();
  readonly #typesByName = new Map<string, number[]>();
  /** Functions of casts from or to a type, by its name. */
  readonly #casts = new Map<string, number[]>();
  readonly #castsTo = new Map<string, number[]>();
  readonly unnamed: Func[] = [];

  constructor(server: number, system: Objects, own: Objects, version: number) {
    this.server = server;
    this.version = version;
    this.#system = system;
    this.#own = own;
  }

  session(user: string, database: string, path: readonly string[]): void {
    this.user = user;
    this.database = database;
    this.searchPath = withoutImplicit(path);
  }

  addSchema(name: string): void {
    this.schemas.add(name);
  }

  addUnnamed(oid: number): void {
    this.unnamed.push(...this.#functions([oid]));
  }

  operator([name, func]: Row): void {
    listed(this.#operators, name!).push(Number(func));
  }

  type(row: Row): void {
    const oid = Number(row[0]);
    const parts = typeParts(row, FIRST_USER_OID);
    this.#types.set(oid, parts);
    listed(this.#typesByName, parts.name).push(oid);
  }

  check([oid, expression]: Row): void {
    this.#types.get(Number(oid))?.checks.push(expression!);
  }

  cast([source, target, func]: Row): void {
    listed(this.#casts, source!).push(Number(func));
    listed(this.#casts, target!).push(Number(func));
    listed(this.#castsTo, target!).push(Number(func));
  }

  complete(): void {
    this.#own.complete(this.#system);
  }

  relation(schema: string, name: string): Relation | undefined {
    for (const relation of this.relationsNamed(name)) if (relation.schema === schema) return relation;
    return undefined;
  }

  relationByOid(oid: number): Relation | undefined {
    return oid < FIRST_USER_OID ? this.#system.relations.get(oid) : this.#own.relations.get(oid);
  }

  relationsNamed(name: string): readonly Relation[] {
    return this.#own.relationsByName.get(name) ?? this.#system.relationsByName.get(name) ?? NONE;
  }

  functionsNamed(name: string): readonly Func[] {
    return this.#own.functionsByName.get(name) ?? this.#system.functionsByName.get(name) ?? NONE;
  }

  functionByOid(oid: number): Func | undefined {
    return oid < FIRST_USER_OID ? this.#system.functions.get(oid) : this.#own.functions.get(oid);
  }

  operatorFunctions(operator: string): readonly Func[] {
    return this.#functions(this.#operators.get(operator) ?? NONE);
  }

  typeCode(typeName: string): TypeCode {
    const types = this.#typesByName.get(typeName);
    const rows = (this.#own.relationsByName.get(typeName) ?? NONE).filter((relation) => !relation.system);
    // What the server knows to convert a type of its own from is none of what others convert that type to.
    if (types === undefined && rows.length === 0) {
      return { functions: this.#functions(this.#castsTo.get(typeName) ?? NONE), checks: NONE };
    }
    // A row is converted column by column.
    const columns = rows.flatMap((relation) => relation.columns.map((column) => column.typeOid));
    return this.#code([...(types ?? NONE), ...columns], this.#casts.get(typeName) ?? NONE);
  }

  typeCodeOf(typeOid: number): TypeCode | undefined {
    if (typeOid < FIRST_USER_OID) return NO_CODE;
    const known = this.#types.has(typeOid) || this.#own.relationsByType.has(typeOid);
    return known ? this.#code([typeOid], NONE) : undefined;
  }

  #code(types: readonly number[], casts: readonly number[]): TypeCode {
    const functions = new Set<number>(casts);
    const checks: string[] = [];
    const seen = new Set<number>();
    const pending = [...types];
    for (let oid = pending.pop(); oid !== undefined; oid = pending.pop()) {
      if (seen.has(oid)) continue;
      seen.add(oid);
      const type = this.#types.get(oid);
      if (type === undefined) {
        pending.push(...(this.#own.relationsByType.get(oid)?.columns.map((column) => column.typeOid) ?? NONE));
        continue;
      }
      checks.push(...type.checks);
      for (const func of [...type.functions, ...(this.#casts.get(type.name) ?? NONE)]) functions.add(func);
      pending.push(...type.made);
    }
    return { functions: this.#functions([...functions]), checks };
  }

  columnsOfDomain(typeName: string): readonly { readonly relation: Relation; readonly columns: readonly string[] }[] {
    const domains = new Set<number>(this.#typesByName.get(typeName) ?? NONE);
    for (const domain of domains) {
      for (const [oid, { kind, made }] of this.#types) if (kind === 'd' && made.includes(domain)) domains.add(oid);
    }
    return [...this.#own.relations.values()].flatMap((relation) => {
      const columns = relation.columns.filter((column) => domains.has(column.typeOid)).map((column) => column.name);
      return columns.length > 0 && /[rpmf]/.test(relation.kind) ? [{ relation, columns }] : [];
    });
  }

  relationOfType(typeOid: number): Relation | undefined {
    return this.#own.relationsByType.get(typeOid) ?? this.#system.relationsByType.get(typeOid);
  }

  #functions(oids: readonly number[]): readonly Func[] {
    return oids.flatMap((oid) => this.functionByOid(oid) ?? []);
  }
}

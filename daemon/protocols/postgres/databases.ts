/**
 * What is known of each database, shared by the flows that see it under the same account: its catalog, read over a
 * connection of sluice's own, and the analyses of statements against it. Once a second, while statements are decided,
 * the catalog is asked whether it changed; a change made by a flow here is looked for before the next decision.
 */
import { SluiceError } from '../../core/errors.ts';
import type { Obligations } from '../../core/mask.ts';
import type { Resource } from '../../core/resource.ts';
import type { Statements } from './classify.ts';
import type { QueryClient } from './login/client.ts';
import type { Analyzer } from './sql/analyzer.ts';
import { CatalogSource, SystemCatalogs } from './sql/catalog.ts';
import type { Catalog, Names } from './sql/model.ts';
import { columnMask, protect } from './sql/protect.ts';

/** While statements are decided, it is asked so often whether anything changed, milliseconds; beside the traffic. */
const FRESH = 1_000;
/** When nobody has asked for so long, the next decision waits for the answer, milliseconds. */
const STALE = 2 * FRESH;
/** A database that no flow uses is forgotten after this, milliseconds. */
const IDLE = 60_000;
/**
 * Its connection goes so long after the last flow, milliseconds: until then DROP DATABASE and the like would fail by it,
 * and they wait 5 s for others to leave.
 */
const LINGER = 1_000;
/** How long reading a catalog may take, milliseconds. */
const LOAD = 30_000;

export interface Connection {
  readonly client: QueryClient;
  close(): void;
}

export interface DatabaseParts {
  readonly analyzer: Analyzer;
  /** Logs in as the flows of this account do. */
  connect(resource: Resource, account: string, database: string): Promise<Connection>;
  onFault(error: unknown): void;
}

export class Databases {
  readonly #parts: DatabaseParts;
  readonly #known = new Map<string, Database>();
  readonly #systems = new SystemCatalogs();

  constructor(parts: DatabaseParts) {
    this.#parts = parts;
  }

  /** For one flow, which says `left()` when it ends. */
  open(resource: Resource, account: string, database: string): Database {
    const key = keyOf(resource, account, database);
    let known = this.#known.get(key);
    if (known === undefined) {
      // Another account, or another name of the same server, may see what this one changed.
      const changed = () => {
        for (const each of this.#known.values()) each.outdated();
      };
      known = new Database({ ...this.#parts, changed }, this.#systems, resource, account, database);
      this.#known.set(key, known);
    }
    known.entered();
    return known;
  }

  /** Looks at the catalog beside the login of a flow, where one of this account has been here before. */
  expect(resource: Resource, account: string, database: string): void {
    this.#known.get(keyOf(resource, account, database))?.expect();
  }

  /** Whether any flow has used one within the time after which sweep() lets it go. */
  get busy(): boolean {
    return this.#known.size > 0;
  }

  /** Closes the connections of databases that no flow has used for a while. To be called now and then. */
  sweep(): void {
    for (const [key, database] of this.#known) {
      if (!database.idle) continue;
      database.close();
      this.#known.delete(key);
    }
  }

  close(): void {
    for (const database of this.#known.values()) database.close();
    this.#known.clear();
  }
}

export class Database implements Statements {
  readonly #parts: DatabaseParts & { changed(): void };
  readonly #systems: SystemCatalogs;
  readonly #resource: Resource;
  readonly #account: string;
  readonly #database: string;
  #connection: Promise<Connection> | null = null;
  #source: CatalogSource | null = null;
  #catalog: Catalog | null = null;
  #loading: { readonly made: Promise<Catalog>; readonly changes: number; readonly waited: boolean } | null = null;
  /** Begins when that has ended. */
  #next: Promise<Catalog> | null = null;
  /** When it was asked last, with an answer. */
  #checked = 0;
  /** Changes that flows here have made, and how many of them the catalog is sure to show. */
  #changes = 0;
  #shown = 0;
  #usedAt = 0;
  #flows = 0;
  #leaving: NodeJS.Timeout | undefined;

  constructor(
    parts: DatabaseParts & { changed(): void },
    systems: SystemCatalogs,
    resource: Resource,
    account: string,
    database: string,
  ) {
    this.#parts = parts;
    this.#systems = systems;
    this.#resource = resource;
    this.#account = account;
    this.#database = database;
  }

  entered(): void {
    this.#usedAt = performance.now();
    this.#flows++;
    clearTimeout(this.#leaving);
  }

  left(): void {
    this.#usedAt = performance.now();
    this.#flows--;
    if (this.#flows > 0) return;
    this.#leaving = setTimeout(() => this.close(), LINGER);
    this.#leaving.unref();
  }

  get idle(): boolean {
    return this.#flows === 0 && performance.now() - this.#usedAt > IDLE;
  }

  /** A failure is told to whoever asks for the catalog then. */
  expect(): void {
    const catalog = this.catalog();
    if (catalog instanceof Promise) catalog.catch(() => {});
  }

  catalog(): Catalog | Promise<Catalog> {
    const now = performance.now();
    this.#usedAt = now;
    if (this.#catalog === null || this.#shown !== this.#changes) return this.#refresh(true);
    const age = now - this.#checked;
    if (age <= FRESH) return this.#catalog;
    // A daemon that cannot ask stops deciding.
    if (age > LOAD || this.#loading?.waited || (age > STALE && this.#loading === null)) return this.#refresh(true);
    this.#refresh(false).catch((error) => this.#parts.onFault(error));
    return this.#catalog;
  }

  recheck(): Promise<Catalog> {
    this.outdated();
    return this.#refresh(true);
  }

  analyze(text: string, names: Names, types?: readonly number[]) {
    return this.#parts.analyzer.analyze(text, names, types);
  }

  analyzeCall(oid: number, names: Names) {
    return this.#parts.analyzer.analyzeCall(oid, names);
  }

  protect = protect;

  maskOf(tableOid: number, attnum: number, obligations: Obligations) {
    const relation = this.#catalog?.relationByOid(tableOid);
    if (relation === undefined) return 'unknown';
    return columnMask(this.#catalog!, relation, attnum, obligations);
  }

  changed(): void {
    this.#parts.changed();
  }

  /** Something changed, and what is being read may have been read before. */
  outdated(): void {
    this.#changes++;
  }

  close(): void {
    clearTimeout(this.#leaving);
    this.#connection?.then(
      (connection) => connection.close(),
      () => {},
    );
    this.#connection = null;
    this.#source = null;
  }

  /** `waited`: decisions wait for it, those that come meanwhile as well. */
  #refresh(waited: boolean): Promise<Catalog> {
    const running = this.#loading;
    if (running === null) return this.#begin(waited);
    if (running.changes === this.#changes) {
      this.#loading = { ...running, waited: running.waited || waited };
      return running.made;
    }
    // What is being read may have been read before the change; one that begins after it serves all who ask by then.
    const begin = () => {
      this.#next = null;
      return this.#refresh(true);
    };
    this.#next ??= running.made.then(begin, begin);
    return this.#next;
  }

  #begin(waited: boolean): Promise<Catalog> {
    const changes = this.#changes;
    const made = this.#load(changes).finally(() => {
      if (this.#loading?.made === made) this.#loading = null;
    });
    this.#loading = { made, changes, waited };
    return made;
  }

  async #load(changes: number): Promise<Catalog> {
    const asked = performance.now();
    try {
      const loaded = await withDeadline(
        this.#read(),
        LOAD,
        `reading the catalog of ${this.#database} on ${this.#resource.name}`,
      );
      this.#catalog = loaded;
      this.#checked = asked;
      this.#shown = changes;
      return loaded;
    } catch (error) {
      this.close();
      throw error instanceof SluiceError
        ? error
        : new SluiceError('UPSTREAM_LOST', 'the catalog could not be read', { cause: error });
    }
  }

  async #read(): Promise<Catalog> {
    this.#connection ??= this.#parts.connect(this.#resource, this.#account, this.#database);
    const { client } = await this.#connection;
    this.#source ??= new CatalogSource(client, this.#systems);
    return this.#source.catalog();
  }
}

function keyOf({ name, host, port }: Resource, account: string, database: string): string {
  return JSON.stringify([name, host, port, account, database]);
}

function withDeadline<T>(work: Promise<T>, ms: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new SluiceError('UPSTREAM_LOST', `${what} took longer than ${ms / 1000} s`)),
      ms,
    );
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

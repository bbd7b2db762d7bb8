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

/** How old the knowledge that nothing changed may be, milliseconds. */
const FRESH = 1_000;
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
    const key = JSON.stringify([resource.name, resource.host, resource.port, account, database]);
    let known = this.#known.get(key);
    if (known === undefined) {
      known = new Database(this.#parts, this.#systems, resource, account, database);
      this.#known.set(key, known);
    }
    known.entered();
    return known;
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
  readonly #parts: DatabaseParts;
  readonly #systems: SystemCatalogs;
  readonly #resource: Resource;
  readonly #account: string;
  readonly #database: string;
  #connection: Promise<Connection> | null = null;
  #source: CatalogSource | null = null;
  #catalog: Catalog | null = null;
  #loading: Promise<Catalog> | null = null;
  /** When it was last known that nothing had changed. 0: it must be asked before the next decision. */
  #checked = 0;
  #usedAt = 0;
  #flows = 0;
  #leaving: NodeJS.Timeout | undefined;

  constructor(parts: DatabaseParts, systems: SystemCatalogs, resource: Resource, account: string, database: string) {
    this.#parts = parts;
    this.#systems = systems;
    this.#resource = resource;
    this.#account = account;
    this.#database = database;
  }

  entered(): void {
    this.#usedAt = Date.now();
    this.#flows++;
    clearTimeout(this.#leaving);
  }

  left(): void {
    this.#usedAt = Date.now();
    this.#flows--;
    if (this.#flows > 0) return;
    this.#leaving = setTimeout(() => this.close(), LINGER);
    this.#leaving.unref();
  }

  get idle(): boolean {
    return this.#flows === 0 && Date.now() - this.#usedAt > IDLE;
  }

  catalog(): Catalog | Promise<Catalog> {
    const now = Date.now();
    this.#usedAt = now;
    if (this.#catalog === null || this.#checked === 0) return this.#refresh();
    if (now - this.#checked > FRESH) {
      // The answer may be a second old; the asking is done beside the traffic. A daemon that cannot ask stops deciding.
      if (now - this.#checked > LOAD) return this.#refresh();
      this.#refresh().catch((error) => this.#parts.onFault(error));
    }
    return this.#catalog;
  }

  analyze(text: string, names: Names) {
    return this.#parts.analyzer.analyze(text, names);
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
    this.#checked = 0;
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

  #refresh(): Promise<Catalog> {
    this.#loading ??= this.#load().finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  async #load(): Promise<Catalog> {
    const asked = Date.now();
    const stale = this.#checked === 0;
    // A change that comes while this one is being looked for is looked for again.
    this.#checked = asked;
    try {
      const loaded = await withDeadline(
        this.#read(),
        LOAD,
        `reading the catalog of ${this.#database} on ${this.#resource.name}`,
      );
      this.#catalog = loaded;
      return loaded;
    } catch (error) {
      this.close();
      if (stale) this.#checked = 0;
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

function withDeadline<T>(work: Promise<T>, ms: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new SluiceError('UPSTREAM_LOST', `${what} took longer than ${ms / 1000} s`)),
      ms,
    );
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

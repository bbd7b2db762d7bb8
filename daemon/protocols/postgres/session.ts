/**
 * What the names of one PostgreSQL session mean: prepared statements, portals and cursors, search_path. A change takes
 * effect when the server acknowledges it. Until then it is known only inside its own segment (the messages up to the
 * next Sync, or one Query), where the server skips everything after an error: there, whatever runs can rely on all
 * before it. What a later segment means while an earlier one is open is not known, so the codec waits.
 */

import type { Verdict } from '../protocol.ts';
import { Bindings } from './bindings.ts';
import { PendingChanges } from './pending.ts';
import type { Analysis, Catalog, Names, Origin } from './sql/model.ts';
import type { Field } from './wire.ts';

/** A prepared statement, made by Parse or by PREPARE; both live under one set of names. */
export interface Prepared {
  readonly text: string;
  /** Oids of user-made types that its Parse declared for parameters. */
  readonly types: readonly number[];
  /** The PREPARE that made it; null: a Parse did. */
  readonly whole: string | null;
  /** Null: under the names of now it can't be made out. */
  readonly analyses: readonly Analysis[] | null;
  /** Catalog version that the analyses hold for. */
  readonly catalog: number;
  /** Generation of the search_path that they hold for. */
  readonly path: number;
  /** It runs a prepared statement or reads a cursor: what it does is known only where it runs. */
  readonly indirect: boolean;
}

/** Planned when it is bound, and what it means is settled with that. */
const PLANNED = new Set(['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE']);

export function isPlanned(verb: string): boolean {
  return PLANNED.has(verb);
}

/**
 * Whether what a statement does hangs on names that it looks up as it runs. Wider than the statements meant: words in a
 * string or a comment of any other cost one more analysis and nothing else.
 */
export function isIndirect(text: string, analyses: readonly Analysis[]): boolean {
  return /execute|fetch|move/i.test(text) && !analyses.every(({ operation }) => PLANNED.has(operation.verb));
}

export interface Portal {
  readonly prepared: Prepared;
  readonly verdict: Verdict;
  /** Set by the answer to the Describe that the codec puts in. */
  fields: Field[] | null;
}

export type Change =
  | { readonly kind: 'prepared'; readonly name: string; readonly value: Prepared | null }
  | { readonly kind: 'portal'; readonly name: string; readonly value: Portal | null }
  | { readonly kind: 'cursor'; readonly name: string; readonly outputs: readonly Origin[] | null }
  | { readonly kind: 'cursor-gone'; readonly name: string | null }
  | { readonly kind: 'all-prepared-gone' }
  /** local: it ends with the transaction, and has no effect outside of one. Not certain: it may not have been set. */
  | {
      readonly kind: 'path';
      readonly path: readonly string[] | 'default' | 'unknown';
      readonly local: boolean;
      readonly certain: boolean;
    }
  | { readonly kind: 'notify'; readonly payload: string }
  | { readonly kind: 'discard' }
  /** Of the transaction or to a savepoint: settings made since are undone. */
  | { readonly kind: 'rollback' }
  | { readonly kind: 'commit' }
  | { readonly kind: 'catalog' };

const NO_NAMES: [string, Prepared][] = [];
/** Most names a session may hold at once; a client that makes more is refused. */
export const MAX_NAMES = 10_000;
/** Stands for the path of the beginning, and for all schemas; no schema has such a name. */
const DEFAULT: readonly string[] = ['\0default'];
const EVERYWHERE: readonly string[] = ['\0everywhere'];
const MAX_PATHS = 16;
/** Payloads of NOTIFY that are remembered as written out by the client itself. */
const MAX_PAYLOADS = 256;

export class SessionNames {
  segment = 0;
  readonly #prepared = new Bindings<Prepared>();
  readonly #portals = new Bindings<Portal>();
  readonly #cursors = new Map<string, (readonly Origin[] | null)[]>();
  /**
   * Every search_path that may hold: an error or a rollback restores the one before, in a transaction of one message too.
   * Null: the one of the beginning.
   */
  #paths: (readonly string[])[] | null = null;
  /** The last of them alone holds, once the server is idle again and nothing failed. */
  #settling = false;
  /** Paths that hold up to the end of the transaction at most, beside the others. */
  #localPaths: (readonly string[])[] = [];
  #startPath: readonly string[] | null = null;
  readonly #payloads = new Set<string>();
  readonly #pending = new PendingChanges();
  /** DDL was acknowledged in a transaction that is still open. */
  dirty = false;
  inTransaction = false;
  /** Rises whenever the possible search_paths change. */
  pathGeneration = 0;

  /** search_path that the client asked for in its startup message. */
  startWith(path: readonly string[]): void {
    this.#startPath = path;
  }

  expect(change: Change): void {
    // What was analysed before is analysed anew from here on, and not only once the change is acknowledged.
    if (movesPath(change)) this.pathGeneration++;
    this.#pending.push(this.segment, change);
  }

  /** True when something of an earlier segment is open that could change what a statement means. */
  get unsettled(): boolean {
    // What a COMMIT ends is looked up by name, and so are the unnamed ones.
    return !this.#pending.empty && this.#pending.someBefore(this.segment, ({ kind }) => kind !== 'commit');
  }

  #lookup<T>(kind: 'prepared' | 'portal', name: string, settled: Bindings<T>): T | null | 'wait' {
    const pending = this.#pending;
    if (pending.empty) return settled.get(name) ?? null;
    const unnamed = name === '' ? pending.unnamed(kind) : undefined;
    const own = unnamed?.segment === this.segment ? unnamed : undefined;
    for (const { segment, change, order } of pending.others()) {
      if (segment !== this.segment || (own !== undefined && order < own.order)) break;
      if (change.kind === kind && change.name === name) return change.value as T | null;
      if (ends(change, kind, name)) return null;
    }
    if (own !== undefined) return madeBy(own.change) as T | null;
    const open = (change: Change) => (change.kind === kind && change.name === name) || ends(change, kind, name);
    // An earlier segment is open that makes or drops this very name.
    if (unnamed !== undefined || pending.someBefore(this.segment, open)) return 'wait';
    return settled.get(name) ?? null;
  }

  prepared(name: string): Prepared | null | 'wait' {
    return this.#lookup('prepared', name, this.#prepared);
  }

  portal(name: string): Portal | null | 'wait' {
    return this.#lookup('portal', name, this.#portals);
  }

  /** Takes a new analysis of a prepared statement, unless another has taken its name while that was made. */
  renew(name: string, before: Prepared, value: Prepared): void {
    if (this.#prepared.get(name) === before) this.#prepared.set(name, value);
  }

  /** Named statements whose analysis was made under another catalog or search_path. */
  stale(catalog: number): [string, Prepared][] {
    const { named } = this.#prepared;
    if (named.size === 0) return NO_NAMES;
    return [...named].filter(([, value]) => value.catalog !== catalog || value.path !== this.pathGeneration);
  }

  get full(): boolean {
    return this.#prepared.size + this.#portals.size + this.#cursors.size > MAX_NAMES;
  }

  /** The server acknowledged the step that these changes belong to. */
  settle(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    this.drop(changes);
    for (const change of changes) this.#apply(change);
  }

  /** The step failed or was skipped. */
  drop(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    // What was analysed in the meantime relied on it.
    if (changes.some(movesPath)) this.pathGeneration++;
    for (const change of changes) this.#pending.remove(change);
  }

  #apply(change: Change): void {
    switch (change.kind) {
      case 'prepared':
        if (change.value === null) this.#prepared.delete(change.name);
        else this.#prepared.set(change.name, change.value);
        return;
      case 'portal':
        if (change.value === null) {
          this.#portals.delete(change.name);
          this.#cursors.delete(change.name);
        } else {
          this.#portals.set(change.name, change.value);
          if (change.name !== '')
            this.#cursors.set(change.name, [change.value.prepared.analyses?.[0]?.outputs ?? null]);
        }
        return;
      case 'cursor': {
        // Portals and cursors live under one set of names.
        this.#portals.delete(change.name);
        // A transaction that ends may bring an older cursor of this name back into view: every meaning counts.
        const known = this.#cursors.get(change.name);
        this.#cursors.set(
          change.name,
          known === undefined || !this.inTransaction ? [change.outputs] : [...known, change.outputs],
        );
        return;
      }
      case 'cursor-gone':
        if (change.name === null) {
          this.#portals.clear();
          this.#cursors.clear();
        } else {
          this.#portals.delete(change.name);
          this.#cursors.delete(change.name);
        }
        return;
      case 'all-prepared-gone':
        this.#prepared.clear();
        return;
      case 'path': {
        this.pathGeneration++;
        const path = change.path === 'default' ? this.#startPath : change.path === 'unknown' ? EVERYWHERE : change.path;
        if (change.local) {
          this.#localPaths.push(path ?? DEFAULT);
          if (this.#localPaths.length > MAX_PATHS) this.#localPaths = [EVERYWHERE];
          return;
        }
        this.#paths = [...(this.#paths ?? [DEFAULT]), path ?? DEFAULT];
        if (this.#paths.length > MAX_PATHS) this.#paths = [EVERYWHERE];
        this.#settling = change.certain && !this.inTransaction;
        return;
      }
      case 'rollback':
        this.#settling = false;
        this.#portals.clear();
        return;
      case 'commit':
        // An end of the transaction closes its portals; another may take the name before the server is idle.
        this.#portals.clear();
        return;
      case 'notify':
        if (this.#payloads.size >= MAX_PAYLOADS) this.#payloads.clear();
        this.#payloads.add(change.payload);
        return;
      case 'discard':
        this.pathGeneration++;
        this.#prepared.clear();
        this.#portals.clear();
        this.#cursors.clear();
        this.#paths = this.inTransaction ? this.#paths : null;
        return;
      case 'catalog':
        this.dirty = true;
    }
  }

  /** Whether the client itself wrote this payload out in a NOTIFY. */
  sent(payload: string): boolean {
    if (this.#payloads.has(payload)) return true;
    for (const { change } of this.#pending.others())
      if (change.kind === 'notify' && change.payload === payload) return true;
    return false;
  }

  /** Something failed: what was set before it in the same transaction is undone. */
  failed(): void {
    this.#settling = false;
  }

  /** What names mean to a statement that is analysed now. */
  names(catalog: Catalog): Names {
    const start = this.#startPath ?? catalog.searchPath;
    const resolve = (path: readonly string[]) =>
      path === DEFAULT ? start : path === EVERYWHERE ? [...catalog.schemas] : path;
    const settled = [...(this.#paths ?? [DEFAULT]), ...this.#localPaths].map(resolve);
    let paths = settled;
    /** Of this segment. */
    const set: (readonly string[])[] = [];
    let stale = this.dirty;
    const own: Change[] = [];
    for (const { segment, change } of this.#pending.others()) {
      if (segment !== this.segment) break;
      own.unshift(change);
    }
    const prepared = new Map<string, readonly Analysis[]>();
    for (const [name, value] of this.#prepared.named) prepared.set(name, value.analyses ?? []);
    const cursors = new Map<string, readonly (readonly Origin[] | null)[]>(this.#cursors);
    for (const change of own) {
      if (change.kind === 'prepared' && change.value !== null) prepared.set(change.name, change.value.analyses ?? []);
      else if (change.kind === 'prepared') prepared.delete(change.name);
      else if (change.kind === 'cursor')
        cursors.set(change.name, [...(cursors.get(change.name) ?? []), change.outputs]);
      else if (change.kind === 'cursor-gone' && change.name === null) cursors.clear();
      else if (change.kind === 'portal' && change.value !== null && change.name !== '')
        cursors.set(change.name, [change.value.prepared.analyses?.[0]?.outputs ?? null]);
      else if (change.kind === 'path') {
        const known = change.path !== 'default' && change.path !== 'unknown';
        const path = known ? change.path : change.path === 'default' ? start : [...catalog.schemas];
        set.push(path);
        paths = known && change.certain && !change.local ? [path] : [...paths, path];
      } else if (change.kind === 'rollback' || change.kind === 'commit' || change.kind === 'discard')
        paths = [...settled, ...set, start];
      else if (change.kind === 'catalog') stale = true;
    }
    return { catalog, paths, stale, prepared, cursors };
  }

  /** Whether names() is the same as for a fresh session: the common case, which callers cache. */
  get plain(): boolean {
    return (
      this.#pending.empty &&
      this.#paths === null &&
      this.#localPaths.length === 0 &&
      this.#startPath === null &&
      !this.dirty &&
      this.#cursors.size === 0 &&
      this.#prepared.named.size === 0
    );
  }

  /**
   * ReadyForQuery came. Cursors without hold are gone with their transaction, and a function may open another under such a
   * name; which ones hold is not known. So none is known any more, and what is fetched from one is masked whole.
   */
  ready(status: number): void {
    this.inTransaction = status !== 0x49;
    if (this.inTransaction) return;
    this.#portals.clear();
    if (this.#localPaths.length > 0) this.#localPaths = [];
    if (this.#cursors.size > 0) this.#cursors.clear();
    if (this.#settling && this.#paths !== null) {
      this.#paths = this.#paths.slice(-1);
      if (this.#paths[0] === DEFAULT) this.#paths = null;
    }
    this.#settling = false;
  }
}

/** Whether names may mean something else after this change than before it. */
function movesPath({ kind }: Change): boolean {
  return kind === 'path' || kind === 'discard' || kind === 'rollback';
}

/** Whether a portal of this name, if there is one afterwards, is not the one that a Bind made before this change. */
function endsPortal(change: Change, name: string): boolean {
  switch (change.kind) {
    case 'cursor':
      return change.name === name;
    case 'cursor-gone':
      return change.name === null || change.name === name;
    case 'commit':
    case 'rollback':
      return true;
    default:
      return false;
  }
}

/** Whether this name, where it is known afterwards, is not what it was before this change. */
function ends(change: Change, kind: 'prepared' | 'portal', name: string): boolean {
  if (change.kind === 'discard') return true;
  return kind === 'portal' ? endsPortal(change, name) : change.kind === 'all-prepared-gone';
}

function madeBy(change: Change): Prepared | Portal | null {
  return change.kind === 'prepared' || change.kind === 'portal' ? change.value : null;
}

/** The policy in force over time: files are read anew when they change, and only a good set of them takes over. */
import { type FSWatcher, statSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import { loadPolicy } from './load.ts';
import type { CompiledPolicy } from './policy.ts';
import type { Kit } from './schema.ts';

/** Files that are not valid, while the version before stays in force. */
export interface Rejection {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly error: SluiceError;
}

export interface LiveEvents {
  /** A new version is in force. `before` is null for the first. */
  loaded?(policy: CompiledPolicy, before: CompiledPolicy | null): void;
  /** The files are not valid; the version before stays in force. */
  rejected?(error: SluiceError, inForce: CompiledPolicy): void;
}

/** Quiet time after the last change before files are read, milliseconds: a checkout replaces them one by one. */
const SETTLE = 200;

export class LivePolicy {
  readonly #paths: readonly string[];
  readonly #kit: Kit;
  readonly #events: LiveEvents;
  #current: CompiledPolicy;
  #loadedAt = Date.now();
  #rejected: Rejection | null = null;
  #watchers: FSWatcher[] = [];
  #timer: NodeJS.Timeout | null = null;

  /** @throws SluiceError POLICY_INVALID, POLICY_UNREADABLE: without a first good version there is nothing to enforce. */
  constructor(paths: readonly string[], kit: Kit, events: LiveEvents = {}) {
    this.#paths = paths;
    this.#kit = kit;
    this.#events = events;
    this.#current = loadPolicy(paths, kit);
    events.loaded?.(this.#current, null);
  }

  /** When the version in force was loaded, milliseconds since the epoch. */
  get loadedAt(): number {
    return this.#loadedAt;
  }

  /** Why the files as they are now are not in force; null: they are. */
  get rejected(): Rejection | null {
    return this.#rejected;
  }

  get current(): CompiledPolicy {
    return this.#current;
  }

  /**
   * Reads the files again. The swap is one assignment: every question is answered by one version or the other.
   * @returns the fault that kept the version before in force, or null.
   */
  reload(): SluiceError | null {
    let next: CompiledPolicy;
    try {
      next = loadPolicy(this.#paths, this.#kit);
    } catch (cause) {
      const error =
        cause instanceof SluiceError
          ? cause
          : new SluiceError('POLICY_INVALID', `the policy could not be loaded: ${(cause as Error).message}`, { cause });
      this.#rejected = { at: Date.now(), error };
      this.#events.rejected?.(error, this.#current);
      return error;
    }
    this.#rejected = null;
    if (next.version === this.#current.version) return null;
    const before = this.#current;
    this.#current = next;
    this.#loadedAt = Date.now();
    this.#events.loaded?.(next, before);
    return null;
  }

  /** Reloads after changes until `close`. Folders are watched, not files, which editors and checkouts replace. */
  watch(): void {
    if (this.#watchers.length > 0) return;
    for (const path of this.#paths) {
      const folder = statSync(path).isDirectory();
      const watcher = watch(folder ? path : dirname(path), { persistent: false }, (_event, name) => {
        if (folder || name === null || name === basename(path)) this.#soon();
      });
      // A folder that was replaced whole ends its watch: what is there now is read, and watched anew.
      watcher.on('error', () => this.#again());
      this.#watchers.push(watcher);
    }
  }

  close(): void {
    for (const watcher of this.#watchers) watcher.close();
    this.#watchers = [];
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #soon(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      // Watched anew before it is read, so that no change falls between the two.
      this.#again();
      this.reload();
    }, SETTLE);
    this.#timer.unref();
  }

  #again(): void {
    for (const watcher of this.#watchers) watcher.close();
    this.#watchers = [];
    try {
      this.watch();
    } catch (cause) {
      const error = new SluiceError(
        'POLICY_UNREADABLE',
        `changes of the policy can't be watched: ${(cause as Error).message}`,
        { cause },
      );
      this.#events.rejected?.(error, this.#current);
      for (const watcher of this.#watchers) watcher.close();
      this.#watchers = [];
      this.#timer ??= setTimeout(() => {
        this.#timer = null;
        this.#again();
        this.reload();
      }, 10 * SETTLE);
      this.#timer.unref();
    }
  }
}

/**
 * Whether the store takes events. It refuses rather than lose: from the first failed write, or from the quota on, until it
 * is known to work again.
 */
import { statfsSync } from 'node:fs';
import { SluiceError } from '../core/errors.ts';
import type { EventType } from '../core/event.ts';

export type AuditState = { readonly ok: true } | { readonly ok: false; readonly error: SluiceError };

const PROBE_MS = 1_000;
const PROBE_SOONEST_MS = 100;
/** With less free than this, a failed write is taken for a full disk. */
const LEAST_ROOM = 1_048_576;

/** Events that end or report what was let through before: refused only when nothing at all can be written. */
const CLOSING: ReadonlySet<EventType> = new Set([
  'result',
  'flow.end',
  'session.end',
  'session.expired',
  'session.refused',
  'login.end',
  'daemon.stop',
  'daemon.clock',
  'daemon.log',
  'fault',
  'approval.expired',
  'approval.used',
]);

export function isClosing(type: EventType): boolean {
  return CLOSING.has(type);
}

export class Admission {
  /** Null: everything is taken. */
  refusal: SluiceError | null = null;
  /** What is refused: `new` operations only, or all events. */
  refuses: 'new' | 'all' = 'new';
  readonly #try: () => void;
  #timer: NodeJS.Timeout | null = null;
  #lastProbe = 0;
  readonly #watchers = new Set<(state: AuditState) => void>();

  /** @param attempt tries again what failed; called each second while refusing, and by `probe`. */
  constructor(attempt: () => void) {
    this.#try = attempt;
  }

  get state(): AuditState {
    return this.refusal === null ? { ok: true } : { ok: false, error: this.refusal };
  }

  /** Tells of each change between taking and refusing. Returns what ends it. */
  watch(changed: (state: AuditState) => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  refuse(refusal: SluiceError, what: 'new' | 'all'): void {
    const fresh = this.refusal === null;
    this.refusal = refusal;
    this.refuses = what;
    this.#timer ??= setInterval(this.probe, PROBE_MS).unref();
    if (fresh) for (const watcher of this.#watchers) watcher(this.state);
  }

  accept(): void {
    if (this.refusal === null) return;
    this.refusal = null;
    this.stop();
    for (const watcher of this.#watchers) watcher(this.state);
  }

  /** Tries again, unless that was done just now. */
  readonly probe = (): void => {
    const now = performance.now();
    if (now - this.#lastProbe < PROBE_SOONEST_MS) return;
    this.#lastProbe = now;
    this.#try();
  };

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}

/** LMDB reports a short write, which is what a full disk does to it, as EIO: so the disk itself is asked. */
export function refusalFor(error: unknown, what: string, dir: string): SluiceError {
  if (error instanceof SluiceError) return error;
  const { code, message } = error as { code?: unknown; message?: string };
  const full =
    code === 'ENOSPC' ||
    code === 'EDQUOT' ||
    /No space left|MDB_MAP_FULL|quota exceeded/i.test(message ?? '') ||
    room(dir) < LEAST_ROOM;
  const where = full ? ` (${room(dir)} bytes are free in ${dir})` : '';
  return new SluiceError(full ? 'AUDIT_FULL' : 'AUDIT_FAILED', `${what}: ${message ?? String(error)}${where}`, {
    cause: error,
  });
}

/** Bytes that are free there; infinite where it can't be told. */
export function room(dir: string): number {
  try {
    const { bavail, bsize } = statfsSync(dir);
    return bavail * bsize;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

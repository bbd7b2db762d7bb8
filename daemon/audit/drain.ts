/**
 * From what is pending into LMDB, thousands of events at once, synced; what retention deletes goes with it. It is also the
 * way back: while the store refuses, whatever failed is tried again here, until a transaction has reached the disk.
 */
import { type Admission, refusalFor } from './admission.ts';
import { digest } from './canonical.ts';
import type { Pending } from './pending.ts';
import type { Quota } from './quota.ts';
import type { Residency } from './residency.ts';
import type { Retention } from './retention.ts';
import { type Stretch, unpack } from './run.ts';
import type { Signer } from './signer.ts';
import type { Table } from './table.ts';

const DRAIN_MS = 200;
/** So much waiting is drained at once. */
const DRAIN_EVENTS = 4_096;
const DRAIN_BYTES = 2_097_152;
/** Between two attempts to drain while refusing. */
const RETRY_MS = 1_000;
/** Old events are looked for this often when nothing new comes. */
const IDLE_MS = 60_000;

export interface DrainParts {
  /** Of the store, for what errors say. */
  readonly dir: string;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly table: Table;
  readonly pending: Pending;
  readonly admission: Admission;
  readonly quota: Quota;
  readonly retention: Retention;
  readonly signer: Signer;
  readonly residency: Residency;
  /** The events up to this one are on disk, in LMDB. Called again when it threw. */
  kept(upTo: number): void;
  /** An attempt is over, whatever came of it. */
  ended(): void;
}

export class Drain {
  readonly #parts: DrainParts;
  #draining: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  readonly #idleTimer: NodeJS.Timeout;
  /** The journal may not hold what it was given: nothing new is taken until all of it is in LMDB. */
  #suspect = false;
  /** Up to this event all is on disk, and that was not taken note of; 0: it was. */
  #untold = 0;
  #closed = false;

  constructor(parts: DrainParts) {
    this.#parts = parts;
    this.#idleTimer = setInterval(this.#soon, IDLE_MS).unref();
  }

  /** Something more is pending: it is drained soon, or at once where there is much. */
  more(): void {
    const { admission, quota, pending } = this.#parts;
    if (admission.refusal === null && quota.reached(pending.bytes))
      admission.refuse(quota.refusal(pending.bytes), 'new');
    if (this.#full()) void this.drain();
    else this.#timer ??= setTimeout(this.#soon, DRAIN_MS);
  }

  /** From now on the journal is not relied upon, until everything is in LMDB. */
  suspect(): void {
    this.#suspect = true;
  }

  get suspects(): boolean {
    return this.#suspect;
  }

  drain(): Promise<void> {
    this.#draining ??= this.#once().finally(this.#ended);
    return this.#draining;
  }

  readonly #ended = (): void => {
    this.#draining = null;
    this.#parts.ended();
    const { refusal } = this.#parts.admission;
    if (refusal === null && this.#full()) void this.drain();
    else if (this.#parts.pending.events > 0 && !this.#closed)
      this.#timer ??= setTimeout(this.#soon, refusal === null ? DRAIN_MS : RETRY_MS);
  };

  /** Tries again what failed: puts what is pending into LMDB, or, with nothing pending, one small value. */
  tryAgain(): void {
    if (this.#closed || this.#draining !== null) return;
    const { pending, table, clock, admission, dir } = this.#parts;
    if (pending.events > 0) void this.drain();
    else {
      this.#draining = table
        .setState('probe', Math.round(clock()))
        .then(() => this.#once())
        .catch((error: unknown) =>
          admission.refuse(refusalFor(error, 'the audit store could not be written', dir), admission.refuses),
        )
        .finally(this.#ended);
    }
  }

  /** Drains what there is, as long as anything comes of it. */
  async close(): Promise<void> {
    const { pending } = this.#parts;
    this.#closed = true;
    clearInterval(this.#idleTimer);
    this.#stop();
    await this.#draining;
    let left = -1;
    while (pending.events > 0 && pending.events !== left) {
      left = pending.events;
      await this.drain();
    }
    this.#stop();
  }

  #stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  readonly #soon = (): void => {
    this.#timer = null;
    void this.drain();
  };

  #full(): boolean {
    const { pending } = this.#parts;
    return pending.events >= DRAIN_EVENTS || pending.bytes >= DRAIN_BYTES;
  }

  async #once(): Promise<void> {
    const { residency, pending, signer, table, retention, admission, dir } = this.#parts;
    residency.trim();
    const batch = pending.batch();
    const last = batch.stretches.at(-1);
    try {
      this.#tell();
      if (last !== undefined) {
        const due = signer.due(last.last) || this.#closed;
        const mark = due ? signer.sign('checkpoint', last.last, hashAfter(last)) : null;
        await table.put(batch.stretches, batch.terms, mark);
        pending.drop(batch);
        this.#untold = last.last;
        this.#tell();
        if (mark !== null) await signer.putHead(mark);
      }
      await retention.prune(batch.events);
      this.#checkQuota(batch.bytes);
    } catch (error) {
      admission.refuse(
        refusalFor(error, 'events could not be put into the audit store', dir),
        this.#suspect ? 'all' : 'new',
      );
    }
  }

  #tell(): void {
    if (this.#untold === 0) return;
    this.#parts.kept(this.#untold);
    this.#untold = 0;
  }

  #checkQuota(putBytes: number): void {
    const { quota, pending, admission } = this.#parts;
    quota.put(putBytes, pending.bytes, admission.refusal !== null);
    // All of it is in LMDB, and the journal begins anew.
    if (pending.events === 0) this.#suspect = false;
    if (quota.reached(pending.bytes))
      admission.refuse(quota.refusal(pending.bytes), quota.exceeded || this.#suspect ? 'all' : 'new');
    else if (!this.#suspect) admission.accept();
  }
}

/** Of its last event, lower-case hex. */
function hashAfter({ chunk, start, end, first }: Stretch): string {
  return digest(unpack(chunk.subarray(start, end), first).at(-1)!.bytes);
}

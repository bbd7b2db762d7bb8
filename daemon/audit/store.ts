/**
 * The audit store: the one writer of the chain.
 *
 *   record()  encodes the event in memory and numbers it
 *   commit    at the end of the event-loop turn, one call hashes and chains all its events and writes them to the journal:
 *             they survive this process
 *   sync      when someone waits for it, and once a second: fdatasync of the journal: they survive the machine
 *   drain     every fraction of a second, thousands at once: into LMDB, as runs, synced (drain.ts); the journal's space is
 *             free again
 *
 * It refuses (`record` throws, receipts reject) rather than lose: from the first failed write until a probe succeeds. The
 * sequence number of a refused event is taken back, so the chain has no gap.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import type { EventInput, EventType, Receipt, Recorder } from '../core/event.ts';
import { libraryPath } from '../core/library.ts';
import { Admission, type AuditState, isClosing, refusalFor, room } from './admission.ts';
import { agesFrom } from './age.ts';
import { openAppend } from './append.ts';
import { Encoder, EVENT_BYTES } from './canonical.ts';
import { type HostKey, loadHostKey, type Mark, type Pruned } from './checkpoint.ts';
import { Chunks } from './chunks.ts';
import { Disk } from './disk.ts';
import { Drain } from './drain.ts';
import { FRAME_HEADER, Journal } from './journal.ts';
import type { Log } from './log.ts';
import { Pending } from './pending.ts';
import { Quota } from './quota.ts';
import { type End, recover } from './recovery.ts';
import { Residency } from './residency.ts';
import { type Limits, Retention } from './retention.ts';
import { type Entry, putHeader, RECORD_HEADER } from './run.ts';
import { Signer } from './signer.ts';
import { type Span, Table } from './table.ts';
import { BLOCK } from './terms.ts';
import { Turn } from './turn.ts';

export interface AuditOptions {
  /** Directory of the store; made with mode 0700 when it does not exist. */
  readonly dir: string;
  /** What the store may take on disk, bytes; at least QUOTA_MIN. */
  readonly quotaBytes: number;
  /** Absent: nothing is ever deleted. Each absent member: no limit of that kind. */
  readonly retention?: Limits;
  /** Path of libsluice.so. Absent: the one that was built with this. */
  readonly library?: string;
  /** Path of the Ed25519 private key. Absent: `host.key` in `dir`. Made when it does not exist. */
  readonly key?: string;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Monotonic, milliseconds. Absent: performance.now. */
  readonly elapsed?: () => number;
}

export interface AuditFigures {
  /** Number of the newest event, which is how many there have ever been; and how many of them are kept. */
  readonly last: number;
  readonly kept: number;
  /** On disk, of the quota. */
  readonly bytes: number;
  readonly quotaBytes: number;
  /** Committed, and not in LMDB yet. */
  readonly pendingBytes: number;
  readonly pendingEvents: number;
  /** When the newest event was last signed, milliseconds since the epoch; null: there is none. */
  readonly checkpointAt: number | null;
  /** How far retention is behind a clock that jumped ahead. */
  readonly behindMs: number;
  /** How far the time of the newest event is ahead of the clock, which was set back. */
  readonly aheadMs: number;
  /** Free on the file system of the store. */
  readonly freeBytes: number;
}

const HASH_BYTES = 32;
/** Journal space that only events which end something may use. */
const JOURNAL_RESERVE = 4 * 1_048_576;
/** With so much waiting, `committed` is told only after the next drain, so that callers slow down before they are refused. */
const SLOW_BYTES = 12_582_912;
const SYNC_MS = 1_000;

export class AuditStore implements Recorder, Log {
  readonly #options: AuditOptions;
  readonly #table: Table;
  readonly #journal: Journal;
  readonly #key: HostKey;
  readonly #chain: string;
  readonly #residency: Residency;
  readonly #admission: Admission;
  readonly #signer: Signer;
  readonly #retention: Retention;
  readonly #drain: Drain;
  readonly #encoder = new Encoder();
  readonly #chunks = new Chunks();
  readonly #pending = new Pending();
  #next: number;
  /** Of the last event that is committed, and room for the next: 32 bytes each. */
  #hash: Buffer;
  #nextHash: Buffer = Buffer.alloc(HASH_BYTES);
  #time = 0;
  #committed: number;
  #turn: Turn | null = null;
  readonly #disk: Disk;
  /** Committed turns of which that was not told yet. */
  #withheld: Turn[] = [];
  #syncing = false;
  #syncAgain = false;
  #synced: Promise<void> = Promise.resolve();
  #syncTimer: NodeJS.Timeout | null = null;
  #closed = false;
  readonly #listeners = new Set<() => void>();

  private constructor(options: AuditOptions, table: Table, key: HostKey, chain: string, end: End) {
    this.#options = options;
    this.#table = table;
    this.#key = key;
    this.#chain = chain;
    this.#journal = new Journal(options.dir, openAppend(options.library ?? libraryPath()));
    this.#disk = new Disk(end.seq, () => this.#requestSync());
    this.#next = end.seq + 1;
    this.#hash = Buffer.from(end.hash, 'hex');
    this.#time = end.time;
    this.#committed = end.seq;
    const { dir, clock, elapsed = () => performance.now() } = options;
    this.#signer = new Signer({ dir, key, chain, seq: end.seq, clock, elapsed });
    const known = table.state<number>('ages') ?? (end.time === 0 ? undefined : end.time);
    this.#retention = new Retention(options.retention ?? {}, table, this.#signer, agesFrom(known, clock, elapsed));
    this.#residency = new Residency(join(dir, 'events.mdb'));
    this.#admission = new Admission(() => this.#drain.tryAgain());
    this.#drain = new Drain({
      ...{ dir, clock, table, pending: this.#pending, admission: this.#admission, residency: this.#residency },
      ...{ signer: this.#signer, retention: this.#retention },
      quota: new Quota(options.quotaBytes, () => table.bytesUsed + this.#journal.bytesOnDisk),
      kept: (upTo) => {
        this.#disk.reached(upTo);
        this.#journal.release(upTo);
        this.#chunks.release(upTo);
      },
      ended: () => {
        for (const turn of this.#withheld.splice(0)) turn.commit();
      },
    });
  }

  static async open(options: AuditOptions): Promise<AuditStore> {
    Quota.check(options.quotaBytes);
    let table: Table | null = null;
    try {
      mkdirSync(options.dir, { recursive: true, mode: 0o700 });
      const key = await loadHostKey(options.key ?? join(options.dir, 'host.key'));
      table = new Table(options.dir, options.quotaBytes * 4);
      for (const name of ['events.mdb', 'events.mdb-lock']) chmodSync(join(options.dir, name), 0o600);
      let chain = table.state<string>('chain');
      if (chain === undefined) {
        chain = randomBytes(16).toString('hex');
        await table.setState('chain', chain);
      }
      const end = await recover(options.dir, table);
      const store = new AuditStore(options, table, key, chain, end);
      // There from the beginning: a checkpoint without a head would say that the head was taken away.
      if (end.seq === 0 && store.head() === null) await store.#signer.putHead({ seq: 0, hash: end.hash });
      return store;
    } catch (error) {
      await table?.close();
      throw refusalFor(error, `the audit store in ${options.dir} could not be opened`, options.dir);
    }
  }

  // --- writing

  record(event: EventInput): Receipt {
    if (this.#closed || this.#admission.refusal !== null || this.#journal.free <= JOURNAL_RESERVE)
      this.#admit(event.type);
    const time = Math.max(this.#options.clock(), this.#time);
    let most = this.#encoder.take(event) + RECORD_HEADER;
    let turn = this.#turn;
    if (turn !== null && (!this.#chunks.has(most) || this.#next % BLOCK === 0)) {
      const next = this.#next;
      this.#commit();
      // Taken back by a failed write: this event comes after them and has no place in the chain any more.
      if (this.#next !== next)
        throw this.#admission.refusal ?? new SluiceError('AUDIT_FAILED', 'the audit journal could not be written');
      // Others were told of the commit, and may have recorded something.
      most = this.#encoder.take(event) + RECORD_HEADER;
      turn = this.#turn;
    }
    turn ??= this.#begin(most, time);
    const chunks = this.#chunks;
    const start = chunks.at + RECORD_HEADER;
    const end = this.#encoder.put(chunks.bytes, start, this.#next, time);
    putHeader(chunks.bytes, chunks.at, end - start, this.#next);
    this.#pending.index(event, this.#next);
    chunks.at = turn.end = end;
    this.#time = turn.to = time;
    turn.last = this.#next++;
    return turn;
  }

  /** For whoever watches the host; asks LMDB for its pages. */
  figures(): AuditFigures {
    const { quotaBytes, dir } = this.#options;
    return {
      last: this.#committed,
      kept: this.#committed - this.#retention.first + 1,
      bytes: this.#table.bytesUsed + this.#journal.bytesOnDisk,
      quotaBytes,
      pendingBytes: this.#pending.bytes,
      pendingEvents: this.#pending.events,
      checkpointAt: this.head()?.time ?? null,
      behindMs: this.#retention.behindMs,
      aheadMs: Math.max(0, this.#time - this.#options.clock()),
      freeBytes: room(dir),
    };
  }

  get state(): AuditState {
    return this.#admission.state;
  }

  /** Resolves when what is committed is on disk, or when the store says that it refuses: either way it works. */
  async answers(): Promise<void> {
    if (this.#admission.refusal === null) await this.#disk.reach(this.#committed).catch(() => {});
  }

  /** Tells of each change between writing and refusing. Returns what ends it. */
  watch(changed: (state: AuditState) => void): () => void {
    return this.#admission.watch(changed);
  }

  #admit(type: EventType): void {
    if (this.#closed) throw new SluiceError('AUDIT_FAILED', 'the audit store is closed');
    const admission = this.#admission;
    const closing = isClosing(type);
    if (admission.refusal !== null) {
      admission.probe();
      if (admission.refusal !== null && (admission.refuses === 'all' || !closing)) throw admission.refusal;
    }
    const least = closing ? EVENT_BYTES + FRAME_HEADER + RECORD_HEADER : JOURNAL_RESERVE;
    if (this.#journal.free <= least) {
      void this.#drain.drain();
      throw (
        admission.refusal ??
        new SluiceError('AUDIT_FAILED', 'the audit store can not keep up: its disk is too slow or does not answer')
      );
    }
  }

  /** A turn's events are in one block and in one chunk. */
  #begin(most: number, time: number): Turn {
    const chunks = this.#chunks;
    if (!chunks.has(most)) chunks.next(most, this.#next - 1);
    setImmediate(this.#commitTurn);
    this.#turn = new Turn(this.#next, chunks.bytes, chunks.at, time, this.#disk.reach);
    return this.#turn;
  }

  readonly #commitTurn = (): void => this.#commit();

  /** Ends the turn: one write for all its events. */
  #commit(): void {
    const turn = this.#turn;
    this.#turn = null;
    if (turn === null) return;
    try {
      this.#journal.append(turn.chunk, turn.start, turn.end, turn.last, this.#hash, this.#nextHash);
    } catch (error) {
      this.#takeBack(turn);
      const refusal = refusalFor(error, 'an event could not be written to the audit journal', this.#options.dir);
      turn.fail(refusal);
      this.#admission.refuse(refusal, 'all');
      return;
    }
    [this.#hash, this.#nextHash] = [this.#nextHash, this.#hash];
    this.#pending.push(turn);
    this.#committed = turn.last;
    if (this.#pending.bytes < SLOW_BYTES) turn.commit();
    else this.#withheld.push(turn);
    this.#syncTimer ??= setTimeout(this.#requestSync, SYNC_MS);
    this.#drain.more();
    for (const listener of this.#listeners) listener();
  }

  /** The numbers and the terms of a turn that was not kept are given to those that come next. */
  #takeBack(turn: Turn): void {
    this.#chunks.at = turn.start;
    this.#next = turn.first;
    this.#pending.takeBack(turn.first);
  }

  readonly #requestSync = (): void => {
    if (this.#syncTimer !== null) clearTimeout(this.#syncTimer);
    this.#syncTimer = null;
    // What the journal did not keep once it may not keep again, whatever it says: LMDB is the way to the disk now.
    if (this.#drain.suspects) return;
    if (this.#syncing) {
      this.#syncAgain = true;
      return;
    }
    this.#syncing = true;
    const upTo = this.#committed;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#synced = promise;
    this.#journal.sync((error) => {
      this.#syncing = false;
      resolve();
      if (this.#closed) return;
      if (error !== null) return this.#lostDisk(error);
      this.#disk.reached(upTo);
      const again = this.#syncAgain || this.#disk.awaited;
      this.#syncAgain = false;
      if (again && this.#disk.upTo < this.#committed) this.#requestSync();
    });
  };

  /** fdatasync failed: what the kernel still has of the journal can't be relied upon. LMDB is the way to the disk now. */
  #lostDisk(error: Error): void {
    const refusal = refusalFor(error, 'the audit journal could not be written to disk', this.#options.dir);
    this.#drain.suspect();
    this.#disk.failed(refusal);
    const lost = this.#withheld.filter(({ last }) => last > this.#disk.upTo);
    this.#withheld = this.#withheld.filter(({ last }) => last <= this.#disk.upTo);
    for (const turn of lost) turn.fail(refusal);
    this.#admission.refuse(refusal, 'all');
  }

  // --- reading (Log)

  range(): { first: number; last: number } | null {
    const { first } = this.#retention;
    return this.#committed < first ? null : { first, last: this.#committed };
  }

  *read(from: number, to: number, reverse = false): Generator<Entry> {
    const end = Math.min(to, this.#committed + 1);
    const edge = this.#edge();
    const tail = this.#pending.read(from, end);
    if (reverse) yield* tail.reverse();
    yield* this.#table.read(from, Math.min(end, edge), reverse);
    if (!reverse) yield* tail;
    this.#residency.trim();
  }

  /** First event that is not in LMDB. */
  #edge(): number {
    return this.#pending.first ?? this.#committed + 1;
  }

  blocksOf(name: string, values: readonly string[], prefix: boolean): Set<number> {
    const blocks = this.#table.blocksOf(name, values, prefix);
    this.#pending.addBlocks(blocks);
    return blocks;
  }

  /** Null for a block that is not wholly in LMDB: any time may be in it. */
  span(block: number): Span | null {
    return (block + 1) * BLOCK > this.#edge() ? null : (this.#table.span(block) ?? null);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  marks(): Iterable<Mark> {
    return this.#table.marks();
  }

  head(): Mark | null {
    return this.#signer.head();
  }

  pruned(): Pruned | null {
    return this.#table.state<Pruned>('pruned') ?? null;
  }

  get chain(): string {
    return this.#chain;
  }

  get publicKey() {
    return this.#key.public;
  }

  /** Puts everything on disk, signs the last event, and closes. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#commit();
    this.#closed = true;
    if (this.#syncTimer !== null) clearTimeout(this.#syncTimer);
    this.#admission.stop();
    await this.#drain.close();
    this.#disk.end(
      this.#admission.refusal ??
        new SluiceError('AUDIT_FAILED', 'the audit store was closed before its events were on disk'),
    );
    if (this.#pending.events === 0 && this.#committed > this.#signer.seq) {
      const mark = this.#signer.sign('checkpoint', this.#committed, this.#hash.toString('hex'));
      await this.#table.put([], [], mark);
      await this.#signer.putHead(mark);
    }
    await this.#synced;
    await this.#table.close();
    this.#journal.close();
  }
}

/**
 * The audit store: the one writer of the chain.
 *
 *   record()  encodes, hashes and chains the event in memory
 *   commit    at the end of the event-loop turn, one write to the journal for all its events: they survive this process
 *   sync      when someone waits for it, and once a second: fdatasync of the journal: they survive the machine
 *   drain     every fraction of a second, thousands at once: into LMDB, synced; the journal's space is free again
 *
 * It refuses (`record` throws, receipts reject) rather than lose: from the first failed write until a probe succeeds. The
 * sequence number and the hash of a refused event are taken back, so the chain has no gap.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import type { EventInput, EventType, Receipt, Recorder } from '../core/event.ts';
import { decode, digest, Encoder, EVENT_BYTES, GENESIS } from './canonical.ts';
import { type HostKey, loadHostKey, type Mark, type Pruned, readHead, replaceFile } from './checkpoint.ts';
import { type Entry, Journal, putRecord, RECORD_HEADER, readJournal } from './journal.ts';
import type { Log } from './log.ts';
import { Residency } from './residency.ts';
import { type Row, type Span, Table } from './table.ts';
import { BLOCK } from './terms.ts';
import { Turn } from './turn.ts';

export interface AuditOptions {
  /** Directory of the store; made with mode 0700 when it does not exist. */
  readonly dir: string;
  /** What the store may take on disk, bytes; at least QUOTA_MIN. */
  readonly quotaBytes: number;
  /** Absent: nothing is ever deleted. Each absent member: no limit of that kind. */
  readonly retention?: { readonly ageMs?: number; readonly bytes?: number };
  /** Path of the Ed25519 private key. Absent: `host.key` in `dir`. Made when it does not exist. */
  readonly key?: string;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
}

export const QUOTA_MIN = 96 * 1_048_576;
/** Kept free of the quota for the events that end what has begun and for those that say that the store is full. */
const RESERVE = 8 * 1_048_576;
/** Journal space that only such events may use. */
const JOURNAL_RESERVE = 4 * 1_048_576;
const DRAIN_MS = 200;
const DRAIN_EVENTS = 512;
/** One transaction each: several at once, one of them failing, leave lmdb-js with promises that never settle. */
const DRAIN_MAX = 4_096;
const DRAIN_BYTES = 2_097_152;
const SYNC_MS = 1_000;
const PROBE_MS = 1_000;
const PROBE_SOONEST_MS = 100;
const CHECKPOINT_MS = 10_000;
const CHECKPOINT_EVENTS = 8_192;
/** Deleted in one step: more than can come in meanwhile (DRAIN_MAX), and still short. */
const PRUNE_BLOCKS = 8;
/** Old events are looked for this often when nothing new comes. */
const IDLE_MS = 60_000;
/** With less free than this, a failed write is taken for a full disk. */
const LEAST_ROOM = 1_048_576;
const CHUNK_BYTES = 262_144;
const CHUNKS_KEPT = 24;

/** Events that end or report what was let through before: refused only when nothing at all can be written. */
const CLOSING: ReadonlySet<EventType> = new Set([
  'result',
  'flow.end',
  'session.end',
  'daemon.stop',
  'fault',
  'approval.expired',
  'approval.used',
]);

export type AuditState = { readonly ok: true } | { readonly ok: false; readonly error: SluiceError };

export class AuditStore implements Recorder, Log {
  readonly #options: AuditOptions;
  readonly #table: Table;
  readonly #journal: Journal;
  readonly #key: HostKey;
  readonly #chain: string;
  readonly #residency: Residency;
  /** Committed or about to be, not in LMDB yet. Oldest first, no gap. */
  #pending: Row[] = [];
  #next: number;
  #hash: string;
  #time = 0;
  #committed: number;
  #first: number;
  #chunk: Buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  #chunkAt = 0;
  #chunkWritten = 0;
  #spare: Buffer[] = [];
  /** Chunks that are full, with the last event each holds. */
  #full: { chunk: Buffer; last: number }[] = [];
  readonly #encoder = new Encoder();
  #turn: Turn | null = null;
  /** Committed turns that are not known to be on disk. */
  #undurable: Turn[] = [];
  #syncing = false;
  #syncAgain = false;
  #synced: Promise<void> = Promise.resolve();
  #draining: Promise<void> | null = null;
  #drainTimer: NodeJS.Timeout | null = null;
  #syncTimer: NodeJS.Timeout | null = null;
  #probeTimer: NodeJS.Timeout | null = null;
  readonly #idleTimer: NodeJS.Timeout;
  #lastProbe = 0;
  #refusal: SluiceError | null = null;
  /** What is refused: `new` operations only, or all events. */
  #refuses: 'new' | 'all' = 'new';
  /** The journal may not hold what it was given: nothing new is taken until all of it is in LMDB. */
  #suspect = false;
  #used = 0;
  #pendingBytes = 0;
  #putSinceMeasure = 0;
  #lastMark: { seq: number; time: number };
  #closed = false;
  readonly #listeners = new Set<() => void>();
  readonly #watchers = new Set<(state: AuditState) => void>();

  private constructor(
    options: AuditOptions,
    table: Table,
    key: HostKey,
    chain: string,
    end: { seq: number; hash: string; time: number },
  ) {
    this.#options = options;
    this.#table = table;
    this.#key = key;
    this.#chain = chain;
    this.#journal = new Journal(options.dir);
    this.#next = end.seq + 1;
    this.#hash = end.hash;
    this.#time = end.time;
    this.#committed = end.seq;
    this.#first = table.range()?.first ?? 1;
    this.#lastMark = { seq: end.seq, time: options.clock() };
    this.#idleTimer = setInterval(this.#drainSoon, IDLE_MS).unref();
    this.#residency = new Residency(join(options.dir, 'events.mdb'));
    this.#measure();
  }

  static async open(options: AuditOptions): Promise<AuditStore> {
    if (!(options.quotaBytes >= QUOTA_MIN)) {
      throw new SluiceError(
        'CONFIG_INVALID',
        `the audit quota is ${options.quotaBytes} bytes, it must be at least ${QUOTA_MIN}`,
      );
    }
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
      return new AuditStore(options, table, key, chain, end);
    } catch (error) {
      await table?.close();
      throw refusalFor(error, `the audit store in ${options.dir} could not be opened`, options.dir);
    }
  }

  // --- writing

  record(event: EventInput): Receipt {
    this.#admit(event.type);
    const time = Math.max(this.#options.clock(), this.#time);
    let turn = this.#turn;
    if (turn === null) {
      turn = this.#turn = new Turn(this.#next, this.#hash, this.#requestSync);
      setImmediate(this.#commitTurn);
    }
    const json = this.#encoder.encode(event, this.#next, time, this.#hash);
    // Exact only where the bound does not do: counting costs as much as writing.
    let most = RECORD_HEADER + json.length * 3;
    if (this.#chunkAt + most > this.#chunk.length) most = RECORD_HEADER + Buffer.byteLength(json);
    if (this.#chunkAt + most > this.#chunk.length) {
      const next = this.#next;
      this.#commit();
      // Taken back by a failed write: what was just encoded has no place in the chain any more.
      if (this.#next !== next)
        throw this.#refusal ?? new SluiceError('AUDIT_FAILED', 'the audit journal could not be written');
      this.#newChunk(most);
      turn = this.#turn = new Turn(this.#next, this.#hash, this.#requestSync);
    }
    const start = this.#chunkAt + RECORD_HEADER;
    const length = this.#chunk.write(json, start, 'utf8');
    this.#hash = digest(this.#chunk.subarray(start, start + length));
    this.#chunkAt = putRecord(this.#chunk, this.#chunkAt, length, this.#hash);
    this.#pending.push({ seq: this.#next, time, input: event, bytes: this.#chunk.subarray(start, start + length) });
    this.#time = time;
    turn.last = this.#next++;
    return turn;
  }

  get state(): AuditState {
    return this.#refusal === null ? { ok: true } : { ok: false, error: this.#refusal };
  }

  /** Tells of each change between writing and refusing. Returns what ends it. */
  watch(changed: (state: AuditState) => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  #admit(type: EventType): void {
    if (this.#closed) throw new SluiceError('AUDIT_FAILED', 'the audit store is closed');
    const closing = CLOSING.has(type);
    if (this.#refusal !== null) {
      this.#probe();
      if (this.#refusal !== null && (this.#refuses === 'all' || !closing)) throw this.#refusal;
    }
    if (!this.#journal.room(closing ? EVENT_BYTES + RECORD_HEADER : JOURNAL_RESERVE)) {
      void this.#drain();
      throw (
        this.#refusal ??
        new SluiceError('AUDIT_FAILED', 'the audit store can not keep up: its disk is too slow or does not answer')
      );
    }
  }

  readonly #commitTurn = (): void => this.#commit();

  /** Ends the turn: one write for all its events. */
  #commit(): void {
    const turn = this.#turn;
    this.#turn = null;
    if (turn === null || turn.last < turn.first) return;
    const from = this.#chunkWritten;
    try {
      this.#journal.append(this.#chunk.subarray(from, this.#chunkAt), turn.last);
    } catch (error) {
      this.#chunkAt = from;
      this.#next = turn.first;
      this.#hash = turn.before;
      this.#pending.length -= turn.last - turn.first + 1;
      const refusal = refusalFor(error, 'an event could not be written to the audit journal', this.#options.dir);
      turn.fail(refusal);
      this.#refuse(refusal, 'all');
      return;
    }
    this.#pendingBytes += this.#chunkAt - from;
    this.#chunkWritten = this.#chunkAt;
    this.#committed = turn.last;
    this.#undurable.push(turn);
    turn.commit();
    this.#syncTimer ??= setTimeout(this.#requestSync, SYNC_MS);
    if (this.#refusal === null && this.#expected > this.#options.quotaBytes - RESERVE)
      this.#refuse(this.#fullQuota(), 'new');
    if (this.#pending.length >= DRAIN_EVENTS || this.#pendingBytes >= DRAIN_BYTES) void this.#drain();
    else this.#drainTimer ??= setTimeout(this.#drainSoon, DRAIN_MS);
    for (const listener of this.#listeners) listener();
  }

  #newChunk(least: number): void {
    this.#full.push({ chunk: this.#chunk, last: this.#next - 1 });
    this.#chunk =
      (least <= CHUNK_BYTES ? this.#spare.pop() : undefined) ?? Buffer.allocUnsafeSlow(Math.max(least, CHUNK_BYTES));
    this.#chunkAt = this.#chunkWritten = 0;
  }

  readonly #requestSync = (): void => {
    if (this.#syncTimer !== null) clearTimeout(this.#syncTimer);
    this.#syncTimer = null;
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
      this.#settle(upTo);
      const again = this.#syncAgain || this.#undurable.some((turn) => turn.awaited);
      this.#syncAgain = false;
      if (again && this.#undurable.length > 0) this.#requestSync();
    });
  };

  #settle(upTo: number): void {
    let count = 0;
    for (const turn of this.#undurable) {
      if (turn.last > upTo) break;
      turn.settle();
      count++;
    }
    if (count > 0) this.#undurable.splice(0, count);
  }

  /** fdatasync failed: what the kernel still has of the journal can't be relied upon. LMDB is the way to the disk now. */
  #lostDisk(error: Error): void {
    const refusal = refusalFor(error, 'the audit journal could not be written to disk', this.#options.dir);
    for (const turn of this.#undurable.splice(0)) turn.fail(refusal);
    this.#suspect = true;
    this.#refuse(refusal, 'all');
  }

  // --- into LMDB

  readonly #drainSoon = (): void => {
    this.#drainTimer = null;
    void this.#drain();
  };

  #drain(): Promise<void> {
    this.#draining ??= this.#drainOnce().finally(() => {
      this.#draining = null;
      if (this.#refusal === null && this.#pending.length >= DRAIN_EVENTS) void this.#drain();
      else if (this.#pending.length > 0 && !this.#closed)
        this.#drainTimer ??= setTimeout(this.#drainSoon, this.#refusal === null ? DRAIN_MS : PROBE_MS);
    });
    return this.#draining;
  }

  async #drainOnce(): Promise<void> {
    this.#residency.trim();
    let count = 0;
    while (count < this.#pending.length && count < DRAIN_MAX && this.#pending[count]!.seq <= this.#committed) count++;
    const rows = this.#pending.slice(0, count);
    const last = rows.at(-1);
    try {
      if (last !== undefined) {
        const due =
          last.seq - this.#lastMark.seq >= CHECKPOINT_EVENTS ||
          this.#options.clock() - this.#lastMark.time >= CHECKPOINT_MS ||
          this.#closed;
        const mark = due ? this.#sign('checkpoint', last.seq, digest(last.bytes)) : null;
        await this.#table.put(rows, mark);
        this.#drained(count, last.seq, rows);
        if (mark !== null) await this.#putHead(mark);
      }
      await this.#prune();
      this.#checkQuota(rows);
    } catch (error) {
      this.#refuse(refusalFor(error, 'events could not be put into the audit store', this.#options.dir), 'new');
    }
  }

  #drained(count: number, seq: number, rows: readonly Row[]): void {
    this.#pending.splice(0, count);
    for (const row of rows) this.#pendingBytes -= row.bytes.length + RECORD_HEADER;
    this.#settle(seq);
    this.#journal.release(seq);
    while (this.#full.length > 0 && this.#full[0]!.last <= seq) {
      const { chunk } = this.#full.shift()!;
      if (chunk.length === CHUNK_BYTES && this.#spare.length < CHUNKS_KEPT) this.#spare.push(chunk);
    }
  }

  #sign(kind: Mark['kind'], seq: number, hash: string): Mark {
    return this.#key.sign({ kind, chain: this.#chain, seq, hash, time: this.#options.clock() });
  }

  /** Only what is on disk may be called the head: a head beyond the last event is the sign of a cut chain. */
  async #putHead(mark: Mark): Promise<void> {
    const head = this.#sign('head', mark.seq, mark.hash);
    await replaceFile(join(this.#options.dir, 'head'), `${JSON.stringify(head)}\n`, 0o600);
    this.#lastMark = { seq: mark.seq, time: mark.time };
  }

  async #prune(): Promise<void> {
    const { ageMs, bytes } = this.#options.retention ?? {};
    const range = this.#table.range();
    if (range === null || (ageMs === undefined && bytes === undefined)) return;
    const firstBlock = Math.floor(range.first / BLOCK);
    // The block being written stays, so that a chain always has an end.
    const lastBlock = Math.floor(range.last / BLOCK) - 1;
    const excess = bytes === undefined ? 0 : this.#table.bytesUsed - bytes;
    const bytesOfBlock = this.#table.bytesUsed / (lastBlock - firstBlock + 2);
    let block = firstBlock;
    while (block <= lastBlock && block < firstBlock + PRUNE_BLOCKS) {
      const tooOld = ageMs !== undefined && (this.#table.span(block)?.to ?? 0) < this.#options.clock() - ageMs;
      const tooMuch = excess > (block - firstBlock) * bytesOfBlock;
      if (!tooOld && !tooMuch) break;
      block++;
    }
    if (block === firstBlock) return;
    const upTo = block * BLOCK - 1;
    const end = this.#table.get(upTo);
    if (end === undefined) throw new SluiceError('AUDIT_BROKEN', `event ${upTo} is missing, nothing was deleted`);
    await this.#table.prune(range.first, upTo, this.#sign('pruned', upTo, digest(end)) as Pruned);
    this.#first = upTo + 1;
  }

  // --- refusing and recovering

  /** What will be on disk once all that is pending is in LMDB. Large values take up to twice their size there. */
  get #expected(): number {
    return this.#used + (this.#pendingBytes + this.#putSinceMeasure) * 2;
  }

  #checkQuota(rows: readonly Row[]): void {
    for (const row of rows) this.#putSinceMeasure += row.bytes.length;
    const bound = this.#options.quotaBytes - RESERVE;
    if (this.#refusal !== null || this.#expected > bound - RESERVE) this.#measure();
    if (this.#expected > bound) this.#refuse(this.#fullQuota(), this.#used > this.#options.quotaBytes ? 'all' : 'new');
    else this.#accept();
  }

  #fullQuota(): SluiceError {
    return new SluiceError(
      'AUDIT_FULL',
      `the audit store holds ${this.#expected} bytes of a quota of ${this.#options.quotaBytes}, new operations are refused`,
    );
  }

  #measure(): void {
    this.#used = this.#table.bytesUsed + this.#journal.bytesOnDisk;
    this.#putSinceMeasure = 0;
  }

  #refuse(refusal: SluiceError, what: 'new' | 'all'): void {
    const fresh = this.#refusal === null;
    this.#refusal = refusal;
    this.#refuses = what;
    this.#probeTimer ??= setInterval(this.#probe, PROBE_MS).unref();
    if (fresh) for (const watcher of this.#watchers) watcher(this.state);
  }

  #accept(): void {
    if (this.#refusal === null || (this.#suspect && this.#pending.length > 0)) return;
    this.#suspect = false;
    this.#refusal = null;
    if (this.#probeTimer !== null) clearInterval(this.#probeTimer);
    this.#probeTimer = null;
    for (const watcher of this.#watchers) watcher(this.state);
  }

  /** Tries again what failed: puts what is pending into LMDB, or, with nothing pending, one small value. */
  readonly #probe = (): void => {
    const now = performance.now();
    if (this.#closed || this.#draining !== null || now - this.#lastProbe < PROBE_SOONEST_MS) return;
    this.#lastProbe = now;
    if (this.#pending.length > 0) void this.#drain();
    else {
      this.#draining = this.#table
        .setState('probe', Math.round(this.#options.clock()))
        .then(() => this.#drainOnce())
        .catch((error: unknown) =>
          this.#refuse(refusalFor(error, 'the audit store could not be written', this.#options.dir), this.#refuses),
        )
        .finally(() => {
          this.#draining = null;
        });
    }
  };

  // --- reading (Log)

  range(): { first: number; last: number } | null {
    return this.#committed < this.#first ? null : { first: this.#first, last: this.#committed };
  }

  *read(from: number, to: number, reverse = false): Generator<Entry> {
    const end = Math.min(to, this.#committed + 1);
    const edge = this.#pending[0]?.seq ?? this.#committed + 1;
    const tail = this.#pending.slice(Math.max(0, from - edge), Math.max(0, end - edge));
    if (reverse) yield* tail.reverse();
    yield* this.#table.read(from, Math.min(end, edge), reverse);
    if (!reverse) yield* tail;
    this.#residency.trim();
  }

  blocksOf(name: string, values: readonly string[], prefix: boolean): Set<number> {
    const blocks = this.#table.blocksOf(name, values, prefix);
    for (const row of this.#pending) blocks.add(Math.floor(row.seq / BLOCK));
    return blocks;
  }

  /** Null for a block that is not wholly in LMDB: any time may be in it. */
  span(block: number): Span | null {
    const edge = this.#pending[0]?.seq ?? this.#committed + 1;
    return (block + 1) * BLOCK > edge ? null : (this.#table.span(block) ?? null);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  marks(): Iterable<Mark> {
    return this.#table.marks();
  }

  head(): Mark | null {
    return readHead(this.#options.dir);
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
    for (const timer of [this.#drainTimer, this.#syncTimer, this.#probeTimer, this.#idleTimer])
      if (timer !== null) clearTimeout(timer);
    await this.#draining;
    let left = -1;
    while (this.#pending.length > 0 && this.#pending.length !== left) {
      left = this.#pending.length;
      await this.#drain();
    }
    if (this.#drainTimer !== null) clearTimeout(this.#drainTimer);
    if (this.#pending.length === 0 && this.#committed > this.#lastMark.seq) {
      const mark = this.#sign('checkpoint', this.#committed, this.#hash);
      await this.#table.put([], mark);
      await this.#putHead(mark);
    }
    await this.#synced;
    await this.#table.close();
    this.#journal.close();
  }
}

/** Puts what the journal holds into LMDB and says where the chain ends. */
async function recover(dir: string, table: Table): Promise<{ seq: number; hash: string; time: number }> {
  const range = table.range();
  const pruned = table.state<Pruned>('pruned');
  const bytes = range === null ? undefined : table.get(range.last);
  const end =
    bytes === undefined
      ? { seq: pruned?.seq ?? 0, hash: pruned?.hash ?? GENESIS }
      : { seq: range!.last, hash: digest(bytes) };
  let time = bytes === undefined ? 0 : decode(bytes).time;
  const rows: Row[] = readJournal(dir, end).map((entry) => {
    const input = decode(entry.bytes);
    time = input.time;
    return { ...entry, time, input };
  });
  for (let at = 0; at < rows.length; at += DRAIN_MAX) await table.put(rows.slice(at, at + DRAIN_MAX), null);
  const last = rows.at(-1);
  if (last !== undefined) Object.assign(end, { seq: last.seq, hash: digest(last.bytes) });
  const head = readHead(dir);
  if (head !== null && head.seq > end.seq) {
    throw new SluiceError(
      'AUDIT_BROKEN',
      `the audit chain in ${dir} ends at event ${end.seq}, but event ${head.seq} was signed as its head: events are missing. Move the directory aside as evidence to start a new chain`,
    );
  }
  return { ...end, time };
}

/** LMDB reports a short write, which is what a full disk does to it, as EIO: so the disk itself is asked. */
function refusalFor(error: unknown, what: string, dir: string): SluiceError {
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

function room(dir: string): number {
  try {
    const { bavail, bsize } = statfsSync(dir);
    return bavail * bsize;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/**
 * The journal: a few preallocated files, written in place, that hold events from the moment they are committed until they
 * are on disk in LMDB. It exists because of two measurements (README.md): an LMDB commit that is safe against power loss
 * costs 400 microseconds, and one that is not costs three times a plain write. Being preallocated and zero-filled, it takes
 * what was acknowledged even on a full disk, and fdatasync has no metadata to write.
 *
 * Segment file `journal.<n>`, SEGMENT_BYTES long, integers little-endian:
 *
 *   0   8  magic "SLUJRN1\0"
 *   8   8  generation, u64: rises with each reuse, orders the segments
 *   16  .. records, each:
 *            4   length of the canonical bytes, u32; 0 ends the segment
 *            32  SHA-256 of the canonical bytes
 *            ..  canonical bytes
 *
 * A reused segment still has old records behind the new ones. They can't be mistaken: a reader goes on only while the
 * sequence number rises by one and `prev` is the hash before.
 */
import {
  closeSync,
  existsSync,
  fdatasync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { digest, EVENT_BYTES, links } from './canonical.ts';

export const SEGMENT_BYTES = 4_194_304;
/** At most this many segments: what LMDB may lag behind before new operations are refused. */
export const SEGMENTS = 8;
/** Kept at all times, so that a daemon can start and write on a full disk. */
const SPARE = 2;
const MAGIC = Buffer.from('SLUJRN1\0', 'latin1');
const HEADER = 16;
export const RECORD_HEADER = 36;

interface Segment {
  readonly path: string;
  readonly fd: number;
  generation: bigint;
  position: number;
  /** Sequence number of its last event; 0: none, free for use. */
  last: number;
  dirty: boolean;
}

/** One committed event that is not in LMDB yet. */
export interface Entry {
  readonly seq: number;
  readonly bytes: Buffer;
}

export class Journal {
  readonly #dir: string;
  readonly #segments: Segment[] = [];
  #current: Segment;
  #generation: bigint;

  /** Opens the journal for writing. What it held must have been read with `readJournal` before: all segments are free now. */
  constructor(dir: string) {
    this.#dir = dir;
    this.#generation = 0n;
    for (const path of segmentPaths(dir)) {
      const head = readFileSync(path).subarray(0, HEADER);
      const generation = head.length === HEADER ? head.readBigUInt64LE(8) : 0n;
      if (generation > this.#generation) this.#generation = generation;
      this.#segments.push({ path, fd: openSync(path, 'r+'), generation, position: HEADER, last: 0, dirty: false });
    }
    while (this.#segments.length < SPARE) this.#segments.push(this.#create());
    this.#current = this.#segments[0]!;
    this.#begin(this.#current);
  }

  get bytesOnDisk(): number {
    return this.#segments.length * SEGMENT_BYTES;
  }

  /** True when the next events may not find room before LMDB has caught up. `reserve`: bytes that must stay. */
  room(reserve: number): boolean {
    let free = SEGMENT_BYTES - this.#current.position;
    for (const segment of this.#segments)
      if (segment.last === 0 && segment !== this.#current) free += SEGMENT_BYTES - HEADER;
    free += (SEGMENTS - this.#segments.length) * (SEGMENT_BYTES - HEADER);
    return free > reserve;
  }

  /**
   * Writes whole records. On return they survive the death of the process. All or nothing for the caller: after an
   * error the same place is written again.
   * @throws the system's error (ENOSPC, EIO), or ENOSPC when every segment waits for LMDB.
   */
  append(records: Buffer, lastSeq: number): void {
    if (this.#current.position + records.length + 4 > SEGMENT_BYTES) this.#rotate();
    const segment = this.#current;
    write(segment.fd, records, segment.position);
    segment.position += records.length;
    segment.last = lastSeq;
    segment.dirty = true;
  }

  /** Frees the segments whose events are all on disk in LMDB. */
  release(drainedSeq: number): void {
    for (const segment of this.#segments) {
      if (segment.last > drainedSeq || segment.last === 0) continue;
      segment.dirty = false;
      segment.last = 0;
      if (segment === this.#current) this.#begin(segment);
    }
  }

  /** fdatasync of everything appended so far; `done` gets the first error. */
  sync(done: (error: Error | null) => void): void {
    const dirty = this.#segments.filter((segment) => segment.dirty);
    let left = dirty.length;
    let failed: Error | null = null;
    if (left === 0) return void setImmediate(done, null);
    for (const segment of dirty) {
      segment.dirty = false;
      fdatasync(segment.fd, (error) => {
        failed ??= error;
        if (--left === 0) done(failed);
      });
    }
  }

  close(): void {
    for (const segment of this.#segments) closeSync(segment.fd);
    this.#segments.length = 0;
  }

  #rotate(): void {
    let next = this.#segments.find((segment) => segment.last === 0 && segment !== this.#current);
    if (next === undefined) {
      if (this.#segments.length >= SEGMENTS) {
        throw Object.assign(new Error('every journal segment waits for the store'), { code: 'ENOSPC' });
      }
      next = this.#create();
      this.#segments.push(next);
    }
    this.#begin(next);
    this.#current = next;
  }

  /** Makes a segment the newest: a higher generation, and an end mark where its first record will stand. */
  #begin(segment: Segment): void {
    const head = Buffer.alloc(HEADER + 4);
    MAGIC.copy(head);
    head.writeBigUInt64LE(++this.#generation, 8);
    write(segment.fd, head, 0);
    segment.generation = this.#generation;
    segment.position = HEADER;
  }

  #create(): Segment {
    let number = 0;
    while (existsSync(join(this.#dir, `journal.${number}`))) number++;
    const path = join(this.#dir, `journal.${number}`);
    const fresh = `${path}.new`;
    const fd = openSync(fresh, 'w+', 0o600);
    try {
      const zeros = Buffer.alloc(SEGMENT_BYTES >> 4);
      for (let at = 0; at < SEGMENT_BYTES; at += zeros.length) write(fd, zeros, at);
      fsyncSync(fd);
      renameSync(fresh, path);
      const parent = openSync(this.#dir, 'r');
      fsyncSync(parent);
      closeSync(parent);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return { path, fd, generation: 0n, position: HEADER, last: 0, dirty: false };
  }
}

function write(fd: number, bytes: Buffer, position: number): void {
  let done = 0;
  while (done < bytes.length) done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}

/** Writes the record of one event; returns where the next begins. */
export function putRecord(into: Buffer, at: number, canonicalBytes: number, hash: string): number {
  into.writeUInt32LE(canonicalBytes, at);
  into.write(hash, at + 4, 32, 'hex');
  return at + RECORD_HEADER + canonicalBytes;
}

/**
 * The events of the journal that follow (seq, hash), oldest first. Reads only, so it also serves a reader beside the
 * daemon. Stops at the first record that is torn or does not continue the chain.
 */
export function readJournal(dir: string, after: { seq: number; hash: string }): Entry[] {
  const segments = segmentPaths(dir)
    .map((path) => readFileSync(path))
    .filter((raw) => raw.length >= HEADER && raw.subarray(0, 8).equals(MAGIC))
    .sort((a, b) => (a.readBigUInt64LE(8) < b.readBigUInt64LE(8) ? -1 : 1));
  const entries: Entry[] = [];
  let { seq, hash } = after;
  for (const raw of segments) {
    let at = HEADER;
    let before: { seq: number; hash: string } | null = null;
    while (at + RECORD_HEADER <= raw.length) {
      const length = raw.readUInt32LE(at);
      if (length === 0 || length > EVENT_BYTES || at + RECORD_HEADER + length > raw.length) break;
      const bytes = raw.subarray(at + RECORD_HEADER, at + RECORD_HEADER + length);
      const link = links(bytes);
      const sum = raw.toString('hex', at + 4, at + RECORD_HEADER);
      if (link === null || digest(bytes) !== sum) break;
      // A record behind the newest one of a reused segment: from an earlier use.
      if (before !== null && (link.seq !== before.seq + 1 || link.prev !== before.hash)) break;
      before = { seq: link.seq, hash: sum };
      at += RECORD_HEADER + length;
      if (link.seq <= seq) continue;
      if (link.seq !== seq + 1 || link.prev !== hash) break;
      entries.push({ seq: link.seq, bytes });
      ({ seq, hash } = before);
    }
  }
  return entries;
}

function segmentPaths(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => /^journal\.\d+$/.test(name))
    .sort((a, b) => Number(a.slice(8)) - Number(b.slice(8)))
    .map((name) => join(dir, name));
}

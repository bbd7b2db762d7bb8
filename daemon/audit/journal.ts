/**
 * The journal: a few preallocated files, written in place, that hold events from the moment they are committed until they
 * are on disk in LMDB. It exists because of two measurements (README.md): an LMDB commit that is safe against power loss
 * costs 400 microseconds, and one that is not costs three times a plain write. Being preallocated and zero-filled, it takes
 * what was acknowledged even on a full disk, and fdatasync has no metadata to write.
 *
 * Segment file `journal.<n>`, SEGMENT_BYTES long, integers little-endian:
 *
 *   0   8  magic "SLUJRN2\0"
 *   8   8  generation, u64: rises with each reuse, orders the segments
 *   16  .. frames, one a turn, each:
 *            4   length of the records, u32; 0 ends the segment
 *            32  SHA-256 of the canonical bytes of its last event, which by `prev` vouches for those before
 *            ..  records (run.ts)
 *
 * A reused segment still has old frames behind the new ones. They can't be mistaken: a reader goes on only while the
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
import type { Append } from './append.ts';
import { digest, links } from './canonical.ts';
import { type Entry, RECORD_HEADER, unpack } from './run.ts';

export const SEGMENT_BYTES = 4_194_304;
/** At most this many segments: what LMDB may lag behind before new operations are refused. */
export const SEGMENTS = 8;
/** Kept at all times, so that a daemon can start and write on a full disk. */
const SPARE = 2;
const MAGIC = Buffer.from('SLUJRN2\0', 'latin1');
const HEADER = 16;
export const FRAME_HEADER = 36;

interface Segment {
  readonly path: string;
  readonly fd: number;
  generation: bigint;
  position: number;
  /** Sequence number of its last event; 0: none, free for use. */
  last: number;
  dirty: boolean;
}

export class Journal {
  readonly #dir: string;
  readonly #append: Append;
  readonly #segments: Segment[] = [];
  #current: Segment;
  #generation: bigint;
  #freeBesides = 0;

  /** Opens the journal for writing. What it held must have been read with `readJournal` before: all segments are free now. */
  constructor(dir: string, append: Append) {
    this.#dir = dir;
    this.#append = append;
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
    this.#countFree();
  }

  get bytesOnDisk(): number {
    return this.#segments.length * SEGMENT_BYTES;
  }

  /** Bytes that can be appended before LMDB has to catch up. */
  get free(): number {
    return SEGMENT_BYTES - this.#current.position + this.#freeBesides;
  }

  /** In segments other than the current one, those not made yet included. */
  #countFree(): void {
    let free = SEGMENTS - this.#segments.length;
    for (const segment of this.#segments) if (segment.last === 0 && segment !== this.#current) free++;
    this.#freeBesides = free * (SEGMENT_BYTES - HEADER);
  }

  /**
   * Chains the records `start` to `end` of the chunk behind the event of hash `before`, whose hash goes into `after`, and writes
   * them. On return they survive the death of the process. All or nothing for the caller: after an error the same place is
   * written again.
   * @throws the system's error (ENOSPC, EIO), or ENOSPC when every segment waits for LMDB.
   */
  append(chunk: Buffer, start: number, end: number, lastSeq: number, before: Buffer, after: Buffer): void {
    const size = FRAME_HEADER + end - start;
    if (this.#current.position + size + 4 > SEGMENT_BYTES) this.#rotate();
    const segment = this.#current;
    this.#append(segment.fd, segment.position, chunk, start, end, before, after);
    segment.position += size;
    segment.last = lastSeq;
    segment.dirty = true;
  }

  /**
   * Frees the segments whose events are all on disk in LMDB.
   * @throws the system's error, and is to be called again.
   */
  release(drainedSeq: number): void {
    for (const segment of this.#segments) {
      if (segment.last > drainedSeq || segment.last === 0) continue;
      // If that fails, it is released again.
      if (segment === this.#current) this.#begin(segment);
      segment.dirty = false;
      segment.last = 0;
    }
    this.#countFree();
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
    this.#countFree();
  }

  /** Makes a segment the newest: a higher generation, and an end mark where its first frame will stand. */
  #begin(segment: Segment): void {
    const head = Buffer.alloc(HEADER + 4);
    MAGIC.copy(head);
    head.writeBigUInt64LE(++this.#generation, 8);
    write(segment.fd, head, 0, head.length, 0);
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
      for (let at = 0; at < SEGMENT_BYTES; at += zeros.length) write(fd, zeros, 0, zeros.length, at);
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

function write(fd: number, bytes: Buffer, start: number, end: number, position: number): void {
  for (let at = start; at < end; ) at += writeSync(fd, bytes, at, end - at, position + (at - start));
}

/**
 * The events of the journal that follow (seq, hash), oldest first. Reads only, so it also serves a reader beside the
 * daemon. Stops at the first frame that is torn or does not continue the chain.
 */
export function readJournal(dir: string, after: { seq: number; hash: string }): Entry[] {
  const segments = segmentPaths(dir)
    .map((path) => readFileSync(path))
    .filter((raw) => raw.length >= HEADER && raw.subarray(0, 8).equals(MAGIC))
    .sort((a, b) => (a.readBigUInt64LE(8) < b.readBigUInt64LE(8) ? -1 : 1));
  const entries: Entry[] = [];
  let { seq, hash } = after;
  for (const raw of segments) {
    let before: Link | null = null;
    for (let at = HEADER; at + FRAME_HEADER <= raw.length; ) {
      const end = at + FRAME_HEADER + raw.readUInt32LE(at);
      const frame: Frame | null = end > raw.length ? null : readFrame(raw.subarray(at, end));
      if (frame === null) break;
      // A frame behind the newest one of a reused segment: from an earlier use.
      if (before !== null && (frame.first !== before.seq + 1 || frame.prev !== before.hash)) break;
      before = frame.last;
      at = end;
      if (before.seq <= seq) continue;
      if (frame.first > seq + 1 || (frame.first === seq + 1 && frame.prev !== hash)) break;
      for (const entry of frame.entries) if (entry.seq > seq) entries.push(entry);
      ({ seq, hash } = before);
    }
  }
  return entries;
}

interface Link {
  readonly seq: number;
  readonly hash: string;
}

interface Frame {
  readonly entries: readonly Entry[];
  readonly first: number;
  readonly prev: string;
  readonly last: Link;
}

/** Null: torn, or no frame. */
function readFrame(raw: Buffer): Frame | null {
  const start = FRAME_HEADER + RECORD_HEADER;
  const first = raw.length < start ? null : links(raw.subarray(start, start + raw.readUInt32LE(FRAME_HEADER)));
  if (first === null) return null;
  const entries = unpack(raw.subarray(FRAME_HEADER), first.seq);
  let hash = first.prev;
  for (const [i, { bytes }] of entries.entries()) {
    const link = links(bytes);
    if (link === null || link.seq !== first.seq + i || link.prev !== hash) return null;
    hash = digest(bytes);
  }
  if (hash !== raw.toString('hex', 4, FRAME_HEADER)) return null;
  return { entries, first: first.seq, prev: first.prev, last: { seq: first.seq + entries.length - 1, hash } };
}

function segmentPaths(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => /^journal\.\d+$/.test(name))
    .sort((a, b) => Number(a.slice(8)) - Number(b.slice(8)))
    .map((name) => join(dir, name));
}

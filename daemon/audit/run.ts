/**
 * How events stand one after the other: in memory, in the journal and in LMDB, where a run of consecutive events is one
 * value. One record each, integers little-endian:
 *
 *   0  4  length of the canonical bytes, u32
 *   4  4  sequence number modulo 2^32, u32; the rest of it is that of the run's first
 *   8  .. canonical bytes
 *
 * A run never reaches over a multiple of BLOCK. The number stands beside the event, so that one taken out of a run leaves
 * a gap and does not move all that follow it.
 */
import { BLOCK } from './terms.ts';

export const RECORD_HEADER = 8;
/** The larger, the fewer values; the smaller, the less is read in vain. 16 pages, so that what retention frees fits again. */
export const RUN_BYTES = 65_536 - 16;

/** An event's canonical bytes, and the sequence number of the place where they were found. */
export interface Entry {
  readonly seq: number;
  readonly bytes: Buffer;
}

/** Consecutive events of one block: bytes `start` to `end` of `chunk`. Times are milliseconds since the epoch. */
export interface Stretch {
  readonly first: number;
  readonly last: number;
  readonly chunk: Buffer;
  readonly start: number;
  readonly end: number;
  /** No event in it is earlier, none later. */
  readonly from: number;
  readonly to: number;
}

/** Writes what stands before the canonical bytes. */
export function putHeader(into: Buffer, at: number, length: number, seq: number): void {
  into.writeUInt32LE(length, at);
  into.writeUInt32LE(seq % 0x1_0000_0000, at + 4);
}

/** The records of these events. */
export function pack(entries: readonly Entry[]): Buffer {
  const raw = Buffer.allocUnsafeSlow(entries.reduce((sum, { bytes }) => sum + RECORD_HEADER + bytes.length, 0));
  let at = 0;
  for (const { seq, bytes } of entries) {
    putHeader(raw, at, bytes.length, seq);
    at += RECORD_HEADER + bytes.copy(raw, at + RECORD_HEADER);
  }
  return raw;
}

/**
 * The events of a run that begins with event `first`. What can't be read as records is given as the bytes of the event that
 * should stand there: it is no event, and who verifies says so.
 */
export function unpack(raw: Buffer, first: number): Entry[] {
  const entries: Entry[] = [];
  const bound = blockEnd(first);
  let least = first;
  for (let at = 0; at < raw.length; ) {
    const start = at + RECORD_HEADER;
    const length = start < raw.length ? raw.readUInt32LE(at) : 0;
    const seq = length === 0 ? 0 : first + ((raw.readUInt32LE(at + 4) - first) >>> 0);
    if (length === 0 || start + length > raw.length || seq < least || seq >= bound) {
      entries.push({ seq: Math.min(least, bound - 1), bytes: raw.subarray(at) });
      break;
    }
    entries.push({ seq, bytes: raw.subarray(start, start + length) });
    least = seq + 1;
    at = start + length;
  }
  return entries;
}

/** First sequence number after the block of `seq`. */
export function blockEnd(seq: number): number {
  return (Math.floor(seq / BLOCK) + 1) * BLOCK;
}

/**
 * A look at an LMDB file before LMDB maps it. LMDB believes what it maps: a file that is no database ends the process with
 * SIGSEGV, one that was cut short with SIGBUS. Layout (liblmdb mdb.c, MDB_meta; two meta pages, the newer one counts):
 *
 *   page + 24   magic 0xBEEFC0DE, u32
 *   page + 28   version, u32
 *   page + 48   page size, u32
 *   page + 144  number of the last page used, u64
 *   page + 152  transaction id, u64
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { SluiceError } from '../core/errors.ts';

const PAGE = 4_096;
const MAGIC = 0xbeefc0de;
/** Pages at the end that a transaction took and gave back are counted as used and never written. */
const SLACK = 64n;

/** @throws SluiceError AUDIT_BROKEN when the file is no LMDB database or shorter than it has to be. */
export function checkHeader(path: string): void {
  const fd = openSync(path, 'r');
  const raw = Buffer.alloc(2 * PAGE);
  let size: number;
  try {
    size = fstatSync(fd).size;
    readSync(fd, raw, 0, raw.length, 0);
  } finally {
    closeSync(fd);
  }
  const metas = [raw.subarray(0, PAGE), raw.subarray(PAGE)].map((page) => ({
    valid: page.readUInt32LE(24) === MAGIC && page.readUInt32LE(48) === PAGE,
    last: page.readBigUInt64LE(144),
    transaction: page.readBigUInt64LE(152),
  }));
  const newest = metas.reduce((a, b) => (b.transaction > a.transaction ? b : a));
  if (!metas.every((meta) => meta.valid)) {
    throw new SluiceError('AUDIT_BROKEN', `${path} is not an LMDB database of ${PAGE}-byte pages`);
  }
  const least = (newest.last + 1n - SLACK) * BigInt(PAGE);
  if (BigInt(size) < least) {
    throw new SluiceError('AUDIT_BROKEN', `${path} is cut short: ${size} bytes of at least ${least}`);
  }
}

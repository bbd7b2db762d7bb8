/**
 * Keyed derivation: the same value under the same key gives the same bytes, and without the key nothing can be tried.
 * `domain` keeps kinds apart, so that a hash never helps to read a token.
 */
import { createHash, createHmac } from 'node:crypto';
import type { MaskKey } from './key.ts';

/** HMAC-SHA-256(key, domain NUL value), 32 bytes. */
export function keyedDigest(key: MaskKey, domain: string, value: Uint8Array | string): Buffer {
  return createHmac('sha256', key).update(domain).update('\0').update(value).digest();
}

/** As many keyed bytes as asked for: SHAKE-256 over the digest. */
export function keyedStream(key: MaskKey, domain: string, value: Uint8Array | string, length: number): Buffer {
  const seed = keyedDigest(key, domain, value);
  if (length <= seed.length) return seed.subarray(0, length);
  return createHash('shake256', { outputLength: length }).update(seed).digest();
}

/** A keyed integer from `low` to `high`, both included; the bias of the remainder is below 2^-64 for ranges up to 2^64. */
export function keyedInteger(key: MaskKey, domain: string, value: string, low: bigint, high: bigint): bigint {
  const wide = BigInt(`0x${keyedDigest(key, domain, value).toString('hex')}`);
  return low + (wide % (high - low + 1n));
}

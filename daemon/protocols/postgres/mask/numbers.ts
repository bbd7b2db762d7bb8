/**
 * Masking of numbers, over their decimal text; the binary forms are read into it and written from it.
 *
 *   tokenize  as many digits before and after the point, same sign, the first digit not 0 unless it was, within the range
 *   hash      a keyed whole number that doesn't show the magnitude: the positive range of the type, at most 2^53
 *   partial   trailing digits as for text (a quarter, at most 4), the rest 0: a card number keeps its last four
 */
import type { MaskKind } from '../../../core/mask.ts';
import type { MaskKey } from '../../../masking/key.ts';
import { keyedInteger, keyedStream } from '../../../masking/keyed.ts';
import { MAX_SHAPED } from '../../../masking/kinds.ts';

const SAFE = 2n ** 53n - 1n;

/** Largest values by binary width. */
const INTEGER_LIMITS: Readonly<Record<number, bigint>> = {
  2: 32_767n,
  4: 2_147_483_647n,
  8: 9_223_372_036_854_775_807n,
};

/** @param text decimal integer @returns decimal integer within the type of that many bytes */
export function maskInteger(kind: MaskKind, text: string, width: number, key: MaskKey): string {
  if (!/^-?\d{1,19}$/.test(text)) return '0';
  const limit = INTEGER_LIMITS[width] ?? SAFE;
  const canonical = BigInt(text);
  const digits = (canonical < 0n ? -canonical : canonical).toString();
  const sign = canonical < 0n ? '-' : '';
  if (kind === 'hash') return keyedInteger(key, 'hash number', canonical.toString(), 0n, min(limit, SAFE)).toString();
  if (kind === 'partial') return signed(sign, BigInt(lastDigits(digits)));
  if (kind !== 'tokenize') return '0';
  const low = digits.length === 1 ? 0n : 10n ** BigInt(digits.length - 1);
  const high = min(limit, 10n ** BigInt(digits.length) - 1n);
  return signed(sign, keyedInteger(key, 'tokenize number', canonical.toString(), low, high));
}

const min = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const signed = (sign: string, value: bigint): string => (value === 0n ? '0' : `${sign}${value}`);

function lastDigits(digits: string): string {
  const keep = Math.min(4, digits.length >> 2);
  return keep === 0 ? '0' : digits.slice(-keep);
}

/** @param text decimal without exponent, or NaN and Infinity, which become 0 */
export function maskDecimal(kind: MaskKind, text: string, key: MaskKey): string {
  if (text.length > MAX_SHAPED) return '0';
  const parts = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  if (parts === null) return '0';
  const [, sign = '', whole = '', fraction = ''] = parts;
  if (kind === 'hash') return keyedInteger(key, 'hash number', text, 0n, SAFE).toString();
  const digits = whole + fraction;
  if (kind === 'partial') {
    const kept = lastDigits(digits.replace(/^0+/, '') || '0').padStart(digits.length, '0');
    return decimal(sign, kept.slice(0, whole.length), kept.slice(whole.length));
  }
  if (kind !== 'tokenize') return '0';
  const stream = keyedStream(key, 'tokenize number', text, digits.length);
  let out = '';
  for (let i = 0; i < digits.length; i++) {
    const first = i === 0 && whole.length > 1;
    out += first ? 1 + (stream[i]! % 9) : stream[i]! % 10;
  }
  return decimal(sign, out.slice(0, whole.length), out.slice(whole.length));
}

function decimal(sign: string, whole: string, fraction: string): string {
  const trimmed = whole.replace(/^0+(?=\d)/, '');
  const value = fraction === '' ? trimmed : `${trimmed}.${fraction}`;
  return /[1-9]/.test(value) ? sign + value : value;
}

/** float4 and float8: through the shortest decimal of the value, so that text and binary agree. 0 where that has an exponent. */
export function maskFloat(kind: MaskKind, value: number, width: number, key: MaskKey): number {
  const canonical = width === 4 ? Math.fround(value) : value;
  const shortest = String(canonical);
  if (!/^-?\d+(\.\d+)?$/.test(shortest)) return kind === 'hash' ? Number(maskDecimal(kind, '0', key)) : 0;
  const masked = Number(maskDecimal(kind, shortest, key));
  return width === 4 ? Math.fround(masked) : masked;
}

const NEGATIVE = 0x4000;
const POSITIVE = 0x0000;

/**
 * numeric: ndigits(int16) weight(int16) sign(uint16) dscale(int16) digit(int16, base 10000)…
 * Value: sum of digit[i] * 10000^(weight - i). Source: numeric_send in utils/adt/numeric.c. Null for NaN, infinities and
 * lengths that lie.
 */
export function decimalOfNumeric(value: Buffer): string | null {
  if (value.length < 8) return null;
  const count = value.readUInt16BE(0);
  const weight = value.readInt16BE(2);
  const sign = value.readUInt16BE(4);
  const scale = value.readUInt16BE(6);
  if (value.length !== 8 + count * 2 || (sign !== POSITIVE && sign !== NEGATIVE) || scale > 0x3fff) return null;
  const digit = (index: number): string => {
    const group = index >= 0 && index < count ? value.readUInt16BE(8 + index * 2) : 0;
    return String(group).padStart(4, '0');
  };
  let whole = '';
  for (let i = 0; i <= weight; i++) whole += digit(i);
  let fraction = '';
  for (let i = weight + 1; fraction.length < scale; i++) fraction += digit(i);
  return decimal(sign === NEGATIVE ? '-' : '', whole === '' ? '0' : whole, fraction.slice(0, scale));
}

/** The inverse, for decimals that this file made. */
export function numericOfDecimal(text: string): Buffer {
  const negative = text.startsWith('-');
  const [whole = '0', fraction = ''] = (negative ? text.slice(1) : text).split('.');
  const left = whole.padStart(Math.ceil(whole.length / 4) * 4, '0');
  const right = fraction.padEnd(Math.ceil(fraction.length / 4) * 4, '0');
  let groups: string[] = (left + right).match(/\d{4}/g) ?? [];
  let weight = left.length / 4 - 1;
  while (groups.length > 0 && groups[0] === '0000') {
    groups = groups.slice(1);
    weight--;
  }
  while (groups.length > 0 && groups[groups.length - 1] === '0000') groups = groups.slice(0, -1);
  const out = Buffer.alloc(8 + groups.length * 2);
  out.writeUInt16BE(groups.length, 0);
  out.writeInt16BE(groups.length === 0 ? 0 : weight, 2);
  out.writeUInt16BE(negative && groups.length > 0 ? NEGATIVE : POSITIVE, 4);
  out.writeUInt16BE(fraction.length, 6);
  for (let i = 0; i < groups.length; i++) out.writeUInt16BE(Number(groups[i]), 8 + i * 2);
  return out;
}

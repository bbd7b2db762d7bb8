/**
 * One value masked so that it stays valid for its type, in text and in binary form; both forms of a value give the same
 * mask. What a kind means for a family:
 *
 *               redact        partial          hash               tokenize
 *   text        [redacted]    last characters  32 hex digits      same shape
 *   json, xml   redacted      redact           text of the hash   as hash
 *   numbers     0             last digits      keyed number       same digits
 *   bool        false         redact           redact             redact
 *   bytea       empty         redact           16 keyed bytes     as hash
 *   uuid        zeros         redact           keyed              keyed
 *   date(time)  1970-01-01    redact           keyed day          keyed day, 1900 to 2099
 *   bit strings 0             redact           keyed, same length as hash
 *   arrays      {}            by element       by element         by element
 *   others      zero value    redact           redact             redact
 *   not known   NULL, always
 *
 * NULL stays NULL, but for that of a derived value (columns.ts).
 */
import type { MaskKind } from '../../../core/mask.ts';
import type { MaskKey } from '../../../masking/key.ts';
import { keyedInteger, keyedStream } from '../../../masking/keyed.ts';
import { hashText, maskText } from '../../../masking/kinds.ts';
import { maskArray } from './arrays.ts';
import { decimalOfNumeric, maskDecimal, maskFloat, maskInteger, numericOfDecimal } from './numbers.ts';
import { DAY_MICROS, EPOCH_DAYS, int64, type Type, typeOf } from './types.ts';

export const TEXT = 0;
export const BINARY = 1;

/** What every value of the type becomes under `kind`; undefined when it depends on the value. Null is SQL NULL. */
export function constantMask(
  kind: MaskKind,
  typeOid: number,
  format: number,
  plain: boolean,
): Buffer | null | undefined {
  const type = typeOf(typeOid);
  if (kind === 'null' || type.family === 'opaque' || (format !== TEXT && format !== BINARY)) return null;
  const zero = format === BINARY ? type.binary : type.text;
  if (!plain || kind === 'redact' || type.family === 'fixed' || type.family === 'bool' || type.family === 'char')
    return zero;
  if (kind === 'partial' && !PARTIAL.has(type.family)) return zero;
  return undefined;
}

const PARTIAL: ReadonlySet<string> = new Set(['text', 'integer', 'float', 'numeric', 'money', 'array']);

/**
 * @param format 0 text, 1 binary
 * @param plain false: the value is derived from the protected one and is redacted whatever the kind
 * @returns null for SQL NULL; never `value` itself. A value that isn't what its type says is redacted.
 */
export function maskValue(
  kind: MaskKind,
  typeOid: number,
  format: number,
  value: Buffer,
  plain: boolean,
  key: MaskKey,
): Buffer | null {
  const constant = constantMask(kind, typeOid, format, plain);
  if (constant !== undefined) return constant;
  const type = typeOf(typeOid);
  if (type.family === 'array') return maskArray(kind, type, format, value, key, maskValue) ?? zeroOf(type, format);
  return (format === BINARY ? maskBinary : maskAsText)(kind, type, value, key) ?? zeroOf(type, format);
}

const zeroOf = (type: Type, format: number): Buffer => (format === BINARY ? type.binary : type.text);
const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');

/** Undefined where the value is not one of its type, or is one that has no shape (NaN, infinity). */
function maskAsText(kind: MaskKind, type: Type, value: Buffer, key: MaskKey): Buffer | undefined {
  switch (type.family) {
    case 'text':
      return maskText(kind, value, key) ?? undefined;
    case 'json':
    case 'jsonb':
      return ascii(`"${hashText(value, key)}"`);
    case 'xml':
      return ascii(hashText(value, key));
    case 'integer':
      return ascii(maskInteger(kind, value.toString('latin1', 0, 32), type.width!, key));
    case 'float': {
      const number = Number(value.toString('latin1', 0, 64));
      return Number.isFinite(number) ? ascii(String(maskFloat(kind, number, type.width!, key))) : undefined;
    }
    case 'numeric':
      return ascii(maskDecimal(kind, value.toString('latin1'), key));
    case 'money':
      return moneyText(kind, value.toString('latin1', 0, 64), key);
    case 'bytea':
      return ascii(`\\x${keyedStream(key, 'hash', rawBytes(value), 16).toString('hex')}`);
    case 'uuid': {
      const hex = keyedUuid(value.toString('latin1', 0, 36).replaceAll('-', ''), key);
      return ascii(hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'));
    }
    case 'date':
    case 'timestamp': {
      const day = new Date(keyedDay(dayText(value), key) * 86_400_000).toISOString().slice(0, 10);
      const tail = type.text.toString('latin1', 10);
      return ascii(day + tail);
    }
    case 'bits':
      return ascii(bitText(value.toString('latin1'), key));
    default:
      return undefined;
  }
}

function maskBinary(kind: MaskKind, type: Type, value: Buffer, key: MaskKey): Buffer | undefined {
  switch (type.family) {
    case 'text':
    case 'json':
    case 'xml':
      return maskAsText(kind, type, value, key);
    case 'jsonb': // version(1) text
      return ascii(`\x01"${hashText(value.subarray(1), key)}"`);
    case 'integer':
    case 'money': {
      const width = type.width ?? 8;
      if (value.length !== width) return undefined;
      const number = width === 8 ? value.readBigInt64BE() : BigInt(value.readIntBE(0, width));
      const masked = BigInt(maskInteger(kind, number.toString(), width, key));
      if (width === 8) return int64(masked);
      const out = Buffer.alloc(width);
      out.writeIntBE(Number(masked), 0, width);
      return out;
    }
    case 'float': {
      if (value.length !== type.width) return undefined;
      const number = type.width === 4 ? value.readFloatBE() : value.readDoubleBE();
      if (!Number.isFinite(number)) return undefined;
      // Through the text of the server: the shortest decimal of a float4 is shorter than that of the same double.
      const masked = maskFloat(kind, number, type.width, key);
      const out = Buffer.alloc(type.width);
      if (type.width === 4) out.writeFloatBE(masked);
      else out.writeDoubleBE(masked);
      return out;
    }
    case 'numeric': {
      const decimal = decimalOfNumeric(value);
      return decimal === null ? undefined : numericOfDecimal(maskDecimal(kind, decimal, key));
    }
    case 'bytea':
      return Buffer.from(keyedStream(key, 'hash', value, 16));
    case 'uuid':
      return Buffer.from(keyedUuid(value.toString('hex'), key), 'hex');
    case 'date': {
      if (value.length !== 4) return undefined;
      const out = Buffer.alloc(4);
      out.writeInt32BE(keyedDay(String(value.readInt32BE() - EPOCH_DAYS), key) + EPOCH_DAYS);
      return out;
    }
    case 'timestamp': {
      if (value.length !== 8) return undefined;
      const days = value.readBigInt64BE() / DAY_MICROS - (value.readBigInt64BE() % DAY_MICROS < 0n ? 1n : 0n);
      const day = keyedDay(String(days - BigInt(EPOCH_DAYS)), key);
      return int64(BigInt(day + EPOCH_DAYS) * DAY_MICROS);
    }
    case 'bits':
      return bitBytes(value, key);
    default:
      return undefined;
  }
}

/** The text form depends on lc_monetary: the digits alone are the value in the smallest unit, as in binary. */
function moneyText(kind: MaskKind, text: string, key: MaskKey): Buffer {
  const digits = text.replace(/\D/g, '').replace(/^0+(?=\d)/, '');
  const negative = text.includes('-') || text.includes('(') ? '-' : '';
  const masked = maskInteger(kind, digits === '0' ? '0' : negative + digits, 8, key);
  const units = masked.replace('-', '').padStart(3, '0');
  return ascii(`${masked.startsWith('-') ? '-' : ''}$${units.slice(0, -2)}.${units.slice(-2)}`);
}

/** bytea in text form: \x and hex digits, or the old escape form, which is hashed as it stands. */
function rawBytes(value: Buffer): Buffer {
  return value[0] === 0x5c && value[1] === 0x78 ? Buffer.from(value.toString('latin1', 2), 'hex') : value;
}

function keyedUuid(hex: string, key: MaskKey): string {
  const bytes = Buffer.from(keyedStream(key, 'uuid', hex.toLowerCase(), 16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x80; // version 8, custom (RFC 9562)
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex');
}

/** Days since 1970 where the server writes ISO dates; else the text itself, which is then a key of its own. */
function dayText(value: Buffer): string {
  const text = value.toString('latin1', 0, 64);
  const parts = /^(\d{4,6})-(\d\d)-(\d\d)[^B]*( BC)?$/.exec(text);
  if (parts === null) return text;
  const year = parts[4] === undefined ? Number(parts[1]) : 1 - Number(parts[1]);
  return String(new Date(0).setUTCFullYear(year, Number(parts[2]) - 1, Number(parts[3])) / 86_400_000);
}

/** Days from 1970-01-01, between 1900-01-01 and 2099-12-31. */
function keyedDay(day: string, key: MaskKey): number {
  return Number(keyedInteger(key, 'day', day, -25_567n, 47_481n));
}

const MAX_BITS = 1 << 16;

function bitText(bits: string, key: MaskKey): string {
  if (!/^[01]*$/.test(bits) || bits.length > MAX_BITS) return '0';
  const stream = keyedStream(key, 'bits', bits, Math.ceil(bits.length / 8));
  return Array.from(bits, (_, i) => (stream[i >> 3]! >> (7 - (i & 7))) & 1).join('');
}

/** bit, varbit: bit count(int32) bits from the most significant, padded with zeros */
function bitBytes(value: Buffer, key: MaskKey): Buffer | undefined {
  if (value.length < 4) return undefined;
  const count = value.readUInt32BE(0);
  if (count > MAX_BITS || value.length !== 4 + Math.ceil(count / 8)) return undefined;
  let bits = '';
  for (let i = 0; i < count; i++) bits += (value[4 + (i >> 3)]! >> (7 - (i & 7))) & 1;
  const masked = bitText(bits, key);
  const out = Buffer.alloc(value.length);
  out.writeUInt32BE(count, 0);
  for (let i = 0; i < count; i++) if (masked[i] === '1') out[4 + (i >> 3)]! |= 1 << (7 - (i & 7));
  return out;
}

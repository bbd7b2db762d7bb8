/** Arrays masked element by element: dimensions and NULLs stay. */
import type { MaskKind } from '../../../core/mask.ts';
import type { MaskKey } from '../../../masking/key.ts';
import type { Type } from './types.ts';

type MaskElement = (
  kind: MaskKind,
  typeOid: number,
  format: number,
  value: Buffer,
  plain: boolean,
  key: MaskKey,
) => Buffer | null;

const MAX_DIMENSIONS = 6;

/** Undefined when the value is no array of its type; the caller then has the empty array. */
export function maskArray(
  kind: MaskKind,
  type: Type,
  format: number,
  value: Buffer,
  key: MaskKey,
  mask: MaskElement,
): Buffer | undefined {
  const element = type.element!;
  const each = (part: Buffer): Buffer | null => mask(kind, element, format, part, true, key);
  return format === 1 ? binaryArray(value, element, each) : textArray(value, each);
}

/**
 * dimensions(int32) hasNull(int32) elementType(int32), per dimension size(int32) lowerBound(int32), then per element
 * length(int32, -1 is NULL) bytes. Source: array_send in utils/adt/arrayfuncs.c
 */
function binaryArray(value: Buffer, element: number, each: (part: Buffer) => Buffer | null): Buffer | undefined {
  if (value.length < 12 || value.readUInt32BE(8) !== element) return undefined;
  const dimensions = value.readUInt32BE(0);
  const head = 12 + dimensions * 8;
  if (dimensions > MAX_DIMENSIONS || value.length < head) return undefined;
  const parts: Buffer[] = [Buffer.from(value.subarray(0, head))];
  let nulls = value.readUInt32BE(4) !== 0;
  let at = head;
  while (at < value.length) {
    if (at + 4 > value.length) return undefined;
    const length = value.readInt32BE(at);
    at += 4;
    if (length < -1 || length > value.length - at) return undefined;
    const masked = length < 0 ? null : each(value.subarray(at, at + length));
    if (length > 0) at += length;
    const size = Buffer.alloc(4);
    size.writeInt32BE(masked === null ? -1 : masked.length);
    parts.push(size);
    if (masked === null) nulls = true;
    else parts.push(masked);
  }
  parts[0]!.writeUInt32BE(nulls ? 1 : 0, 4);
  return Buffer.concat(parts);
}

const OPEN = 0x7b;
const CLOSE = 0x7d;
const COMMA = 0x2c;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** [1:2][0:1]={{a,"b c"},{NULL,d}}. Source: "Array Input and Output Syntax" (arrays.html). */
function textArray(value: Buffer, each: (part: Buffer) => Buffer | null): Buffer | undefined {
  const start = value.indexOf(OPEN);
  if (start < 0 || !/^(\[-?\d+:-?\d+\])*=?$/.test(value.toString('latin1', 0, Math.min(start, 200)))) return undefined;
  const parts: Buffer[] = [value.subarray(0, start)];
  let at = start;
  while (at < value.length) {
    const byte = value[at]!;
    if (byte === OPEN || byte === CLOSE || byte === COMMA) {
      parts.push(value.subarray(at, at + 1));
      at++;
      continue;
    }
    const end = elementEnd(value, at);
    if (end < 0) return undefined;
    const quoted = byte === QUOTE;
    const raw = value.subarray(quoted ? at + 1 : at, quoted ? end - 1 : end);
    if (!quoted && raw.toString('latin1', 0, 5) === 'NULL') parts.push(raw);
    else {
      const masked = each(raw.includes(BACKSLASH) ? unescaped(raw) : raw);
      parts.push(masked === null ? Buffer.from('NULL') : quoteElement(masked));
    }
    at = end;
  }
  return Buffer.concat(parts);
}

/** One past the element that begins at `at`; -1 when it doesn't end. */
function elementEnd(value: Buffer, at: number): number {
  const quoted = value[at] === QUOTE;
  for (let i = quoted ? at + 1 : at; i < value.length; i++) {
    const byte = value[i]!;
    if (byte === BACKSLASH) i++;
    else if (quoted && byte === QUOTE) return i + 1;
    else if (!quoted && (byte === COMMA || byte === CLOSE || byte === OPEN)) return i;
  }
  return -1;
}

function unescaped(raw: Buffer): Buffer {
  const out = Buffer.allocUnsafe(raw.length);
  let length = 0;
  for (let i = 0; i < raw.length; i++) {
    if (raw[i] === BACKSLASH && i + 1 < raw.length) i++;
    out[length++] = raw[i]!;
  }
  return out.subarray(0, length);
}

function quoteElement(value: Buffer): Buffer {
  const text = value.toString('latin1');
  if (/^[A-Za-z0-9_.:+-]+$/.test(text) && text.toUpperCase() !== 'NULL') return value;
  return Buffer.from(`"${text.replace(/["\\]/g, '\\$&')}"`, 'latin1');
}

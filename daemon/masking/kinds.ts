/**
 * The five kinds of mask over text. Input is bytes in any encoding that holds ASCII; output is ASCII, so that it stays
 * valid in whatever encoding the client chose. A character beyond ASCII counts as one letter (UTF-8 is assumed).
 *
 *   redact    [redacted]
 *   null      null (the caller's wire says what that is)
 *   partial   last characters kept, at most 4 and at most a quarter of letters and digits; separators kept, the rest *
 *   hash      32 hex digits of HMAC-SHA-256
 *   tokenize  digit to digit, letter to letter of the same case, punctuation kept, keyed by the whole value
 */
import type { MaskKind } from '../core/mask.ts';
import type { MaskKey } from './key.ts';
import { keyedDigest, keyedStream } from './keyed.ts';

export const REDACTED = '[redacted]';
const REDACTED_BYTES = Buffer.from(REDACTED, 'latin1');
const HASH_BYTES = 16;

/** Shape is kept up to this many bytes; a longer value is redacted, since nobody needs the shape of a document. */
export const MAX_SHAPED = 64 * 1024;

const STAR = 0x2a;
const OTHER = 0;
const DIGIT = 1;
const UPPER = 2;
const LOWER = 3;
const PUNCTUATION = 4;
const CONTINUATION = 5;
/** ASCII separators that partial keeps: they make the shape, and hold no secret by themselves. */
const SEPARATORS = '-_.@/:,+() ';

const CLASS = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte >= 0x30 && byte <= 0x39) return DIGIT;
  if (byte >= 0x41 && byte <= 0x5a) return UPPER;
  if (byte >= 0x61 && byte <= 0x7a) return LOWER;
  if (byte < 0x80) return PUNCTUATION;
  return byte < 0xc0 ? CONTINUATION : OTHER;
});
const SEPARATOR = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte < 0x80 && SEPARATORS.includes(String.fromCharCode(byte)) ? 1 : 0,
);

/** Never changes `value`; the answer may be shared and is not to be written to. Null only for the kind `null`. */
export function maskText(kind: MaskKind, value: Uint8Array, key: MaskKey): Buffer | null {
  switch (kind) {
    case 'null':
      return null;
    case 'partial':
      return partialText(value);
    case 'hash':
      return Buffer.from(hashText(value, key), 'latin1');
    case 'tokenize':
      return tokenText(value, key);
    default:
      return REDACTED_BYTES; // redact, and whatever a later version may add
  }
}

export function hashText(value: Uint8Array | string, key: MaskKey): string {
  return keyedDigest(key, 'hash', value).toString('hex', 0, HASH_BYTES);
}

/** Letters, digits and characters beyond ASCII; -1 where the value is too long or mostly punctuation to have a shape. */
function shapeLetters(value: Uint8Array): number {
  if (value.length > MAX_SHAPED) return -1;
  let letters = 0;
  let punctuation = 0;
  for (let i = 0; i < value.length; i++) {
    const kind = CLASS[value[i]!];
    if (kind === PUNCTUATION) punctuation++;
    else if (kind !== CONTINUATION) letters++;
  }
  // Where punctuation is the value (a pattern, a drawing, a password of signs), keeping it would keep the value.
  return letters === 0 || punctuation > letters ? -1 : letters;
}

function partialText(value: Uint8Array): Buffer {
  const letters = shapeLetters(value);
  if (letters < 0) return REDACTED_BYTES;
  const hide = letters - Math.min(4, letters >> 2);
  const out = Buffer.allocUnsafe(value.length);
  let length = 0;
  let seen = 0;
  for (let i = 0; i < value.length; i++) {
    const byte = value[i]!;
    const kind = CLASS[byte];
    if (kind === CONTINUATION) continue;
    if (kind === PUNCTUATION) out[length++] = SEPARATOR[byte] === 1 ? byte : STAR;
    else out[length++] = seen++ < hide || kind === OTHER ? STAR : byte;
  }
  return out.subarray(0, length);
}

function tokenText(value: Uint8Array, key: MaskKey): Buffer {
  const letters = shapeLetters(value);
  if (letters < 0) return REDACTED_BYTES;
  const stream = keyedStream(key, 'tokenize', value, letters);
  const out = Buffer.allocUnsafe(value.length);
  let length = 0;
  let used = 0;
  for (let i = 0; i < value.length; i++) {
    const byte = value[i]!;
    const kind = CLASS[byte];
    if (kind === CONTINUATION) continue;
    if (kind === PUNCTUATION) out[length++] = byte;
    else if (kind === DIGIT) out[length++] = 0x30 + (stream[used++]! % 10);
    else out[length++] = (kind === UPPER ? 0x41 : 0x61) + (stream[used++]! % 26);
  }
  return out.subarray(0, length);
}

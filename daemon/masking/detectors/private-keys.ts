import type { Detector, Span } from './detector.ts';
import { ALNUM, bytesOf, prefixed, runEnd } from './detector.ts';

/** A PEM block longer than this is masked as far as this and its base64 goes on being masked by its stream. 16 KiB holds RSA-16384. */
export const MAX_PEM = 16 * 1024;

/** The lines that begin and end a block are shorter: -----BEGIN ENCRYPTED PRIVATE KEY----- has 37 bytes. */
const MAX_LINE = 80;
/** Base64, headers such as Proc-Type, line ends, and line ends written as \n in JSON, COPY or source text. */
export const PEM_BODY = bytesOf('A-Za-z0-9+/=\\,: \t\r\n.-');
const BEGIN = Buffer.from('-----BEGIN ');
const END = Buffer.from('-----END ');

/** RFC 7468 blocks of every private kind, whole: with the line that begins them and the line that ends them. */
export const PRIVATE_KEYS: Detector = {
  name: 'private-keys',
  finds: 'private keys in PEM and OpenSSH form, PGP private key blocks, PuTTY and age keys; the whole block',
  rules: [
    { anchor: 'PRIVATE KEY(?: BLOCK)?-----', verify: pem },
    { anchor: 'PuTTY-User-Key-File-[0-9]', verify: putty },
    prefixed('AGE-SECRET-KEY-1', 'A-Z0-9', 50),
  ],
};

function pem(data: Uint8Array, end: number, low: number, high: number, span: Span): boolean {
  const bytes = Buffer.from(data.buffer, data.byteOffset, high);
  const near = Math.max(low, end - MAX_LINE);
  const begin = end > high || end < low ? -1 : bytes.subarray(near, end).lastIndexOf(BEGIN);
  if (begin < 0) return false;
  const from = near + begin;
  const close = bytes.indexOf(END, end);
  span.from = from;
  const body = runEnd(data, end, high, PEM_BODY);
  if (close >= 0 && (close - from <= MAX_PEM || close <= body)) {
    const dashes = bytes.indexOf('-----', close + END.length);
    span.to =
      dashes >= 0 && dashes - close <= MAX_LINE ? dashes + 5 : high - close <= MAX_LINE ? high : close + END.length;
  } else span.to = body; // cut off: everything that can belong to it
  return true;
}

function putty(data: Uint8Array, end: number, low: number, high: number, span: Span): boolean {
  const bytes = Buffer.from(data.buffer, data.byteOffset, high);
  const from = end - 'PuTTY-User-Key-File-2'.length;
  if (from < low || end > high) return false;
  const mac = bytes.indexOf('Private-MAC:', end);
  span.from = from;
  if (mac < 0 || mac - from > MAX_PEM) span.to = runEnd(data, end, high, PEM_BODY);
  else {
    let to = mac + 'Private-MAC:'.length;
    while (to < high && data[to] === 0x20) to++;
    span.to = runEnd(data, to, high, ALNUM);
  }
  return true;
}

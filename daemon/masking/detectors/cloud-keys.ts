import type { Detector, Span } from './detector.ts';
import { ALNUM, BASE64, prefixed, runEnd } from './detector.ts';

const SECRET_BYTES = 40;
const PAD = 0x3d;

/**
 * Keys of cloud providers by their fixed prefixes. An AWS secret key has none: it is a run of exactly 40 base64 characters
 * with all three classes and the spread of random text, which leaves digests in hex, paths and words aside.
 */
export const CLOUD_KEYS: Detector = {
  name: 'cloud-keys',
  finds:
    'AWS access key ids and secret keys, Google API keys and client secrets, Azure storage keys, SAS signatures and client secrets, Alibaba and DigitalOcean keys',
  rules: [
    ...['AKIA', 'ASIA', 'ABIA', 'ACCA'].map((prefix) => prefixed(prefix, 'A-Z0-9', 16)),
    // One end of the run has to show, or every byte of a long base64 text would be a candidate. Beside a field stand bytes of
    // the wire that may pass for base64 on one side, never on both: left of it is its length, and 40 is none.
    { anchor: '(?:^|[^A-Za-z0-9+/])[A-Za-z0-9+/]{40}', verify: awsSecret },
    {
      anchor: '[A-Za-z0-9+/]{40}[^A-Za-z0-9+/=]',
      verify: (data, end, low, high, span) => awsSecret(data, end - 1, low, high, span),
    },
    prefixed('AIza', 'A-Za-z0-9_-', 35),
    prefixed('GOCSPX-', 'A-Za-z0-9_-', 24),
    prefixed('ya29\\.', 'A-Za-z0-9._-', 20),
    prefixed('AccountKey=', 'A-Za-z0-9+/=', 40),
    prefixed('SharedAccessKey=', 'A-Za-z0-9+/=', 40),
    prefixed('sig=', 'A-Za-z0-9%+/=', 43),
    { anchor: '[A-Za-z0-9+/]{86}==', verify: azureKey },
    { anchor: '[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31}', verify: azureSecret },
    prefixed('LTAI', 'A-Za-z0-9', 12, true),
    prefixed('dop_v1_', 'a-f0-9', 64),
  ],
};

function awsSecret(data: Uint8Array, end: number, low: number, high: number, span: Span): boolean {
  const from = end - SECRET_BYTES;
  if (from < low || end > high) return false;
  if (from > low && BASE64[data[from - 1]!] === 1) return false;
  if (end < high && (BASE64[data[end]!] === 1 || data[end] === PAD)) return false;
  if (!random(data, from, end)) return false;
  span.from = from;
  span.to = end;
  return true;
}

/** Upper, lower and digits, and at least 20 different characters: of 40 random base64 characters, fewer come in 0.1 %. */
function random(data: Uint8Array, from: number, to: number): boolean {
  let upper = false;
  let lower = false;
  let digit = false;
  const seen = new Uint8Array(256);
  let different = 0;
  for (let i = from; i < to; i++) {
    const byte = data[i]!;
    if (byte >= 0x61) lower = true;
    else if (byte >= 0x41) upper = true;
    else if (byte >= 0x30) digit = true;
    if (seen[byte] === 0) different++;
    seen[byte] = 1;
  }
  return upper && lower && digit && different >= 20;
}

/** 64 random bytes in base64: a storage or service bus key. */
function azureKey(data: Uint8Array, end: number, low: number, high: number, span: Span): boolean {
  const from = end - 88;
  if (from < low || end > high || (from > low && BASE64[data[from - 1]!] === 1)) return false;
  if (!random(data, from, end)) return false;
  span.from = from;
  span.to = end;
  return true;
}

function azureSecret(data: Uint8Array, end: number, low: number, high: number, span: Span): boolean {
  const from = end - 37;
  if (from < low || end > high || (from > low && ALNUM[data[from - 1]!] === 1)) return false;
  span.from = from;
  span.to = runEnd(data, end, high, ALNUM);
  return true;
}

import type { Detector, Span } from './detector.ts';
import { ALNUM, bytesOf, DIGITS } from './detector.ts';

const SSN_BYTES = 11;

/** AAA-GG-SSSS with the numbers that were never given out left aside (SSA, POMS RM 10201.035). There is no checksum. */
export const US_SSN: Detector = {
  name: 'us-ssn',
  finds: 'US social security numbers written with dashes or spaces',
  rules: [{ anchor: '[0-8][0-9]{2}[- ][0-9]{2}[- ][0-9]{4}', verify: ssn }],
};

function ssn(data: Uint8Array, end: number, low: number, high: number, span: Span): boolean {
  const from = end - SSN_BYTES;
  if (from < low || end > high || data[from + 3] !== data[from + 6]) return false;
  if (from > low && (ALNUM[data[from - 1]!] === 1 || data[from - 1] === 0x2d)) return false;
  if (end < high && (DIGITS[data[end]!] === 1 || (data[end] === 0x2d && DIGITS[data[end + 1] ?? 0] === 1)))
    return false;
  const number = (at: number, length: number): number => {
    let value = 0;
    for (let i = at; i < at + length; i++) value = value * 10 + data[i]! - 0x30;
    return value;
  };
  const area = number(from, 3);
  if (area === 0 || area === 666 || number(from + 4, 2) === 0 || number(from + 7, 4) === 0) return false;
  span.from = from;
  span.to = end;
  return true;
}

/** Lengths by country, SWIFT IBAN registry. */
const IBAN_LENGTHS =
  'AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 ' +
  'FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 ' +
  'LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 ' +
  'RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30';
const LENGTH_BY_COUNTRY: ReadonlyMap<string, number> = new Map(
  IBAN_LENGTHS.split(' ').map((entry) => [entry.slice(0, 2), Number(entry.slice(2))]),
);
const UPPER_ALNUM = bytesOf('A-Z0-9');
const SPACE = 0x20;
/** The shortest IBAN (Norway): the anchor is exactly that many characters. */
const SHORTEST = 15;

/** ISO 13616: country, two check digits, length of the country, ISO 7064 mod 97-10 equal to 1; single spaces between groups. */
export const IBAN: Detector = {
  name: 'iban',
  finds: 'bank account numbers (IBAN) with a right length and checksum, also grouped by spaces',
  rules: [{ anchor: '[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11}', verify: iban }],
};

function iban(data: Uint8Array, end: number, low: number, high: number, span: Span): boolean {
  if (end > high) return false;
  let from = end;
  for (let count = 0; count < SHORTEST; ) {
    if (--from < low) return false;
    if (UPPER_ALNUM[data[from]!] === 1) count++;
  }
  if (from > low && ALNUM[data[from - 1]!] === 1) return false;
  const length = LENGTH_BY_COUNTRY.get(String.fromCharCode(data[from]!, data[from + 1]!));
  if (length === undefined) return false;
  let text = '';
  let to = from;
  for (; to < high && text.length < length; to++) {
    const byte = data[to]!;
    if (UPPER_ALNUM[byte] === 1) text += String.fromCharCode(byte);
    else if (byte !== SPACE || UPPER_ALNUM[data[to + 1] ?? 0] === 0) return false;
  }
  if (text.length < length || (to < high && ALNUM[data[to]!] === 1) || !mod97(text)) return false;
  span.from = from;
  span.to = to;
  return true;
}

function mod97(iban: string): boolean {
  let rest = 0;
  for (const char of iban.slice(4) + iban.slice(0, 4)) {
    const value = Number.parseInt(char, 36);
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
  }
  return rest === 1;
}

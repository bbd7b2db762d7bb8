import type { Detector, Span } from './detector.ts';
import { DIGITS } from './detector.ts';

const SPACE = 0x20;
const DASH = 0x2d;
const FEWEST = 13;
const MOST = 19;

/**
 * 13 to 19 digits, single spaces or dashes between them, that begin as a network's numbers do (ISO/IEC 7812 ranges) and
 * pass Luhn. The anchor is exactly 13 digits, so the start is found by walking back as many.
 */
export const PAYMENT_CARDS: Detector = {
  name: 'payment-cards',
  finds:
    'card numbers of 13 to 19 digits with a known issuer range and a right Luhn digit, also grouped by spaces or dashes',
  rules: [{ anchor: '[2-6](?:[ -]?[0-9]){12}', verify: card }],
};

function card(data: Uint8Array, end: number, low: number, high: number, span: Span): boolean {
  if (end > high) return false;
  const digits: number[] = [];
  let from = end;
  for (let count = 0; count < FEWEST; ) {
    if (--from < low) return false;
    if (DIGITS[data[from]!] === 1) count++;
  }
  if (from > low && DIGITS[data[from - 1]!] === 1) return false; // within a longer run of digits
  let best = 0;
  for (let i = from; i < high && digits.length < MOST; i++) {
    const byte = data[i]!;
    if (DIGITS[byte] === 1) {
      digits.push(byte - 0x30);
      const closed = i + 1 >= high || DIGITS[data[i + 1]!] === 0;
      if (closed && digits.length >= FEWEST && issued(digits) && luhn(digits)) best = i + 1;
    } else if ((byte !== SPACE && byte !== DASH) || DIGITS[data[i + 1] ?? 0] === 0) break;
  }
  if (best === 0) return false;
  span.from = from;
  span.to = best;
  return true;
}

function luhn(digits: readonly number[]): boolean {
  let sum = 0;
  for (let i = digits.length - 1, second = false; i >= 0; i--, second = !second) {
    const digit = digits[i]!;
    sum += second ? (digit > 4 ? digit * 2 - 9 : digit * 2) : digit;
  }
  return sum % 10 === 0;
}

/** Length and first digits of Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay, Maestro, Mir. */
function issued(digits: readonly number[]): boolean {
  const n = digits.length;
  const two = digits[0]! * 10 + digits[1]!;
  const four = two * 100 + digits[2]! * 10 + digits[3]!;
  if (digits[0] === 4) return n === 13 || n === 16 || n === 19;
  if (two >= 51 && two <= 55) return n === 16;
  if (four >= 2221 && four <= 2720) return n === 16;
  if (four >= 2200 && four <= 2204) return n >= 16;
  if (two === 34 || two === 37) return n === 15;
  if (two === 36 || two === 38 || two === 39 || (four >= 3000 && four <= 3059)) return n >= 14;
  if (four >= 3528 && four <= 3589) return n >= 16;
  if (two === 62 || two === 60 || two === 64 || two === 65 || two === 81) return n >= 16;
  return two === 50 || (two >= 56 && two <= 69);
}

import type { Detector, Span } from './detector.ts';
import { bytesOf, runEnd, runStart } from './detector.ts';

/** What addresses are made of in practice. Of the rest of RFC 5322's atext, `x=a@b.io` and `/a@b.io` are no local parts. */
const LOCAL = bytesOf("A-Za-z0-9.%'+_~-");
const NOT_FIRST = bytesOf("'.-");
const DOMAIN = bytesOf('A-Za-z0-9.-');
const LETTERS = bytesOf('A-Za-z');
// UTF-8 beyond ASCII counts as letters (RFC 6531).
for (const set of [LOCAL, DOMAIN, LETTERS]) set.fill(1, 0x80);
const DOT = 0x2e;
const MAX_LOCAL = 64;
const MAX_DOMAIN = 253;

/** RFC 5322 dot-atom @ domain with a top level of two or more letters. Quoted local parts and address literals are not. */
export const EMAILS: Detector = {
  name: 'emails',
  finds: 'e-mail addresses',
  rules: [{ anchor: "[A-Za-z0-9%'+_~\\x80-\\xff.-]@[A-Za-z0-9\\x80-\\xff]", verify: address }],
};

function address(data: Uint8Array, end: number, low: number, high: number, span: Span): boolean {
  const at = end - 2;
  if (at - 1 < low || end > high) return false;
  let from = runStart(data, at, Math.max(low, at - MAX_LOCAL), LOCAL);
  while (from < at && NOT_FIRST[data[from]!] === 1) from++;
  if (from === at) return false;
  let to = runEnd(data, at + 1, Math.min(high, at + 1 + MAX_DOMAIN), DOMAIN);
  while (to > at + 1 && LETTERS[data[to - 1]!] === 0) to--; // a full stop or number after the address
  const top = runStart(data, to, at + 1, LETTERS);
  if (to - top < 2 || top <= at + 1 || data[top - 1] !== DOT) return punycode(data, at, to, from, span);
  span.from = from;
  span.to = to;
  return true;
}

/** A top level such as xn--p1ai, which has digits and dashes. */
function punycode(data: Uint8Array, at: number, end: number, from: number, span: Span): boolean {
  for (let dot = end - 1; dot > at; dot--) {
    if (data[dot] !== DOT) continue;
    const is = data[dot + 1] === 0x78 && data[dot + 2] === 0x6e && data[dot + 3] === 0x2d && data[dot + 4] === 0x2d;
    if (!is || dot + 5 >= end) continue;
    span.from = from;
    span.to = end;
    return true;
  }
  return false;
}

/**
 * Time words of -S and -U, as systemd.time(7) has them, in the local time zone unless `UTC` or `Z` follows:
 * `2026-11-22`, `2026-11-22 10:00[:30[.5]]`, `10:00`, `now`, `today`, `yesterday`, `tomorrow`, `-1h`, `+2min`, `1h 30min ago`,
 * `@1795342800`.
 */
import { SluiceError } from '../core/errors.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const UNITS: Readonly<Record<string, number>> = {
  us: 0.001,
  usec: 0.001,
  ms: 1,
  msec: 1,
  '': SECOND,
  s: SECOND,
  sec: SECOND,
  second: SECOND,
  seconds: SECOND,
  m: MINUTE,
  min: MINUTE,
  minute: MINUTE,
  minutes: MINUTE,
  h: HOUR,
  hr: HOUR,
  hour: HOUR,
  hours: HOUR,
  d: DAY,
  day: DAY,
  days: DAY,
  w: 7 * DAY,
  week: 7 * DAY,
  weeks: 7 * DAY,
  M: 30.44 * DAY,
  month: 30.44 * DAY,
  months: 30.44 * DAY,
  y: 365.25 * DAY,
  year: 365.25 * DAY,
  years: 365.25 * DAY,
};

/**
 * @returns milliseconds since the epoch
 * @throws SluiceError AUDIT_QUERY
 */
export function parseTime(words: string, now: number): number {
  const text = words.trim().slice(0, 100);
  const found = absolute(text, now) ?? relative(text, now);
  if (found === null || !Number.isFinite(found)) {
    throw new SluiceError('AUDIT_QUERY', `"${text}" is not a time`, {
      hint: 'write it like "2026-11-22 10:00", "today", "yesterday", "-1h", "20min ago" or @1795342800',
    });
  }
  return found;
}

function absolute(text: string, now: number): number | null {
  if (text === 'now') return now;
  if (text.startsWith('@')) return /^@\d{1,12}(\.\d{1,9})?$/.test(text) ? Number(text.slice(1)) * SECOND : null;
  const utc = / ?(UTC|Z)$/.test(text);
  const zoneless = text.replace(/ ?(UTC|Z)$/, '');
  const match =
    /^(?:(\d{4})-(\d\d?)-(\d\d?)|(today|yesterday|tomorrow))?(?:[ T]?(\d\d?):(\d\d)(?::(\d\d)(\.\d{1,6})?)?)?$/.exec(
      zoneless,
    );
  if (match === null || zoneless === '') return null;
  const [, year, month, day, word, hour = '0', minute = '0', second = '0', fraction = '0'] = match;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return null;
  const today = new Date(now);
  const shift = word === 'yesterday' ? -1 : word === 'tomorrow' ? 1 : 0;
  const date: [number, number, number] =
    year !== undefined
      ? [Number(year), Number(month) - 1, Number(day)]
      : utc
        ? [today.getUTCFullYear(), today.getUTCMonth(), today.getUTCDate() + shift]
        : [today.getFullYear(), today.getMonth(), today.getDate() + shift];
  if (year !== undefined) {
    const check = new Date(Date.UTC(...date));
    if (check.getUTCMonth() !== date[1] || check.getUTCDate() !== date[2]) return null;
  }
  const clock: [number, number, number, number] = [
    Number(hour),
    Number(minute),
    Number(second),
    Math.floor(Number(fraction) * SECOND),
  ];
  return utc ? Date.UTC(...date, ...clock) : new Date(...date, ...clock).getTime();
}

function relative(text: string, now: number): number | null {
  const match = /^([+-])?\s*((?:\d+(?:\.\d+)?\s*[A-Za-z]*\s*)+?)(\s+ago)?$/.exec(text);
  if (match === null) return null;
  const [, sign, spans = '', ago] = match;
  if ((sign === undefined) === (ago === undefined)) return null;
  let total = 0;
  for (const [, count, unit = ''] of spans.matchAll(/(\d+(?:\.\d+)?)\s*([A-Za-z]*)/g)) {
    const size = Object.hasOwn(UNITS, unit) ? UNITS[unit] : undefined;
    if (size === undefined) return null;
    total += Number(count) * size;
  }
  return sign === '+' ? now + total : now - total;
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTime } from './time.ts';

const NOW = new Date(2026, 10, 22, 14, 30, 15, 250).getTime();
const local = (...parts: [number, number, number, number?, number?, number?, number?]): number =>
  new Date(parts[0], parts[1] - 1, parts[2], parts[3] ?? 0, parts[4] ?? 0, parts[5] ?? 0, parts[6] ?? 0).getTime();

const CASES: readonly (readonly [string, number])[] = [
  ['now', NOW],
  ['today', local(2026, 11, 22)],
  ['yesterday', local(2026, 11, 21)],
  ['tomorrow', local(2026, 11, 23)],
  ['yesterday 18:05', local(2026, 11, 21, 18, 5)],
  ['2026-11-22', local(2026, 11, 22)],
  ['2026-11-22 10:00', local(2026, 11, 22, 10)],
  ['2026-11-22 10:00:59', local(2026, 11, 22, 10, 0, 59)],
  ['2026-11-22 10:00:59.125', local(2026, 11, 22, 10, 0, 59, 125)],
  ['2026-11-22T10:00:00Z', Date.UTC(2026, 10, 22, 10)],
  ['2026-11-22 10:00 UTC', Date.UTC(2026, 10, 22, 10)],
  ['10:15', local(2026, 11, 22, 10, 15)],
  ['-1h', NOW - 3_600_000],
  ['-90', NOW - 90_000],
  ['1h ago', NOW - 3_600_000],
  ['2 days ago', NOW - 172_800_000],
  ['-1h30min', NOW - 5_400_000],
  ['1h 30min ago', NOW - 5_400_000],
  ['+5min', NOW + 300_000],
  ['-500ms', NOW - 500],
  ['@1795342800', 1_795_342_800_000],
  ['@1795342800.5', 1_795_342_800_500],
];

for (const [words, expected] of CASES) {
  test(`-S "${words}"`, () => assert.equal(parseTime(words, NOW), expected));
}

for (const words of [
  '',
  ' ',
  'soon',
  '1h',
  '2026-13-01',
  '2026-02-30',
  '25:00',
  '10:61',
  '-1fortnight',
  '@',
  '@abc',
  '--1h',
  'yesterday ago',
  'constructor ago',
  '-1constructor',
  '9'.repeat(5_000),
]) {
  test(`"${words.slice(0, 20)}" is no time, and the error says how to write one`, () => {
    assert.throws(() => parseTime(words, NOW), { code: 'AUDIT_QUERY', hint: /2026-11-22 10:00/ });
  });
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Regex } from './regex.ts';
import { RegexError } from './regex-syntax.ts';

const PATTERNS = [
  'abc',
  'a|b|',
  'a*b+c?',
  '(?:ab)+$',
  '^a.c$',
  '^$',
  '[a-c]x',
  '[^a-c]',
  '[]a]',
  '[a\\]]',
  '[-a]',
  '[a-]',
  '\\bfoo\\b',
  '\\Boo',
  'a{2}',
  '^a{2,3}$',
  '^a{2,}b$',
  'x{0}y',
  '(a|ab)(c|bcd)',
  '\\d+\\.\\d*',
  '\\w\\W',
  '\\s\\S',
  '^(a*)*$',
  '(|a)+b',
  'a{,2}',
  'é',
  '[à-ü]+$',
  '^.$',
  '\\x41',
  '\\n',
  '(?<n>ab)c',
  'a.*b.*c',
  '\\$\\(',
];
const TEXTS = [
  '',
  'a',
  'b',
  'abc',
  'xabcx',
  'aab',
  'aaa',
  'aaaa',
  'aac',
  'ababab',
  'a\nc',
  'axc',
  'foo bar',
  'foobar',
  'a foo',
  'oo',
  'cx',
  'dx',
  ']',
  '-',
  '12.5',
  '12.',
  '_ -',
  'y',
  'abcd',
  'abbcd',
  'é',
  'naïve',
  '😀',
  'A',
  '\n',
  'a{,2}',
  'a-z',
  '$(',
  'aaaaab',
  'b\n',
  'a\nb\nc',
];

test('agrees with JavaScript where the two languages are the same', () => {
  for (const pattern of PATTERNS) {
    const ours = new Regex(pattern);
    // JavaScript takes "[]" for an empty class.
    const theirs = new RegExp(pattern.replace('[]', '[\\]'), pattern.includes('{,') ? '' : 'u');
    for (const text of TEXTS) assert.equal(ours.test(text), theirs.test(text), `${pattern} on ${JSON.stringify(text)}`);
  }
});

test('agrees on random patterns and texts', () => {
  let seed = 7;
  const random = (n: number): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed % n;
  };
  const atom = (depth: number): string => {
    const kind = random(depth > 2 ? 6 : 9);
    if (kind < 4) return 'ab\n '[kind]!.replace('\n', '\\n');
    if (kind === 4) return '[^a]';
    if (kind === 5) return ['^', '$', '\\b', '\\B', '.', '[ab]'][random(6)]!;
    return `(?:${term(depth + 1)})${['', '*', '+', '?', '{1,2}'][random(5)]}`;
  };
  const term = (depth: number): string => {
    let text = '';
    for (let i = 0; i <= random(3); i++) text += atom(depth);
    return random(3) === 0 ? `${text}|${atom(depth)}` : text;
  };
  for (let round = 0; round < 1500; round++) {
    const pattern = term(0);
    const [ours, theirs] = [new Regex(pattern), new RegExp(pattern, 'u')];
    for (let i = 0; i < 12; i++) {
      let text = '';
      for (let n = random(7); n > 0; n--) text += 'ab\n c'[random(5)];
      assert.equal(ours.test(text), theirs.test(text), `${pattern} on ${JSON.stringify(text)}`);
    }
  }
});

test('flags', () => {
  assert.equal(new Regex('(?i)drop').test('DrOp'), true);
  assert.equal(new Regex('(?i)[a-c]+x').test('ABX'), true);
  assert.equal(new Regex('(?i)[^a]').test('A'), false);
  assert.equal(new Regex('a(?i)b').test('Ab'), false);
  assert.equal(new Regex('(?i:a)b').test('Ab'), true);
  assert.equal(new Regex('(?i:a)b').test('AB'), false);
  assert.equal(new Regex('(?s)a.b').test('a\nb'), true);
  assert.equal(new Regex('(?m)^b$').test('a\nb\nc'), true);
  assert.equal(new Regex('^b$').test('a\nb\nc'), false);
  assert.equal(new Regex('a$').test('a\n'), false);
  assert.equal(new Regex('(?i)ok').test('o\u212a'), true);
});

test('what is not supported or not well formed is refused with its place', () => {
  for (const [pattern, offset] of [
    ['(a)\\1', 3],
    ['(?=a)', 0],
    ['(?<!a)b', 0],
    ['a**', 2],
    ['*a', 0],
    ['(a', 0],
    ['a)', 1],
    ['[a', 0],
    ['[z-a]', 3],
    ['\\p{L}', 0],
    ['a{2,1}', 1],
    ['a{1001}', 1],
    ['\\Qa', 0],
    ['[[:alpha:]]', 1],
    ['a\\', 2],
  ] as const) {
    assert.throws(
      () => new Regex(pattern),
      (error) => error instanceof RegexError && error.offset === offset,
      pattern,
    );
  }
});

test('patterns are bounded', () => {
  for (const pattern of [
    'a'.repeat(1001),
    '((a{1000}){1000})',
    '('.repeat(200) + ')'.repeat(200),
    '(?:(?:a{100}){100}){100}',
  ]) {
    assert.throws(() => new Regex(pattern), RegexError);
  }
});

test('patterns that make others hang take the same number of steps as any', () => {
  const text = `${'a'.repeat(1_000_000)}!`;
  for (const pattern of ['(a+)+$', '(a|aa)+$', '(.*a){12}b', '^(([a-z])+.)+[A-Z]([a-z])+$', '(a?){50}a{50}b']) {
    assert.equal(new Regex(pattern).test(text), false, pattern);
  }
  // Needs 2^20 states when all are kept.
  const bits = Array.from({ length: 100_000 }, (_, i) => ((i * 2654435761) >>> 7) & 1).join('');
  assert.equal(new Regex('1[01]{20}x').test(bits), false);
});

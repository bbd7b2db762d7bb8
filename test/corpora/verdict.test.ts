import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Case, type Corpus, judge, summary } from './verdict.ts';

const one = (reads_only?: Case['reads_only']): Case => ({
  id: 'X-1',
  family: 'x',
  ...(reads_only ? { reads_only } : {}),
});
const wrong = (corpus: Corpus, verdict: string, expected?: Case['reads_only']) =>
  judge(corpus, one(expected), { verdict }).wrong;

test('a leak, a hang, a crash and a fault of the harness count as leaks', () => {
  for (const verdict of ['leaked', 'hung', 'crashed', 'harness-error'])
    assert.equal(wrong('leaks', verdict), true, verdict);
  for (const verdict of ['masked', 'blocked']) assert.equal(wrong('leaks', verdict), false, verdict);
});

test('a write that must be refused is wrong unless the client is told', () => {
  for (const verdict of ['effect', 'silent', 'hung', 'crashed', 'harness-error'])
    assert.equal(wrong('effects', verdict, 'refuse'), true, verdict);
  assert.equal(wrong('effects', 'refused', 'refuse'), false);
});

test('a read that must be allowed is wrong unless it comes as direct', () => {
  for (const verdict of ['blocked', 'differs', 'effect', 'hung', 'crashed'])
    assert.equal(wrong('effects', verdict, 'allow'), true, verdict);
  assert.equal(wrong('effects', 'identical', 'allow'), false);
});

test('where either is right nothing is scored but a hang or a crash', () => {
  assert.deepEqual(
    ['either-effect', 'either-refused', 'either-silent', 'either-hung', 'crashed'].map(
      (verdict) => judge('effects', one('either'), { verdict }).scored,
    ),
    [false, false, false, true, true],
  );
});

test('benign traffic that shows protected values is changed too', () => {
  for (const verdict of ['identical-unmasked', 'differs', 'blocked', 'hung', 'crashed', 'effect'])
    assert.equal(wrong('benign', verdict), true, verdict);
  assert.equal(wrong('benign', 'identical'), false);
});

test('a case without a result is wrong', () => {
  assert.deepEqual(judge('benign', one(), undefined), {
    corpus: 'benign',
    id: 'X-1',
    family: 'x',
    verdict: 'not-run',
    scored: true,
    wrong: true,
    details: {},
  });
});

test('the summary counts what is scored', () => {
  const judged = [
    judge('effects', one('refuse'), { verdict: 'effect' }),
    judge('effects', one('either'), { verdict: 'either-effect' }),
  ];
  assert.equal(summary('effects', judged), 'effects: 1 wrong of 1');
  assert.equal(summary('leaks', [judge('leaks', one(), { verdict: 'masked' })]), 'leaks: 0 of 1');
  assert.equal(summary('benign', []), 'benign: 0 changed of 0');
});

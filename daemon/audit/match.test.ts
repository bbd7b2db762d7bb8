import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Event } from '../core/event.ts';
import { Group, Pattern, parseMatches } from './match.ts';

const EVENT = {
  schema: 4,
  seq: 9,
  time: 0,
  type: 'operation',
  session: 'ab12cd34ab12cd34ab12cd34ab12cd34',
  subject: 'local:dev',
  groups: ['ai-agents', 'dev'],
  uid: 1000,
  decision: 'deny',
  rule: 'no "drops"',
  accesses: [{ effect: 'read', object: 'public.v', behind: ['public.people'] }],
  prev: '',
  hash: '',
} as Event;

const matches = (...args: string[]): boolean => {
  const groups = parseMatches(args).map((group) => new Group(group));
  const bytes = Buffer.from(JSON.stringify(EVENT));
  const found = groups.map((group) => group.matches(EVENT));
  // What is passed over unparsed must never be something that matches.
  groups.forEach((group, i) => {
    if (found[i]) assert.ok(group.possible(bytes), args.join(' '));
  });
  return found.includes(true);
};

for (const [args, expected] of [
  [['DECISION=deny'], true],
  [['DECISION=allow'], false],
  [['DECISION=allow', 'DECISION=deny'], true],
  [['DECISION=deny', 'SUBJECT=someone'], false],
  [['DECISION=deny', 'SUBJECT=local:dev'], true],
  [['DECISION=allow', '+', 'SUBJECT=local:dev'], true],
  [['DECISION=allow', '+', 'SUBJECT=local'], false],
  [['SESSION=ab12'], true],
  [['SESSION=ab1'], false],
  [['SESSION=12cd'], false],
  [['GROUP=dev'], true],
  [['GROUP=dba'], false],
  [['UID=1000'], true],
  [['UID=100'], false],
  [['OBJECT=public.people'], true],
  [['EFFECT=read', 'OBJECT=public.v'], true],
  [['RULE=no "drops"'], true],
  [['APPROVAL=none'], false],
] as const) {
  test(`${args.join(' ')} ${expected ? 'matches' : 'does not match'}`, () => assert.equal(matches(...args), expected));
}

test('what is no match is refused, with what was probably meant', () => {
  assert.throws(() => parseMatches(['DECISON=deny']), { code: 'AUDIT_QUERY', hint: /DECISION/ });
  assert.throws(() => parseMatches(['decision=deny']), { code: 'AUDIT_QUERY', hint: /DECISION/ });
  assert.throws(() => parseMatches(['__proto__=x']), { code: 'AUDIT_QUERY' });
  assert.throws(() => parseMatches(['deny']), { code: 'AUDIT_QUERY', hint: /FIELD=value/ });
  assert.throws(() => parseMatches(['+', 'DECISION=deny']), { code: 'AUDIT_QUERY' });
  assert.throws(() => parseMatches(['DECISION=deny', '+']), { code: 'AUDIT_QUERY' });
  assert.deepEqual(parseMatches([]), []);
  assert.deepEqual(parseMatches(['RULE=a=b']), [['RULE=a=b']]);
});

for (const [pattern, text, expected] of [
  ['drop', 'DROP TABLE t', true],
  ['Drop', 'DROP TABLE t', false],
  ['DROP', 'DROP TABLE t', true],
  ['drop|delete', 'Delete FROM t', true],
  ['delete.*where', 'DELETE FROM t WHERE x', true],
  ['where.*delete', 'DELETE FROM t WHERE x', false],
  ['count(*)', 'select count(*) from t', true],
  ['a\\|b', 'a|b', true],
  ['a\\|b', 'a', false],
  ['$1', 'select $1', true],
] as const) {
  test(`-g '${pattern}' ${expected ? 'finds' : 'does not find'} ${text}`, () =>
    assert.equal(new Pattern(pattern).found(text), expected));
}

test('a pattern made to hang a regular expression takes no longer than another', () => {
  assert.equal(new Pattern(`${'a.*'.repeat(300)}b`).found('a'.repeat(65_536)), false);
});

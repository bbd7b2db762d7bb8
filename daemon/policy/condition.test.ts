import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Question } from '../core/policy.ts';
import { type Condition, ConditionCompiler, ConditionError, facts } from './condition.ts';

const question = (text: string, more: Partial<Question['operation']> = {}): Question =>
  ({
    session: {
      id: 'ab',
      principal: { subject: 'agent@example.com', groups: ['ai-agents'] },
      cgroupId: 1n,
      uid: 1000,
      command: ['claude'],
      startedAt: 0,
    },
    resource: { name: 'shop' },
    operation: {
      protocol: 'postgres',
      verb: 'SELECT',
      text,
      fingerprint: '00',
      accesses: [
        { effect: 'read', object: 'public.v', behind: ['public.a', 'public.b'] },
        { effect: 'read', object: 'public.a' },
      ],
      functions: [],
      ...more,
    },
    now: Date.UTC(2026, 7, 22, 14, 5),
  }) as unknown as Question;

const compile = (source: string): Condition => new ConditionCompiler().compile(source);
const holds = (source: string, text = 'select 1'): boolean => compile(source).holds(facts(question(text)));

test('conditions see principal, session, resource, operation and now', () => {
  assert.equal(holds('principal.subject.endsWith("@example.com") && "ai-agents" in principal.groups'), true);
  assert.equal(holds('session.id == "ab" && session.command[0] == "claude"'), true);
  assert.equal(holds('resource.name == "shop" && operation.verb == "SELECT"'), true);
  assert.equal(
    holds('operation.tables == ["public.v", "public.a", "public.b"] && operation.effects == ["read"]'),
    true,
  );
  assert.equal(holds('now.getHours() == 14 && now.getDayOfWeek() == 6'), true);
  assert.equal(holds('now > timestamp("2026-01-01T00:00:00Z")'), true);
  assert.equal(holds('operation.tables.all(t, t.startsWith("public."))'), true);
});

test('matches is linear, also within a loop', () => {
  assert.equal(holds('operation.text.matches("(a+)+$")', `${'a'.repeat(500_000)}!`), false);
  assert.equal(holds('operation.text.matches("(?i)^select")', 'SELECT 1'), true);
  assert.equal(holds('operation.tables.exists(t, t.matches("^public[.]a$"))'), true);
  assert.equal(holds('operation.tables.filter(t, t.matches("^public[.]z$")).size() > 0'), false);
});

test('volatile says whether an answer may be kept', () => {
  for (const source of ['now.getHours() > 1', 'operation.text == ""', 'session.id == ""'])
    assert.equal(compile(source).volatile, true, source);
  for (const source of ['operation.verb == ""', 'principal.subject == ""', '"a" in operation.tables', 'true'])
    assert.equal(compile(source).volatile, false, source);
});

test('what costs more than linear time, or is not understood, is refused at load', () => {
  for (const source of [
    'operation.text.matches(principal.subject)',
    'operation.text.matches("a" + "b")',
    'operation.text.matches("(?=a)")',
    'operation.text.matchesLinear("a")',
    'operation.text.split("").size() > 1',
    'operation.tables.exists(t, operation.tables.exists(u, u == t))',
    'operation.tables.exists(t, operation.text.contains(t))',
    'operation.text.contains(operation.text)',
    'cel.bind(a, operation.text + operation.text, a == "")',
    'operation.txt == ""',
    'operatoin.text == ""',
    'operation.verb',
    'operation.verb == 1',
    'operation.verb ==',
    'operation == operation',
    'operation["text"] == ""',
    '[operation][0].text == ""',
    'operation.tables.exists(operation, operation == "")',
    'bytes(operation.text).json() == {}',
    `${'('.repeat(60)}true${')'.repeat(60)} && ${'!'.repeat(60)}true`,
  ])
    assert.throws(() => compile(source), ConditionError, source);
});

test('a fault says where', () => {
  assert.throws(
    () => compile('true && operation.txt == ""'),
    (e: ConditionError) => e.offset === 18 && e.unknown?.word === 'txt',
  );
  assert.throws(
    () => compile('true && operatoin.verb == ""'),
    (e: ConditionError) => e.offset === 8 && e.unknown?.word === 'operatoin',
  );
});

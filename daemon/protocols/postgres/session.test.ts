import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { type Change, isIndirect, type Portal, type Prepared, SessionNames } from './session.ts';
import type { Analysis, Catalog } from './sql/model.ts';

const IDLE = 0x49;
const OPEN = 0x54;
const catalog = { version: 1, searchPath: ['start'], schemas: new Set(['start', 'a', 'b']) } as unknown as Catalog;

const statement = (text: string): Prepared => ({
  text,
  types: [],
  whole: null,
  analyses: [],
  catalog: 1,
  path: 0,
  indirect: false,
});
const portalOf = (text: string) => ({ prepared: statement(text), fields: null }) as unknown as Portal;
const prepare = (name: string, text: string | null): Change => ({
  kind: 'prepared',
  name,
  value: text === null ? null : statement(text),
});
const bind = (name: string, text: string): Change => ({ kind: 'portal', name, value: portalOf(text) });
const path = (to: string, local = false, certain = true): Change => ({ kind: 'path', path: [to], local, certain });

describe('SessionNames', () => {
  let session: SessionNames;
  beforeEach(() => {
    session = new SessionNames();
  });
  const settled = (...changes: readonly Change[]) => {
    for (const change of changes) session.expect(change);
    session.settle(changes);
  };
  const paths = () => session.names(catalog).paths.map((each) => each.join());
  const text = (name: string) => {
    const found = session.prepared(name);
    return found === 'wait' ? found : (found?.text ?? null);
  };

  test('a name is known in its own segment at once, in a later one when it is acknowledged', () => {
    const change = prepare('s1', 'one');
    session.expect(change);
    assert.equal(text('s1'), 'one');
    session.segment++;
    assert.equal(text('s1'), 'wait');
    assert.equal(session.unsettled, true);
    session.settle([change]);
    assert.equal(text('s1'), 'one');
    assert.equal(session.unsettled, false);
  });

  test('a name redefined in a segment that is skipped keeps its meaning', () => {
    settled(prepare('s1', 'one'));
    const skipped = [prepare('s1', null), prepare('s1', 'two')];
    for (const change of skipped) session.expect(change);
    assert.equal(text('s1'), 'two');
    session.segment++;
    assert.equal(text('s1'), 'wait');
    session.drop(skipped);
    assert.equal(text('s1'), 'one');
  });

  test('only the unnamed ones let a later segment go on', () => {
    session.expect(prepare('', 'one'));
    session.expect(bind('', 'one'));
    session.expect({ kind: 'commit' });
    session.segment++;
    assert.equal(session.unsettled, false);
    assert.equal(text(''), 'wait');
    assert.equal(session.portal(''), 'wait');
    assert.equal(text('other'), null);
  });

  for (const [name, change] of Object.entries<Change>({
    'a cursor of its name': { kind: 'cursor', name: 'p1', outputs: null },
    'CLOSE of its name': { kind: 'cursor-gone', name: 'p1' },
    'CLOSE ALL': { kind: 'cursor-gone', name: null },
    COMMIT: { kind: 'commit' },
    ROLLBACK: { kind: 'rollback' },
    'DISCARD ALL': { kind: 'discard' },
  })) {
    test(`a portal is not what it was after ${name}, expected or acknowledged`, () => {
      settled(bind('p1', 'one'));
      assert.notEqual(session.portal('p1'), null);
      session.expect(change);
      assert.equal(session.portal('p1'), null);
      session.segment++;
      assert.equal(session.portal('p1'), 'wait');
      session.settle([change]);
      assert.equal(session.portal('p1'), null);
    });
  }

  test('portals end with their transaction', () => {
    settled(bind('p1', 'one'));
    session.ready(OPEN);
    assert.notEqual(session.portal('p1'), null);
    session.ready(IDLE);
    assert.equal(session.portal('p1'), null);
  });

  test('a search_path set for certain is the only one once the server is idle', () => {
    settled(path('a'));
    assert.deepEqual(paths(), ['start', 'a']);
    session.ready(IDLE);
    assert.deepEqual(paths(), ['a']);
  });

  for (const [name, changes] of Object.entries<readonly Change[]>({
    'in a transaction that is rolled back': [path('a'), { kind: 'rollback' }],
    'by a call that may not have come': [path('a', false, false)],
  })) {
    test(`the one before stays possible when it was set ${name}`, () => {
      settled(...changes);
      session.ready(IDLE);
      assert.ok(paths().includes('start') && paths().includes('a'));
    });
  }

  test('the one before stays possible when something failed after it', () => {
    settled(path('a'));
    session.failed();
    session.ready(IDLE);
    assert.deepEqual(paths(), ['start', 'a']);
  });

  test('the one before stays possible when it was set in an open transaction', () => {
    session.ready(OPEN);
    settled(path('a'));
    session.ready(IDLE);
    assert.deepEqual(paths(), ['start', 'a']);
  });

  test('SET LOCAL is possible up to the end of the transaction, beside what it covers', () => {
    session.ready(OPEN);
    settled(path('a', true));
    assert.deepEqual(paths(), ['start', 'a']);
    session.ready(IDLE);
    assert.deepEqual(paths(), ['start']);
    assert.equal(session.plain, true);
  });

  test('in one segment the path is the new one, until a rollback brings all back', () => {
    session.expect(path('a'));
    assert.deepEqual(paths(), ['a']);
    session.expect(path('b', true));
    assert.deepEqual(paths(), ['a', 'b']);
    session.expect({ kind: 'rollback' });
    assert.deepEqual(new Set(paths()), new Set(['start', 'a', 'b']));
  });

  test('each change of the path makes analyses stale: expected, acknowledged, failed', () => {
    const seen = [session.pathGeneration];
    const change = path('a');
    session.expect(change);
    seen.push(session.pathGeneration);
    session.drop([change]);
    seen.push(session.pathGeneration);
    settled(change);
    seen.push(session.pathGeneration);
    assert.equal(new Set(seen).size, seen.length);
  });

  test('a session that sets path after path ends with all schemas, not with more and more', () => {
    session.ready(OPEN);
    for (let i = 0; i < 100; i++) settled(path(`p${i}`), path(`l${i}`, true));
    assert.ok(paths().length <= 34);
  });
});

test('EXECUTE, FETCH and MOVE are told from the text, in any case and with comments; a plan is settled at Bind', () => {
  const indirect = (text: string, verb: string) => isIndirect(text, [{ operation: { verb } } as Analysis]);
  for (const [text, verb] of [
    ['EXECUTE s', 'EXECUTE'],
    ['/* x */ FETCH c', 'FETCH'],
    ['EXPLAIN ANALYZE Execute s', 'EXPLAIN'],
    ['MOVE c', 'MOVE'],
    ['CREATE TABLE t AS EXECUTE s', 'CREATE TABLE AS'],
  ] as const)
    assert.ok(indirect(text, verb), text);
  assert.ok(!indirect('SHOW work_mem', 'SHOW'));
  assert.ok(!indirect('SELECT 1 FETCH FIRST 1 ROW ONLY', 'SELECT'));
});

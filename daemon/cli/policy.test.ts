import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Operation } from '../core/operation.ts';
import type { Classifier } from '../policy/cases.ts';
import { KIT, on, operation, SHOP } from '../policy/fixture.ts';
import { policyFolder } from './fixture.ts';

/** Texts of a language of two words: `read TABLE`. */
const classifier: Classifier = {
  async classify(_resource, text) {
    return text.split(';').map((part) => {
      const [verb = '', table = ''] = part.trim().split(' ');
      const made: Operation = operation(on(verb === 'read' ? 'read' : 'write', table), { verb, text: part });
      return { operation: made, masked: (obligations) => (obligations.masks.length > 0 ? ['email'] : []) };
    });
  },
};

const { folder, write, run } = policyFolder({ kit: KIT, classifier: async () => classifier });

const GOOD = write(
  'p.yaml',
  `${SHOP}rules:\n  - {name: r, allow: [read], who: {groups: [g]}, on: shop, tables: [public.t]}\nmasks:\n  - {on: shop, columns: ["*.email"]}\n`,
);

test('check prints the line with a mark below, and fails on errors only', async () => {
  const good = await run('check', GOOD);
  assert.equal(good.status, 0);
  assert.match(
    good.out,
    /^.*p\.yaml:4:3: warning: resources\.other: no rule allows anything on it\n {4}4 \| {3}other:.*\n {6}\| {3}\^\nvalid: 2 resources, 1 rule, 1 mask in 1 file, version [0-9a-f]{16}; 1 warning\n$/,
  );
  assert.equal((await run('check', '--strict', GOOD)).status, 1);
  const bad = await run('check', write('bad.yaml', `${SHOP}rulse: []\n`));
  assert.equal(bad.status, 1);
  assert.match(
    bad.out,
    /bad\.yaml:5:1: error: rulse: unknown key "rulse"\n {4}5 \| rulse: \[\]\n {6}\| \^ did you mean "rules"\?\n1 error in 1 file\n$/,
  );
  const json = JSON.parse((await run('check', '--json', join(folder, 'bad.yaml'))).out) as {
    valid: boolean;
    diagnostics: unknown[];
  };
  assert.deepEqual([json.valid, json.diagnostics.length], [false, 1]);
});

test("what a file holds can't steer the terminal", async () => {
  const { out } = await run('check', write('esc.yaml', `${SHOP}"\\e[2J": 1\n# \x1b[31m\n`));
  assert.ok(!out.includes('\x1b'));
});

test('test runs the cases beside a policy', async () => {
  write(
    'p.test.yaml',
    `apiVersion: sluice/v1
cases:
  - {name: by text, who: {groups: [g]}, on: shop, sql: read public.t, expect: allow, rule: r, masked: [email]}
  - {name: worst of two, who: {groups: [g]}, on: shop, sql: "read public.t; write public.t", expect: deny, rule: null}
  - {name: by effect, who: {groups: [h]}, on: shop, operation: {effects: [read], tables: [public.t]}, expect: deny}
`,
  );
  const good = await run('test', GOOD);
  assert.equal(good.status, 0);
  assert.match(good.out, /all 3 cases as expected/);
  const path = write(
    'q.test.yaml',
    `apiVersion: sluice/v1
cases:
  - {name: wrong, who: {groups: [g]}, on: shop, operation: {effects: [write]}, expect: allow}
  - {name: wrong rule, who: {groups: [g]}, on: shop, sql: read public.t, expect: allow, rule: other}
  - {name: wrong mask, who: {groups: [g]}, on: shop, sql: read public.t, expect: allow, masked: []}
`,
  );
  const bad = await run('test', GOOD, path);
  assert.equal(bad.status, 1);
  assert.match(
    bad.out,
    /FAIL {2}wrong\n.*q\.test\.yaml:3: expected allow, got deny: no rule allows write for test on shop/,
  );
  assert.match(bad.out, /3 of 6 cases not as expected/);
  await assert.rejects(
    run(
      'test',
      GOOD,
      write('r.test.yaml', 'apiVersion: sluice/v1\ncases:\n  - {name: n, who: {}, on: shpo, expect: deny, sql: x}\n'),
    ),
    /r\.test\.yaml:3:28: cases\[0\]\.on: .*did you mean "shop"/,
  );
});

test('explain goes through every rule', async () => {
  const { out } = await run('explain', GOOD, '--on', 'shop', '--group', 'g', '--sql', 'write public.t');
  assert.match(
    out,
    /^write: write public\.t as agent \(g\) on shop\ndeny: no rule allows write on public\.t for agent on shop\n {2}hint: allowed here: read on public\.t\n/,
  );
  assert.match(out, / allow {3}r {2}no: is not about write\n.*p\.yaml:6/);
  const read = await run('explain', GOOD, '--on', 'shop', '--group', 'g', '--effect', 'read', '--table', 'public.t');
  assert.match(read.out, /\* allow {3}r {2}matches read on public\.t/);
  await assert.rejects(
    run('explain', GOOD, '--on', 'shpo'),
    (e: { hint?: string }) => e.hint === 'did you mean "shop"?',
  );
});

test('diff lists recorded decisions that would change', async () => {
  const event = (over: object) =>
    `${JSON.stringify({ type: 'operation', resource: 'shop', subject: 'a', groups: ['g'], verb: 'SELECT', text: 'select 1', accesses: on('read', 'public.t'), decision: 'allow', rule: 'r', time: 0, ...over })}\n`;
  const same = write('same.jsonl', `${event({}) + event({ type: 'result' })}\n`);
  assert.deepEqual(await run('diff', GOOD, '--exit-code', '--events', same), {
    out: '1 operation: none would change, 1 as before\n',
    status: 0,
  });
  const moved = write(
    'moved.jsonl',
    event({ accesses: on('write', 'public.t'), rule: 'old' }).repeat(3) +
      event({ resource: 'gone' }) +
      event({ decision: 'allow', observed: 'deny' }) +
      event({ accesses: undefined }),
  );
  const { out, status } = await run('diff', GOOD, '--exit-code', '--events', moved);
  assert.equal(status, 1);
  assert.match(
    out,
    /^ {6}3 {2}allow -> deny {2}a on shop: "old" -> no rule\n {9}SELECT: select 1\n {9}no rule allows write on public\.t/,
  );
  assert.match(out, /1 {2}deny -> allow/);
  assert.match(out, /the candidate has no resource gone/);
  assert.match(out, /6 operations: 5 would change, 0 as before\n1 operation not decided: recorded without accesses\n$/);
  await assert.rejects(run('diff', GOOD, '--events', write('x.jsonl', 'nope\n')), /x\.jsonl:1: not JSON/);
  await assert.rejects(run('diff', GOOD), /no daemon/);
});

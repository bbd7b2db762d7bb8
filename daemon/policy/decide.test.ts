import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EFFECTS } from '../core/operation.ts';
import { AGENT, decide, on, operation, policyOf, SHOP } from './fixture.ts';

const RULES = `${SHOP}rules:
  - {name: reads, allow: [read], who: {groups: [ai-agents]}, on: shop, tables: [public.orders, public.people, open.*, "*.notes"]}
  - {name: settings, allow: [session], who: {groups: [ai-agents]}, on: shop}
  - {name: writes, approve: [write], who: {groups: [ai-agents]}, on: shop, tables: [public.*], reviewers: {groups: [dba]}, remember: session, within: 5m}
  - {name: no drops, deny: everything, who: everyone, on: everything, verbs: ["DROP *"], reason: ask for a migration}
  - {name: no salaries, deny: [read], who: everyone, on: shop, tables: [public.people], columns: [salary]}
  - {name: no secrets, deny: everything, who: everyone, on: shop, tables: [secret.*]}
`;

test('each access is decided by itself, the worst is the outcome', () => {
  const policy = policyOf(RULES);
  const outcome = (...args: Parameters<typeof operation>) => decide(policy, operation(...args)).outcome;
  assert.equal(outcome(on('read', 'public.orders')), 'allow');
  assert.equal(outcome(on('read', 'open.anything', 'x.notes')), 'allow');
  assert.equal(outcome(on('read', 'public.orders', 'public.other')), 'deny');
  assert.equal(outcome([...on('read', 'public.orders'), ...on('write', 'public.orders')]), 'approve');
  assert.equal(outcome([...on('write', 'public.orders'), ...on('read', 'public.other')]), 'deny');
  assert.equal(outcome([...on('write', 'public.orders'), ...on('read', 'secret.k')]), 'deny');
  assert.equal(
    outcome([{ effect: 'read' }]),
    'deny',
    'an effect on no object is not allowed by a rule that names objects',
  );
  assert.equal(outcome([{ effect: 'session' }]), 'allow');
  for (const effect of EFFECTS.filter((e) => !['read', 'session'].includes(e)))
    assert.equal(outcome([{ effect }]), 'deny', effect);
  assert.equal(outcome([{ effect: 'teleport' as 'read' }]), 'deny');
});

test('patterns match whole parts, case and quotes as they are', () => {
  const policy = policyOf(`${SHOP}rules:
  - {name: r, allow: [read], who: everyone, on: shop, tables: [public.*, 'a."Big"', 'a."x.y"', 'a."drop"', "*.notes"]}
`);
  const allowed = (object: string) => decide(policy, operation(on('read', object))).outcome === 'allow';
  for (const object of ['public.t', 'public."Odd"', 'a."Big"', 'a.Big', 'a."x.y"', 'a.drop', 'z.notes', '"Z".notes'])
    assert.equal(allowed(object), true, object);
  for (const object of [
    'publicx.t',
    'xpublic.t',
    'Public.t',
    'PUBLIC.t',
    '"public.t"',
    'public',
    't',
    'public.t.u',
    '"public.t".u',
    'a.big',
    'a."big"',
    'a.x.y',
    'a.x',
    'z.mynotes',
    'z.notes.x',
    '"z.notes"',
    'public."',
    'public.""',
    '',
    '*',
    'public.t"',
    'other.t',
  ])
    assert.equal(allowed(object), false, object);
});

test('a rule that forbids applies to what could be meant', () => {
  const policy = policyOf(`${SHOP}rules:
  - {name: all, allow: everything, who: everyone, on: shop, breadth: accepted}
  - {name: keep, deny: [ddl, read], who: everyone, on: shop, tables: [public.orders, "*.pay"]}
`);
  const denied = (object: string) => decide(policy, operation(on('ddl', object))).outcome === 'deny';
  for (const object of [
    'public.orders',
    'x.pay',
    'public',
    'orders',
    'any_schema',
    'db.public.orders',
    'public.orders"',
    '',
  ])
    assert.equal(denied(object), true, object);
  for (const object of ['public.orders2', 'x.pays', 'other.orders']) assert.equal(denied(object), false, object);
  assert.equal(decide(policy, operation([{ effect: 'ddl' }])).outcome, 'allow');
});

test('behind a view: forbidding looks through, allowing wants the view or all of it', () => {
  const policy = policyOf(RULES);
  const read = (object: string, behind: string[], columns?: string[]) =>
    decide(policy, operation([{ effect: 'read', object, behind, ...(columns ? { columns } : {}) }])).outcome;
  assert.equal(read('public.v', ['public.orders', 'open.x']), 'allow');
  assert.equal(read('public.v', ['public.orders', 'public.other']), 'deny');
  assert.equal(read('public.v', []), 'deny');
  assert.equal(read('open.v', ['public.other']), 'allow');
  assert.equal(read('open.v', ['secret.k']), 'deny');
  assert.equal(
    read('open.v', ['public.people'], ['contact']),
    'deny',
    "the columns are the view's, so salary may be one of them",
  );
  assert.equal(read('public.people', [], ['id', 'salary']), 'deny');
  assert.equal(read('public.people', [], ['id', 'name']), 'allow');
  assert.equal(decide(policy, operation(on('read', 'public.people'))).outcome, 'deny', 'columns not known');
});

test('an operation that touches nothing passes where anything is allowed', () => {
  const policy = policyOf(RULES);
  assert.equal(decide(policy, operation([], { verb: 'BEGIN' })).outcome, 'allow');
  assert.equal(decide(policy, operation([], { verb: 'BEGIN' }), AGENT, 'other').outcome, 'deny');
  assert.equal(decide(policy, operation([], { verb: 'BEGIN' }), { subject: 'x', groups: [] }).outcome, 'deny');
  assert.equal(decide(policy, operation([], { verb: 'drop something' })).outcome, 'deny');
  assert.equal(decide(policy, operation([], { verb: 'DROPS' })).outcome, 'allow');
});

test('what could not be classified needs rules for every effect, and meets every rule that forbids', () => {
  const broad = `${SHOP}rules:
  - {name: all, allow: everything, who: everyone, on: shop, breadth: accepted}
`;
  const odd = operation([], { unclassified: 'a block\nof code' });
  assert.equal(decide(policyOf(broad), odd).outcome, 'allow');
  assert.equal(decide(policyOf(RULES), odd).outcome, 'deny');
  for (const limit of [
    'tables: [secret.k]',
    'verbs: [DROP TABLE]',
    'functions: [public.f]',
    'tables: [a.b], columns: [c]',
  ]) {
    const decision = decide(policyOf(`${broad}  - {name: n, deny: [write], who: everyone, on: shop, ${limit}}\n`), odd);
    assert.equal(decision.outcome, 'deny', limit);
    assert.match(decision.reason, /could not be classified \(a block of code\)/);
  }
  const partly = operation([...on('read', 'public.orders')], { unclassified: 'x' });
  assert.equal(
    decide(policyOf(`${SHOP}rules:\n  - {name: r, allow: [read], who: everyone, on: shop}\n`), partly).outcome,
    'deny',
  );
});

test('functions and verbs', () => {
  const policy = policyOf(`${SHOP}rules:
  - {name: calls, allow: [code], who: everyone, on: shop, functions: [public.refresh, "api.*"]}
  - {name: selects, allow: [read], who: everyone, on: shop, verbs: [SELECT, "COPY *"]}
  - {name: never, deny: everything, who: everyone, on: shop, functions: ["*.pg_sleep"]}
`);
  const call = (...functions: string[]) => decide(policy, operation([{ effect: 'code' }], { functions })).outcome;
  assert.equal(call('public.refresh'), 'allow');
  assert.equal(call('public.refresh', 'api.x'), 'allow');
  assert.equal(call('public.refresh', 'public.evil'), 'deny');
  assert.equal(call(), 'deny');
  assert.equal(call('public.refresh', 'a.pg_sleep'), 'deny');
  const read = (verb: string) => decide(policy, operation(on('read', 'public.t'), { verb })).outcome;
  assert.deepEqual(['SELECT', 'select', 'COPY', 'COPY TO', 'COPYX', 'SELECT INTO'].map(read), [
    'allow',
    'allow',
    'allow',
    'allow',
    'deny',
    'deny',
  ]);
});

test('the order of rules and files has no say', () => {
  const lines = [
    '{name: b, allow: [read, write], who: {groups: [ai-agents]}, on: shop}',
    '{name: a, allow: [read], who: everyone, on: shop, tables: [public.*]}',
    '{name: d, deny: [read], who: {users: [agent@example.com]}, on: shop, tables: [public.secret]}',
    '{name: c, deny: [read, write], who: {groups: [ai-agents]}, on: [shop], tables: ["*.secret"]}',
    '{name: e, approve: [write], who: {groups: [ai-agents]}, on: shop, reviewers: {groups: [dba, sec]}}',
    '{name: f, approve: [write], who: everyone, on: shop, tables: [public.*], reviewers: {groups: [sec]}, quorum: 2, within: 1m}',
    '{name: g, approve: [ddl], who: everyone, on: shop, reviewers: {groups: [dba]}}',
  ];
  const operations = [
    on('read', 'public.t'),
    on('read', 'public.secret'),
    on('write', 'public.t'),
    on('write', 'x.t'),
    [...on('ddl', 'public.t'), ...on('write', 'x.t')],
    [...on('ddl', 'public.t'), ...on('write', 'public.t')],
    [],
  ];
  const answers = (order: readonly string[], split: boolean) => {
    const texts = split
      ? [SHOP, ...order.map((line) => `apiVersion: sluice/v1\nrules:\n  - ${line}\n`)]
      : [`${SHOP}rules:\n${order.map((line) => `  - ${line}\n`).join('')}`];
    const policy = policyOf(...texts);
    return operations.map((accesses) => {
      const { hint: _, ...decision } = decide(policy, operation(accesses));
      return decision;
    });
  };
  const first = answers(lines, false);
  assert.deepEqual(
    first.map((d) => [d.outcome, d.rule]),
    [
      ['allow', 'a'],
      ['deny', 'c'],
      ['approve', 'e + f'],
      ['approve', 'e'],
      ['approve', 'e + g'],
      ['deny', 'e + f + g'],
      ['allow', null],
    ],
  );
  assert.deepEqual(first[2]?.approval, {
    reviewers: ['sec'],
    quorum: 2,
    within: 60_000,
    hold: 60_000,
    remember: 'once',
    match: 'exact',
  });
  let seed = 5;
  for (let round = 0; round < 40; round++) {
    const order = [...lines];
    for (let i = order.length - 1; i > 0; i--) {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      const j = seed % (i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    assert.deepEqual(answers(order, round % 2 === 0), first);
  }
});

test('terms of an approval', () => {
  const { approval } = decide(policyOf(RULES), operation(on('write', 'public.t')));
  assert.deepEqual(approval, {
    reviewers: ['dba'],
    quorum: 1,
    within: 300_000,
    hold: 60_000,
    remember: 'session',
    match: 'fingerprint',
  });
  const anyone = policyOf(
    `${SHOP}rules:\n  - {name: a, approve: [write], who: everyone, on: shop, reviewers: anyone, hold: 0s}\n`,
  );
  assert.deepEqual(decide(anyone, operation(on('write', 'a.b'))).approval, {
    reviewers: [],
    quorum: 1,
    within: 600_000,
    hold: 0,
    remember: 'once',
    match: 'exact',
  });
});

test('a condition that fails is closed', () => {
  const rule = (kind: string, when: string) =>
    policyOf(
      `${SHOP}rules:\n  - {name: base, allow: [read], who: {users: [root]}, on: shop}\n  - {name: x, ${kind}, who: everyone, on: shop, when: '${when}'}\n`,
    );
  const failing = 'session.command[7] == "x"';
  const read = operation(on('read', 'a.b'));
  const allow = decide(rule('allow: [read]', failing), read);
  assert.equal(allow.outcome, 'deny');
  assert.match(
    allow.reason,
    /no rule allows read on a\.b for agent@example\.com on shop; the condition of "x" could not be evaluated .*does not apply/,
  );
  const root = { subject: 'root', groups: [] };
  const deny = decide(rule('deny: [read]', failing), read, root);
  assert.equal(deny.outcome, 'deny');
  assert.match(deny.reason, /so it applies/);
  assert.equal(decide(rule('approve: [read], reviewers: anyone', failing), read, root).outcome, 'approve');
  assert.equal(
    decide(rule('deny: [read]', 'now.getHours() < 6'), read, root, 'shop', Date.UTC(2026, 1, 1, 5)).outcome,
    'deny',
  );
  assert.equal(
    decide(rule('deny: [read]', 'now.getHours() < 6'), read, root, 'shop', Date.UTC(2026, 1, 1, 6)).outcome,
    'allow',
  );
  assert.equal(rule('deny: [read]', 'now.getHours() < 6').volatile, true);
  assert.equal(rule('deny: [read]', 'operation.verb == "X"').volatile, false);
});

test('reasons and hints help an agent on, on one line and bounded', () => {
  const policy = policyOf(RULES);
  const drop = decide(policy, operation(on('ddl', 'public.orders'), { verb: 'DROP TABLE' }));
  assert.equal(drop.reason, 'rule "no drops" forbids ddl on public.orders: ask for a migration');
  assert.equal(
    drop.hint,
    'allowed here: read on public.orders, public.people, open.*, *.notes; session; needs approval by dba: write on public.*',
  );
  const odd = decide(policy, operation(on('write', `x.${'y\n\u202e'.repeat(5000)}`)));
  assert.equal(odd.rule, null);
  assert.ok(odd.reason.length <= 600 && !/[\n\u202e]/.test(odd.reason));
  assert.equal(
    decide(policy, operation(on('read', 'a.b')), { subject: 'x', groups: [] }).hint,
    'no rule allows you anything here: ask those who keep the policy for one',
  );
});

test('observe lets through what the rules of its file would refuse, and no more', () => {
  const observed = 'apiVersion: sluice/v1\nmode: observe\n';
  const base = `${SHOP}rules:\n  - {name: r, allow: [read], who: everyone, on: shop}\n  - {name: d, deny: [read], who: everyone, on: shop, tables: [a.never]}\n`;
  const trial = policyOf(
    base,
    `${observed}rules:\n  - {name: t, deny: [read], who: everyone, on: shop, tables: [a.b]}\n  - {name: g, allow: [write], who: everyone, on: shop}\n`,
  );
  const got = decide(trial, operation(on('read', 'a.b')));
  assert.deepEqual([got.outcome, got.observed, got.rule], ['allow', 'deny', 't']);
  assert.deepEqual(decide(trial, operation(on('read', 'a.c'))).rule, 'r');
  assert.equal(decide(trial, operation(on('read', 'a.never'))).outcome, 'deny');
  assert.equal(decide(trial, operation(on('write', 'a.b'))).outcome, 'deny', 'a rule on trial grants nothing');
  const resource = policyOf(
    SHOP.replace('resources', 'mode: observe\nresources'),
    'apiVersion: sluice/v1\nrules:\n  - {name: d, deny: [write], who: everyone, on: shop}\n',
  );
  const unknown = decide(resource, operation(on('read', 'a.b')));
  assert.deepEqual([unknown.outcome, unknown.observed, unknown.rule], ['allow', 'deny', null]);
  assert.equal(decide(resource, operation(on('write', 'a.b'))).outcome, 'deny');
  assert.equal(resource.readsOnly(AGENT, resource.resources.get('shop')!), false);
});

test('readsOnly', () => {
  const reads = (rules: string) => {
    const policy = policyOf(`${SHOP}rules:\n${rules}`);
    return policy.readsOnly(AGENT, policy.resources.get('shop')!);
  };
  const all = '  - {name: a, allow: everything, who: everyone, on: shop, breadth: accepted}\n';
  assert.equal(reads('  - {name: a, allow: [read, session], who: everyone, on: shop}\n'), true);
  assert.equal(
    reads('  - {name: a, approve: [write], who: everyone, on: shop, when: "false", reviewers: anyone}\n'),
    false,
  );
  assert.equal(reads('  - {name: a, allow: [write], who: {groups: [other]}, on: shop}\n'), true);
  assert.equal(reads(all), false);
  assert.equal(
    reads(
      `${all}  - {name: b, deny: [write, ddl, code, privilege, file, network, program], who: everyone, on: shop}\n`,
    ),
    true,
  );
  assert.equal(
    reads(
      `${all}  - {name: b, deny: [write, ddl, code, privilege, file, network, program], who: everyone, on: shop, when: "true"}\n`,
    ),
    false,
  );
});

test('a resource of another policy has no rules here', () => {
  const policy = policyOf(
    `${SHOP}rules:\n  - {name: a, allow: [read], who: everyone, on: everything, breadth: accepted}\n`,
  );
  const stranger = { ...policy.resources.get('shop')!, name: 'stranger' };
  const session = { id: '', principal: AGENT, cgroupId: 0n, uid: 0, command: [], startedAt: 0 };
  assert.equal(
    policy.decide({ session, resource: stranger, operation: operation(on('read', 'a.b')), now: 0 }).outcome,
    'deny',
  );
});

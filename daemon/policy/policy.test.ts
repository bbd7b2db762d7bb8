import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalIp, parseHostPort } from './address.ts';
import { AGENT, policyOf, SHOP, told } from './fixture.ts';

test('a resource is found by address, by name and by zone', () => {
  const policy = policyOf(`apiVersion: sluice/v1
resources:
  one: {protocol: plain, address: "db.example.com:5433", also: ["198.51.100.23:5433", "[2001:db8::7]:5433"]}
  two: {protocol: plain, address: "two.example.com:6544", also: ["*.example.com:5433"], breadth: accepted}
  three: {protocol: plain, address: "203.0.113.9:5433"}
`);
  const at = (...args: Parameters<typeof policy.resourceAt>) => policy.resourceAt(...args)?.name ?? null;
  assert.equal(at('198.51.100.23', 5433), 'one');
  assert.equal(at('::ffff:198.51.100.23', 5433), 'one');
  assert.equal(at('::ffff:c633:6417', 5433), 'one');
  assert.equal(at('2001:DB8:0:0::7', 5433), 'one');
  assert.equal(at('198.51.100.23', 5432), null);
  assert.equal(at('192.0.2.1', 5433), null);
  assert.equal(at('192.0.2.1', 5433, ['DB.example.com.']), 'one');
  assert.equal(at('192.0.2.1', 5433, ['x.example.com']), 'two');
  assert.equal(at('192.0.2.1', 5433, ['x.y.example.com']), 'two');
  for (const name of [
    'evilexample.com',
    'example.com',
    'x.example.com.evil.org',
    'x.example.comx',
    '',
    '.example.com.',
  ]) {
    if (name !== '.example.com.') assert.equal(at('192.0.2.1', 5433, [name]), null, name);
  }
  assert.equal(at('203.0.113.9', 5433, ['db.example.com']), null, 'two resources are meant: neither is');
  assert.equal(at('192.0.2.1', 5433, ['db.example.com', 'x.example.com']), null);
});

test('addresses have one form', () => {
  assert.equal(canonicalIp('::FFFF:1.2.3.4'), '1.2.3.4');
  assert.equal(canonicalIp('2001:0db8:0000::0001'), '2001:db8::1');
  for (const text of ['1.2.3', '01.2.3.4', 'fe80::1%eth0', 'localhost', ''])
    assert.equal(canonicalIp(text), null, text);
  assert.deepEqual(parseHostPort('*.Example.com:443'), { host: 'example.com', port: 443, below: true });
  for (const text of [
    'a:b:1',
    'a.b',
    ':1',
    'a..b:1',
    '-a:1',
    'a b:1',
    '1.2.3.4.5:1',
    '256.1.1.1:1',
    '[1.2.3.4]:1',
    'a.b:1 ',
    '*:1',
    'a.*:1',
    '**.a:1',
  ])
    assert.equal(typeof parseHostPort(text), 'string', text);
});

test('identities of local users', () => {
  const policy = policyOf(`apiVersion: sluice/v1
identities:
  - {user: alice, subject: alice@example.com, groups: [a]}
  - {uid: 1007, groups: [b]}
  - {group: dev, groups: [c, a]}
  - {default: true, groups: [guests]}
  - {uid: 1008, subject: other@example.com}
`);
  assert.deepEqual(policy.principalOf({ uid: 1, user: 'alice', groups: [] }), {
    subject: 'alice@example.com',
    groups: ['a'],
  });
  assert.deepEqual(policy.principalOf({ uid: 1007, user: 'alice', groups: ['dev'] }), {
    subject: 'alice@example.com',
    groups: ['a', 'b', 'c'],
  });
  assert.deepEqual(policy.principalOf({ uid: 1007, user: 'bob', groups: [] }), { subject: 'local:bob', groups: ['b'] });
  assert.deepEqual(policy.principalOf({ uid: 3, user: 'eve', groups: ['devs'] }), {
    subject: 'local:eve',
    groups: ['guests'],
  });
  assert.equal(policy.principalOf({ uid: 1008, user: 'alice', groups: [] }), null, 'two subjects: nobody');
  assert.equal(policyOf(SHOP).principalOf({ uid: 0, user: 'root', groups: ['root'] }), null);
});

test('identities of tokens, never mixed with those of local users', () => {
  const policy = policyOf(`apiVersion: sluice/v1
identities:
  - {user: ada, groups: [local]}
  - {unit: agent.service, groups: [unit]}
  - {issuer: "https://login.example", tokenGroups: [ai-agents, dba]}
  - {issuer: "https://login.example", group: 8f1c-4, groups: [pii]}
  - {issuer: "https://ci.example", claims: {project: [shop/agents, shop/tests], protected: "true"}, groups: [ci]}
  - {issuer: "https://all.example", tokenGroups: all}
`);
  const token = {
    provider: 'corp',
    issuer: 'https://login.example',
    subject: 'ada',
    groups: ['ai-agents', 'staff', '8f1c-4'],
    claims: {},
    until: 0,
  };
  assert.deepEqual(policy.principalOfToken(token), {
    subject: 'corp:ada',
    groups: ['ai-agents', 'pii'],
    issuer: 'https://login.example',
  });
  const groupsOf = (change: object) => policy.principalOfToken({ ...token, ...change })?.groups ?? null;
  assert.deepEqual(groupsOf({ groups: [] }), []);
  assert.equal(groupsOf({ issuer: 'https://login.example/' }), null, 'another issuer, if by a slash');
  assert.deepEqual(groupsOf({ issuer: 'https://all.example' }), ['8f1c-4', 'ai-agents', 'staff']);
  const ci = { issuer: 'https://ci.example' };
  assert.deepEqual(groupsOf({ ...ci, claims: { project: 'shop/tests', protected: true } }), ['ci']);
  assert.deepEqual(groupsOf({ ...ci, claims: { project: ['x', 'shop/agents'], protected: 'true' } }), ['ci']);
  for (const claims of [
    {},
    { project: 'shop/tests' },
    { project: 'shop/test', protected: 'true' },
    { project: { 'shop/tests': 1 }, protected: 'true' },
    { project: 'shop/tests', protected: 'false' },
    JSON.parse('{"__proto__": {"project": "shop/tests", "protected": "true"}}'),
  ])
    assert.equal(groupsOf({ ...ci, claims }), null, JSON.stringify(claims));
  assert.deepEqual(policy.principalOf({ uid: 5, user: 'ada', groups: ['ai-agents', '8f1c-4'] })?.groups, ['local']);
  assert.deepEqual(policy.principalOf({ uid: 5, user: 'bot', groups: [], unit: 'agent.service' })?.groups, ['unit']);
  assert.equal(policy.principalOf({ uid: 5, user: 'bot', groups: [], unit: 'other.service' }), null);
  assert.equal(policy.principalOf({ uid: 5, user: 'bot', groups: [] }), null);
});

test('entries of identities that could be misunderstood', () => {
  const faults = (entry: string) => told(`apiVersion: sluice/v1\nidentities:\n  - ${entry}\n`).join('\n');
  const issuer = 'issuer: "https://login.example"';
  assert.equal(faults(`{${issuer}, group: dba, groups: [dba]}`), '');
  assert.match(faults(`{${issuer}, user: ada}`), /exactly one of/);
  assert.match(faults('{groups: [dba]}'), /exactly one of/);
  assert.match(faults(`{${issuer}, subject: "local:root"}`), /subject of a token is its own/);
  assert.match(faults('{user: ada, tokenGroups: all}'), /name their issuer/);
  assert.match(faults('{group: dev, claims: {a: b}}'), /name their issuer/);
  assert.match(faults('{issuer: "http://login.example", tokenGroups: all}'), /https/);
  assert.match(faults('{unit: agent}'), /write it as agent\.service/);
  assert.match(faults(`{${issuer}, tokenGroup: dba}`), /tokenGroups/);
});

const MASKS = `${SHOP}masks:
  - {name: z, on: shop, columns: [public.people.email], with: partial, unless: {groups: [pii]}}
  - {name: y, on: everything, columns: ["*.ssn"], conditions: deny}
  - {on: other, columns: [secrets.value], with: hash, unless: {users: [root]}}
detect: [tokens, {detectors: [emails], on: shop, with: hash, unless: {groups: [pii]}}]
`;

test('obligations are the same object for the same answer', () => {
  const policy = policyOf(MASKS);
  const [shop, other] = [policy.resources.get('shop')!, policy.resources.get('other')!];
  const agent = policy.obligations(AGENT, shop);
  assert.deepEqual(agent, {
    masks: [
      { name: 'y', columns: ['*.ssn'], with: 'redact', conditions: 'deny' },
      { name: 'z', columns: ['public.people.email'], with: 'partial', conditions: 'allow' },
    ],
    detect: ['emails', 'tokens'],
    detectWith: 'redact',
  });
  assert.equal(policy.obligations({ subject: 'someone', groups: ['x', 'y'] }, shop), agent);
  assert.ok(Object.isFrozen(agent) && Object.isFrozen(agent.masks) && Object.isFrozen(agent.masks[0]));
  assert.deepEqual(
    policy.obligations({ subject: 'p', groups: ['pii'] }, shop).masks.map((m) => m.name),
    ['y'],
  );
  assert.deepEqual(policy.obligations({ subject: 'p', groups: ['pii'] }, shop).detect, ['tokens']);
  assert.deepEqual(
    policy.obligations(AGENT, other).masks.map((m) => m.name),
    ['y', 'mask of secrets.value'],
  );
  assert.deepEqual(
    policy.obligations({ subject: 'root', groups: [] }, other).masks.map((m) => m.name),
    ['y'],
  );
});

test("a name can't be made to look like a group", () => {
  const policy = policyOf(MASKS);
  const shop = policy.resources.get('shop')!;
  assert.equal(policy.obligations({ subject: 'pii', groups: ['a,pii', 'pii ', 'PII', '"pii"'] }, shop).masks.length, 2);
});

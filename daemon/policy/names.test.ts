import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import type { Session } from '../core/principal.ts';
import { diagnosticText } from './diagnostic.ts';
import { AGENT, decide, KIT, operation, policyOf, SHOP, told } from './fixture.ts';
import { checkPolicy } from './load.ts';
import type { Kit } from './schema.ts';

const session = (principal = AGENT): Session => ({
  id: '0'.repeat(32),
  principal,
  cgroupId: 1n,
  uid: 1,
  command: [],
  startedAt: 0,
});
const OTHER = { subject: 'other@example.com', groups: ['others'] };

const POLICY = `${SHOP}  hidden: {protocol: plain, address: "hidden.example:1"}
  wide: {protocol: plain, address: "wide.example:1", also: ["*.wide.example:1"], breadth: accepted}
dns:
  - names: [deb.debian.org, "*.cdn.example", Capital.example.]
    who: {groups: [ai-agents]}
    breadth: accepted
  - name: records of mail
    names: [mail.example]
    who: everyone
    types: [MX, TXT]
    answers: any
rules:
  - {name: n, allow: [read], who: {groups: [ai-agents]}, on: [shop, wide]}
`;

test('names of resources that may be used, and those under dns, may be asked for; all others do not exist', () => {
  const policy = policyOf(POLICY);
  const ask = (name: string, type = 'A', who = AGENT) => {
    const { outcome, known, rule, zone } = policy.resolve({ session: session(who), name, type });
    return outcome === 'allow' ? [rule, zone] : known;
  };
  assert.deepEqual(ask('db.shop.example'), ['resource shop', null]);
  assert.deepEqual(ask('db.shop.example', 'AAAA'), ['resource shop', null]);
  assert.deepEqual(ask('deb.debian.org'), ['dns deb.debian.org', null]);
  assert.deepEqual(ask('capital.example'), ['dns Capital.example.', null]);
  assert.deepEqual(ask('a.b.cdn.example'), ['dns *.cdn.example', 'cdn.example']);
  assert.deepEqual(ask('x.wide.example'), ['resource wide', 'wide.example']);
  assert.deepEqual(ask('wide.example'), ['resource wide', null]);
  assert.deepEqual(ask('mail.example', 'TXT', OTHER), ['records of mail', null]);
  assert.equal(ask('mail.example', 'A'), true, 'known, and not for this type');
  assert.equal(ask('db.shop.example', 'TXT'), true);
  for (const name of [
    'cdn.example',
    'evilcdn.example',
    'debian.org',
    'x.deb.debian.org',
    '',
    '198.51.100.23',
    'hidden.example',
  ])
    assert.equal(ask(name), false, name);
  assert.equal(ask('db.shop.example', 'A', OTHER), false, 'nothing is allowed there');
  assert.equal(ask('deb.debian.org', 'A', OTHER), false);
});

test('only the entry that says so lets answers point inward', () => {
  const policy = policyOf(POLICY);
  const inward = (name: string, type: string) => policy.resolve({ session: session(), name, type }).inward;
  assert.equal(inward('mail.example', 'MX'), true);
  assert.equal(inward('deb.debian.org', 'A'), false);
  assert.equal(inward('db.shop.example', 'A'), false);
});

test('faults of dns entries say where and what instead', () => {
  const dns = (line: string) => told(`apiVersion: sluice/v1\ndns:\n  - ${line}\n`);
  assert.match(
    dns('{names: ["*.com"], who: everyone}')[0]!,
    /^0\.yaml:3:14: dns\[0\]\.names\[0\]: too broad: .*breadth: accepted/,
  );
  assert.match(dns('{names: [198.51.100.23], who: everyone}')[0]!, /is an address; names stand here/);
  assert.match(dns('{names: ["a*.example"], who: everyone}')[0]!, /stands only at the front/);
  assert.match(dns('{names: [a.example], who: everyone, types: [TXTT]}')[0]!, /did you mean "TXT"/);
  assert.match(dns('{names: [a.example], who: everyone, breadth: accepted}')[0]!, /nothing here is broad/);
  assert.match(dns('{names: [a.example]}')[0]!, /"who" is missing/);
  assert.match(
    told('apiVersion: sluice/v1\nresources:\n  r: {protocol: plain, address: "ns.example:53"}\n').join('\n'),
    /3:33: resources\.r\.address: port 53 is answered by sluice itself/,
  );
});

test('of what is not read, check warns, and only rules that name it let it through', () => {
  const kit: Kit = {
    ...KIT,
    protocols: { ...KIT.protocols, blind: { options: z.strictObject({}), unread: 'nobody knows' } },
  };
  const checked = (text: string) => checkPolicy([{ file: 'p.yaml', text }], kit);
  const blind = `apiVersion: sluice/v1
resources:
  shop: {protocol: blind, address: "mirror.example:443"}
rules:
  - {name: n, allow: [network], who: {groups: [ai-agents]}, on: ON}
`;
  const connect = operation([{ effect: 'network' }]);
  const named = checked(blind.replace('ON', 'shop'));
  assert.deepEqual(named.diagnostics.map(diagnosticText), [
    'p.yaml:3:20: warning: resources.shop.protocol: passed unread: nobody knows',
  ]);
  assert.equal(decide(named.policy!, connect).outcome, 'allow');
  const all = checked(blind.replace('ON', 'everything'));
  assert.equal(decide(all.policy!, connect).outcome, 'deny');
  assert.match(all.diagnostics.map(diagnosticText).join('\n'), /no rule allows anything on it/);
  const credential = blind.replace('443"', '443", credential: {file: /x}');
  assert.match(checked(credential).diagnostics.map(diagnosticText).join('\n'), /credential has no use/);
});

test('several resources may be meant by one address', () => {
  const policy = policyOf(POLICY);
  const at = (names: readonly string[]) => policy.resourcesAt('203.0.113.9', 1, names).map(({ name }) => name);
  assert.deepEqual(at(['hidden.example', 'x.wide.example']), ['hidden', 'wide']);
  assert.deepEqual(at(['hidden.example']), ['hidden']);
  assert.deepEqual(at([]), []);
  assert.equal(policy.resourceAt('203.0.113.9', 1, ['hidden.example', 'x.wide.example']), null);
});

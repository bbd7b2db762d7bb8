import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SluiceError } from '../core/errors.ts';
import { check, KIT, policyOf, SHOP, told } from './fixture.ts';
import { loadPolicy } from './load.ts';
import { jsonSchema, milliseconds } from './schema.ts';
import { versionOf } from './source.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-policy-'));
after(() => rmSync(folder, { recursive: true }));

/** Faults of one line put under `rules:`. */
const rule = (line: string): string[] =>
  told(`${SHOP}rules:\n  - ${line}\n`).map((text) => text.replace(/^0\.yaml:6:/, ''));
const OK = 'name: n, who: {groups: [g]}, on: shop';

test('a fault names file, line, column, path and what was probably meant', () => {
  assert.deepEqual(rule(`{${OK}, allow: [read], tabels: [a.b]}`), [
    '60: rules[0].tabels: unknown key "tabels" (did you mean "tables"?)',
  ]);
  assert.deepEqual(rule(`{${OK}, allow: [reed]}`), [
    '53: rules[0].allow[0]: "reed" is not known here (did you mean "read"?)',
  ]);
  assert.deepEqual(rule('{name: n, who: {groups: [g]}, on: shpo, allow: [read]}'), [
    '39: rules[0].on: there is no resource "shpo" (did you mean "shop"?)',
  ]);
  assert.match(rule(`{${OK}, allow: read}`)[0]!, /expected a list of effects .* \(for one, write \[read\]\)/);
  assert.match(rule(`{${OK}, allow: [read], tables: [orders]}`)[0]!, /did you mean public\.orders\?/);
  assert.match(
    rule(`{${OK}, allow: [read], tables: [public.Orders]}`)[0]!,
    /write public\.orders, or public\."Orders"/,
  );
  assert.match(rule(`{${OK}, allow: [read], tables: ['a."b']}`)[0]!, /quote is not closed/);
  assert.match(
    rule(`{${OK}, allow: [read], when: 'operation.vreb == "x"'}`)[0]!,
    /operation has no vreb \(character 11 of the condition\) \(did you mean "verb"\?\)/,
  );
  assert.match(
    rule('{name: n, who: {group: [g]}, on: shop, allow: [read]}').join(),
    /who\.group: unknown key "group" \(did you mean "groups"\?\)/,
  );
  assert.match(
    told(SHOP.replace('protocol: plain', 'protocol: plian'))[0]!,
    /0\.yaml:3:20: resources\.shop\.protocol: .*did you mean "plain"/,
  );
  assert.match(
    told(SHOP.replace('5433"}', '5433", options: {dept: 1}}'))[0]!,
    /options\.dept: unknown key "dept" \(did you mean "depth"\?\)/,
  );
  assert.match(told(`${SHOP}detect: [email]\n`)[0]!, /did you mean "emails"/);
  assert.match(told(SHOP.replace('sluice/v1', 'sluice/v2'))[0]!, /apiVersion/);
  assert.match(told('mode: enforce\n')[0]!, /apiVersion: is missing: sluice\/v1/);
  assert.match(told('')[0]!, /expected a mapping, found an empty value/);
});

test('what does not go together is refused', () => {
  const wrong: [string, RegExp][] = [
    [`{${OK}}`, /needs one of allow, deny and approve/],
    [`{${OK}, allow: [read], deny: [write]}`, /allow and deny/],
    [`{${OK}, approve: [read]}`, /needs reviewers/],
    [`{${OK}, approve: [read], reviewers: {groups: []}}`, /empty list/],
    [`{${OK}, allow: [read], quorum: 2}`, /quorum goes with approve only/],
    [`{${OK}, approve: [read], reviewers: anyone, remember: session, match: exact}`, /needs match: fingerprint/],
    [`{${OK}, approve: [read], reviewers: anyone, hold: 2h}`, /between 0s and 1h/],
    [`{${OK}, allow: [read], columns: [a]}`, /one by one/],
    [`{${OK}, deny: [read], columns: [a.b]}`, /not the name of a column/],
    [`{${OK}, deny: [read], verbs: ["DR*"]}`, /words after the first/],
    [`{${OK}, deny: [read], tables: [pub*.t]}`, /never for a piece/],
    [`{${OK}, deny: []}`, /empty list/],
    ['{name: n, who: {groups: ["*"]}, on: shop, allow: [read]}', /named in full/],
    ['{name: n, who: {}, on: shop, allow: [read]}', /names nobody/],
    ['{name: n, on: shop, allow: [read]}', /"who" is missing/],
    ['{name: n, who: everyone, allow: [read]}', /"on" is missing/],
    ['{name: n, who: everyone, on: [shop, everything], allow: [read]}', /stands by itself/],
  ];
  for (const [line, fault] of wrong) assert.match(rule(line).join('\n'), fault, line);
});

test('dangerous breadth has to be accepted by name, and is warned of', () => {
  const broad = [
    'name: n, who: everyone, on: everything, allow: [read]',
    'name: n, who: {groups: [g]}, on: shop, allow: everything',
    'name: n, who: {groups: [g]}, on: shop, allow: [read], tables: ["*"]',
    'name: n, who: everyone, on: everything, approve: [read], reviewers: anyone',
    'name: n, who: {groups: [g]}, on: shop, approve: [read], tables: ["*.*"], reviewers: anyone',
  ];
  for (const line of broad) {
    assert.match(rule(`{${line}}`).join(), /too broad.*breadth: accepted/, line);
    assert.ok(
      rule(`{${line}, breadth: accepted}`).every((text) => text.includes('warning: ')),
      line,
    );
  }
  assert.match(rule(`{${OK}, allow: [read], breadth: accepted}`).join(), /warning: .*nothing here is broad/);
  assert.deepEqual(
    rule('{name: n, who: everyone, on: everything, deny: everything}').filter((text) => !text.includes('warning')),
    [],
  );
  const also = (text: string, more = '') =>
    told(`apiVersion: sluice/v1\nresources:\n  s: {protocol: plain, address: "a.b:1", also: ["${text}"]${more}}\n`)
      .filter((line) => !line.includes('warning'))
      .join();
  assert.match(also('*.com:443'), /every name below com/);
  assert.equal(also('*.com:443', ', breadth: accepted'), '');
  assert.match(also('*:443', ', breadth: accepted'), /only at the front/);
  assert.match(also('a*.com:443', ', breadth: accepted'), /only at the front/);
});

test('resources', () => {
  const resource = (more: string) => check(`apiVersion: sluice/v1\nresources:\n  s: {protocol: plain, ${more}}\n`);
  const made = (more: string) => resource(more).policy?.resources.get('s');
  assert.deepEqual(made('address: "[2001:DB8::0:1]:5433"'), {
    name: 's',
    protocol: 'plain',
    host: '2001:db8::1',
    port: 5433,
    also: [],
    tls: 'verify-full',
    login: 'none',
    options: {},
  });
  assert.equal(made('address: "a.b:1", credential: {systemd: x}')?.login, 'token');
  assert.equal(made('address: "a.b:1", credential: {systemd: x}, login: none')?.login, 'none');
  assert.deepEqual(made('address: "a.b:1", credential: {command: [/bin/x, y], user: app}')?.credential, {
    command: ['/bin/x', 'y'],
    user: 'app',
  });
  for (const more of [
    'address: a.b',
    'address: "a.b:0"',
    'address: "a.b:70000"',
    'address: "::1:5"',
    'address: "[::1]"',
    'address: "1.2.3:5"',
    'address: "0x7f.1:5"',
    'address: "*.b:1"',
    'address: "a.b:1", login: token',
    'address: "a.b:1", credential: {}',
    'address: "a.b:1", credential: {file: x}',
    'address: "a.b:1", credential: {command: [x]}',
    'address: "a.b:1", credential: {systemd: ../x}',
    'address: "a.b:1", tls: "off", ca: /x',
    'address: "a.b:1", tls: on',
    'address: "a.b:1", options: {depth: x}',
    'address: "a.b:1", also: ["c.d"]',
  ])
    assert.equal(resource(more).policy, null, more);
});

test('one name is one thing over all files, and both places are named', () => {
  const line = 'rules:\n  - {name: n, allow: [read], who: {groups: [g]}, on: shop}\n';
  assert.deepEqual(told(`${SHOP}${line}`, `apiVersion: sluice/v1\n${line}`), [
    '1.yaml:3:12: rules[0].name: there is already a rule named "n" at 0.yaml:6:12',
  ]);
  assert.match(
    told(SHOP, SHOP)[0]!,
    /1\.yaml:3:3: resources\.shop: there is already a resource named "shop" at 0\.yaml:3:3/,
  );
  assert.match(told(SHOP.replace('198.51.100.23', 'DB.shop.example.'))[0]!, /already an address of shop/);
});

test('a rule may name a resource of a later file', () => {
  assert.notEqual(
    check('apiVersion: sluice/v1\nrules:\n  - {name: n, allow: [read], who: {groups: [g]}, on: shop}\n', SHOP).policy,
    null,
  );
});

test('rules that never decide are warned of', () => {
  const warned = (...lines: string[]) =>
    told(`${SHOP}rules:\n${lines.map((line) => `  - ${line}\n`).join('')}`).filter((text) =>
      text.includes('never decides'),
    ).length;
  const allow = '{name: a, allow: [read], who: {groups: [g]}, on: shop, tables: [public.t]}';
  assert.equal(warned(allow, '{name: b, deny: [read, write], who: everyone, on: shop}'), 1);
  assert.equal(warned(allow, '{name: b, deny: [read], who: everyone, on: shop, tables: [public.*]}'), 1);
  assert.equal(
    warned(allow, '{name: b, approve: [read], who: {groups: [g, h]}, on: everything, reviewers: anyone}'),
    1,
  );
  assert.equal(warned(allow, '{name: b, allow: [read], who: {groups: [g]}, on: shop, tables: [public.t]}'), 1);
  assert.equal(warned(allow, '{name: b, deny: [read], who: everyone, on: shop, when: "now.getHours() < 3"}'), 0);
  assert.equal(warned(allow, '{name: b, deny: [read], who: everyone, on: shop, tables: [public.t], columns: [c]}'), 0);
  assert.equal(warned(allow, '{name: b, deny: [read], who: {groups: [other]}, on: shop}'), 0);
  assert.equal(warned(allow, '{name: b, deny: [write], who: everyone, on: shop}'), 0);
});

test('YAML that means something else than it says is refused', () => {
  const refused: [string, RegExp][] = [
    [`${SHOP}mode: enforce\nmode: observe\n`, /unique/],
    [SHOP.replace('shop:', 'shop: !!map'), /tag/],
    [`${SHOP}mode: !evil enforce\n`, /tag|Unresolved/],
    [`%YAML 1.1\n---\n${SHOP}`, /directives/],
    [`${SHOP}---\nmode: enforce\n`, /one YAML document/],
    [`${SHOP}<<: {mode: observe}\n`, /unknown key "<<"/],
    [`${SHOP}1: x\n`, /not text/],
    [`${SHOP}? [a]\n: x\n`, /plain text/],
    [`${SHOP}__proto__: {mode: observe}\n`, /unknown key/],
    [`${SHOP}\tmode: x\n`, /0\.yaml:/],
  ];
  for (const [text, fault] of refused) {
    assert.match(told(text).join('\n'), fault, text);
    assert.equal(check(text).policy, null);
  }
  const yes = policyOf(`${SHOP}rules:\n  - {name: yes, allow: [read], who: {groups: [no, on]}, on: shop}\n`);
  assert.equal(yes.ruleCount, 1, 'yes, no and on are words, not booleans');
});

test('YAML made to exhaust is refused before it is expanded', () => {
  const bomb = [
    'a: &a [x,x,x,x,x,x,x,x,x,x]',
    ...'bcdefghij'.split('').map((c, i) => `${c}: &${c} [${Array(10).fill(`*${'abcdefghij'[i]}`).join()}]`),
  ].join('\n');
  for (const text of [
    bomb,
    `a: ${'['.repeat(500_000)}`,
    '- '.repeat(400_000),
    `a: ${'{a: '.repeat(100_000)}`,
    Array.from({ length: 700 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'),
    `a: [${'x,'.repeat(300_000)}]`,
    `&a a: *a`,
    '? '.repeat(300_000),
  ]) {
    const { policy, diagnostics } = check(text);
    assert.equal(policy, null);
    assert.ok(diagnostics.length > 0 && diagnostics.length < 200);
  }
  const path = join(folder, 'big.yaml');
  writeFileSync(path, `# ${'x'.repeat(1 << 20)}`);
  assert.throws(
    () => loadPolicy([path], KIT),
    (e: SluiceError) => e.code === 'POLICY_INVALID' && /at most 1048576 bytes/.test(e.message),
  );
});

test('a few aliases are fine, and faults behind them have a place', () => {
  const text = (group: string) =>
    `${SHOP}rules:\n  - {name: a, allow: [read], who: &them {groups: [${group}]}, on: shop}\n  - {name: b, deny: [write], who: *them, on: shop}\n`;
  assert.equal(policyOf(text('g')).ruleCount, 2);
  assert.match(told(text('"*"')).join(), /0\.yaml:6:51: rules\[1\]/);
});

test('folders: *.yaml in order of name, no tests, no hidden files; nothing there is an error', () => {
  const dir = join(folder, 'set');
  mkdirSync(join(dir, 'deeper.yaml'), { recursive: true });
  assert.throws(() => loadPolicy([dir], KIT), SluiceError);
  rmSync(join(dir, 'deeper.yaml'), { recursive: true });
  assert.throws(() => loadPolicy([dir], KIT), /there is no \*\.yaml file/);
  writeFileSync(
    join(dir, 'b.yml'),
    'apiVersion: sluice/v1\nrules:\n  - {name: n, allow: [read], who: {groups: [g]}, on: shop}\n',
  );
  writeFileSync(join(dir, 'a.yaml'), SHOP);
  for (const other of ['a.test.yaml', '.hidden.yaml', 'a.yaml~', 'notes.txt'])
    writeFileSync(join(dir, other), 'broken: [');
  const policy = loadPolicy([dir], KIT);
  assert.equal(policy.ruleCount, 1);
  assert.match(policy.version, /^[0-9a-f]{16}$/);
  assert.equal(loadPolicy([join(dir, 'a.yaml'), join(dir, 'b.yml'), join(dir, 'a.yaml')], KIT).version, policy.version);
  assert.throws(
    () => loadPolicy([join(dir, 'none.yaml')], KIT),
    (e: SluiceError) => e.code === 'POLICY_UNREADABLE',
  );
  writeFileSync(join(dir, 'c.yaml'), Buffer.from([0x61, 0xff]));
  assert.throws(() => loadPolicy([dir], KIT), /not valid UTF-8/);
});

test('a version is of the content', () => {
  const one = [
    { file: '/x/a.yaml', text: 'ab' },
    { file: '/x/b.yaml', text: 'c' },
  ];
  assert.equal(versionOf(one), versionOf(one.map((f) => ({ ...f, file: f.file.replace('/x', '/y') }))));
  assert.notEqual(
    versionOf(one),
    versionOf([
      { file: '/x/a.yaml', text: 'a' },
      { file: '/x/b.yaml', text: 'bc' },
    ]),
  );
});

test('every fault of every file is in the error', () => {
  const [a, b] = [join(folder, 'a.yaml'), join(folder, 'b.yaml')];
  writeFileSync(a, `${SHOP}mod: x\n`);
  writeFileSync(b, 'apiVersion: sluice/v1\nrulse: []\n');
  assert.throws(
    () => loadPolicy([a, b], KIT),
    (e: SluiceError) =>
      e.code === 'POLICY_INVALID' &&
      e.message.split('\n').length === 2 &&
      e.message.includes('a.yaml:5:1') &&
      e.message.includes('did you mean "rules"'),
  );
});

test('durations', () => {
  assert.deepEqual(['90s', '10m', '1h30m', '7d', '0s'].map(milliseconds), [90_000, 600_000, 5_400_000, 604_800_000, 0]);
  for (const text of ['', '10', 'm', '1.5h', '-1s', '10 m', '10ms']) assert.ok(Number.isNaN(milliseconds(text)), text);
});

test('the JSON Schema knows protocols, options and detectors', () => {
  const text = JSON.stringify(jsonSchema(KIT));
  for (const part of [
    '"enum":["plain"]',
    '"depth"',
    '"enum":["cloud-keys","emails","tokens"]',
    '"additionalProperties":false',
    '"oneOf":[{"required":["allow"]}',
  ])
    assert.ok(text.includes(part), part);
});

test('the example is valid for a protocol named postgres', async () => {
  const path = fileURLToPath(new URL('example.yaml', import.meta.url));
  const { postgresOptions } = await import('../protocols/postgres/options.ts');
  const kit = { protocols: { postgres: { options: postgresOptions } }, detectors: ['private-keys', 'payment-cards'] };
  const policy = loadPolicy([path], kit);
  assert.deepEqual([policy.ruleCount, policy.maskCount, policy.warnings.length], [5, 2, 0]);
  assert.deepEqual(policy.resources.get('shop')?.options, { databases: ['shop'], replication: false });
});

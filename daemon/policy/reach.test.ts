/** Names, connections and sockets in cases, explain and diff, decided by what decides them at run time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectTcp } from '../bin/connector.ts';
import { policyFolder } from '../cli/fixture.ts';
import { typeName } from '../protocols/dns/wire.ts';
import { TCP_UNREAD, tcpOptions } from '../protocols/tcp/options.ts';
import { KIT } from './fixture.ts';
import { NAME_TYPES, OTHER_TYPES } from './names.ts';
import type { Kit } from './schema.ts';

const kit: Kit = { ...KIT, protocols: { ...KIT.protocols, tcp: { options: tcpOptions, unread: TCP_UNREAD } } };

const { folder, write, run } = policyFolder({ kit, connectors: { tcp: connectTcp } });

const POLICY = write(
  'p.yaml',
  `apiVersion: sluice/v1
resources:
  shop: {protocol: plain, address: "db.shop.example:5433"}
  mirror: {protocol: tcp, address: "mirror.example:8443", also: ["*.mirror.example:8443"], breadth: accepted}
  git: {protocol: tcp, address: "198.51.100.23:2222", options: {speaks: anything}}
  hidden: {protocol: tcp, address: "hidden.example:8443"}
rules:
  - {name: agents read, allow: [read], who: {groups: [agents]}, on: shop}
  - {name: agents fetch, allow: [network], who: {groups: [agents]}, on: [mirror, git]}
  - {name: at night only, deny: [network], who: {groups: [agents]}, on: mirror, when: "now.getHours() < 20"}
dns:
  - name: registries
    names: [registry.example, "*.files.example"]
    who: {groups: [agents]}
    breadth: accepted
  - {names: [mail.example], who: everyone, types: [TXT, MX], answers: any}
unix:
  - {name: build cache, sockets: [/run/build/cache.sock, "@tracer"], who: {groups: [agents]}}
  - {sockets: [/run/clock.sock], who: everyone}
`,
);

const agents = 'who: {groups: [agents]}';
const NIGHT = 'at: "2026-08-03T22:00:00Z"';

test('cases of names, connections and sockets', async () => {
  write(
    'p.test.yaml',
    `apiVersion: sluice/v1
cases:
  - {name: a name, ${agents}, dns: {name: registry.example}, expect: allow, rule: registries}
  - {name: however it is written, ${agents}, dns: {name: Registry.Example., type: AAAA, answers: outward}, expect: allow}
  - {name: below a zone, ${agents}, dns: {name: a.b.files.example}, expect: allow, rule: registries}
  - {name: not the zone, ${agents}, dns: {name: files.example}, expect: deny, rule: null}
  - {name: not what ends alike, ${agents}, dns: {name: evilfiles.example}, expect: deny}
  - {name: not of this type, ${agents}, dns: {name: registry.example, type: TXT}, expect: deny}
  - {name: nor of one with a number, ${agents}, dns: {name: registry.example, type: TYPE43}, expect: deny}
  - {name: of a resource, ${agents}, dns: {name: db.shop.example}, expect: allow, rule: resource shop}
  - {name: of one that is nothing to them, ${agents}, dns: {name: hidden.example}, expect: deny}
  - {name: for others, who: {groups: [others]}, dns: {name: registry.example}, expect: deny}
  - {name: for everyone, who: {}, dns: {name: mail.example, type: MX, answers: any}, expect: allow, rule: dns mail.example}
  - {name: the root, who: {}, dns: {name: ., type: NS}, expect: deny}
  - {name: a connection, ${agents}, connect: {to: "mirror.example:8443"}, ${NIGHT}, expect: allow, rule: agents fetch}
  - {name: by day, ${agents}, connect: {to: "mirror.example:8443"}, at: "2026-08-03T10:00:00Z", expect: deny, rule: at night only}
  - {name: by another of its names, ${agents}, connect: {to: "de.mirror.example:8443"}, ${NIGHT}, expect: allow}
  - {name: for another server, ${agents}, connect: {to: "mirror.example:8443", servername: evil.example}, ${NIGHT}, expect: deny, rule: agents fetch}
  - {name: for nobody by name, ${agents}, connect: {to: "mirror.example:8443", servername: null}, ${NIGHT}, expect: deny}
  - {name: not by TLS, ${agents}, connect: {to: "mirror.example:8443", tls: false}, ${NIGHT}, expect: deny}
  - {name: what may be anything, ${agents}, connect: {to: "198.51.100.23:2222", tls: false}, expect: allow}
  - {name: another port, ${agents}, connect: {to: "mirror.example:8444"}, expect: deny, rule: null}
  - {name: no rule, ${agents}, connect: {to: "hidden.example:8443"}, expect: deny, rule: null}
  - {name: a socket, ${agents}, unix: /run/build/cache.sock, expect: allow, rule: build cache}
  - {name: an abstract one, ${agents}, unix: "@tracer", expect: allow}
  - {name: a path is no abstract name, ${agents}, unix: /tracer, expect: deny}
  - {name: others, who: {groups: [others]}, unix: "@tracer", expect: deny, rule: null}
  - {name: everyone, who: {}, unix: /run/clock.sock, expect: allow, rule: unix /run/clock.sock}
`,
  );
  const { out, status } = await run('test', POLICY);
  assert.equal(out.replace(/^ok .*\n/gm, ''), 'all 26 cases as expected\n');
  assert.equal(status, 0);
});

test('a case that is not as expected says what was decided, and what may have been meant', async () => {
  const path = write(
    'q.test.yaml',
    `apiVersion: sluice/v1
cases:
  - {name: one, ${agents}, dns: {name: registri.example}, expect: allow}
  - {name: two, ${agents}, unix: /run/build/cach.sock, expect: allow}
  - {name: three, ${agents}, connect: {to: "mirror.exampel:8443"}, expect: allow}
  - {name: four, who: {}, dns: {name: mail.example, type: TXT, answers: outward}, expect: allow}
  - {name: five, ${agents}, dns: {name: registry.example}, expect: deny}
`,
  );
  const { out, status } = await run('test', POLICY, path);
  assert.equal(status, 1);
  for (const line of [
    /q\.test\.yaml:3: expected allow, got deny: registri\.example is no name .* \(did you mean "registry\.example"\?\)$/m,
    /q\.test\.yaml:4: expected allow, got deny: \/run\/build\/cach\.sock stands under no unix entry for test \(did you mean "\/run\/build\/cache\.sock"\?\)$/m,
    /q\.test\.yaml:5: expected allow, got deny: mirror\.exampel:8443 is the address of no resource \(did you mean "mirror\.example:8443"\?\)$/m,
    /q\.test\.yaml:6: expected answers outward, and they are any$/m,
    /q\.test\.yaml:7: expected deny, got allow: registries lets the name be asked for$/m,
  ])
    assert.match(out, line);
});

test('faults of cases say where, and what to write', async () => {
  for (const [text, fault] of [
    [
      'dns: {name: "*.files.example"}',
      /:3:\d+: cases\[0\]\.dns\.name: \*\.files\.example is a pattern \(ask for one, as www\.files\.example\)/,
    ],
    ['dns: {name: 198.51.100.23}', /198\.51\.100\.23 is an address; names stand here/],
    ['dns: {name: a.example, type: AAA}', /cases\[0\]\.dns\.type: there is no type "AAA" \(did you mean "AAAA"\?\)/],
    ['dns: {nmae: a.example}', /unknown key "nmae" \(did you mean "name"\?\)/],
    ['dns: {name: a.example}, unix: /run/x', /needs exactly one of on, dns, connect and unix, and has dns and unix/],
    ['operation: {effects: [read]}', /needs exactly one of on, dns, connect and unix/],
    ['dns: {name: a.example}, sql: select 1', /cases\[0\]\.sql: sql goes with on/],
    ['dns: {name: a.example}, at: "2026-08-03T10:00:00Z"', /no entry of dns looks at the time/],
    ['connect: {to: mirror.example}', /cases\[0\]\.connect\.to: mirror\.example is not host:port/],
    ['connect: {to: "*.mirror.example:8443"}', /is a pattern \(name one, as www\.mirror\.example\)/],
    ['connect: {to: "ns.example:53"}', /port 53 is answered by sluice itself.*\(ask for names by dns:\)/],
    [
      'connect: {to: "a.example:8443", tls: false, servername: b}',
      /connect\.servername: a server name is asked for by TLS/,
    ],
    [
      'connect: {to: "db.shop.example:5433"}',
      /connect\.to: shop speaks plain: each operation is decided, and not the connection \(on: with sql or operation\)/,
    ],
    ['unix: run/x.sock', /cases\[0\]\.unix: run\/x\.sock is neither .* \(\/run\/x\.sock, or @run\/x\.sock/],
  ] as const)
    await assert.rejects(
      run(
        'test',
        POLICY,
        write('r.test.yaml', `apiVersion: sluice/v1\ncases:\n  - {name: n, who: {}, expect: deny, ${text}}\n`),
      ),
      fault,
      text,
    );
  const asked = 'cases:\n  - {name: n, who: {}, unix: /run/x, expect: approve}\n';
  await assert.rejects(
    run('test', POLICY, write('r.test.yaml', `apiVersion: sluice/v1\n${asked}`)),
    /cases\[0\]\.expect: unix is let or refused: nobody is asked \(allow or deny\)/,
  );
});

test('explain says which entry lets a name or socket, and why others do not', async () => {
  const ask = async (...args: string[]) => (await run('explain', POLICY, '--group', 'agents', ...args)).out;
  assert.equal(
    (await ask('--dns', 'a.files.example', '--type', 'aaaa')).replaceAll(folder, ''),
    `AAAA a.files.example as agent (agents)
allow: registries lets the name be asked for
  addresses in the answer must not be of the host itself, its link or a metadata service
  below files.example the agent chooses the labels: their length and number are bounded

* registries  lets it
    /p.yaml:12
`,
  );
  assert.match(
    await ask('--dns', 'mail.example'),
    /deny: mail\.example may be asked for TXT, MX, not for A\n[\s\S]*no: is about TXT, MX, not A/,
  );
  assert.match(
    await ask('--dns', 'hidden.example'),
    /resource hidden {2}no: nothing is allowed to agent on hidden\n {4}.*p\.yaml:6/,
  );
  assert.match(
    await ask('--dns', 'registri.example'),
    /did you mean "registry\.example"\?\n\n {2}nothing in the policy names it/,
  );
  assert.match(
    await ask('--unix', '@tracer'),
    /allow: build cache opens @tracer\n\n\* build cache {2}lets it\n {4}.*p\.yaml:18/,
  );
  assert.match(
    (await run('explain', POLICY, '--unix', '@tracer')).out,
    /deny: .*\n {2}hint: .*\n\n {2}build cache {2}no: is about agents/,
  );
  const day = await ask('--connect', 'mirror.example:8443');
  assert.match(
    day,
    /^CONNECT mirror\.example:8443 TLS mirror\.example as agent \(agents\) on mirror\ndeny: rule "at night only" forbids network/,
  );
  assert.match(day, / allow {3}agents fetch {3}matches network/);
  const plain = await ask('--connect', '198.51.100.23:2222', '--servername', 'evil.example');
  assert.match(plain, /allow: .*\nrefused all the same: .*wants evil\.example, which is no name of it/);
  assert.match(
    await ask('--connect', '198.51.100.23:2222', '--no-tls'),
    /^CONNECT 198\.51\.100\.23:2222 as .*\nallow: [\s\S]*agents fetch/,
  );
  assert.match(await ask('--connect', 'a.example:1'), /deny: a\.example:1 is the address of no resource/);
  await assert.rejects(ask('--connect', 'db.shop.example:5433'), /each operation is decided/);
  await assert.rejects(ask('--unix', 'x'), /--unix: x is neither/);
  await assert.rejects(ask(), /nothing to explain/);
});

test('diff decides recorded names and sockets by the entries of the candidate', async () => {
  const event = (over: object) =>
    `${JSON.stringify({ type: 'operation', protocol: 'dns', subject: 'a', groups: ['agents'], decision: 'allow', time: 0, ...over })}\n`;
  const asked = (verb: string, object: string, over: object = {}) =>
    event({ verb, text: `${verb} ${object}`, accesses: [{ effect: 'read', object }], ...over });
  const socket = (object: string, over: object) =>
    event({
      protocol: 'unix',
      verb: 'CONNECT',
      text: `CONNECT ${object}`,
      accesses: [{ effect: 'network', object }],
      ...over,
    });
  const deny = (error: string) => ({ decision: 'deny', error });
  const same = write(
    'same.jsonl',
    asked('A', 'registry.example', { rule: 'registries' }) +
      asked('NS', '.', deny('NAME_UNKNOWN')) +
      asked('TXT', 'registry.example', deny('NAME_TYPE')) +
      socket('/run/docker.sock', deny('SOCKET_REFUSED')) +
      // What a hook refused no policy lets through.
      event({
        type: 'fault',
        protocol: undefined,
        verb: 'sendto',
        address: '198.51.100.23',
        port: 443,
        ...deny('KERNEL_REFUSED'),
      }),
  );
  assert.equal((await run('diff', POLICY, '--events', same)).out, '4 operations: none would change, 4 as before\n');
  const moved = write(
    'moved.jsonl',
    asked('A', 'gone.example').repeat(2) +
      asked('A', 'gone-too.example') +
      asked('AAAA', 'registry.example', deny('NAME_UNKNOWN')) +
      asked('A', 'registry.example', deny('NAME_LIMIT')) +
      socket('@tracer', deny('SOCKET_REFUSED')),
  );
  const { out, status } = await run('diff', POLICY, '--exit-code', '--events', moved);
  assert.equal(status, 1);
  assert.match(out, /^ {6}2 {2}allow -> deny {2}a on dns: no rule -> no rule\n {9}A: A gone\.example\n/);
  assert.match(out, / {6}1 {2}deny -> allow {2}a on dns: no rule -> "registries"\n/);
  assert.match(out, / {6}1 {2}deny -> allow {2}a on unix: no rule -> "build cache"\n {9}CONNECT: CONNECT @tracer\n/);
  assert.match(
    out,
    /6 operations: 5 would change, 0 as before\n1 operation not decided: refused for what is not of the policy\n$/,
  );
});

test('types of cases are those that questions have', () => {
  const known = Array.from({ length: 300 }, (_, type) => typeName(type)).filter((name) => !/^TYPE\d/.test(name));
  assert.deepEqual([...NAME_TYPES, ...OTHER_TYPES, 'OPT'].sort(), known.sort());
});

test('editors know the files of cases', async () => {
  const schema = JSON.parse((await run('schema', '--cases')).out);
  const { properties, oneOf } = schema.properties.cases.items;
  assert.deepEqual(Object.keys(properties).filter((key) => ['dns', 'connect', 'unix'].includes(key)).length, 3);
  assert.equal(oneOf.length, 4);
});

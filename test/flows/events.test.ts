/** Whose is it? Every event of an agent says so, and the table in daemon/audit/README.md says which does not, and why. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { dnsMissing } from '../harness/dns.ts';
import { stackMissing } from '../harness/stack.ts';
import { openSite, type Site } from '../tcp/site.ts';

const ALL = ['session', 'subject', 'pid', 'uid', 'exe', 'cgroup'] as const;
const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

/** Rows of the table: what a type carries, in words. */
const TABLE = new Map(
  [...read('daemon/audit/README.md').matchAll(/^\| (`[a-z.]+`(?:, `[a-z.]+`)*) \| ([^|]+) \| [^|]* \|$/gm)]
    .filter(([, types]) => !types!.includes('.ts'))
    .flatMap(([, types, carries]) =>
      [...types!.matchAll(/`([a-z.]+)`/g)].map(([, type]) => [type!, carries!] as const),
    ),
);

test('the table has every type of event, and no other', () => {
  const declared = /export type EventType =([^;]+);/.exec(read('daemon/core/event.ts'))![1]!;
  assert.deepEqual([...TABLE.keys()].sort(), [...declared.matchAll(/'([a-z.]+)'/g)].map(([, type]) => type).sort());
});

describe('events of a run', { skip: stackMissing() ?? dnsMissing() ?? false }, () => {
  let site: Site;
  before(async () => {
    site = await openSite();
  });
  after(() => site?.stop());

  test('each carries what the table says', async () => {
    const agent = site.stack.run([
      'python3',
      '-c',
      `
import socket, ssl
def get(name):
  c = ssl.create_default_context(cafile='${site.ca}')
  s = c.wrap_socket(socket.create_connection((name, ${site.tls})), server_hostname=name)
  s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.recv(15))
# An answer where a question belongs.
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.sendto(b'\\xff' * 40, ('198.51.100.23', 53))
get('mirror.shop.test')
try: socket.getaddrinfo('nobody.test', 1)
except OSError: pass
try: get('hidden.shop.test')
except OSError: pass
try: socket.create_connection(('198.51.100.23', 4711), 5).recv(1)
except OSError: pass
try: socket.socket(socket.AF_UNIX).connect('${site.stack.runDir}/helper.sock')
except OSError: pass
get('held.shop.test')`,
    ]);
    const list = async () => (await site.stack.call('approvals.list')) as readonly { id: string }[];
    let pending = await list();
    let over = false;
    void agent.finally(() => {
      over = true;
    });
    while (pending.length === 0 && !over) pending = await list();
    if (pending.length === 0) assert.fail(JSON.stringify(await agent));
    assert.equal((await site.stack.sluice(['approvals', 'approve', pending[0]!.id])).status, 0);
    const { status, stderr } = await agent;
    assert.equal(status, 0, stderr);
    let events = await site.events();
    while (!events.some(({ type }) => type === 'session.end')) events = await site.events();
    const seen = new Set<unknown>();
    for (const event of events) {
      const carries = TABLE.get(String(event.type))!;
      seen.add(event.type);
      const wanted = carries.startsWith('all') ? ALL : [];
      for (const name of wanted)
        assert.ok(event[name] !== undefined && event[name] !== '', `${name} of ${JSON.stringify(event)}`);
      if (event.subject !== undefined) assert.equal(event.subject, 'local:sluice-agent');
      if (wanted === ALL) assert.match(String(event.exe), /\/python3/);
    }
    const start = events.find(({ type }) => type === 'session.start')!;
    for (const { session, cgroup, uid } of events)
      if (cgroup !== undefined) assert.deepEqual([session, cgroup, uid], [start.session, start.cgroup, start.uid]);
    assert.equal(start.owner, start.uid);
    assert.equal(start.exe, realpathSync('/usr/bin/python3'));
    // The others need a provider of tokens (test/oidc), an approval that nobody decides (daemon/approvals) or a bad policy.
    const expected = 'daemon.start session.start flow.start flow.end operation result fault approval.requested';
    for (const type of [...expected.split(' '), 'approval.decided', 'approval.used', 'session.end'])
      assert.ok(seen.has(type), `no ${type} was recorded`);
  });

  test('what was recorded of names and connections is decided by cases and diff as it was then', async () => {
    const policy = join(site.stack.dir, 'policy');
    const same = await site.stack.sluice(['policy', 'diff', policy]);
    assert.match(same.stdout, /^[0-9]+ operations: none would change, [0-9]+ as before\n/, same.stderr);
    const cases = new Set<string>();
    for (const event of await site.events()) {
      const { type, protocol, text, address, observed, decision } = event;
      // Further sockets of a second have no name of their own.
      if (type !== 'operation' || (protocol === 'unix' && address === undefined)) continue;
      const [verb, to, , servername] = String(text).split(' ');
      const about = {
        dns: `dns: {name: ${to}, type: ${verb}}`,
        tcp: `connect: {to: "${to}", servername: ${servername}}`,
        unix: `unix: "${address}"`,
      }[String(protocol)];
      cases.add(`  - {name: "${text}", who: {groups: [agents]}, ${about}, expect: ${observed ?? decision}}`);
    }
    for (const part of ['expect: approve', 'dns: {', 'connect: {', 'unix: "'])
      assert.ok(
        [...cases].some((line) => line.includes(part)),
        part,
      );
    writeFileSync(join(policy, 'recorded.test.yaml'), `apiVersion: sluice/v1\ncases:\n${[...cases].join('\n')}\n`);
    const { status, stdout, stderr } = await site.stack.sluice(['policy', 'test', policy]);
    assert.equal(status, 0, stdout + stderr);
  });

  test('a session with a uid of its own has that one in all of them, and says whose it is', async () => {
    const connect = `import socket; socket.create_connection(('198.51.100.23', 4712), 5).recv(1)`;
    const { stderr } = await site.stack.sluice(['run', '-v', '--', 'python3', '-c', `${connect}`]);
    const [, uid, cgroup = ''] = /^sluice: session [0-9a-f]{8} runs as uid ([0-9]+) in (\/\S+)\n/.exec(stderr) ?? [];
    const [id] = /(?<=\/sessions\/)[0-9a-f]{32}$/.exec(cgroup) ?? [];
    assert.ok(id !== undefined && stderr.startsWith(`sluice: session ${id.slice(0, 8)} `), stderr);
    const mine = async () => (await site.events()).filter(({ session }) => session === id);
    let events = await mine();
    while (!events.some(({ type }) => type === 'session.end')) events = await mine();
    assert.deepEqual([...new Set(events.map((event) => event.uid))], [Number(uid)]);
    assert.ok(events.some(({ port }) => port === 4712));
    const owner = Number(execFileSync('id', ['-u', 'sluice-agent'], { encoding: 'utf8' }));
    for (const event of events.filter(({ type }) => String(type).startsWith('session.')))
      assert.deepEqual([event.owner, event.exe], [owner, realpathSync('/usr/bin/python3')]);
  });
});

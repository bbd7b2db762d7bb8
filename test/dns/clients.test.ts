/** Resolvers as they come, in a session, without settings of their own. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { openSite, type Site, siteMissing } from './site.ts';

const without = (program: string, why = 'is not installed') => (existsSync(program) ? false : `${program} ${why}`);

describe('names in a session', { skip: siteMissing() }, () => {
  let site: Site;
  before(async () => {
    site = await openSite();
  });
  after(() => site?.stop());

  const run = async (argv: readonly string[], env = {}) => {
    const { status, stdout, stderr } = await site.stack.run(argv, { env });
    return { status, stdout: stdout.trim(), stderr };
  };
  const python = (code: string, env = {}) => run(['python3', '-c', code], env);
  const dig = async (...argv: string[]) => {
    const { stdout } = await run(['dig', ...argv]);
    const status = /status: (\w+)/.exec(stdout)?.[1];
    const answers = /ANSWER SECTION:\n([\s\S]*?)\n\n/.exec(stdout)?.[1]?.split('\n') ?? [];
    return { stdout, status, answers: answers.map((line) => line.split(/\s+/).slice(1).join(' ')) };
  };

  test('glibc: both families, one family, a CNAME, no such name, and a name that nobody may know', async () => {
    const hosts = async (name: string) => {
      const { status, stdout } = await run(['getent', 'ahosts', name]);
      return [
        status,
        ...new Set(stdout.split('\n').flatMap((line) => line.split(/\s+/).slice(0, 1).filter(Boolean))),
      ].sort();
    };
    assert.deepEqual(await hosts('deb.shop.test'), [0, '198.51.100.23', '2001:db8::17:23']);
    assert.deepEqual(await hosts('four.shop.test'), [0, '198.51.100.24']);
    assert.deepEqual(await hosts('six.shop.test'), [0, '2001:db8::17:24']);
    assert.deepEqual(await hosts('WWW.shop.TEST'), [0, '198.51.100.25']);
    assert.deepEqual(await hosts('gone.shop.test'), [2]);
    assert.deepEqual(await hosts('secret.shop.test'), [2]);
    const { stdout } = await python(`
import socket
for name in ('gone.shop.test', 'secret.shop.test'):
    try: socket.getaddrinfo(name, 443)
    except socket.gaierror as e: print(e.errno == socket.EAI_NONAME)
`);
    assert.equal(stdout, 'True\nTrue', 'it is said at once that there is no such name, not that asking failed');
  });

  test('search domains are walked, also past those that nobody may ask about', async () => {
    const found = await run(['getent', 'ahosts', 'deb'], { LOCALDOMAIN: 'corp.test else.test shop.test' });
    assert.match(found.stdout, /198\.51\.100\.23/);
    const dots = await run(['getent', 'ahosts', 'deb.shop.test'], {
      LOCALDOMAIN: 'svc.cluster.test cluster.test',
      RES_OPTIONS: 'ndots:5 timeout:30',
    });
    assert.match(dots.stdout, /198\.51\.100\.23/, 'a wait of 30 s would end the test');
    assert.ok(!site.dns.asked().some((asked) => asked.includes('corp.test') || asked.includes('cluster.test')));
  });

  test('dig: TTLs, chains, negative answers with a SOA, the reason, EDNS or none, over TCP, at any address', async () => {
    const chain = await dig('www.shop.test');
    assert.deepEqual(chain.answers, ['61 IN CNAME cdn.other.test.', '61 IN A 198.51.100.25']);
    const gone = await dig('gone.shop.test');
    assert.deepEqual([gone.status, gone.answers], ['NXDOMAIN', []]);
    assert.match(gone.stdout, /IN\s+SOA/);
    const refused = await dig('secret.shop.test');
    assert.deepEqual([refused.status, refused.answers], ['NXDOMAIN', []]);
    assert.match(refused.stdout, /EDE: 15 \(Blocked\).*secret\.shop\.test is no name of a resource/);
    assert.match(refused.stdout, /shop\.test\.\s+5\s+IN\s+SOA/);
    const empty = await dig('four.shop.test', 'AAAA');
    assert.deepEqual([empty.status, empty.answers], ['NOERROR', []]);
    assert.deepEqual((await dig('+noedns', 'deb.shop.test')).answers, ['61 IN A 198.51.100.23']);
    assert.match((await dig('+edns=1', '+noednsneg', 'deb.shop.test')).stdout, /BADVERS/);
    assert.deepEqual((await dig('+tcp', '@203.0.113.9', 'deb.shop.test', 'AAAA')).answers, [
      '61 IN AAAA 2001:db8::17:23',
    ]);
    assert.deepEqual((await dig('@2001:db8::53', 'deb.shop.test')).answers, ['61 IN A 198.51.100.23']);
    const many = await dig('many.shop.test');
    assert.equal(many.answers.length, 90);
    assert.match(many.stdout, /\(TCP\)/, 'cut over UDP, and asked again');
  });

  test('record types are those that policy lists for the name', async () => {
    const types = async (name: string, ...wanted: string[]) =>
      Promise.all(wanted.map(async (type) => (await dig(name, type)).answers.join()));
    assert.deepEqual(
      await types('deb.shop.test', 'TXT', 'HTTPS', 'SVCB', 'MX', 'ANY', 'NS', 'TYPE65399'),
      Array(7).fill(''),
    );
    assert.equal((await dig('deb.shop.test', 'HTTPS')).status, 'NOERROR');
    assert.deepEqual(await types('text.shop.test', 'TXT', 'A'), ['61 IN TXT "anybody may read this"', '']);
    assert.deepEqual(await types('mail.shop.test', 'MX'), ['61 IN MX 10 mx.shop.test.']);
    assert.deepEqual(await types('_db._tcp.shop.test', 'SRV'), ['61 IN SRV 0 0 5433 deb.shop.test.']);
    assert.deepEqual((await dig('-x', '198.51.100.23')).answers, ['61 IN PTR deb.shop.test.']);
    assert.equal((await dig('-x', '198.51.100.24')).status, 'NXDOMAIN');
    assert.ok(!site.dns.asked().includes('TXT deb.shop.test'));
  });

  test('an answer that points at the host itself is told to nobody, unless policy says so', async () => {
    for (const name of ['loop.shop.test', 'meta.shop.test']) {
      const { status, answers, stdout } = await dig(name);
      assert.deepEqual([status, answers], ['NOERROR', []]);
      assert.match(stdout, /EDE: 17 \(Filtered\)/);
    }
    assert.deepEqual((await dig('inside.shop.test')).answers, ['61 IN A 127.0.0.1']);
    const results = (await site.events()).filter(({ error }) => error === 'NAME_INWARD');
    assert.deepEqual(results.map(({ message }) => message).sort(), [
      'sluice: loop.shop.test points at 127.0.0.1, which is loopback',
      'sluice: meta.shop.test points at 169.254.169.254, which is link-local',
    ]);
  });

  test('python asyncio', async () => {
    const { stdout } = await python(`
import asyncio
async def main():
    loop = asyncio.get_running_loop()
    found = await asyncio.gather(*[loop.getaddrinfo(n, 443) for n in ('deb.shop.test', 'six.shop.test')] * 5)
    print(sorted({a[4][0] for each in found for a in each}))
asyncio.run(main())
`);
    assert.equal(stdout, "['198.51.100.23', '2001:db8::17:23', '2001:db8::17:24']");
  });

  test('c-ares, by which node resolves', async () => {
    const code = `
const dns = require('dns').promises;
Promise.all([dns.resolve4('deb.shop.test', {ttl: true}), dns.resolve6('deb.shop.test'), dns.resolve4('secret.shop.test').catch(e => e.code), dns.resolveTxt('deb.shop.test').catch(e => e.code), dns.resolveCname('www.shop.test'), dns.lookup('four.shop.test')]).then(r => console.log(JSON.stringify(r)))`;
    const { stdout, stderr } = await run(['/usr/bin/node', '-e', code]);
    assert.equal(stderr, '');
    assert.deepEqual(JSON.parse(stdout), [
      [{ address: '198.51.100.23', ttl: 61 }],
      ['2001:db8::17:23'],
      'ENOTFOUND',
      'ENODATA',
      ['cdn.other.test'],
      { address: '198.51.100.24', family: 4 },
    ]);
  });

  test('Go’s own resolver', { skip: without('/usr/bin/gron') }, async () => {
    const go = async (name: string) => (await run(['gron', `http://${name}:8/`], { GODEBUG: 'netdns=go' })).stderr;
    // It went to the address, where policy has no resource: so the name was found.
    assert.match(await go('four.shop.test'), /198\.51\.100\.24:8|EOF|reset/);
    assert.match(await go('secret.shop.test'), /no such host/);
  });

  test('Java’s', { skip: without('/usr/bin/keytool') }, async () => {
    const java = async (name: string) => {
      const { stdout, stderr } = await run(['keytool', '-J-Xmx64m', '-printcert', '-sslserver', `${name}:8`]);
      return stdout + stderr;
    };
    assert.match(await java('secret.shop.test'), /Unknown host|No certificate|UnknownHost/);
    await java('four.shop.test');
    assert.ok(site.dns.asked().includes('A four.shop.test'));
  });

  test('curl is told by the kernel that QUIC and DNS over other ways do not go, at once', async () => {
    const { stdout } = await python(`
import socket, errno
def udp(address, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try: s.connect((address, port)); return 'connected'
    except OSError as e: return errno.errorcode[e.errno]
print(udp('198.51.100.23', 443), udp('224.0.0.251', 5353), udp('198.51.100.23', 853))
`);
    assert.equal(stdout, 'EPERM EPERM EPERM');
    const doh = await run(['curl', '-sS', '--doh-url', 'https://198.51.100.53/dns-query', 'http://deb.shop.test/']);
    assert.notEqual(doh.status, 0);
    const dot = await dig('+tls', '@198.51.100.53', 'deb.shop.test');
    assert.deepEqual(dot.answers, []);
    const refused = (await site.events()).filter(
      ({ error, port }) => error === 'FLOW_NO_RESOURCE' && (port === 443 || port === 853),
    );
    assert.equal(new Set(refused.map(({ port }) => port)).size, 2, 'both on record');
  });

  test('every question is an operation, with who, what, decision and result', async () => {
    await run(['getent', 'ahostsv4', 'deb.shop.test']);
    const events = await site.events();
    const asked = events.findLast(({ text, exe }) => text === 'A deb.shop.test' && exe === '/usr/bin/getent')!;
    const { type, subject, protocol, address, port, verb, decision, rule, accesses } = asked;
    assert.match(String(address), /^[0-9.]+$/);
    assert.deepEqual(
      { type, subject, protocol, port, verb, decision, rule, accesses },
      {
        type: 'operation',
        subject: 'local:sluice-agent',
        protocol: 'dns',
        port: 53,
        verb: 'A',
        decision: 'allow',
        rule: 'dns deb.shop.test',
        accesses: [{ effect: 'read', object: 'deb.shop.test' }],
      },
    );
    const result = events.find(({ type, flow, op }) => type === 'result' && flow === asked.flow && op === asked.op)!;
    assert.equal(result.rows, 1);
    assert.equal((await site.stack.sluice(['verify'])).status, 0);
  });
});

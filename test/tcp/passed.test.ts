/** Connections that pass unread: by the name of the resource, and by no other. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { dnsMissing } from '../harness/dns.ts';
import { stackMissing } from '../harness/stack.ts';
import { BODY, hashOf, openSite, type Site } from './site.ts';

const without = (program: string) => (existsSync(program) ? false : `${program} is not installed`);

describe('passed unread', { skip: stackMissing() ?? dnsMissing() ?? false }, () => {
  let site: Site;
  before(async () => {
    site = await openSite();
  });
  after(() => site?.stop());

  const sh = (script: string) => site.stack.run(['sh', '-c', script]);
  const curl = (url: string, more = '') => sh(`curl -sS --cacert ${site.ca} ${more} ${url}`);
  const python = async (code: string) => {
    const { stdout, stderr } = await site.stack.run([
      'python3',
      '-c',
      `import socket, ssl, sys\nsocket.setdefaulttimeout(20)\n${code}`,
    ]);
    return stdout.trim() + stderr;
  };
  const last = async (resource: string, type: string) =>
    (await site.events()).findLast((event) => event.resource === resource && event.type === type)!;

  test('curl fetches and sends megabytes; bytes both ways and the name are on record', async () => {
    const url = `https://mirror.shop.test:${site.tls}`;
    assert.equal((await curl(`${url}/`)).stdout, `hello from mirror.shop.test:${site.tls}\n`);
    const got = await sh(`curl -sS --cacert ${site.ca} ${url}/big | sha256sum`);
    assert.equal(got.stdout.split(' ')[0], hashOf(BODY));
    const sent = await sh(`head -c 3000000 /dev/zero | curl -sS --cacert ${site.ca} -T - ${url}/put`);
    assert.equal(sent.stdout, hashOf(Buffer.alloc(3_000_000)));
    const connect = await last('mirror', 'operation');
    assert.deepEqual(
      [connect.text, connect.decision, connect.rule, connect.accesses],
      [
        `CONNECT mirror.shop.test:${site.tls} TLS mirror.shop.test`,
        'allow',
        'agents fetch packages',
        [{ effect: 'network' }],
      ],
    );
    const end = await last('mirror', 'flow.end');
    assert.ok(
      Number(end.bytesIn) > 3_000_000 && Number(end.bytesOut) > 64 && end.error === undefined,
      JSON.stringify(end),
    );
  });

  test('other clients: python, openssl, and those of Go and Java', async () => {
    const fetched = await python(`
import asyncio
async def main():
    r, w = await asyncio.open_connection('mirror.shop.test', ${site.tls}, ssl=ssl.create_default_context(cafile='${site.ca}'))
    w.write(b'GET / HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n')
    print((await r.read()).split(b'\\r\\n\\r\\n')[1].decode())
asyncio.run(main())`);
    assert.equal(fetched, 'hello from x');
    const s_client = await sh(
      `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -CAfile ${site.ca} -connect mirror.shop.test:${site.tls} -servername mirror.shop.test -ign_eof 2>/dev/null`,
    );
    assert.match(s_client.stdout, /200 OK/);
  });
  test('git', { skip: without('/usr/bin/git') }, async () => {
    const { stdout, stderr } = await sh(
      `GIT_SSL_CAINFO=${site.ca} git ls-remote https://mirror.shop.test:${site.tls}/repo.git`,
    );
    assert.equal(stdout, `${'17'.repeat(20)}\trefs/heads/main\n`, stderr);
  });
  test('npm', { skip: without('/usr/bin/npm') }, async () => {
    const { stdout, stderr } = await sh(
      `HOME=$(mktemp -d) npm_config_update_notifier=false npm view left-pad version --cafile ${site.ca} --registry https://mirror.shop.test:${site.tls}/`,
    );
    assert.equal(stdout.trim(), '1.3.0', stderr);
  });
  test('Go', { skip: without('/usr/bin/gron') }, async () => {
    const { stdout, stderr } = await sh(
      `SSL_CERT_FILE=${site.ca} GODEBUG=netdns=go gron https://mirror.shop.test:${site.tls}/`,
    );
    // The page is no JSON, which it can only say once it has it.
    assert.match(stdout + stderr, /invalid character 'h'/);
  });
  test('Java', { skip: without('/usr/bin/keytool') }, async () => {
    const { stdout } = await sh(`keytool -J-Xmx64m -printcert -sslserver mirror.shop.test:${site.tls}`);
    assert.match(stdout, /DNSName: mirror\.shop\.test/);
  });

  test('of resources at one address the client’s own words say which one is meant', async () => {
    const both = await sh(
      `curl -sS --cacert ${site.ca} https://files.shop.test:${site.tls}/ https://mirror.shop.test:${site.tls}/`,
    );
    assert.equal(both.stdout, `hello from files.shop.test:${site.tls}\nhello from mirror.shop.test:${site.tls}\n`);
    assert.equal((await last('files', 'operation')).text, `CONNECT files.shop.test:${site.tls} TLS files.shop.test`);
    // Both names were asked for, and the client names neither.
    const neither = await python(`
for name in ('files.shop.test', 'mirror.shop.test'): socket.getaddrinfo(name, 1)
c = ssl._create_unverified_context()
try: c.wrap_socket(socket.create_connection(('127.0.0.1', ${site.tls})))
except ssl.SSLError as e: print(e.reason)`);
    assert.equal(neither, 'TLSV1_ALERT_ACCESS_DENIED');
    const denied = (await site.events()).findLast(({ error }) => error === 'FLOW_NO_RESOURCE')!;
    assert.match(String(denied.message), /may be any of mirror, files/);
  });

  test('a server name that is not the resource’s, none, or an encrypted one: a TLS alert, and the server hears nothing', async () => {
    const before = [...site.seen];
    const named = (to: string, server: string | null) =>
      python(`
address = socket.getaddrinfo('${to}', ${site.tls})[0][4]
c = ssl._create_unverified_context()
try: c.wrap_socket(socket.create_connection(address), server_hostname=${server === null ? 'None' : `'${server}'`}); print('through')
except (ssl.SSLError, ConnectionError) as e: print(getattr(e, 'reason', None) or e)`);
    assert.equal(await named('mirror.shop.test', 'evil.test'), 'TLSV1_ALERT_ACCESS_DENIED');
    assert.equal(await named('mirror.shop.test', 'x.mirror.shop.test'), 'TLSV1_ALERT_ACCESS_DENIED');
    assert.equal(await named('mirror.shop.test', 'other.shop.test'), 'TLSV1_ALERT_ACCESS_DENIED');
    assert.equal(await named('mirror.shop.test', null), 'TLSV1_ALERT_ACCESS_DENIED');
    assert.equal(await named('other.shop.test', 'other.shop.test'), 'TLSV1_ALERT_ACCESS_DENIED', 'no resource');
    assert.equal(await named('other.shop.test', 'mirror.shop.test'), 'TLSV1_ALERT_ACCESS_DENIED', 'never asked for');
    assert.deepEqual(site.seen, before);
    // A real hello with the extension of an encrypted one put in (0xfe0d), its lengths corrected.
    const hidden = await python(`
address = socket.getaddrinfo('mirror.shop.test', ${site.tls})[0][4]
i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
t = ssl._create_unverified_context().wrap_bio(i, o, server_hostname='mirror.shop.test')
try: t.do_handshake()
except ssl.SSLWantReadError: pass
hello = bytearray(o.read()); extra = b'\\xfe\\x0d\\x00\\x01\\x00'
def grow(at, width): hello[at:at + width] = (int.from_bytes(hello[at:at + width], 'big') + len(extra)).to_bytes(width, 'big')
at = 5 + 4 + 2 + 32; at += 1 + hello[at]; at += 2 + int.from_bytes(hello[at:at + 2], 'big'); at += 1 + hello[at]
grow(3, 2); grow(6, 3); grow(at, 2); hello[at + 2:at + 2] = extra
s = socket.create_connection(address); s.sendall(hello); print(s.recv(100))`);
    assert.equal(hidden, String.raw`b'\x15\x03\x03\x00\x02\x021'`);
    const events = (await site.events()).filter(({ type, error }) => type === 'operation' && error === 'TLS_NAME');
    assert.deepEqual(
      events.map(({ message }) => String(message).replace(/.*the client /, '')),
      [
        'wants evil.test, which is no name of it',
        'wants x.mirror.shop.test, which is no name of it',
        'wants other.shop.test, which is no name of it',
        'does not say which server it wants',
        'encrypts the name that it asks for',
      ],
    );
  });

  test('no server name where policy says so', async () => {
    const page = await python(`
address = socket.getaddrinfo('noname.shop.test', ${site.tls})[0][4]
s = ssl._create_unverified_context().wrap_socket(socket.create_connection(address))
s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.recv(15))`);
    assert.equal(page, "b'HTTP/1.1 200 OK'");
  });

  test('what is no TLS is reset, and on record', async () => {
    const { stderr } = await sh(`curl -sS http://mirror.shop.test:${site.tls}/`);
    assert.match(stderr, /reset by peer/);
    assert.match(String((await last('mirror', 'operation')).message), /does not begin with TLS/);
  });

  test('where policy lets anything pass: either side may speak first and end first', async () => {
    const echo = await python(`
s = socket.create_connection(('any.shop.test', ${site.echo}))
s.sendall(b'one '); s.sendall(b'two'); s.shutdown(socket.SHUT_WR)
text = b''
while part := s.recv(100): text += part
print(text)`);
    assert.equal(echo, "b'got one two'");
    const banner = await python(`
s = socket.create_connection(('any.shop.test', ${site.banner}))
text = b''
while part := s.recv(100): text += part
s.sendall(b'still here'); s.close(); print(text)`);
    assert.equal(banner, "b'ready\\n'");
    assert.equal((await last('echo', 'operation')).text, `CONNECT any.shop.test:${site.echo}`);
    const end = await last('echo', 'flow.end');
    assert.deepEqual([end.bytesIn, end.bytesOut, end.error], [7, 11, undefined]);
    const wrong = await python(`
c = ssl._create_unverified_context()
try: c.wrap_socket(socket.create_connection(('any.shop.test', ${site.echo})), server_hostname='evil.test')
except (ssl.SSLError, ConnectionError) as e: print(getattr(e, 'reason', None) or e)`);
    assert.equal(wrong, 'TLSV1_ALERT_ACCESS_DENIED', 'TLS has to name the resource there, too');
  });

  test('what policy does not allow: a TLS alert, nothing sent to the server, the rule or its lack on record', async () => {
    const before = site.seen.length;
    const { stderr } = await curl(`https://hidden.shop.test:${site.tls}/`);
    assert.match(stderr, /alert access denied/);
    assert.equal(site.seen.length, before);
    const event = await last('forbidden', 'operation');
    assert.deepEqual([event.decision, event.error], ['deny', 'POLICY_DENIED']);
  });

  /** The listener's queue is in order: one more connection, allowed, and whatever came before it has been counted. */
  const counted = async () => {
    assert.match((await curl(`https://mirror.shop.test:${site.tls}/`)).stdout, /^hello/);
    return site.accepted();
  };

  test('for what is refused no packet leaves: the server sees no connection, whatever an agent tries', async () => {
    const before = await counted();
    await curl(`https://hidden.shop.test:${site.tls}/`);
    await curl(`http://hidden.shop.test:${site.tls}/`);
    await sh(
      `for i in 1 2 3; do curl -sS -k --resolve evil.test:${site.tls}:127.0.0.1 https://evil.test:${site.tls}/; done`,
    );
    await python(`
address = socket.getaddrinfo('hidden.shop.test', ${site.tls})[0][4]
for i in range(20):
  s = socket.create_connection(address); s.close()
c = ssl._create_unverified_context()
for name in ('evil.test', 'hidden.shop.test', 'other.shop.test', None):
  try: c.wrap_socket(socket.create_connection(address), server_hostname=name)
  except OSError: pass
s = socket.create_connection(address); s.sendall(b'\\x16\\x03'); s.shutdown(socket.SHUT_WR); s.close()`);
    assert.equal(await counted(), before + 1);
  });

  test('held until somebody approves', async () => {
    const before = await counted();
    const fetched = curl(`https://held.shop.test:${site.tls}/`);
    const list = async () => (await site.stack.call('approvals.list')) as readonly { id: string }[];
    let pending = await list();
    while (pending.length === 0) pending = await list();
    assert.equal(await counted(), before + 1, 'held, and the server has heard of nobody else');
    const { status, stderr } = await site.stack.sluice(['approvals', 'approve', pending[0]!.id]);
    assert.deepEqual([status, stderr], [0, '']);
    assert.equal((await fetched).stdout, `hello from held.shop.test:${site.tls}\n`);
  });

  test('a server that is not there: reset, and on record', async () => {
    const { stderr } = await curl(`https://any.shop.test:${site.closed}/`);
    assert.match(stderr, /reset by peer/i);
    assert.equal((await last('closed', 'flow.end')).error, 'UPSTREAM_UNREACHABLE');
  });

  test('check warns of each', async () => {
    const { stdout, stderr } = await site.stack.sluice(['policy', 'check', `${site.stack.dir}/policy`]);
    assert.equal((stdout + stderr).match(/warning: resources\.\w+\.protocol: passed unread/g)?.length, 8);
  });
});

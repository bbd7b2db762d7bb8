/** Datagrams to port 53 and back, by real sockets in sessions, and whose the listener says that they are. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { AGENT_UID, cannotRun, type Host, newHost, type Origin, PYTHON, runToEnd } from './host.ts';

/** `ask(socket, question, to)` returns what the listener knows and where the answer says that it comes from. */
const ASK = `
def ask(s, question=b'0123456789abcdefgh', to=None):
    s.settimeout(20)
    if to: s.sendto(question, to)
    else: s.send(question)
    text, source = s.recvfrom(4096)
    assert text[:16] == question[:16]
    return json.loads(text[16:]), source[:2]
def say(*values): print(json.dumps(values), flush=True)
`;

describe('a datagram to port 53', { skip: cannotRun() }, () => {
  let host: Host;
  let port: number;
  let session: { id: string; cgroupId: bigint };

  before(async () => {
    host = newHost();
    await host.startHelper();
    port = await host.startDaemon();
    session = await host.session();
  });
  after(() => host.close());

  async function lines(code: string, id = session.id): Promise<unknown[][]> {
    const { stdout, stderr } = await host.python(id, ASK + code);
    assert.equal(stderr, '');
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  }

  test('is the session’s, whatever the address, connected or not, and its answer comes from there', async () => {
    const [pid, ...asked] = await lines(`
say(os.getpid())
for family, address in ((socket.AF_INET, '198.51.100.23'), (socket.AF_INET, '127.0.0.53'), (socket.AF_INET6, '2001:db8::17:23'), (socket.AF_INET6, '::ffff:198.51.100.24')):
    s = socket.socket(family, socket.SOCK_DGRAM)
    say(address, *ask(s, to=(address, 53)))
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.connect((address, 53))
    assert s.getpeername()[:2] == (address, 53), s.getpeername()
    say(address, *ask(s))
`);
    assert.equal(asked.length, 8);
    for (const [address, origin, source] of asked as [string, Origin, [string, number]][]) {
      assert.deepEqual(source, [address, 53]);
      const { comm, exe, ...rest } = origin;
      assert.deepEqual(rest, {
        pid: pid![0],
        uid: AGENT_UID,
        cgroupId: String(session.cgroupId),
        address: address.replace('::ffff:', ''),
        port: 53,
      });
      assert.match(exe, /python/);
      assert.match(comm, /python/);
    }
  });

  test('of two sessions at once, from the same port one after the other, are each one’s own', async () => {
    const other = await host.session();
    const code = `
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', int(sys.argv[1])))
for n in range(200):
    say(ask(s, to=('198.51.100.23', 53))[0]['cgroupId'])
`;
    for (const [one, at] of [
      [session, '40153'],
      [other, '40153'],
    ] as const) {
      const { stdout, stderr } = await host.python(one.id, ASK + code, at);
      assert.equal(stderr, '');
      assert.deepEqual(new Set(stdout.trim().split('\n')), new Set([`["${one.cgroupId}"]`]));
    }
    const both = await Promise.all(
      [session, other].map((one, i) => host.python(one.id, ASK + code, String(40154 + i))),
    );
    for (const [i, { stdout }] of both.entries())
      assert.deepEqual(new Set(stdout.trim().split('\n')), new Set([`["${[session, other][i]!.cgroupId}"]`]));
  });

  test('one that was not sent from a session, or that counted already, is nobody’s', async () => {
    const code = `
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
say(*ask(s, to=('127.0.0.1', ${port})))
`;
    const outside = await runToEnd(['/usr/bin/python3', '-c', PYTHON + ASK + code]);
    assert.deepEqual(JSON.parse(outside.stdout), [null, ['127.0.0.1', port]]);
    // The same bytes from the same port, by a process outside, after those of an agent.
    const from = `
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('127.0.0.1', 40160))
say(ask(s, to=(sys.argv[1], int(sys.argv[2])))[0])
`;
    const inside = await host.python(session.id, ASK + from, '198.51.100.23', '53');
    assert.equal(JSON.parse(inside.stdout)[0].cgroupId, String(session.cgroupId));
    const replay = await runToEnd(['/usr/bin/python3', '-c', PYTHON + ASK + from, '127.0.0.1', String(port)]);
    assert.deepEqual(JSON.parse(replay.stdout), [null]);
  });

  test('one too short to be a question is not sent, and one in several pieces is nobody’s', async () => {
    const [short, ...pieces] = await lines(`
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
say(attempt(lambda: s.sendto(b'x' * 15, ('198.51.100.23', 53))))
SOL_UDP, UDP_SEGMENT = 17, 103
s.connect(('198.51.100.23', 53)); s.settimeout(20)
s.setsockopt(SOL_UDP, UDP_SEGMENT, 20)
s.send(b'a' * 20 + b'b' * 20)
for _ in range(2): say(json.loads(s.recv(4096)[16:]) is not None)
`);
    assert.deepEqual(short, ['EPERM']);
    assert.deepEqual(pieces, [[false], [false]]);
  });

  test('100,000 of them, while others are asked, mix nothing up', async () => {
    const other = await host.session();
    const flood = `
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(('198.51.100.99', 53)); s.setblocking(False)
for n in range(100000):
    try: s.send(b'%016d' % n)
    except (BlockingIOError, PermissionError): pass # more than a session may send
say('done')
`;
    const steady = `
wrong = 0
for n in range(300):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('198.51.100.23', 53)); s.settimeout(2)
    while True:
        s.send(b'%032d' % n)
        try: text = s.recv(4096)[16:]
        except TimeoutError: continue
        break
    origin = json.loads(text)
    if origin is not None and (origin['cgroupId'], origin['address']) != (sys.argv[1], '198.51.100.23'): wrong += 1
say(wrong)
`;
    const [flooded, asked] = await Promise.all([
      host.python(other.id, ASK + flood),
      host.python(session.id, ASK + steady, String(session.cgroupId)),
    ]);
    assert.deepEqual([flooded.stdout.trim(), asked.stdout.trim(), asked.stderr], ['["done"]', '[0]', '']);
  });

  test('goes nowhere while another process has the daemon’s port, or nobody', async () => {
    const connected = host.python(
      session.id,
      `${ASK}
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('198.51.100.23', 53))
say(ask(s)[0] is not None)
open('/tmp/sluice-udp-${port}', 'w').close()
while os.path.exists('/tmp/sluice-udp-${port}'): pass
say(attempt(lambda: s.send(b'x' * 20)))
`,
    );
    while (!existsSync(`/tmp/sluice-udp-${port}`)) await new Promise((resolve) => setTimeout(resolve, 5));
    await host.stopDaemon();
    const attempts = `
def udp(family, address, how):
    s = socket.socket(family, socket.SOCK_DGRAM)
    return attempt(lambda: s.connect((address, 53)) if how == 'connect' else s.sendto(b'x' * 20, (address, 53)))
say(*[udp(f, a, how) for f, a in ((socket.AF_INET, '198.51.100.23'), (socket.AF_INET6, '2001:db8::17:23')) for how in ('connect', 'sendto')])
`;
    assert.deepEqual(await lines(attempts), [Array(4).fill('ECONNREFUSED')]);
    const thief = `
import subprocess, sys, socket
s = [socket.socket(f, socket.SOCK_DGRAM) for f in (socket.AF_INET, socket.AF_INET6)]
s[0].bind(('127.0.0.1', ${port})); s[1].bind(('::1', ${port}))
print(subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True).stdout.strip())
import os; os.unlink('/tmp/sluice-udp-${port}'); sys.stdin.read()
for each in s:
    each.setblocking(False)
    try: print(each.recv(100))
    except BlockingIOError: print('nothing')
`;
    const launched = host.launch(session.id, ['/usr/bin/python3', '-c', PYTHON + ASK + attempts]);
    // It holds the port until the connected socket had its try.
    const holding = spawn('/usr/bin/python3', ['-c', thief, ...launched], { stdio: ['pipe', 'pipe', 'inherit'] });
    const said = text(holding.stdout);
    assert.deepEqual((await connected).stdout.trim().split('\n'), ['[true]', '["EPERM"]']);
    holding.stdin.end();
    const [stdout, stderr] = [await said, ''];
    assert.deepEqual(
      [stdout.trim().split('\n'), stderr],
      [[JSON.stringify(Array(4).fill('ECONNREFUSED')).replaceAll(',', ', '), 'nothing', 'nothing'], ''],
    );
  });
});

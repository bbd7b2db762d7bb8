/** A dev server and its test: processes of one session reach each other on loopback, nobody else reaches them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cannotRun, type Host, newHost, PYTHON, runToEnd } from './host.ts';

/** A port that nobody listens on, in IPv4 and IPv6. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '::');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

describe('loopback within a session', { skip: cannotRun() }, () => {
  let host: Host;
  let session: { id: string };
  let other: { id: string };
  let port: number;

  before(async () => {
    host = newHost();
    await host.startHelper();
    port = await host.startDaemon();
    session = await host.session();
    other = await host.session();
  });
  after(() => host.close());

  const SERVER = `
import threading, time
def serve(family, address, v6only=None, times=50, port=0):
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if v6only is not None: s.setsockopt(41, 26, v6only)
    s.bind((address, port)); s.listen(50)
    def work():
        for _ in range(times):
            c, _ = s.accept(); n = 0
            while True:
                part = c.recv(65536)
                if not part: break
                n += len(part)
            c.sendall(str(n).encode()); c.close()
    threading.Thread(target=work, daemon=True).start()
    return s.getsockname()[1]
def ask(family, address, port, data=b'hello', timeout=5):
    c = socket.socket(family); c.settimeout(timeout)
    try:
        c.connect((address, port)); peer = c.getpeername()[:2]
        c.sendall(data); c.shutdown(socket.SHUT_WR)
        out = b''
        while True:
            part = c.recv(100)
            if not part: return out.decode(), peer
            out += part
    except OSError as e: return (errno.errorcode.get(e.errno, 'timeout'), None)
    finally: c.close()
`;

  test('a listener answers by 127.0.0.1, ::1, localhost, 0.0.0.0, ::, and as a mapped address', async () => {
    const { stdout, stderr } = await host.python(
      session.id,
      `${SERVER}
four, any4 = serve(socket.AF_INET, '127.0.0.1'), serve(socket.AF_INET, '0.0.0.0')
six, both, only = serve(socket.AF_INET6, '::1'), serve(socket.AF_INET6, '::', 0), serve(socket.AF_INET6, '::', 1)
I, V = socket.AF_INET, socket.AF_INET6
print([ask(*a)[0] for a in ((I, '127.0.0.1', four), (I, 'localhost', four), (I, '0.0.0.0', four), (V, '::ffff:127.0.0.1', four))])
print([ask(*a)[0] for a in ((I, '127.0.0.1', any4), (I, '127.9.8.7', any4), (V, '::1', six), (V, '::', six))])
print([ask(*a)[0] for a in ((V, '::1', both), (I, '127.0.0.1', both), (V, '::ffff:127.0.0.1', both), (V, '::1', only))])
print(ask(I, '127.0.0.1', four)[1] == ('127.0.0.1', four), ask(I, '127.0.0.1', four, b'x' * 3000000)[0])
`,
    );
    const five = "['5', '5', '5', '5']";
    assert.deepEqual([stdout.trim().split('\n'), stderr], [[five, five, five, 'True 3000000'], '']);
  });

  test('another session and the host get the daemon, or no answer', async () => {
    // Free for both families, so that what answers can only be the session's.
    const [first, second] = [await freePort(), await freePort()];
    const server = host.python(
      session.id,
      `${SERVER}
serve(socket.AF_INET, '0.0.0.0', port=${first}); serve(socket.AF_INET6, '::1', port=${second})
# Ends when the last who asks has written so.
while not os.path.exists('${host.runDir}/asked'): time.sleep(0.05)
`,
    );
    // What a session binds is not hidden: its ports are those of the host.
    const script = `${PYTHON}${SERVER}
def listening(port):
    return any(l.split()[3] == '0A' and int(l.split()[1].split(':')[1], 16) == port for f in ('/proc/net/tcp', '/proc/net/tcp6') for l in open(f).readlines()[1:])
while not (listening(${first}) and listening(${second})): time.sleep(0.05)
for port in (${first}, ${second}):
    for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
        print(sys.argv[1], ask(family, address, port, timeout=1)[0][:7])
`;
    const inside = await host.run(other.id, ['/usr/bin/python3', '-c', script, 'session']);
    const outside = await runToEnd(['/usr/bin/python3', '-c', script, 'host']);
    writeFileSync(join(host.runDir, 'asked'), '');
    assert.equal(inside.stderr + outside.stderr, '');
    // To the host the kernel itself refuses where nobody listens; a session comes to the daemon there, too.
    assert.deepEqual(inside.stdout.trim().split('\n'), Array(4).fill('session {"pid":'));
    assert.deepEqual(outside.stdout.trim().split('\n'), [
      'host timeout',
      'host ECONNRE',
      'host ECONNRE',
      'host timeout',
    ]);
    await server;
  });

  test('a service of the host is the daemon’s to give, on loopback too', async () => {
    const code = `${SERVER}
import subprocess
port, six = serve(socket.AF_INET, '0.0.0.0'), serve(socket.AF_INET6, '::1')
code = ${JSON.stringify(`${PYTHON}${SERVER}`)} + '''
print([json.loads(ask(*a)[0])['port'] for a in ((socket.AF_INET, '127.0.0.1', %d), (socket.AF_INET, '0.0.0.0', %d), (socket.AF_INET6, '::1', %d))] == [%d, %d, %d])
''' % (port, port, six, port, port, six)
done = subprocess.run(sys.argv[1:] + ['/usr/bin/python3', '-c', code], capture_output=True, text=True)
print(done.stdout + done.stderr)
`;
    const launched = host.launch(session.id, []);
    const { stdout, stderr } = await runToEnd(['/usr/bin/python3', '-c', PYTHON + code, ...launched]);
    assert.deepEqual([stdout.trim(), stderr], ['True', '']);
  });

  test('a listener that shares its port with one of another session answers only its own', async () => {
    // Same account, so the kernel lets both bind with SO_REUSEPORT and deals out connections between them.
    const server = `${SERVER}
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1); s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(50)
print('ready', flush=True)
s.settimeout(6)
got = 0
try:
    while True: c, _ = s.accept(); got += 1; c.sendall(b'other'); c.close()
except TimeoutError: print(got)
`;
    const at = port + 1 > 65000 ? port - 7 : port + 7;
    const theirs = host.python(other.id, server, String(at));
    const mine = await host.python(
      session.id,
      `${SERVER}
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1); s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(50)
def work():
    while True: c, _ = s.accept(); c.sendall(b'own'); c.close()
threading.Thread(target=work, daemon=True).start()
time.sleep(1)
answers = set()
for _ in range(40):
    c = socket.socket(); c.settimeout(0.1)
    try: c.connect(('127.0.0.1', int(sys.argv[1]))); answers.add(c.recv(10)[:5])
    except (TimeoutError, OSError): pass
    c.close()
print(answers - {b'own', b'{"pid'}, bool(answers)) # which of the two is found goes by a hash: if the other's, then the daemon answers
`,
      String(at),
    );
    assert.deepEqual([mine.stdout, mine.stderr], ['set() True\n', '']);
    assert.equal((await theirs).stdout.trim().split('\n').at(-1), '0');
  });

  test('the end of a connection reaches the other side, whoever closes first, also as a reset', async () => {
    const { stdout, stderr } = await host.python(
      session.id,
      `${SERVER}
import struct
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(5)
def pair():
    c = socket.create_connection(l.getsockname(), 5); s, _ = l.accept(); s.settimeout(5); return c, s
c, s = pair(); c.close(); print(s.recv(1))
c, s = pair(); s.close(); print(c.recv(1))
c, s = pair(); c.close()
def write():
    for _ in range(100): s.send(b'x'); time.sleep(0.01)
print(attempt(write))
c, s = pair(); c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); c.close(); print(attempt(lambda: s.recv(1)))
`,
    );
    assert.equal(stderr, '');
    const [first, second, third, fourth] = stdout.trim().split('\n');
    assert.deepEqual([first, second, fourth], ["b''", "b''", 'ECONNRESET']);
    assert.match(third ?? '', /^(EPIPE|ECONNRESET)$/);
  });
});

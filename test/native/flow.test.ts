/** Whose connection the daemon accepted: real clients in real sessions, against what the kernel says. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AGENT_UID, cannotRun, type Host, newHost, type Origin, OTHER_UID, runToEnd } from './host.ts';

describe('the origin of a flow', { skip: cannotRun() }, () => {
  let host: Host;
  let port: number;

  before(async () => {
    host = newHost();
    await host.startHelper();
    port = await host.startDaemon(4096);
  });
  after(() => host.close());

  for (const { name, family, given, address, peer } of [
    { name: 'IPv4', family: 'AF_INET', given: '198.51.100.23', address: '198.51.100.23', peer: '198.51.100.23' },
    { name: 'IPv6', family: 'AF_INET6', given: '2001:db8::17:23', address: '2001:db8::17:23', peer: '2001:db8::17:23' },
    {
      name: 'IPv4 through an IPv6 socket',
      family: 'AF_INET6',
      given: '::ffff:198.51.100.23',
      address: '198.51.100.23',
      peer: '::ffff:198.51.100.23',
    },
  ])
    test(`${name}: address, port, process, user and session are right, and the client sees the peer it asked for`, async () => {
      const session = await host.session();
      const { stdout, stderr } = await host.python(
        session.id,
        `origin, peer = connect(socket.${family}, sys.argv[1], 5433)\nprint(json.dumps([origin, peer, os.getpid()]))`,
        given,
      );
      assert.equal(stderr, '');
      const [origin, seen, pid] = JSON.parse(stdout) as [Origin, [string, number], number];
      assert.deepEqual(origin, {
        pid,
        uid: AGENT_UID,
        cgroupId: String(session.cgroupId),
        comm: 'python3',
        exe: origin.exe,
        address,
        port: 5433,
      });
      assert.match(origin.exe, /^\/usr\/bin\/python3/);
      assert.deepEqual(seen.slice(0, 2), [peer, 5433]);
      await host.helper.endSession(session.id);
    });

  test("a connection to the daemon's own port is told apart by its address", async () => {
    const session = await host.session();
    for (const [family, address] of [
      ['AF_INET', '127.0.0.1'],
      ['AF_INET6', '::1'],
    ] as const) {
      const { stdout } = await host.python(
        session.id,
        `print(json.dumps(connect(socket.${family}, '${address}', ${port})))`,
      );
      const [origin] = JSON.parse(stdout) as [Origin];
      assert.deepEqual([origin.address, origin.port], [address, port]);
    }
    await host.helper.endSession(session.id);
  });

  test('a process outside any session has no origin', async () => {
    const code = `import socket\ns = socket.create_connection(('127.0.0.1', ${port}))\nprint(s.recv(100).decode())`;
    const { stdout } = await runToEnd(['/usr/bin/python3', '-c', code], '', OTHER_UID);
    assert.equal(stdout.trim(), 'null');
  });

  test('a bound source address, a bound port and a child process change nothing', async () => {
    const session = await host.session();
    const { stdout, stderr } = await host.python(
      session.id,
      `
import subprocess
s = socket.socket(); s.bind(('127.0.0.9', 0)); s.connect(('198.51.100.23', 5433))
print(s.recv(4096).decode().strip(), flush=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(json.dumps(connect(socket.AF_INET, '198.51.100.24', 5433)[0]), flush=True)
    os._exit(0)
os.wait()
`,
    );
    assert.equal(stderr, '');
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Origin);
    assert.deepEqual(
      lines.map((origin) => [origin.address, origin.cgroupId]),
      [
        ['198.51.100.23', String(session.cgroupId)],
        ['198.51.100.24', String(session.cgroupId)],
      ],
    );
    await host.helper.endSession(session.id);
  });

  test('TCP Fast Open is attributed too', async () => {
    const session = await host.session();
    const { stdout } = await host.python(
      session.id,
      `
for i in range(3):
    s = socket.socket()
    s.sendto(b'early', 0x20000000, ('198.51.100.23', 5433 + i))
    text = b''
    while True:
        try: part = s.recv(4096)
        except ConnectionResetError: break
        if not part: break
        text += part
    print(text.decode().strip())
`,
    );
    const origins = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Origin);
    assert.deepEqual(
      origins.map((origin) => [origin?.address, origin?.port, origin?.cgroupId]),
      [
        ['198.51.100.23', 5433, String(session.cgroupId)],
        ['198.51.100.23', 5434, String(session.cgroupId)],
        ['198.51.100.23', 5435, String(session.cgroupId)],
      ],
    );
    await host.helper.endSession(session.id);
  });

  test('a thousand connections at once from several sessions are each attributed right', async () => {
    const sessions = await Promise.all(Array.from({ length: 5 }, () => host.session()));
    const code = `
seed, wrong, right, open_ones = int(sys.argv[1]), [], [], []
for i in range(200):
    v6 = i % 3 == 0
    address, port = ('2001:db8::%x:%x' if v6 else '198.%d.%d.7') % (18 + seed, i + 1), 2000 + seed * 1000 + i
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET); s.setblocking(False)
    open_ones.append((s, address, port))
for s, address, port in open_ones: s.connect_ex((address, port))
for s, address, port in open_ones:
    s.settimeout(60)
    text = b''
    while not text.endswith(b'\\n'): text += s.recv(4096)
    o = json.loads(text)
    ok = o and o['address'] == address and o['port'] == port and o['cgroupId'] == sys.argv[2] and o['pid'] == os.getpid()
    (right if ok else wrong).append([o, address, port])
print(len(right), wrong)
`;
    const results = await Promise.all(
      sessions.map((session, i) => host.python(session.id, code, String(i), String(session.cgroupId))),
    );
    for (const result of results) assert.deepEqual([result.stdout, result.stderr], ['200 []\n', '']);
    for (const { id } of sessions) await host.helper.endSession(id);
  });

  test('a connection reset at once leaves nothing that a later one on its port could inherit', async () => {
    const session = await host.session();
    const other = await host.session();
    const { stderr } = await host.python(
      session.id,
      `
import struct
for i in range(300):
    s = socket.socket(); s.setblocking(False)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('127.0.0.1', 23017))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    attempt(lambda: s.connect(('198.51.100.66', 666)))
    s.close()
`,
    );
    assert.equal(stderr, '');
    const { stdout } = await host.python(
      other.id,
      `
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', 23017)); s.connect(('198.51.100.23', 5433))
print(s.recv(4096).decode())
`,
    );
    const origin = JSON.parse(stdout) as Origin;
    assert.deepEqual([origin.address, origin.cgroupId], ['198.51.100.23', String(other.cgroupId)]);
    for (const { id } of [session, other]) await host.helper.endSession(id);
  });
});

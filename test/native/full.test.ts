/**
 * Maps that an agent can fill: 100,000 connections or datagrams of one session, and what is left for the others. The agent
 * that does it loses its own network, and gets it back when it stops.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { cannotRun, type Host, newHost, PYTHON } from './host.ts';

/** SLUICE_FLOWS_DEFAULT of native/sluice.h. */
const LIMIT = 1024;

/** `flood(n)` begins n connections, keeps what the kernel takes, and counts what came of them. */
const FLOOD = `
import collections, resource, time
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
def begin(i):
    s = socket.socket(); s.setblocking(False)
    s.bind(('127.0.%d.%d' % (1 + i // 20000, 1 + i % 250), 0))
    code = s.connect_ex(('198.51.100.99', 5433))
    return s, 'begun' if code in (0, errno.EINPROGRESS) else errno.errorcode[code]
def flood(n):
    kept, count = [], collections.Counter()
    for i in range(n):
        s, result = begin(i)
        count[result] += 1
        if result == 'begun': kept.append(s)
        else: s.close()
    return kept, dict(count)
`;

/** Connections one after the other; each has to be told what it is. */
const STEADY = `
wrong = 0
for n in range(200):
    origin, peer = connect(socket.AF_INET, '198.51.100.23', 5000 + n)
    if origin is None or (origin['cgroupId'], origin['address'], origin['port']) != (sys.argv[1], '198.51.100.23', 5000 + n): wrong += 1
print(wrong)
`;

/** Resident memory of a process, KiB. */
const memory = (pid: number) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);

describe('a session that opens all it can', { skip: cannotRun() }, () => {
  let host: Host;
  let greedy: { id: string; cgroupId: bigint };
  let other: { id: string; cgroupId: bigint };

  beforeEach(async () => {
    host = newHost();
    await host.startHelper();
    await host.startDaemon();
    greedy = await host.session();
    other = await host.session();
  });
  afterEach(() => host.close());

  /** Runs code in the greedy session that prints a line, waits for one on stdin, and prints another. */
  async function hold(code: string) {
    const [file = '', ...args] = host.launch(greedy.id, ['/usr/bin/python3', '-uc', PYTHON + FLOOD + code]);
    const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const said = async () => JSON.parse(String((await once(child.stdout, 'data'))[0])) as unknown;
    const first = await said();
    return {
      first,
      async last() {
        const next = said();
        child.stdin.end('\n');
        const value = await next;
        await once(child, 'close');
        return value;
      },
    };
  }

  test('100,000 connections: it keeps what one may have, others have theirs, and it recovers', async () => {
    const before = memory(host.daemonPid());
    const flood = await hold(`
kept, count = flood(100000)
print(json.dumps(count)); sys.stdin.readline()
for s in kept: s.close()
while True: # the last packets of those that were closed are still under way
    s, result = begin(0)
    if result == 'begun': break
print(json.dumps(connect(socket.AF_INET, '198.51.100.23', 5433)[0]['address']))
`);
    assert.deepEqual(flood.first, { begun: LIMIT, ENOBUFS: 100_000 - LIMIT });
    const { stdout, stderr } = await host.python(other.id, STEADY, String(other.cgroupId));
    assert.deepEqual([stdout, stderr], ['0\n', '']);
    assert.equal(await flood.last(), '198.51.100.23');
    // Nothing is kept of a connection that was refused: 100,000 records would be 34 MiB.
    assert.ok(memory(host.daemonPid()) - before < 30 * 1024, `${memory(host.daemonPid()) - before} KiB more`);
  });

  test('100,000 that stay half open: others are served or refused, and told right', async () => {
    process.kill(host.daemonPid(), 'SIGSTOP');
    const flood = await hold(`
kept, count = flood(100000)
print(json.dumps(count)); sys.stdin.readline()
print(json.dumps('over'))
`);
    const served = host.python(
      other.id,
      `
import threading
answers = []
def work(i):
    o = connect(socket.AF_INET, '198.51.100.23', 6000 + i, b'x')[0]
    answers.append('none' if o is None else 'right' if (o['cgroupId'], o['port']) == (sys.argv[1], 6000 + i) else 'wrong')
threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
[t.start() for t in threads]; [t.join() for t in threads]
print(json.dumps({k: answers.count(k) for k in ('none', 'right', 'wrong')}))
`,
      String(other.cgroupId),
    );
    assert.deepEqual(flood.first, { begun: LIMIT, ENOBUFS: 100_000 - LIMIT });
    process.kill(host.daemonPid(), 'SIGCONT');
    const { stdout, stderr } = await served;
    assert.deepEqual([JSON.parse(stdout), stderr], [{ none: 0, right: 20, wrong: 0 }, '']);
    assert.equal(await flood.last(), 'over');
  });

  test('what is counted is counted down once, however a connection ends', async () => {
    const { stdout, stderr } = await host.python(
      greedy.id,
      `${FLOOD}
import ctypes, struct
libc = ctypes.CDLL(None)
for i in range(1500): # closed by both sides
    connect(socket.AF_INET, '198.51.100.23', 5433)
for i in range(1500): # closed before it is answered
    begin(0)[0].close()
for i in range(1500): # reset
    s = socket.create_connection(('198.51.100.23', 5433))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()
s = socket.socket()
for i in range(1500): # taken back, and used again
    s.connect(('198.51.100.23', 5433)); libc.connect(s.fileno(), bytes(16), 16)
s.close()
kept = []
while len(kept) < ${LIMIT}:
    s, result = begin(0)
    if result == 'begun': kept.append(s)
    else: s.close()
# Those of before are over, or there would not have been room for all of these: now there is none for one more.
print(flood(3)[1])
`,
    );
    assert.deepEqual([stdout, stderr], ["{'ENOBUFS': 3}\n", '']);
  });

  test('100,000 datagrams do not push out what others asked before', async () => {
    process.kill(host.daemonPid(), 'SIGSTOP');
    const [file = '', ...args] = host.launch(other.id, [
      '/usr/bin/python3',
      '-uc',
      `${PYTHON}
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('198.51.100.23', 53)); s.settimeout(60)
s.send(b'%032d' % 1); print('asked')
print(s.recv(4096)[16:].decode().strip())
`,
    ]);
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.on('data', (chunk) => (out += chunk));
    await once(child.stdout, 'data');
    // Four seconds at most: what may be sent in them does not fill the map.
    const { stdout } = await host.python(
      greedy.id,
      `${FLOOD}
count, end = collections.Counter(), time.monotonic() + 4
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('198.51.100.99', 53)); s.setblocking(False)
for n in range(100000):
    try: s.send(b'%016d' % n); count['sent'] += 1
    except OSError as e: count[errno.errorcode[e.errno]] += 1
    if time.monotonic() > end: break
print(json.dumps(count))
`,
    );
    process.kill(host.daemonPid(), 'SIGCONT');
    await once(child, 'close');
    const count = JSON.parse(stdout) as { sent: number; EPERM?: number };
    assert.ok(count.sent <= 5 * 2048 && (count.EPERM ?? 0) > 0, stdout);
    const origin = JSON.parse(out.split('\n')[1]!) as { cgroupId: string } | null;
    assert.equal(origin?.cgroupId, String(other.cgroupId));
  });
});

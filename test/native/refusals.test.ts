/** What the kernel refuses is counted: each attempt once, by session, in bounds that no session can leave. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { refusedCall } from '../../daemon/intake/calls.ts';
import { type Kernel, type KernelRefusal, openKernel } from '../../daemon/intake/kernel.ts';
import { AGENT_UID, cannotRun, type Host, newHost } from './host.ts';
import { refusedWithin } from './refused.ts';

const LIBRARY = join(import.meta.dirname, '../../build/native/libsluice.so');
const BPFTOOL = '/usr/sbin/bpftool';
/** SLUICE_REFUSED_NAMES_MAX, SLUICE_FLOWS_DEFAULT and a turn (2^SLUICE_TURN_BITS ns) of native/sluice.h. */
const NAMES = 8;
const FLOWS = 1024;
const TURN = 1_074;

const REACH = `
def reach(name, kind=socket.SOCK_STREAM):
    return attempt(lambda: socket.socket(socket.AF_UNIX, kind).connect(name.replace('@', '\\0', 1)))
`;

describe('what the kernel refuses', { skip: cannotRun() }, () => {
  let host: Host;
  let kernel: Kernel;
  let mine: { id: string; cgroupId: bigint };
  let other: { id: string; cgroupId: bigint };
  let hasLsm: boolean;

  before(async () => {
    host = newHost();
    await host.startHelper();
    await host.startDaemon();
    kernel = openKernel({ pinDir: join(host.runDir, 'bpf'), library: LIBRARY });
    hasLsm = (await host.helper.status()).attached.includes('lsm_unix_stream_connect');
  });
  after(async () => {
    kernel?.close();
    await host?.close();
  });

  /** All that is there once that time is over. */
  const taken = (ms = 2 * TURN): Promise<KernelRefusal[]> => refusedWithin(kernel, ms);
  const sum = (list: readonly KernelRefusal[]) => list.reduce((all, { count }) => all + count, 0);
  const of = (list: readonly KernelRefusal[], cgroupId: bigint) =>
    list.filter(({ first }) => first.cgroupId === cgroupId);

  /** With sockets of the host's under these names: BPF LSM refuses what was found, the other hooks what is named. */
  async function served<T>(names: readonly string[], use: () => Promise<T>): Promise<T> {
    const { createServer } = await import('node:net');
    const servers = names.map((name) => createServer().listen({ path: name.replace('@', '\0') }));
    try {
      return await use();
    } finally {
      for (const server of servers) server.close();
    }
  }

  test('a UNIX socket is told by name, with who it was', async () => {
    [mine, other] = [await host.session(), await host.session()];
    const name = `@${host.cgroup}-refused`;
    const { stdout, list } = await served([name], async () => ({
      ...(await host.python(
        mine.id,
        `${REACH}\nprint(os.getpid(), reach(sys.argv[1]), os.readlink('/proc/self/exe'))`,
        name,
      )),
      list: await taken(),
    }));
    const [pid, code, exe] = stdout.trim().split(' ');
    assert.equal(code, 'EPERM');
    const [refusal, ...more] = of(list, mine.cgroupId);
    assert.deepEqual(more, []);
    assert.deepEqual([refusal?.kind, refusal?.name, refusal?.count], ['unix', name, 1]);
    const { first } = refusal!;
    assert.deepEqual([first.pid, first.uid, first.exe], [Number(pid), AGENT_UID, exe]);
    assert.deepEqual(of(list, other.cgroupId), []);
    assert.equal(kernel.refusalsLost(), 0);
  });

  test('a path, and a datagram socket, as well', async () => {
    const path = join(host.runDir, 'helper.sock');
    const { list } = await served([], async () => ({
      ...(await host.python(
        mine.id,
        `${REACH}\nreach(sys.argv[1]); reach('/run/nobody-is-there', socket.SOCK_DGRAM)`,
        path,
      )),
      list: await taken(),
    }));
    const names = of(list, mine.cgroupId).map(({ kind, name }) => `${kind} ${name}`);
    // What is not there can't be refused by whoever looks at the socket found.
    const expected = hasLsm ? [`unix ${path}`] : [`unix ${path}`, 'unix /run/nobody-is-there'];
    assert.deepEqual(names.sort(), expected.sort());
  });

  test('a system call that the filter refuses, as well', async () => {
    const code = 'print(os.getpid(), attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)))';
    const { list, ...result } = { ...(await host.python(mine.id, code)), list: await taken() };
    const [pid, end] = result.stdout.trim().split(' ');
    const told = of(list, mine.cgroupId).map(({ kind, detail, count, first }) => [
      kind,
      refusedCall(detail),
      count,
      first.pid,
    ]);
    assert.deepEqual([end, told], ['EAFNOSUPPORT', [['syscall', 'socket(AF_PACKET)', 1, Number(pid)]]]);
  });

  test('200,000 attempts of four threads are counted to the last one, in a few entries', async () => {
    const name = `@${host.cgroup}-many`;
    const list: KernelRefusal[] = [];
    const take = setInterval(() => list.push(...kernel.refusals()), 100);
    const { stdout, stderr } = await served([name], () =>
      host.python(
        mine.id,
        `${REACH}
import threading
tried = [0] * 4
def work(i):
    s = socket.socket(socket.AF_UNIX)
    for n in range(50000):
        try: s.connect(sys.argv[1].replace('@', '\\0', 1))
        except PermissionError: tried[i] += 1
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(sum(tried))`,
        name,
      ),
    );
    clearInterval(take);
    list.push(...(await taken()));
    assert.deepEqual([stdout, stderr], ['200000\n', '']);
    assert.ok(list.every((each) => each.name === name && each.first.cgroupId === mine.cgroupId));
    assert.equal(sum(list), 200_000);
    assert.ok(list.length < 60, `${list.length} entries`);
  });

  const crowd = () => Array.from({ length: 40 }, (_, n) => `@${host.cgroup}-crowd-${n}`);

  test('beside the first names of a turn, others are counted together, and no other session’s', async () => {
    const lost = kernel.refusalsLost();
    const alone = `@${host.cgroup}-alone`;
    const began = Date.now();
    const [flood, quiet] = await served([...crowd(), alone], () =>
      Promise.all([
        host.python(mine.id, `${REACH}\nfor n in range(5000): reach(sys.argv[1 + n % 40])`, ...crowd()),
        host.python(other.id, `${REACH}\nprint(reach(sys.argv[1]))`, alone),
      ]),
    );
    // Of the first and the last a part.
    const turns = Math.ceil((Date.now() - began) / TURN) + 1;
    assert.deepEqual([flood.stderr, quiet.stdout], ['', 'EPERM\n']);
    const list = await taken();
    const flooding = of(list, mine.cgroupId);
    assert.equal(sum(flooding), 5000);
    const named = flooding.filter(({ further }) => !further);
    assert.ok(named.length <= NAMES * turns, `${named.length} names in ${turns} turns`);
    assert.ok(named.every(({ name }) => crowd().includes(name)));
    assert.ok(flooding.some(({ further, name, count }) => further && name === '' && count > NAMES));
    assert.deepEqual(
      of(list, other.cgroupId).map(({ kind, name, count }) => [kind, name, count]),
      [['unix', alone, 1]],
    );
    assert.equal(kernel.refusalsLost(), lost);
  });

  test('while nobody takes them, what is kept of a session stays what it is', { skip: cannotCount() }, async () => {
    const { stdout } = await served(crowd(), () =>
      host.python(
        mine.id,
        `${REACH}
import time
tried, end = 0, time.monotonic() + 5
while time.monotonic() < end:
    reach(sys.argv[1 + tried % 40]); tried += 1
print(tried)`,
        ...crowd(),
      ),
    );
    // Eight names, one entry for the rest and one that counts the names, for each of two turns.
    assert.ok(entries() <= 2 * (NAMES + 2), `${entries()} entries`);
    assert.equal(sum(of(await taken(), mine.cgroupId)), Number(stdout));
    assert.equal(entries(), 0);
  });

  test('connections and datagrams beyond the limits are counted, with where the first was to go', async () => {
    const { stdout, stderr } = await host.python(
      other.id,
      `
import collections, resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
kept, count = [], collections.Counter()
for i in range(${FLOWS} + 500):
    s = socket.socket(); s.setblocking(False)
    code = s.connect_ex(('198.51.100.99', 5433))
    count[errno.errorcode.get(code, 'done')] += 1
    kept.append(s)
d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); d.connect(('198.51.100.98', 53)); d.setblocking(False)
for n in range(20000):
    try: d.send(b'%016d' % n)
    except OSError as e: count['datagram ' + errno.errorcode[e.errno]] += 1
print(json.dumps(count))`,
    );
    assert.equal(stderr, '');
    const count = JSON.parse(stdout) as Record<string, number>;
    const list = of(await taken(), other.cgroupId);
    const by = (kind: KernelRefusal['kind']) => list.filter((each) => each.kind === kind);
    assert.equal(sum(by('connections')), count.ENOBUFS);
    assert.equal(sum(by('datagrams')), count['datagram EPERM']);
    assert.deepEqual(
      ['connections', 'datagrams'].map((kind) => {
        const { address, port, uid } = by(kind as KernelRefusal['kind'])[0]!.first;
        return [address, port, uid];
      }),
      [
        ['198.51.100.99', 5433, AGENT_UID],
        ['198.51.100.98', 53, AGENT_UID],
      ],
    );
    assert.ok(count.ENOBUFS! >= 500 && count['datagram EPERM']! > 0, stdout);
  });

  /** In the map, by whoever looks. */
  function entries(): number {
    const dump = execFileSync(BPFTOOL, ['-j', 'map', 'dump', 'pinned', join(host.runDir, 'bpf/refusals')]);
    return (JSON.parse(dump.toString()) as unknown[]).length;
  }
});

function cannotCount(): string | false {
  try {
    execFileSync(BPFTOOL, ['version'], { stdio: 'ignore' });
    return false;
  } catch {
    return `needs ${BPFTOOL}`;
  }
}

/** Uids of agents: who gets one, what others can do to it, and what is left when it is given back. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { cannotRun, DAEMON_UID, type Host, newHost, OTHER_UID, type OwnSession, runToEnd } from '../native/host.ts';

/** Says lines to the helper as another uid, on a connection each, and prints the first line of each answer. */
const SAY = `
import socket, sys
for line in sys.argv[2:]:
    u = socket.socket(socket.AF_UNIX); u.connect(sys.argv[1]); u.send(line.encode() + b'\\n'); print(u.makefile().readline(), end='')
`;

/** Uids of the processes that there are. */
function uids(): Set<number> {
  const found = new Set<number>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      if (!/^State:\tZ/m.test(status)) found.add(Number(/^Uid:\t(\d+)/m.exec(status)?.[1]));
    } catch {} // gone
  }
  return found;
}

describe('the pool of uids', { skip: cannotRun() }, () => {
  let host: Host;
  let socket: string;
  const agents: ChildProcess[] = [];

  beforeEach(async () => {
    host = newHost();
    await host.startHelper();
    socket = join(host.runDir, 'helper.sock');
  });
  afterEach(async () => {
    for (const agent of agents.splice(0)) agent.kill('SIGKILL');
    await host.close();
  });

  const say = async (uid: number, ...lines: string[]) =>
    (await runToEnd(['/usr/bin/python3', '-c', SAY, socket, ...lines], '', uid)).stdout.trim().split('\n');
  const run = (session: OwnSession, command: readonly string[]) =>
    runToEnd(host.front(session.id, command), '', OTHER_UID);

  /** Starts an agent that says `here` and stays. */
  async function stay(session: OwnSession): Promise<ChildProcess> {
    const [file = '', ...args] = host.front(session.id, ['/bin/sh', '-c', 'echo here; exec sleep 600']);
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'], uid: OTHER_UID, gid: OTHER_UID, cwd: '/' });
    agents.push(child);
    await once(child.stdout!, 'data');
    return child;
  }

  async function gone(path: string): Promise<void> {
    for (let i = 0; existsSync(path); i++) {
      assert.ok(i < 1500, `${path} is not removed`);
      await pause(10);
    }
  }

  test('sessions at a time have different uids; one is used again only after its session is dead', async () => {
    const first = await host.ownSession();
    await stay(first);
    const seen = [first.uid];
    for (let i = 0; i < 9; i++) {
      const next = await host.ownSession();
      assert.notEqual(next.uid, first.uid);
      assert.equal((await run(next, ['/usr/bin/id', '-u'])).stdout, `${next.uid}\n`);
      await host.helper.endSession(next.id);
      await gone(next.home);
      seen.push(next.uid);
    }
    assert.equal(new Set(seen).size, 8, 'all of the pool, one after the other');
    assert.ok(uids().has(first.uid));
    await host.helper.endSession(first.id);
    await gone(first.home);
    assert.ok(!uids().has(first.uid));
  });

  test('a helper that starts again knows which are taken, and clears what was left', async () => {
    const [running, dead] = [await host.ownSession(), await host.ownSession()];
    await stay(running);
    await run(dead, ['/bin/sh', '-c', 'echo secret > ~/left']);
    await host.stopHelper('SIGKILL');
    const { mount, cgroup } = { mount: readFileSync('/proc/self/mountinfo', 'utf8'), cgroup: dead.path };
    const at = /^\S+ \S+ \S+ \/ (\S+) .* - cgroup2 /m.exec(mount)?.[1];
    // Not there any more, as after a reboot.
    for (let i = 0; existsSync(`${at}${cgroup}`); i++) {
      try {
        rmdirSync(`${at}${cgroup}`);
      } catch (error) {
        if (i > 500) throw error;
        await pause(10);
      }
    }
    await host.startHelper();
    await gone(dead.home);
    assert.ok(existsSync(running.home));
    for (let i = 0; i < 3; i++) assert.notEqual((await host.ownSession()).uid, running.uid);
  });

  test('agents can neither read, signal nor look into one another, nor into who started them', async () => {
    const [one, two] = [await host.ownSession(), await host.ownSession()];
    await run(two, ['/bin/true']);
    const other = await host.ownSession();
    const front = await stay(other);
    const asleep = (pid: string) => {
      try {
        return (
          /^\d+$/.test(pid) &&
          readFileSync(`/proc/${pid}/status`, 'utf8').includes(`\nUid:\t${other.uid}\t`) &&
          readFileSync(`/proc/${pid}/comm`, 'utf8') === 'sleep\n'
        );
      } catch {
        return false;
      }
    };
    // It says that it is here before it turns into what sleeps.
    let victim: string | undefined;
    for (let i = 0; victim === undefined; i++) {
      assert.ok(i < 1500, 'nobody sleeps');
      victim = readdirSync('/proc').find(asleep);
      await pause(10);
    }
    const { stdout, stderr } = await run(one, [
      ...['/usr/bin/python3', '-c'],
      `
import os, sys, signal
def attempt(f):
    try: f(); return 'done'
    except OSError as e: return type(e).__name__
for pid in map(int, sys.argv[2:]):
    print(*[attempt(lambda: os.kill(pid, s)) for s in (0, signal.SIGTERM, signal.SIGCONT, signal.SIGKILL)])
    print(*[attempt(lambda: open('/proc/%d/%s' % (pid, n), 'rb').read(1)) for n in ('environ', 'mem', 'maps', 'auxv', 'syscall')], attempt(lambda: os.listdir('/proc/%d/fd' % pid)))
print(attempt(lambda: os.listdir(sys.argv[1])), attempt(lambda: open(sys.argv[1] + '/x', 'w')), attempt(lambda: os.listdir(os.path.dirname(sys.argv[1]))))
`,
      ...[other.home, victim, String(front.pid)],
    ]);
    assert.equal(stderr, '');
    const no = (n: number) => Array(n).fill('PermissionError').join(' ');
    assert.deepEqual(stdout.trim().split('\n'), [no(4), no(6), no(4), no(6), no(3)]);
    assert.equal(front.exitCode, null);
  });

  test('a home is removed whatever is in it, with what else is the uid’s, and nothing beyond', async () => {
    const session = await host.ownSession();
    const kept = join(host.runDir, 'kept');
    const { stdout, stderr } = await run(session, [
      ...['/usr/bin/python3', '-c'],
      `
import os, sys, ctypes
home, kept = sys.argv[1:]
os.chdir(home)
os.symlink('/', 'root'); os.symlink(kept, 'kept'); os.mkfifo('fifo')
for i in range(600): os.mkdir('deep'); os.chdir('deep')
open('file', 'w').close(); os.chdir(home)
os.makedirs('closed/inner/more'); open('closed/inner/file', 'w').close()
os.chmod('closed/inner/more', 0); os.chmod('closed/inner', 0); os.chmod('closed', 0)
for place in ('/tmp', '/var/tmp', '/dev/shm'):
    os.makedirs('%s/sluice-test-%d/a/b' % (place, os.getuid())); open('%s/sluice-test-%d.file' % (place, os.getuid()), 'w').close()
print(ctypes.CDLL(None).shmget(0x534c5231, 4096, 0o1666) >= 0)
os.chmod(home, 0)
if os.fork() == 0: os.setsid(); os.close(1); os.close(2); os.read(os.pipe()[0], 1)
`,
      ...[session.home, kept],
    ]);
    assert.deepEqual([stdout, stderr], ['True\n', '']);
    const left = () =>
      ['/tmp', '/var/tmp', '/dev/shm'].flatMap((place) =>
        readdirSync(place).filter((name) => name.startsWith(`sluice-test-${session.uid}`)),
      );
    assert.equal(left().length, 6);
    assert.ok(uids().has(session.uid), 'the process in the background goes on');
    await host.helper.endSession(session.id);
    await gone(session.home);
    assert.deepEqual(left(), []);
    assert.ok(!uids().has(session.uid));
    assert.doesNotMatch(readFileSync('/proc/sysvipc/shm', 'utf8'), new RegExp(` ${session.uid} `));
    assert.ok(existsSync('/etc/passwd'));
  });

  test('one user takes at most half of it, and the error says what to do', async () => {
    for (let i = 0; i < 4; i++) await host.ownSession(OTHER_UID);
    await assert.rejects(host.ownSession(OTHER_UID), { code: 'AGENT_UID_UNAVAILABLE', message: /half of the uids/ });
    for (let i = 0; i < 4; i++) await host.ownSession(OTHER_UID + i + 1);
    await assert.rejects(host.ownSession(OTHER_UID + 9), { code: 'AGENT_UID_UNAVAILABLE', message: /every uid/ });
  });

  test('only the owner starts it, once, and nobody names a uid for it', async () => {
    const mine = await host.ownSession();
    const plain = await host.session(OTHER_UID);
    const answers = await say(
      OTHER_UID,
      `spawn ${plain.id}`,
      `join ${mine.id}`,
      `spawn ${'0'.repeat(32)}`,
      `create ${'1'.repeat(32)} ${OTHER_UID} pool`,
    );
    assert.deepEqual(
      answers.map((line) => line.split(' ').slice(0, 2).join(' ')),
      ['ARGUMENT', 'DENIED', 'UNKNOWN', 'DENIED'].map((code) => `error ${code}`),
    );
    assert.match((await say(DAEMON_UID, `spawn ${mine.id}`))[0]!, /^error DENIED /);
    // Root neither: sluice-launch becomes another user by itself.
    for (const uid of [0, DAEMON_UID, OTHER_UID])
      for (const id of [mine.id, plain.id])
        for (const line of await say(uid, `spawn ${id} ${OTHER_UID} ${OTHER_UID}`, `spawn ${id} ${OTHER_UID}`))
          assert.match(line, /^error ARGUMENT known are: /);
    await stay(mine);
    assert.match((await say(OTHER_UID, `spawn ${mine.id}`))[0]!, /^error BUSY the session has begun already/);
  });

  test('a caller that sends nonsense, too much or nothing starts nothing, and leaves nothing of the uid', async () => {
    const script = `
import socket, struct, sys, array, os
path, session, kind = sys.argv[1:]
u = socket.socket(socket.AF_UNIX); u.connect(path); u.send(b'spawn ' + session.encode() + b'\\n'); assert u.recv(3) == b'ok\\n'
fds = array.array('i', [0, 1, 2]); n = array.array('i', [0, 1])
def request(magic=0x534c5231, length=8, words=1): return struct.pack('=7I', magic, length, words, 0, 0, 0, 0).ljust(28 + 8 + 60, b'\\0')
def send(data, fds): u.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if fds else [])
if kind == 'magic': send(request(magic=1), fds)
if kind == 'two': send(request(), n)
if kind == 'none': send(request(), None)
if kind == 'huge': send(request(length=1 << 30), fds)
if kind == 'unended': send(request(length=4), fds); u.send(b'/\\0id')
if kind == 'wordless': send(request(length=2, words=0), fds); u.send(b'/\\0')
if kind == 'words': send(request(length=7, words=2**32 - 1), fds); u.send(b'/\\0id\\0a\\0')
if kind == 'half': send(request(length=100), fds); u.send(b'/\\0/usr/bin/id\\0')
u.shutdown(socket.SHUT_WR)
print(u.recv(100))
`;
    for (const kind of ['magic', 'two', 'none', 'huge', 'unended', 'wordless', 'words', 'half', 'nothing']) {
      const session = await host.ownSession();
      const argv = ['/usr/bin/python3', '-c', script, socket, session.id, kind];
      const { stdout } = await runToEnd(argv, '', OTHER_UID);
      assert.equal(stdout, "b''\n", kind);
      for (let i = 0; uids().has(session.uid); i++) {
        assert.ok(i < 200, kind);
        await pause(10);
      }
      await host.helper.endSession(session.id);
    }
  });
});

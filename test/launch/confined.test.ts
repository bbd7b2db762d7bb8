/** What an agent finds when it looks at itself and tries the calls that lead out. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cannotRun, type Host, newHost, OTHER_UID, runToEnd } from '../native/host.ts';

/** Ends of the tries of inside.c that are not EPERM. */
const ENDS: Readonly<Record<string, string>> = {
  AF_UNIX: 'done',
  'AF_NETLINK routes': 'done',
  clone3: 'ENOSYS',
  io_uring_setup: 'ENOSYS',
  'io_uring_setup of libuv': 'ENOSYS',
  io_uring_enter: 'ENOSYS',
  io_uring_register: 'ENOSYS',
  'seccomp listener': 'EBUSY',
  add_key: 'ENOSYS',
  request_key: 'ENOSYS',
  keyctl: 'ENOSYS',
  'x32 socket': 'ENOSYS',
  '32-bit socket': 'ENOSYS',
};

describe('an agent with a uid of its own', { skip: cannotRun() }, () => {
  let host: Host;

  before(async () => {
    host = newHost();
    await host.startHelper('--limit', 'nproc=50', '--limit', 'nofile=1500', '--limit', 'fsize=1000000');
    execFileSync('cc', ['-o', join(host.runDir, 'inside'), join(import.meta.dirname, 'inside.c')]);
  });
  after(() => host.close());

  /** Runs a command to its end in a session of its own, started by an ordinary user. */
  async function run(command: readonly string[], session = host.ownSession()) {
    const { id, uid, home } = await session;
    const result = await runToEnd(host.front(id, command), '', OTHER_UID);
    await host.helper.endSession(id);
    return { ...result, uid, home };
  }
  const python = (code: string) => run(['/usr/bin/python3', '-c', code]);

  test('has its ids in all four places, no groups, no capability, no way to one, and the filter', async () => {
    const { stdout, uid } = await run(['/bin/cat', '/proc/self/status']);
    const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, 'm').exec(stdout)?.[1];
    assert.equal(field('Uid'), Array(4).fill(uid).join('\t'));
    assert.equal(field('Gid'), Array(4).fill(uid).join('\t'));
    assert.equal(field('Groups'), '');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) assert.equal(field(set), '0'.repeat(16), set);
    assert.equal(field('NoNewPrivs'), '1');
    assert.equal(field('Seccomp'), '2');
    assert.deepEqual(['SigBlk', 'SigIgn', 'SigCgt'].map(field), Array(3).fill('0'.repeat(16)));
  });

  test('finds every call closed that leads round the hooks, and gets an errno that programs know', async () => {
    const { stdout, stderr } = await run([join(host.runDir, 'inside')]);
    assert.equal(stderr, '');
    const tries = stdout.trim().split('\n');
    assert.ok(tries.length >= 57, stdout);
    for (const line of tries) {
      const [, name = '', end] = /^(.*) (\S+)$/.exec(line) ?? [];
      const family = /^(AF_|socketpair)/.test(name) ? 'EAFNOSUPPORT' : 'EPERM';
      assert.equal(end, ENDS[name] ?? family, name);
    }
    // Outside, the same program gets further: what refuses is the session.
    const outside = (await runToEnd([join(host.runDir, 'inside')], '', OTHER_UID)).stdout;
    for (const name of ['AF_NETLINK netfilter', 'AF_VSOCK', 'unshare user', 'io_uring_setup', 'add_key'])
      assert.match(outside, new RegExp(`^${name} (done|ENOMEM|EAFNOSUPPORT)$`, 'm'), outside);
  });

  test('is bounded as the helper was told, and leaves no core dump to a program of the host', async () => {
    const { stdout, stderr } = await python(`
import resource as r, os
print([r.getrlimit(n) for n in (r.RLIMIT_CORE, r.RLIMIT_MEMLOCK, r.RLIMIT_NPROC, r.RLIMIT_NOFILE, r.RLIMIT_FSIZE)])
n = 0
try:
    while n < 200:
        if os.fork() == 0: os.read(os.pipe()[0], 1)
        n += 1
except BlockingIOError: pass
print(40 <= n < 50)
try: r.setrlimit(r.RLIMIT_NPROC, (100, 100))
except ValueError: print('kept')
os.killpg(0, 9)
`);
    assert.equal(stderr, '');
    const mib8 = 8 * 1024 * 1024;
    assert.equal(stdout, `[(1, 1), (${mib8}, ${mib8}), (50, 50), (1024, 1500), (1000000, 1000000)]\nTrue\nkept\n`);
  });

  test('starts where the caller stands if it may, else at home; with the caller’s umask and environment', async () => {
    const closed = join(host.runDir, 'closed');
    mkdirSync(closed, { mode: 0o700 });
    execFileSync('chown', [String(OTHER_UID), closed]);
    const inside = ['/bin/sh', '-c', 'pwd -P; umask; echo $COLOUR; touch ~/mine && stat -c %a ~ ~/mine'];
    const from = async (directory: string) => {
      const session = await host.ownSession();
      const script = `cd ${directory} && umask 027 && exec env HOME=${session.home} COLOUR=green "$@"`;
      const result = await runToEnd(['/bin/sh', '-c', script, 'sh', ...host.front(session.id, inside)], '', OTHER_UID);
      await host.helper.endSession(session.id);
      return { ...result, ...session };
    };
    const open = await from('/var/lib');
    assert.deepEqual([open.stdout, open.stderr], ['/var/lib\n0027\ngreen\n700\n640\n', '']);
    const other = await from(closed);
    assert.equal(other.stdout, `${other.home}\n0027\ngreen\n700\n640\n`);
    assert.match(
      other.stderr,
      /^sluice-launch: uid \d+ cannot enter \S+ \(Permission denied\): the command starts in \S+\n$/,
    );
  });

  test('has nothing open but the three, and of the caller no terminal, keyring or parent', async () => {
    const script = `
import os, socket, sys
held = [socket.socket(), socket.socket(socket.AF_UNIX), open('/etc/passwd')]
for s in held: os.set_inheritable(s.fileno(), True)
os.dup2(held[0].fileno(), 77)
os.execv(sys.argv[1], sys.argv[1:])
`;
    const session = await host.ownSession();
    const list = host.front(session.id, [
      ...['/usr/bin/python3', '-c'],
      `
import os
print(sorted(int(n) for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n)))
monitor = os.getppid()
for path in ('fd', 'environ', 'mem', 'maps'):
    try: open('/proc/%d/%s' % (monitor, path)).read() if path != 'fd' else os.listdir('/proc/%d/fd' % monitor); print('open', path)
    except OSError: pass
print(os.getsid(0) == monitor, os.getpgrp() == os.getpid())
`,
    ]);
    const { stdout, stderr } = await runToEnd(['/usr/bin/python3', '-c', script, ...list], '', OTHER_UID);
    await host.helper.endSession(session.id);
    assert.deepEqual([stdout, stderr], ['[0, 1, 2]\nTrue True\n', '']);
  });

  test('a standard descriptor that leads out is refused by name, whoever passes it', async () => {
    const script = `
import socket, os, sys
kind = sys.argv[1]
if kind == 'tcp': held = socket.socket(); fd = held.fileno()
if kind == 'vsock': held = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM); fd = held.fileno()
if kind == 'pidfd': fd = os.pidfd_open(os.getpid())
if kind == 'directory': fd = os.open('/', os.O_RDONLY)
if kind == 'unix': held = socket.socketpair(); fd = held[0].fileno()
os.dup2(fd, 0)
os.execv(sys.argv[2], sys.argv[2:])
`;
    for (const [kind, status] of Object.entries({ tcp: 125, vsock: 125, pidfd: 125, directory: 125, unix: 0 })) {
      const { id } = await host.ownSession();
      const argv = ['/usr/bin/python3', '-c', script, kind, ...host.front(id, ['/bin/true'])];
      const result = await runToEnd(argv, '', OTHER_UID);
      assert.equal(result.status, status, `${kind}: ${result.stderr}`);
      if (status) assert.match(result.stderr, /descriptor 0 is /);
      await host.helper.endSession(id);
    }
  });
});

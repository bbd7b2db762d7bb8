/** What a command is left with when sluice-launch has run it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { AGENT_UID, cannotRun, type Host, newHost, runToEnd } from './host.ts';

describe('sluice-launch', { skip: cannotRun() }, () => {
  let host: Host;
  let session: { id: string; path: string };

  before(async () => {
    host = newHost();
    await host.startHelper();
    session = await host.session();
  });
  after(() => host.close());

  test('the command has its own ids, no groups, no capability, no way to one, and a filter', async () => {
    const { stdout, status } = await host.run(session.id, ['/bin/cat', '/proc/self/status', '/proc/self/cgroup']);
    assert.equal(status, 0);
    const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, 'm').exec(stdout)?.[1];
    assert.equal(field('Uid'), Array(4).fill(AGENT_UID).join('\t'));
    assert.equal(field('Gid'), Array(4).fill(AGENT_UID).join('\t'));
    assert.equal(field('Groups'), '');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) assert.equal(field(set), '0'.repeat(16), set);
    assert.equal(field('NoNewPrivs'), '1');
    assert.equal(field('Seccomp'), '2');
    assert.match(stdout, new RegExp(`^0::${session.path}$`, 'm'));
  });

  test('no descriptor but the first three goes along, and closed ones lead nowhere', async () => {
    // 7 is a TCP socket made outside, with which every hook of the cgroup would be passed by.
    const script = `
import socket, os, sys
s = socket.socket(); os.dup2(s.fileno(), 7, inheritable=True); os.set_inheritable(s.fileno(), True); os.close(0)
os.execv(sys.argv[1], sys.argv[1:])
`;
    const list = host.launch(session.id, [
      '/bin/sh',
      '-c',
      'for i in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$i ] && echo $i; done; readlink /proc/$$/fd/0',
    ]);
    const { stdout, stderr } = await runToEnd(['/usr/bin/python3', '-c', script, ...list]);
    assert.deepEqual([stdout, stderr], ['0\n1\n2\n/dev/null\n', '']);
  });

  test('a standard descriptor that leads out is refused by name', async () => {
    const script = `
import socket, os, sys
kind, launch = sys.argv[1], sys.argv[2:]
if kind == 'tcp': held = socket.socket(); fd = held.fileno()
if kind == 'udp6': held = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); fd = held.fileno()
if kind == 'packet': held = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); fd = held.fileno()
if kind == 'vsock': held = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM); fd = held.fileno()
if kind == 'netlink': held = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW); fd = held.fileno()
if kind == 'unix': held = socket.socketpair(); fd = held[0].fileno()
if kind == 'pidfd': fd = os.pidfd_open(os.getpid())
if kind == 'mem': fd = os.open('/dev/mem', os.O_RDONLY)
if kind == 'directory': fd = os.open('/', os.O_RDONLY)
if kind == 'pty': fd = os.openpty()[1]
os.dup2(fd, 0)
os.execv(launch[0], launch)
`;
    for (const [kind, wanted] of [
      ['tcp', /^sluice-launch: descriptor 0 is a network socket/],
      ['udp6', /network socket/],
      ['packet', /network socket/],
      ['vsock', /network socket/],
      ['netlink', /network socket/],
      ['pidfd', /neither a file, a pipe, a terminal nor a UNIX socket/],
      ['directory', /neither a file/],
      ['unix', null],
      ['pty', null],
    ] as const) {
      const launched = host.launch(session.id, ['/bin/echo', 'ran']);
      const { status, stdout, stderr } = await runToEnd(['/usr/bin/python3', '-c', script, kind, ...launched]);
      if (wanted) assert.match(stderr, wanted, kind);
      assert.deepEqual([status, stdout], wanted ? [125, ''] : [0, 'ran\n'], `${kind}: ${stderr}`);
    }
  });

  test('an agent as root, a user or group left out, and --uid from an ordinary user are refused', async () => {
    const base = [host.launcher, '--helper', join(host.runDir, 'helper.sock'), '--session', session.id];
    const wanted = /an agent does not run as root/;
    for (const ids of [
      [],
      ['--uid', '0', '--gid', '0'],
      ['--uid', '64802'],
      ['--uid', '64802', '--gid', '0'],
      ['--uid', '0', '--gid', '64802'],
    ]) {
      const { status, stderr } = await runToEnd([...base, ...ids, '--', '/bin/id']);
      assert.equal(status, 125);
      assert.match(stderr, wanted);
    }
    const other = await runToEnd([...base, '--uid', '1', '--gid', '1', '--', '/bin/id'], '', AGENT_UID);
    assert.equal(other.status, 125);
    const own = await runToEnd([...base, '--own-uid', '--uid', '64802', '--gid', '64802', '--', '/bin/id']);
    assert.deepEqual([own.status, own.stderr.split(' ')[0]], [125, 'sluice-launch'], 'a uid of its own is not named');
  });

  test('an ordinary owner launches without root; somebody else does not', async () => {
    const base = [host.launcher, '--helper', join(host.runDir, 'helper.sock'), '--session', session.id, '--'];
    const mine = await runToEnd([...base, '/bin/cat', '/proc/self/status', '/proc/self/cgroup'], '', AGENT_UID);
    assert.equal(mine.status, 0, mine.stderr);
    assert.match(mine.stdout, /^NoNewPrivs:\t1$/m);
    assert.match(mine.stdout, /^CapEff:\t0{16}$/m);
    assert.match(mine.stdout, new RegExp(`^0::${session.path}$`, 'm'));
    const other = await runToEnd([...base, '/bin/echo', 'ran'], '', AGENT_UID + 1);
    assert.deepEqual([other.status, other.stdout], [125, '']);
    assert.match(other.stderr, /cannot join session [0-9a-f]{32}: error DENIED/);
  });

  test('it ends as a shell would: the command’s status, 127, 126; 125 without a helper or a session', async () => {
    assert.equal((await host.run(session.id, ['/bin/sh', '-c', 'exit 23'])).status, 23);
    const absent = await host.run(session.id, ['/no/such/command']);
    assert.deepEqual([absent.status, /cannot run \/no\/such\/command/.test(absent.stderr)], [127, true]);
    assert.equal((await host.run(session.id, ['/etc/passwd'])).status, 126);
    assert.equal((await host.run('0'.repeat(32), ['/bin/true'])).status, 125);
    assert.equal((await host.run('nonsense', ['/bin/true'])).status, 125);
    const lost = await runToEnd([
      ...[host.launcher, '--helper', '/nowhere/helper.sock', '--session', session.id],
      ...['--uid', '64802', '--gid', '64802', '--', '/bin/true'],
    ]);
    assert.equal(lost.status, 125);
    assert.match(lost.stderr, /cannot reach sluice-helper on \/nowhere\/helper.sock/);
  });

  test('a helper that says ok and moves nothing is not believed', async () => {
    const path = join(host.runDir, 'liar.sock');
    const liar = `
import socket
u = socket.socket(socket.AF_UNIX); u.bind('${path}'); u.listen(1); print('ready', flush=True)
c, _ = u.accept(); c.recv(100); c.send(b'ok\\n'); c.close()
`;
    const child = spawn('/usr/bin/python3', ['-c', liar], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    const { status, stdout, stderr } = await runToEnd([
      ...[host.launcher, '--helper', path, '--session', session.id],
      ...['--uid', '64802', '--gid', '64802', '--', '/bin/echo', 'ran'],
    ]);
    assert.deepEqual([status, stdout], [125, '']);
    assert.match(stderr, /said ok, yet this process is not in the cgroup/);
  });

  test('signals and threads of ordinary programs work under the filter', async () => {
    const code = `
import threading, subprocess, signal, socket, os, sys
out = []
t = threading.Thread(target=lambda: out.append(subprocess.run(['/bin/sh', '-c', 'kill -TERM $$']).returncode)); t.start(); t.join()
print(out, len(socket.if_nameindex()) > 0, bool(socket.socketpair()))
`;
    const { stdout, stderr } = await host.run(session.id, ['/usr/bin/python3', '-c', code]);
    assert.deepEqual([stdout, stderr], ['[-15] True True\n', '']);
    // Other accounts may be unable to reach this one.
    const program = join(host.runDir, 'node');
    copyFileSync(process.execPath, program);
    const node = await host.run(session.id, [
      program,
      '-e',
      'console.log(require("os").networkInterfaces().lo.length > 0)',
    ]);
    assert.deepEqual([node.stdout, node.stderr], ['true\n', '']);
  });
});

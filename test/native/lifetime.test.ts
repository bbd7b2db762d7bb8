/** What holds while parts of sluice die, come back, or are tampered with. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { cannotRun, type Host, newHost, type Origin, runToEnd } from './host.ts';

const CONNECT = `print(attempt(lambda: connect(socket.AF_INET, '198.51.100.23', 5433)))`;
const ORIGIN = `print(json.dumps(connect(socket.AF_INET, '198.51.100.23', 5433)[0]))`;

/** Connections of this network namespace that wait for an answer to their SYN (state 02, proc(5)). */
function synSent(): number {
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .filter((line) => line.trim().split(/\s+/)[3] === '02').length;
}

describe('enforcement', { skip: cannotRun() }, () => {
  let host: Host;

  beforeEach(async () => {
    host = newHost();
    await host.startHelper();
  });
  afterEach(() => host.close());

  test('refuses connections before there is a daemon, after its death, and serves again with the next', async () => {
    const session = await host.session();
    assert.equal((await host.python(session.id, CONNECT)).stdout, 'ECONNREFUSED\n');
    await host.startDaemon();
    assert.equal((await host.python(session.id, CONNECT)).stdout, 'done\n');
    await host.stopDaemon();
    assert.equal((await host.python(session.id, CONNECT)).stdout, 'ECONNREFUSED\n');
    await host.startDaemon();
    assert.equal((await host.python(session.id, CONNECT)).stdout, 'done\n');
  });

  test("keeps agents from a process that took the dead daemon's port", async () => {
    const session = await host.session();
    const port = await host.startDaemon();
    await host.stopDaemon();
    const [file = '', ...args] = host.launch(session.id, [
      '/usr/bin/python3',
      '-c',
      `import socket\ntry: socket.create_connection(('198.51.100.23', 5433), 5); print('connected')\nexcept OSError as e: print(e.errno)`,
    ]);
    const squatter = `
import socket, subprocess, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('127.0.0.1', ${port})); s.listen(5)
print(subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True).stdout.strip())
`;
    const { stdout, stderr } = await runToEnd(['/usr/bin/python3', '-c', squatter, file, ...args]);
    assert.deepEqual([stdout, stderr], ['111\n', '']);
  });

  test('goes on without the helper, and the helper finds its sessions when it comes back', async () => {
    const session = await host.session();
    await host.startDaemon();
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      const [file = '', ...args] = host.launch(session.id, [
        '/usr/bin/python3',
        '-uc',
        `
import socket, sys, json
print('inside'); sys.stdin.readline()
s = socket.create_connection(('198.51.100.23', 5433)); print(s.recv(4096).decode().strip())
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: u.sendto(b'x', ('198.51.100.23', 5433)); print('sent')
except OSError as e: print(e.errno)
`,
      ]);
      const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
      let out = '';
      child.stdout.on('data', (chunk) => (out += chunk));
      await once(child.stdout, 'data');
      await host.stopHelper(signal);
      child.stdin.end('\n');
      await once(child, 'close');
      const [, origin = '', udp] = out.trim().split('\n');
      assert.equal((JSON.parse(origin) as Origin).cgroupId, String(session.cgroupId));
      assert.equal(udp, '1');
      await assert.rejects(host.helper.status(), { code: 'HELPER_UNREACHABLE' });
      await host.startHelper();
      const status = await host.helper.status();
      assert.deepEqual([status.enforcing, status.pinned], [true, status.hooks]);
      assert.deepEqual(
        (await host.helper.listSessions()).map((entry) => [entry.id, entry.cgroupId]),
        [[session.id, session.cgroupId]],
      );
    }
    assert.equal((JSON.parse((await host.python(session.id, ORIGIN)).stdout) as Origin).address, '198.51.100.23');
  });

  test('takes over from a version whose maps were others', async () => {
    const session = await host.session();
    await host.startDaemon();
    const pins = join(host.runDir, 'bpf');
    await host.stopHelper('SIGTERM');
    for (const name of ['pending', 'refusals']) {
      rmSync(join(pins, name));
      const made = ['map', 'create', join(pins, name), 'type', 'hash', 'key', '4', 'value', '4', 'entries', '4'];
      execFileSync('bpftool', [...made, 'name', name]);
    }
    await host.startHelper();
    const status = await host.helper.status();
    assert.deepEqual([status.enforcing, status.pinned], [true, status.hooks]);
    assert.equal((JSON.parse((await host.python(session.id, ORIGIN)).stdout) as Origin).address, '198.51.100.23');
    const udp = `print(attempt(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.23', 5433))))`;
    assert.equal((await host.python(session.id, udp)).stdout, 'EPERM\n');
    const listed = JSON.parse(
      execFileSync('bpftool', ['-j', 'map', 'dump', 'pinned', join(pins, 'refusals')], { encoding: 'utf8' }),
    );
    assert.ok((listed as unknown[]).length > 0, 'what is refused is counted in the new map');
  });

  test('drops packets when the connect and sendmsg hooks are gone, and mends when the helper starts', async () => {
    const session = await host.session();
    await host.startDaemon();
    const links = join(host.runDir, 'bpf/links');
    const { mount } = await host.helper.status();
    await host.stopHelper('SIGKILL');
    for (const name of ['connect4', 'connect6', 'sendmsg4', 'sendmsg6', 'sock_create']) rmSync(join(links, name));

    // Without sock_create even raw sockets can be had by root: the packet filter is what is left.
    const { stdout, stderr } = await runToEnd([
      '/usr/bin/python3',
      '-c',
      `
import socket, os, errno
def attempt(f):
    try: f(); return 'done'
    except OSError as e: return errno.errorcode.get(e.errno, 'timeout')
there = socket.socket(); there.bind(('127.0.0.1', 0)); there.listen(5)
there6 = socket.socket(socket.AF_INET6); there6.bind(('::1', 0)); there6.listen(5)
with open('${mount}${host.cgroup}/sessions/${session.id}/cgroup.procs', 'w') as f: f.write(str(os.getpid()))
for family, there, far in ((socket.AF_INET, there, '198.51.100.23'), (socket.AF_INET6, there6, 'fd00::66')):
    s = socket.socket(family); s.settimeout(0.5); print(attempt(lambda: s.connect(there.getsockname())))
    u = socket.socket(family, socket.SOCK_DGRAM); print(attempt(lambda: u.sendto(b'x', there.getsockname())), attempt(lambda: u.sendto(b'x', (far, 53))))
    r = socket.socket(family, socket.SOCK_RAW, 58 if family == socket.AF_INET6 else 1); print(attempt(lambda: r.sendto(b'x' * 16, (far, 0))))
`,
    ]);
    assert.equal(stderr, '');
    assert.deepEqual(stdout.trim().split('\n'), ['timeout', 'EPERM EPERM', 'EPERM', 'timeout', 'EPERM EPERM', 'EPERM']);

    await host.startHelper();
    assert.equal((await host.helper.status()).enforcing, true);
    assert.equal((JSON.parse((await host.python(session.id, ORIGIN)).stdout) as Origin).address, '198.51.100.23');
  });

  test('refuses sockets and datagrams when the packet filters are gone', async () => {
    const session = await host.session();
    await host.startDaemon();
    const { mount } = await host.helper.status();
    await host.stopHelper('SIGKILL');
    for (const name of ['egress', 'ingress']) rmSync(join(host.runDir, 'bpf/links', name));
    const { stdout, stderr } = await runToEnd([
      '/usr/bin/python3',
      '-c',
      `
import socket, os, errno
def attempt(f):
    try: f(); return 'done'
    except OSError as e: return errno.errorcode[e.errno]
with open('${mount}${host.cgroup}/sessions/${session.id}/cgroup.procs', 'w') as f: f.write(str(os.getpid()))
for family, addresses in ((socket.AF_INET, ['198.51.100.23', '127.0.0.1']), (socket.AF_INET6, ['fd00::66', '::1', '::ffff:127.0.0.1'])):
    for address in addresses:
        u = socket.socket(family, socket.SOCK_DGRAM); print(attempt(lambda: u.sendto(b'x', (address, 5433))), attempt(lambda: u.connect((address, 5433))))
    print(attempt(lambda: socket.socket(family, socket.SOCK_RAW, 255)))
`,
    ]);
    assert.equal(stderr, '');
    const both = 'EPERM EPERM';
    assert.deepEqual(stdout.trim().split('\n'), [both, both, 'EPERM', both, both, both, 'EPERM']);
  });

  test('a full map of pending connections loses origins and never mixes them up', async () => {
    await host.stopHelper();
    assert.equal(host.detach('--kill').status, 0);
    await host.startHelper('--pending-max', '2');
    await host.startDaemon(1);
    const session = await host.session();
    process.kill(host.daemonPid(), 'SIGSTOP');
    const running = host.python(
      session.id,
      `
import threading, time
# The client speaks first: with SYN cookies a full queue forgets a client that waits for the server to speak.
answers = []
def work(i):
    o = connect(socket.AF_INET, '198.51.100.%d' % i, 5000 + i, b'x')[0]
    answers.append('none' if o is None else 'right' if o['address'] == '198.51.100.%d' % i and o['port'] == 5000 + i else 'wrong')
threads = [threading.Thread(target=work, args=(i,)) for i in range(1, 21)]
# Apart, so that their SYNs, sent again after the same time, do not meet in a queue of one.
for t in threads: t.start(); time.sleep(0.05)
[t.join() for t in threads]
print(json.dumps({k: answers.count(k) for k in ('none', 'right', 'wrong')}))
`,
    );
    // The accept queue holds two; more than ten then stand in SYN-SENT, which the map has no room for.
    while (synSent() < 10) await pause(20);
    process.kill(host.daemonPid(), 'SIGCONT');
    const { stdout, stderr } = await running;
    assert.equal(stderr, '');
    const count = JSON.parse(stdout) as { none?: number; right?: number; wrong?: number };
    assert.equal(count.wrong ?? 0, 0);
    assert.ok((count.none ?? 0) > 0 && (count.right ?? 0) > 0, stdout);
  });
});

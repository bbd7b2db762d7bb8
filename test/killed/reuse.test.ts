/** A process ends and another has its number at once: nothing that was the one's is taken for the other's. */
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { stackMissing, startStack } from '../harness/stack.ts';
import { AGENT_UID, cannotRun, type Host, newHost, type Origin, PYTHON } from '../native/host.ts';
import { POLICY } from './scene.ts';

/** A child connects to a UNIX socket and ends; what it connected stays its parent's, who says its number and goes on. */
const LEFT = `
import os, socket, sys
u = socket.socket(socket.AF_UNIX)
child = os.fork()
if child == 0:
    u.connect(sys.argv[1]); os._exit(0)
os.waitpid(child, 0)
print(child, flush=True)
sys.stdin.readline()
try: u.send(sys.argv[2].encode() + b'\\n')
except BrokenPipeError: pass # refused at once; why can be read
print(u.recv(4096).decode().strip())
`;

describe('a number that is used again', { skip: cannotRun() }, () => {
  let host: Host;
  let number: string;
  let kernel: readonly [number, number];
  const running: ChildProcessWithoutNullStreams[] = [];

  before(async () => {
    host = newHost();
    await host.startHelper();
    number = join(host.runDir, 'number');
    execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', number, join(import.meta.dirname, 'number.c')]);
    const [major, minor] = (await host.helper.status()).kernel.split('.').map(Number);
    kernel = [major!, minor!];
  });
  after(async () => {
    for (const child of running) child.kill('SIGKILL');
    await host.close();
  });

  const start = ([file = '', ...args]: readonly string[], uid?: number) => {
    const child = spawn(file, args, uid === undefined ? {} : { uid, gid: uid, cwd: '/' });
    child.stderr.pipe(process.stderr);
    running.push(child);
    return child;
  };
  /** The next line that it says. */
  async function says(child: ChildProcessWithoutNullStreams): Promise<string> {
    let line = '';
    while (!line.endsWith('\n')) line += String((await once(child.stdout, 'data'))[0]);
    return line.trim();
  }
  const cgroupOf = (pid: number) => /^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1];

  /** Another process with that number. Resolves when it has it. */
  async function take(pid: number, uid: number): Promise<void> {
    const child = start([number, 'take', String(pid), String(uid), '/bin/sleep', '600']);
    let out = '';
    child.stdout.on('data', (chunk) => (out += chunk));
    while (!/^taken$/m.test(out)) await once(child.stdout, 'data');
  }

  /** Dead, and kept from giving its number back by a tracer; false: it is gone. */
  function isKept(pid: number): boolean {
    try {
      return /^State:\tZ(.|\n)*^TracerPid:\t[1-9]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      return false;
    }
  }

  /** Ends what take() started: the process is a child of that. */
  function release(pid: number): void {
    process.kill(pid, 'SIGKILL');
  }

  test('the helper does not take one that comes after for the one that connected', async (t) => {
    if (kernel[0] < 6 || (kernel[0] === 6 && kernel[1] < 5)) {
      t.skip('Linux before 6.5 has no SO_PEERPIDFD');
      return;
    }
    const session = await host.session(AGENT_UID);
    process.kill(host.helperPid(), 'SIGSTOP');
    const asker = start(
      ['/usr/bin/python3', '-c', LEFT, join(host.runDir, 'helper.sock'), `join ${session.id}`],
      AGENT_UID,
    );
    const pid = Number(await says(asker));
    // Of the same uid: that differs not.
    await take(pid, AGENT_UID);
    process.kill(host.helperPid(), 'SIGCONT');
    asker.stdin.write('\n');
    assert.match(await says(asker), /^error DENIED the process that connected is gone/);
    assert.notEqual(cgroupOf(pid), session.path);
    release(pid);
  });

  test('nor one that comes between its request and its move', async () => {
    const session = await host.session(AGENT_UID);
    const holder = start([number, 'hold', String(host.helperPid())]);
    assert.equal(await says(holder), 'holding');
    const ask = `import socket, sys, time
u = socket.socket(socket.AF_UNIX); u.connect(sys.argv[1]); u.send(b'join ${session.id}\\n'); time.sleep(600)`;
    const asker = start(['/usr/bin/python3', '-c', ask, join(host.runDir, 'helper.sock')], AGENT_UID);
    assert.equal(await says(holder), 'held');
    const pid = asker.pid!;
    process.kill(pid, 'SIGKILL');
    while (existsSync(`/proc/${pid}`) && !isKept(pid)) await pause(5);
    // Root's, say: whoever starts a process next.
    const taken = take(pid, 0);
    if (!isKept(pid)) await taken;
    holder.stdin.end('\n');
    await once(holder, 'exit');
    await taken;
    await host.helper.status(); // comes after the move
    assert.notEqual(cgroupOf(pid), session.path);
    release(pid);
  });

  test('one that is there is moved as ever, into one session of two', async () => {
    const [mine, also] = [await host.session(AGENT_UID), await host.session(AGENT_UID)];
    const ask = `import socket, sys
us = []
for _ in range(2): u = socket.socket(socket.AF_UNIX); u.connect(sys.argv[1]); us.append(u)
for u, line in zip(us, sys.argv[2:]): u.send(line.encode() + b'\\n')
answers = [' '.join(u.recv(4096).decode().split()[:2]) for u in us]
print(','.join(answers), open('/proc/self/cgroup').read().split('0::')[1].strip())`;
    const asker = start(
      ['/usr/bin/python3', '-c', ask, join(host.runDir, 'helper.sock'), `join ${mine.id}`, `join ${also.id}`],
      AGENT_UID,
    );
    const [, answers, cgroup] = /^(.*) (\S+)$/.exec(await says(asker)) ?? [];
    assert.ok([mine.path, also.path].includes(cgroup!), `${answers} ${cgroup}`);
    assert.equal(answers, cgroup === mine.path ? 'ok,error INSIDE' : 'error INSIDE,ok');
  });

  test('a connection whose process has ended is that process’s', async () => {
    await host.startDaemon();
    const session = await host.session(AGENT_UID);
    const code = `${PYTHON}
s = socket.socket()
child = os.fork()
if child == 0: s.connect(('198.51.100.23', 5433)); os._exit(0)
os.waitpid(child, 0)
print(child, flush=True)
sys.stdin.readline()
print(s.recv(4096).decode())`;
    process.kill(host.daemonPid(), 'SIGSTOP');
    const agent = start(host.launch(session.id, ['/usr/bin/python3', '-c', code]));
    const pid = Number(await says(agent));
    await take(pid, 0);
    process.kill(host.daemonPid(), 'SIGCONT');
    agent.stdin.write('\n');
    const origin = JSON.parse(await says(agent)) as Origin;
    assert.deepEqual([origin.pid, origin.uid, origin.cgroupId], [pid, AGENT_UID, String(session.cgroupId)]);
    assert.match(origin.exe, /python3/);
    release(pid);
  });

  test('sluiced does not take one that comes after for the one that called', {
    skip: stackMissing() ?? false,
  }, async (t) => {
    if (kernel[0] < 6 || (kernel[0] === 6 && kernel[1] < 5)) {
      t.skip('Linux before 6.5 has no SO_PEERPIDFD');
      return;
    }
    const stack = await startStack({ name: 'reuse', policy: POLICY });
    try {
      const caller = () =>
        start([
          '/usr/bin/python3',
          '-c',
          LEFT,
          join(stack.runDir, 'daemon/control.sock'),
          '{"id":1,"method":"status"}',
        ]);
      stack.daemon.kill('SIGSTOP');
      const gone = caller();
      const pid = Number(await says(gone));
      await take(pid, 0);
      stack.daemon.kill('SIGCONT');
      gone.stdin.write('\n');
      assert.match(await says(gone), /NOT_ALLOWED.*is gone/);
      release(pid);
    } finally {
      await stack.stop();
    }
  });
});

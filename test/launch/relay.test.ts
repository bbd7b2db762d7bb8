/** The caller's process stands for the command: bytes, signals, its end; and what happens when it is killed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { constants } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { cannotRun, type Host, newHost, OTHER_UID, runToEnd } from '../native/host.ts';

describe('the front of a session', { skip: cannotRun() }, () => {
  let host: Host;

  before(async () => {
    host = newHost();
    await host.startHelper();
  });
  after(() => host.close());

  async function start(command: readonly string[], prefix: readonly string[] = []) {
    const session = await host.ownSession();
    const [file = '', ...args] = [...prefix, ...host.front(session.id, command)];
    const child = spawn(file, args, { uid: OTHER_UID, gid: OTHER_UID, cwd: '/' });
    const said = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) child[name].on('data', (bytes) => (said[name] += bytes));
    child.stdin.on('error', () => {});
    const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }));
    const says = async (wanted: RegExp) => {
      for (let i = 0; !wanted.test(said.stdout); i++) {
        assert.ok(i < 1500, `${wanted} is not in ${JSON.stringify(said)}`);
        await pause(10);
      }
    };
    return { session, child, said, ended, says, end: () => host.helper.endSession(session.id) };
  }

  test('10 MB go in and out of pipes byte for byte, and no end of a pipe is kept open', async () => {
    const agent = await start(['/bin/sh', '-c', 'cat; exec >&-; exec sleep 600']);
    const bytes = randomBytes(10 << 20);
    const hash = createHash('sha256');
    agent.child.stdout.on('data', (chunk) => hash.update(chunk));
    agent.child.stdin.end(bytes);
    await once(agent.child.stdout, 'end'); // while the command runs on
    assert.equal(hash.digest('hex'), createHash('sha256').update(bytes).digest('hex'));
    assert.equal(agent.child.exitCode, null);
    agent.child.kill('SIGTERM');
    assert.deepEqual(await agent.ended, { code: null, signal: 'SIGTERM' });
    await agent.end();
  });

  test('it ends as the command ends', async () => {
    const ways: [string[], number | null, NodeJS.Signals | null][] = [
      [['/bin/true'], 0, null],
      [['/bin/sh', '-c', 'exit 1'], 1, null],
      [['/bin/sh', '-c', 'exit 255'], 255, null],
      [['/no/such/command'], 127, null],
      [['no-such-command'], 127, null],
      [['/etc/passwd'], 126, null],
      [['/bin/sh', '-c', 'kill -KILL $$'], null, 'SIGKILL'],
      [['/bin/sh', '-c', 'kill -SEGV $$'], null, 'SIGSEGV'],
      [['/bin/sh', '-c', 'kill -USR1 $$'], null, 'SIGUSR1'],
    ];
    for (const [command, code, signal] of ways) {
      const agent = await start(command);
      assert.deepEqual(await agent.ended, { code, signal }, command.join(' '));
      if (code !== null && code > 125 && code < 128) assert.match(agent.said.stderr, /^sluice-launch: cannot run /);
      await agent.end();
    }
    const { id } = await host.ownSession();
    const shell = ['/bin/sh', '-c', '"$@"; echo $?', 'sh', ...host.front(id, ['/bin/sh', '-c', 'kill -TERM $$'])];
    assert.equal((await runToEnd(shell, '', OTHER_UID)).stdout, '143\n');
    await host.helper.endSession(id);
  });

  test('signals reach the command, a stop and its end included', async () => {
    const code = `
import signal, time, sys, os
def heard(n, f): print(signal.Signals(n).name, flush=True)
for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGCONT): signal.signal(n, heard)
print('ready', flush=True)
while True: time.sleep(600)
`;
    const agent = await start(['/usr/bin/python3', '-c', code]);
    await agent.says(/ready/);
    for (const name of [
      'SIGTERM',
      'SIGINT',
      'SIGHUP',
      'SIGQUIT',
      'SIGUSR1',
      'SIGUSR2',
      'SIGALRM',
      'SIGCONT',
    ] as const) {
      agent.child.kill(name);
      await agent.says(new RegExp(`^${name}$`, 'm'));
    }
    await agent.end();
    assert.deepEqual(await agent.ended, { code: 137, signal: null });
    assert.match(agent.said.stderr, /the session was ended/);
  });

  test('what the caller ignores the command ignores, and nothing else', async () => {
    const command = ['/bin/sed', '-n', 's/^SigIgn:\\t//p', '/proc/self/status'];
    const agent = await start(command, ['/usr/bin/nohup']);
    await agent.ended;
    assert.equal(agent.said.stdout, `${(1 << (constants.signals.SIGHUP - 1)).toString(16).padStart(16, '0')}\n`);
    await agent.end();
  });

  test('killed, it takes the session with it: SIGHUP first, and what does not go is killed', async () => {
    const agent = await start([
      '/bin/sh',
      '-c',
      'trap "echo hung up" HUP; (trap "" HUP TERM; exec sleep 600) & echo ready; while :; do sleep 0.1; done',
    ]);
    await agent.says(/ready/);
    const populated = async () =>
      (await host.helper.listSessions()).find(({ id }) => id === agent.session.id)?.populated ?? false;
    assert.equal(await populated(), true);
    agent.child.kill('SIGKILL');
    for (let i = 0; await populated(); i++) {
      assert.ok(i < 1500);
      await pause(20);
    }
    await agent.end();
  });

  test('killed at any step of the start, on either side, it leaves no process in the session nor of its uid', async () => {
    const steps = ['close_range', 'signalfd4', 'connect', 'sendmsg', 'sendto', 'recvmsg', 'poll'];
    for (const step of steps) {
      const kill = ['/usr/bin/strace', '-o', '/dev/null', '-e', `inject=${step}:signal=KILL:when=1`];
      const agent = await start(['/bin/sleep', '600'], kill);
      await agent.ended;
      for (let i = 0; (await host.helper.listSessions()).find(({ id }) => id === agent.session.id)?.populated; i++) {
        assert.ok(i < 1000, step);
        await pause(10);
      }
      await agent.end();
    }
  });
});

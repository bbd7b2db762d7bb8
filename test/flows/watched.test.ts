/** What the daemon is told by the helper is noticed soon, and what it is not told while the helper is away is noticed all the same. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { openHelper } from '../../daemon/intake/helper.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';

/** Of the kernel's counting: what it has of one is told when it is over. Milliseconds. */
const TURN = 1_074;
/** For a slow machine; with it, less than until the daemon would look by itself (PACES of daemon/intake/watch.ts). */
const SLACK = 6_000;

/** Does what it is told by lines, and says when it is done: `refused PORT`, a datagram that no session may send. */
const AGENT = `
import socket, sys
print('there', flush=True)
for line in sys.stdin:
    try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.23', int(line)))
    except OSError as e: print(e.errno, flush=True)
`;
/**
 * Connects again and again, and says when it is refused and when it is not. Whoever the kernel named to the daemon is listened to
 * for some seconds; who is nobody's is closed at once.
 */
const CONNECTS = `
import socket, sys, time
before = None
while True:
    s = socket.socket()
    s.settimeout(0.1)
    try: s.connect(('198.51.100.23', 5433)); s.recv(1); now = 'refused'
    except TimeoutError: now = 'taken'
    except OSError: now = 'refused'
    if now != before: print(now, flush=True)
    before = now
    s.close()
    time.sleep(0.02)
`;
const POLICY = `apiVersion: sluice/v1
identities:
  - {user: sluice-agent, groups: [agents]}
`;

describe('with the helper', { skip: stackMissing() ?? false, timeout: 180_000 }, () => {
  let stack: Stack;
  before(async () => {
    stack = await startStack({ policy: POLICY, name: 'watched' });
  });
  after(() => stack?.stop());

  async function events(...terms: string[]): Promise<Readonly<Record<string, unknown>>[]> {
    const { stdout } = await stack.sluice(['audit', '--no-pager', '-o', 'json', '-n', '1000', ...terms]);
    return stdout
      .trim()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
  }

  async function within(ms: number, seen: () => Promise<boolean>): Promise<number> {
    const began = performance.now();
    for (; !(await seen()); await pause(50)) {
      if (performance.now() - began > ms) throw new Error(`not within ${ms} ms\n${stack.log().slice(-2_000)}`);
    }
    return performance.now() - began;
  }

  async function refusing() {
    const agent = stack.agent(['/usr/bin/python3', '-c', AGENT], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(agent.stdout!, 'data');
    return {
      agent,
      async refused(port: number) {
        agent.stdin!.write(`${port}\n`);
        assert.equal(String((await once(agent.stdout!, 'data'))[0]).trim(), '1');
      },
    };
  }
  const recorded = (port: number) => async () =>
    (await events('ERROR=KERNEL_REFUSED')).some((event) => event.port === port && event.session !== undefined);

  test('a refusal is on record when the kernel’s turn is over, with a helper that tells and with one that is killed', async () => {
    const { agent, refused } = await refusing();
    await refused(4711);
    await within(2 * TURN + SLACK, recorded(4711));
    await stack.stopHelper('SIGKILL');
    await pause(1_500);
    for (const port of [4712, 4713]) {
      await refused(port);
      await within(2 * TURN + SLACK, recorded(port));
    }
    await stack.startHelper();
    await refused(4714);
    await within(2 * TURN + SLACK, recorded(4714));
    agent.stdin!.end();
    await once(agent, 'exit');
  });

  test('and with one that is stopped, which neither tells nor goes, some seconds later', async () => {
    const { agent, refused } = await refusing();
    const pid = stack.helperPid;
    process.kill(pid, 'SIGSTOP');
    try {
      await refused(4715);
      await within(10_000 + 2 * TURN + SLACK, recorded(4715));
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    agent.stdin!.end();
    await once(agent, 'exit');
  });

  test('a session is over soon after its command, also one that came and went between two looks', async () => {
    for (let i = 0; i < 6; i++) {
      await stack.run(['/bin/true']);
      const over = async () => {
        const [begun, ended] = [await events('TYPE=session.start'), await events('TYPE=session.end')];
        return begun.length === ended.length;
      };
      await within(2_000 + SLACK, over);
      await pause(170 * i);
    }
  });

  test('behind a helper whose cgroups were made anew it listens at once', async () => {
    const agent = stack.agent(['/usr/bin/python3', '-c', CONNECTS], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ROUNDS = 4;
    let now = '';
    createInterface({ input: agent.stdout! }).on('line', (line) => {
      now = line;
    });
    const listened = () =>
      stack
        .log()
        .split('\n')
        .filter((line) => line.includes('were made anew: sluiced listens'))
        .map((line) => (JSON.parse(line) as { time: number }).time);
    const answered: number[] = [];
    try {
      await within(10_000, async () => now === 'taken');
      for (let i = 0; i < ROUNDS; i++) {
        const { mount, cgroup } = await openHelper(join(stack.runDir, 'helper.sock')).status();
        await stack.stopHelper('SIGTERM');
        rmdirSync(join(mount, cgroup, 'daemon'));
        await pause(500 * i); // in each round elsewhere between two looks, if there were looks every two seconds
        await stack.startHelper();
        answered.push(Date.now());
        await pause(2_500); // what was looked at every two seconds has been seen by then
        await within(10_000, async () => listened().length === i + 1 && now === 'taken');
      }
    } finally {
      agent.kill();
    }
    // Looks every two seconds would find one of the rounds later than that.
    const late = listened().map((time, i) => time - answered[i]!);
    assert.ok(Math.max(...late) < 1_500, `milliseconds behind the helper's first answer: ${JSON.stringify(late)}`);
  });
});

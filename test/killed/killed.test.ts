/**
 * The daemon and the helper are killed and started again in random order, also while they start, and agents try all the
 * while to get out by whatever way there is, more than a thousand times a second. Nothing of theirs may arrive outside, at
 * no moment, and what policy allows works again with the first connection after the start.
 *
 * SLUICE_SEED=N repeats a run's choices, SLUICE_ROUNDS=N makes it longer. SLUICE_WITHOUT='HOOK …' leaves hooks out, to see
 * the test fail.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';
import { newScene, POLICY, type Prober, probing, type Report, type Scene } from './scene.ts';

const SEED = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
const ROUNDS = Number(process.env.SLUICE_ROUNDS ?? 12);
const WANTED_RATE = 1000;
/** Tries that the prober makes while something is dead, at least. */
const TRIES = 300;

/** mulberry32 */
function random(seed: number): (below: number) => number {
  let a = seed;
  return (below) => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

suite('under kill -9', { skip: stackMissing() ?? false }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-killed-'));
  const pick = random(SEED);
  let scene: Scene;
  let stack: Stack;

  before(async () => {
    chmodSync(directory, 0o755);
    scene = await newScene(directory);
    const without = (process.env.SLUICE_WITHOUT ?? '').split(' ').filter((hook) => hook !== '');
    stack = await startStack({
      name: 'killed',
      policy: POLICY,
      enter: scene.enter,
      helper: without.length > 0 ? ['--require', 'none', ...without.flatMap((hook) => ['--without', hook])] : [],
    });
  });
  after(async () => {
    await stack?.stop();
    scene?.close();
    rmSync(directory, { recursive: true });
  });

  const start = (argv: readonly string[]) => spawn(argv[0]!, argv.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });

  /** Until it has tried so often after now; returns what it says then. */
  async function afterTries(prober: Prober, count: number): Promise<Report> {
    const { tries } = await prober.report();
    for (;;) {
      const report = await prober.report();
      if (report.tries >= tries + count) return report;
      await pause(10);
    }
  }

  const kills = {
    daemon: async () => {
      await stack.kill('SIGKILL');
    },
    helper: async () => {
      await stack.stopHelper('SIGKILL');
    },
    both: async () => {
      await Promise.all([stack.kill('SIGKILL'), stack.stopHelper('SIGKILL')]);
    },
  };

  test('nothing gets out at any moment, and what is allowed works again at once', { timeout: 230_000 }, async (t) => {
    t.diagnostic(`SLUICE_SEED=${SEED}`);
    // In place, and under a uid of its own: the command is then a child of the helper's.
    const own = ['env', `SLUICE_RUN_DIR=${stack.runDir}`, process.execPath];
    const cli = new URL('../../build/js/daemon/bin/sluice.js', import.meta.url).pathname;
    const probers = [
      probing(stack.agent(scene.prober, { stdio: ['pipe', 'pipe', 'inherit'] })),
      probing(start([...scene.enter, ...own, cli, 'run', '--', ...scene.prober])),
    ];
    for (const prober of probers) while ((await prober.report()).through === 0) await pause(10);

    for (let round = 0; round < ROUNDS; round++) {
      const victim = (['daemon', 'helper', 'both'] as const)[round < 3 ? round : pick(3)]!;
      const doubled = pick(2) === 1;
      await kills[victim]();
      for (const prober of probers) await afterTries(prober, TRIES);
      const refused = await stack.run([...scene.prober, 'once']);
      assert.notEqual(refused.status, 0, `a session started without ${victim}`);
      assert.equal(refused.stdout, '');
      if (doubled) {
        const starting = [
          ...(victim === 'daemon' ? [] : [stack.startHelper()]),
          ...(victim === 'helper' ? [] : [stack.restart()]),
        ].map((each) => each.catch(() => {}));
        await pause(pick(600));
        await kills[victim]();
        await Promise.all(starting);
      }
      if (victim !== 'daemon') await stack.startHelper();
      if (victim !== 'helper') await stack.restart();
      const once = await stack.run([...scene.prober, 'once']);
      assert.deepEqual([once.stdout, once.stderr], ['through\n', ''], `after ${victim}`);
      for (const prober of probers) {
        const { through } = await prober.report();
        while ((await prober.report()).through === through) await pause(10);
      }
      const { escapes, first } = await scene.seen();
      assert.equal(escapes, 0, `${victim}, round ${round}: ${first.join('\n')}`);
    }

    for (const [i, prober] of probers.entries()) {
      const report = await prober.end();
      t.diagnostic(`${['in place', 'own uid'][i]}: ${JSON.stringify(report)}`);
      assert.ok(report.tries >= WANTED_RATE * report.seconds, `${report.tries} tries in ${report.seconds} s`);
      assert.ok(report.through > ROUNDS);
      for (const name of ['udp4', 'udp6']) assert.deepEqual(Object.keys(report.ways[name]!), ['EPERM'], name);
      assert.ok(report.ways.tcp4?.open && report.ways.tcp4.ECONNREFUSED);
    }
    const { escapes, lost, allowed } = await scene.seen();
    assert.deepEqual([escapes, lost], [0, 0]);
    assert.ok(allowed > 0);
  });

  // The last: the ends of its connections come after it.
  test('the same prober gets out by every way when it is in no session, and is seen', async () => {
    const before = await scene.seen();
    const account = ['setpriv', '--reuid', 'sluice-agent', '--regid', 'sluice-agent', '--clear-groups'];
    const prober = probing(start([...scene.enter, ...account, ...scene.prober]));
    while ((await prober.report()).tries < 2 * WANTED_RATE);
    const { ways, through } = await prober.end();
    assert.ok(through > 0);
    for (const name of ['tcp4', 'tcp6', 'fastopen', 'allowed']) assert.ok(ways[name]?.open, name);
    for (const name of ['udp4', 'udp6', 'udp53', 'kept53', 'ping4', 'ping6']) assert.ok(ways[name]?.sent, name);
    const { escapes, posing, lost } = await scene.seen();
    assert.ok(escapes - before.escapes > WANTED_RATE, `${escapes} escapes`);
    assert.ok(posing > before.posing);
    assert.equal(lost, 0);
  });
});

/**
 * Every way out is tried twice: with the hooks left out that close it, where it has to lead out (or the test could not
 * fail), and with all of them, where it must not. By root with every capability first, who is held by hooks alone; then,
 * where the launcher closes it, by an agent. Prints the table of native/README.md.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join as joined } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openKernel } from '../../../daemon/intake/kernel.ts';
import { cannotRun, type Host, newHost } from '../host.ts';
import { refusedWithin } from '../refused.ts';
import { newScene, type Scene } from './scene.ts';
import { PRELUDE, type Way } from './way.ts';

const LIBRARY = joined(import.meta.dirname, '../../../build/native/libsluice.so');
/** Two turns (2^SLUICE_TURN_BITS ns of native/sluice.h). */
const TWO_TURNS = 2 * 1_074;

type Outcome = 'escaped' | 'held' | 'impossible';

interface Stage {
  readonly host: Host;
  readonly session: string;
  readonly daemon: number;
  readonly attached: readonly string[];
}

export function tryWays(name: string, ways: readonly Way[]): void {
  describe(name, { skip: cannotRun() }, () => tryEach(ways));
}

/** connect4, connect6 as connect4/6 */
const short = (hooks: readonly string[]) => hooks.join(', ').replaceAll(/(\w+)4, \1(6)/g, '$14/$2');

function tryEach(ways: readonly Way[]): void {
  let scene: Scene;
  let full: Stage;
  const hosts: Host[] = [];
  const table: string[] = [];
  const opened = new Map<string, Stage>();
  /** Those that a hook has held, by the cgroup of the session in which it was tried. */
  const tried = new Map<bigint, Way>();
  /** Those that the launcher's filter has held, in the same way. */
  const filtered = new Map<bigint, Way>();

  before(async () => {
    scene = await newScene();
    full = await stage([]);
  });
  after(async () => {
    for (const host of hosts) await host.close();
    scene?.close();
    process.stderr.write(
      `\n| row | way | escapes without | held by |\n| --- | --- | --- | --- |\n${table.join('\n')}\n\n`,
    );
  });

  async function stage(without: readonly string[], daemon = true): Promise<Stage> {
    const host = newHost(scene.enter);
    hosts.push(host);
    const left = without.flatMap((hook) => ['--without', hook]);
    await host.startHelper(
      '--unix',
      `${scene.directory}/allowed`,
      ...(left.length > 0 ? ['--require', 'none', ...left] : []),
    );
    const port = daemon ? await host.startDaemon() : 0;
    const { attached, enforcing } = await host.helper.status();
    assert.equal(enforcing, without.length === 0);
    return { host, session: (await host.session()).id, daemon: port, attached };
  }

  /**
   * A helper without these hooks. Kept for the next way with the same. An emulated machine, on which a helper takes ten
   * seconds to start, leaves out all LSM programs at once.
   */
  async function open(way: Way): Promise<Stage> {
    const coarse = process.env.SLUICE_WAYS_COARSE !== undefined;
    const without = new Set(way.hooks.map((hook) => (coarse && hook.startsWith('lsm_') ? 'lsm' : hook)));
    const key = `${[...without]} ${way.code.includes('DAEMON')}`;
    const there = opened.get(key) ?? (await stage([...without], way.code.includes('DAEMON')));
    opened.set(key, there);
    return there;
  }

  async function attempt(way: Way, at: Stage, how: 'by hand' | 'launched', held: boolean): Promise<Outcome> {
    const token = scene.token();
    const { mount } = await at.host.helper.status();
    const { pid, fd, victim } = scene.outside;
    const names = [
      `TOKEN = b'${token}'; DIRECTORY = '${scene.directory}'; OUTSIDE = (${pid}, ${fd}, ${victim}); DAEMON = ${at.daemon}`,
      `CGROUP = '${mount}${at.host.cgroup}'; RUN = '${at.host.runDir}'; HELD = ${held ? 'True' : 'False'}`,
    ].join('\n');
    const prepare = `${PRELUDE}${names}\n${way.prepare ?? ''}\n`;
    const join = `open(CGROUP + '/sessions/${at.session}/cgroup.procs', 'w').write(str(os.getpid()))\n`;
    const inside = `${PRELUDE}${names}\n${way.code}\n`;
    const launched = at.host.launch(at.session, ['/usr/bin/python3', '-c', inside]).slice(scene.enter.length);
    const script =
      how === 'by hand'
        ? prepare + join + way.code
        : `${prepare}os.execv(${JSON.stringify(launched[0])}, ${JSON.stringify(launched)})`;
    const [file = '', ...args] = [...scene.enter, '/usr/bin/python3', '-c', script];
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' });
    let said = '';
    let pulled: Promise<void> | undefined;
    child.stdout.on('data', (chunk) => {
      said += chunk;
      const port = /^LISTENING (\d+)$/m.exec(said)?.[1];
      if (port && way.pull && !pulled) pulled = scene.pull(way.pull.from, way.pull.address, Number(port));
    });
    child.stderr.resume();
    await once(child, 'close');
    await pulled;
    if (said.includes('IMPOSSIBLE')) return 'impossible';
    return said.includes('ESCAPED') || (await scene.seen(token)) ? 'escaped' : 'held';
  }

  for (const way of ways) {
    test(`${way.row}: ${way.name}`, async (context) => {
      const outcome = await attempt(way, way.hooks.length > 0 ? await open(way) : full, 'by hand', false);
      if (outcome === 'impossible') return context.skip('this kernel does not have it');
      assert.equal(outcome, 'escaped', 'with its hooks left out it has to lead out');

      const hooks = way.hooks.filter((hook) => full.attached.includes(hook));
      const by = [...hooks, ...(way.launch ? [`launch ${way.launch}`] : [])];
      if (hooks.length > 0) {
        const session = await full.host.session();
        tried.set(session.cgroupId, way);
        assert.equal(
          await attempt(way, { ...full, session: session.id }, 'by hand', true),
          'held',
          `${hooks} have to hold root`,
        );
      }
      if (way.launch) {
        const { id, cgroupId } = await full.host.session();
        if (way.launch === 'filter') filtered.set(cgroupId, way);
        const launched = await attempt(way, { ...full, session: id }, 'launched', true);
        assert.equal(launched, 'held', `the launcher's ${way.launch} has to hold it`);
      }
      const without = hooks.length > 0 ? short(hooks) : 'the launcher';
      const held = [...(hooks.length > 0 ? ['these'] : []), ...(way.launch ? [`launch ${way.launch}`] : [])];
      table.push(`| ${way.row} | ${way.name} | ${without} | ${held.join(', ') || 'nothing here'} |`);
      if (by.length === 0) return context.skip(`nothing on this kernel holds it: needs ${way.hooks[0]}`);
    });
  }

  test('each that a hook or the filter refuses is counted, with what was tried', async () => {
    const kernel = openKernel({ pinDir: joined(full.host.runDir, 'bpf'), library: LIBRARY });
    const refusals = await refusedWithin(kernel, 2 * TWO_TURNS);
    kernel.close();
    const counted = new Set(refusals.map(({ first }) => first.cgroupId));
    const calls = new Set(refusals.filter(({ kind }) => kind === 'syscall').map(({ first }) => first.cgroupId));
    assert.deepEqual(
      [...filtered]
        .filter(([cgroup, { untold }]) => calls.has(cgroup) !== (untold === undefined))
        .map(([, { name }]) => name),
      [],
    );
    const missing = [...tried].filter(([cgroup, { turned }]) => !turned && !counted.has(cgroup));
    assert.deepEqual(
      missing.map(([, { name }]) => name),
      [],
    );
    assert.ok(counted.size > 0);
  });
}

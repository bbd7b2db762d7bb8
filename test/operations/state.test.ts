import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';
import { policyFor } from './site.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const DAEMON = [process.execPath, join(ROOT, 'build/js/daemon/bin/sluiced.js')] as const;

function sluiced(...argv: string[]) {
  const { status, stdout, stderr } = spawnSync(DAEMON[0], [DAEMON[1], ...argv], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

suite('the state directory', { skip: stackMissing() ?? false }, () => {
  let stack: Stack;
  const mount = (...argv: string[]) => {
    const { status, stderr } = spawnSync(argv[0]!, argv.slice(1), { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  };
  /** Starts the daemon, which has to fail, and gives what it said. */
  const refused = async (): Promise<string> => {
    const before = stack.log().length;
    await assert.rejects(stack.restart(), /sluiced ended \(1\)/);
    return stack.log().slice(before);
  };
  const config = () => join(stack.dir, 'sluiced.json');

  before(async () => {
    stack = await startStack({ name: 'state', policy: policyFor(5433) });
  });
  after(() => stack?.stop());

  test('on a read-only file system: the daemon says so and ends, and agents are refused', async () => {
    await stack.kill('SIGTERM');
    mount('mount', '--bind', stack.stateDir, stack.stateDir);
    try {
      mount('mount', '-o', 'remount,ro,bind', stack.stateDir);
      const said = await refused();
      assert.match(
        said,
        /sluiced: .*read-only file system.* \(STATE_FAILED\)\n +its file system is read-only: mount it writable/,
      );
      const { status, stderr } = await stack.run(['/bin/true']);
      assert.deepEqual([status, /DAEMON_UNREACHABLE/.test(stderr)], [125, true]);
      const shown = await stack.sluice(['status']);
      assert.equal(shown.status, 1);
      assert.match(
        shown.stdout,
        /^state +DOWN\n[\s\S]*agents +every connection of theirs is refused[\s\S]*enforcement +on: /,
      );
    } finally {
      mount('umount', stack.stateDir);
    }
    await stack.restart();
    assert.equal((await stack.run(['/bin/true'])).status, 0);
  });

  test('of a later version: the daemon refuses, says which one wrote it, and changes nothing', async () => {
    await stack.kill('SIGTERM');
    const file = join(stack.stateDir, 'FORMAT');
    const before = readFileSync(file, 'utf8');
    assert.equal(JSON.parse(before).format, 1);
    const later = '{"format":2,"writer":"9.1.0"}\n';
    writeFileSync(file, later);
    const said = await refused();
    assert.match(
      said,
      /is of format 2, written by sluice 9\.1\.0; this version reads formats up to 1 \(STATE_NEWER\)\n +install sluice 9\.1\.0 again/,
    );
    assert.equal(readFileSync(file, 'utf8'), later);
    writeFileSync(file, before);
    await stack.restart();
  });

  test('is taken back by no one but its own account, and not while the daemon runs', async () => {
    const root = sluiced('--rollback-state', '--config', config());
    assert.deepEqual([root.status, /NOT_ALLOWED\)\n +run it as the user sluice/.test(root.stderr)], [1, true]);
  });
});

test('sluiced --check says what a start would say, and starts nothing', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-check-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const config = join(dir, 'sluiced.json');
  const policy = join(dir, 'policy.yaml');
  const check = (settings: object, text: string) => {
    writeFileSync(config, JSON.stringify({ policy: [policy], stateDir: join(dir, 'state'), ...settings }));
    writeFileSync(policy, text);
    return sluiced('--check', '--config', config);
  };
  const good = check({}, policyFor(5433));
  assert.equal(good.status, 0, good.stderr);
  assert.match(good.stdout, /sluiced\.json is valid; policy [0-9a-f]{16} of 1 file: 1 resource, 3 rules\n$/);
  const wrong = check({ limit: {} }, policyFor(5433));
  assert.deepEqual([wrong.status, wrong.stdout], [1, '']);
  assert.match(wrong.stderr, /Unrecognized key: "limit".*\(CONFIG_INVALID\)\n +correct the setting named\n$/s);
  const bad = check({}, policyFor(5433).replace('deny:', 'denny:'));
  assert.equal(bad.status, 1);
  assert.match(bad.stderr, /policy\.yaml:\d+:\d+: .*denny.*\(POLICY_INVALID\)/s);
  const both = check({ metrics: { socket: '/x', port: 1 } }, policyFor(5433));
  assert.match(both.stderr, /socket and port exclude each other/);
  for (const argv of [['--what'], ['--check', '--version'], ['word']])
    assert.equal(sluiced(...argv).status, 2, argv.join(' '));
  assert.match(sluiced('--version').stdout, /^\d+\.\d+\.\d+\n$/);
  assert.match(sluiced('--help').stdout, /--rollback-state/);
});

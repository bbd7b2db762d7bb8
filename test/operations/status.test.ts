import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';
import { policyFor } from './site.ts';

const CLI = join(new URL('../..', import.meta.url).pathname, 'build/js/daemon/bin/sluice.js');
const terminal = existsSync('/usr/bin/script') ? null : 'script(1) is not there (Debian: bsdutils)';

suite('sluice status', { skip: terminal ?? stackMissing() ?? false }, () => {
  let stack: Stack;
  /** On a terminal of so many columns. */
  const shown = (columns: number): { status: number | null; lines: string[] } => {
    const command = `stty cols ${columns}; exec ${process.execPath} ${CLI} status`;
    const { status, stdout } = spawnSync('script', ['-qec', command, '/dev/null'], {
      env: { ...process.env, SLUICE_RUN_DIR: stack.runDir },
      encoding: 'utf8',
    });
    return { status, lines: stdout.trimEnd().split('\r\n') };
  };
  const json = async () => JSON.parse((await stack.sluice(['status', '--json'])).stdout);

  before(async () => {
    stack = await startStack({ name: 'status', policy: policyFor(5433) });
  });
  after(() => stack?.stop());

  test('is one screen at 80 and at 120 columns, and says that all is well', () => {
    for (const columns of [80, 120]) {
      const { status, lines } = shown(columns);
      assert.equal(status, 0, lines.join('\n'));
      assert.match(lines[0]!, /^state +well$/);
      assert.ok(lines.length <= 24, `${lines.length} lines`);
      assert.ok(lines.every((line) => line.length <= columns));
      assert.match(lines.join('\n'), /^enforcement +on: \d+ hooks[\s\S]*^policy +[0-9a-f]{16} \(enforced\), loaded/m);
    }
  });

  test('says what is wrong and what to do about it, with status 1', async () => {
    const file = join(stack.dir, 'policy/bad.yaml');
    writeFileSync(file, 'apiVersion: sluice/v1\nrulez: []\n');
    assert.equal((await stack.sluice(['policy', 'reload'])).status, 1);
    await stack.stopHelper();
    const { status, lines } = shown(80);
    assert.equal(status, 1);
    const text = lines.join('\n');
    assert.match(
      text,
      /^state +2 PROBLEMS\nproblem +sluice-helper does not answer[\s\S]*→ systemctl status sluice-helper/,
    );
    assert.match(text, /problem +the policy files are not in force:[\s\S]*rulez[\s\S]*→ sluice policy check/);
    const { state, problems, policy } = await json();
    assert.deepEqual([state, problems.length, typeof policy.rejectedAt], ['problems', 2, 'number']);
    await stack.startHelper();
    rmSync(file);
    assert.equal((await stack.sluice(['policy', 'reload'])).status, 0);
    assert.equal((await json()).state, 'well');
  });

  test('a policy that only observes is called that', async () => {
    await stack.setPolicy(policyFor(5433).replace('apiVersion: sluice/v1', 'apiVersion: sluice/v1\nmode: observe'));
    assert.match(shown(120).lines.join('\n'), /\(OBSERVED ONLY: nothing is refused\)/);
    await stack.setPolicy(policyFor(5433));
  });

  test('the log level holds until the daemon ends, and is on record', async () => {
    assert.equal((await stack.sluice(['log-level'])).stdout, 'info\n');
    const set = await stack.sluice(['log-level', 'debug']);
    assert.equal(set.stdout, 'debug, until sluiced ends (info is configured)\n');
    assert.match(shown(120).lines.join('\n'), /^log level +debug, until the next start/m);
    const { stdout } = await stack.sluice(['audit', '--no-pager', '-o', 'json', 'TYPE=daemon.log']);
    assert.equal(JSON.parse(stdout).reason, 'log level info to debug');
    await stack.kill('SIGTERM');
    await stack.restart();
    assert.equal((await stack.sluice(['log-level'])).stdout, 'info\n');
    const agent = await stack.run([process.execPath, CLI, 'log-level', 'debug'], {
      env: { SLUICE_RUN_DIR: stack.runDir },
    });
    assert.notEqual(agent.status, 0);
  });
});

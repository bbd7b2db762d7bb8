/** `sluice doctor` as people and scripts use it: on a host where all is well, and on ones where it is not. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { z } from 'zod';
import { GUARANTEES } from '../../daemon/cli/doctor/guarantees.ts';
import { command, type Finished } from '../harness/child.ts';
import { ALLOW_ALL, localPolicy } from '../harness/policy.ts';
import { type Stack, type StackOptions, stackMissing, startStack } from '../harness/stack.ts';
import { FINDINGS, find } from './findings.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const POLICY = localPolicy(5433, { rules: ALLOW_ALL });

const CHECKS = z.array(
  z.strictObject({
    check: z.string(),
    state: z.enum(['ok', 'advice', 'fault', 'unknown']),
    found: z.string(),
    fix: z.string().nullable(),
  }),
);

const start = (options: Partial<StackOptions> = {}) => startStack({ policy: POLICY, name: 'doctor', ...options });

const findingsOf = ({ stdout, stderr }: Finished) => {
  assert.doesNotMatch(stderr, /INTERNAL/);
  return FINDINGS.parse(JSON.parse(stdout));
};

describe('sluice doctor', { skip: stackMissing() ?? false }, () => {
  let stack: Stack;

  before(async () => {
    stack = await start();
  });
  after(() => stack?.stop());

  test('holds all that is required, says so, and leaves nothing behind', async () => {
    const result = await stack.sluice(['doctor', '--json']);
    const found = findingsOf(result);
    for (const { name } of GUARANTEES) find(found, name);
    for (const each of found.filter(({ required }) => required)) {
      assert.equal(
        each.held,
        true,
        `${each.guarantee}: ${JSON.stringify(each.tried.filter(({ escaped }) => escaped))}`,
      );
      assert.notEqual(each.by.length, 0, each.guarantee);
    }
    // The witness beyond the loopback took part.
    assert.ok(find(found, 'udp').tried.some(({ name }) => name === 'udp4@far'));
    assert.equal(result.status, 0);
    assert.deepEqual(
      readdirSync(tmpdir()).filter((name) => /^sluice-(doctor|probe)-/.test(name)),
      [],
    );
    assert.doesNotMatch(execFileSync('ip', ['-br', 'link'], { encoding: 'utf8' }), /sluice[0-9a-f]{8}/);
  });

  test('has colour on a terminal alone', async () => {
    const cli = `${process.execPath} ${join(ROOT, 'build/js/daemon/bin/sluice.js')} doctor --checks`;
    const terminal = await command(['script', '-qec', `stty cols 80; ${cli}`, '/dev/null'], {
      env: { PATH: process.env.PATH, TERM: 'xterm', SLUICE_RUN_DIR: stack.runDir },
    });
    assert.ok(terminal.stdout.includes('\u001b[32mok  \u001b[0m  kernel'), terminal.stdout);
    assert.equal(terminal.status, 0);
  });

  test('looks at the installation', async () => {
    const { stdout, status } = await stack.sluice(['doctor', '--checks', '--json']);
    const found = CHECKS.parse(JSON.parse(stdout));
    assert.equal(status, 0);
    for (const name of ['kernel', 'btf', 'cgroup', 'programs', 'helper', 'hooks', 'daemon', 'policy', 'audit']) {
      assert.equal(found.find(({ check }) => check === name)?.state, 'ok', name);
    }
  });

  test('works without root, and says what it could not try', async () => {
    const app = join(stack.dir, 'app');
    // What starts a command under a uid of the session's own does not see the mounts made here.
    const lib = join(stack.dir, 'lib');
    mkdirSync(lib, { mode: 0o755 });
    for (const name of ['sluice-launch', 'sluice-probe'])
      copyFileSync(join(ROOT, 'build/native', name), join(lib, name));
    const user = 'setpriv --reuid sluice-agent --regid sluice-agent --clear-groups --no-new-privs --bounding-set=-all';
    const argv = [join(app, 'node_modules/node/bin/node'), join(app, 'build/js/daemon/bin/sluice.js'), 'doctor'];
    const result = await command(
      ['unshare', '-m', 'sh', '-c', `mount --bind ${ROOT} ${app} && exec ${user} "$@"`, 'sh', ...argv],
      { env: { PATH: process.env.PATH, SLUICE_RUN_DIR: stack.runDir, SLUICE_LIB_DIR: lib }, cwd: '/' },
    );
    assert.match(result.stdout, /Note: no witness beyond the loopback: needs root\./, result.stderr);
    assert.equal(result.status, 0, result.stdout);
    assert.deepEqual(
      result.stdout.split('\n').filter((line) => line.length > 80),
      [],
    );
    assert.ok(!result.stdout.includes('\u001b'));
    assert.match(result.stdout, /^yes {3}udp +no datagram leaves/m);
    assert.match(result.stdout, /^\d+ of \d+ guarantees are held, after \d+ attempts to break them\.$/m);
  });

  test('can’t find out for whom the policy knows nothing', async () => {
    const result = await stack.sluice(['doctor', '--json', '--user', 'nobody']);
    assert.equal(result.status, 2);
    assert.match(result.stderr, /no session could be opened: the policy maps uid 65534 to nobody/);
    assert.ok(findingsOf(result).every(({ held }) => held === null || held === false));
  });

  test('says that the daemon is dead', async () => {
    await stack.kill('SIGKILL');
    const { stdout, status } = await stack.sluice(['doctor']);
    assert.equal(status, 2);
    assert.match(stdout, /^BAD {3}daemon +sluiced does not answer on/m);
    assert.match(stdout, /^None of the \d+ guarantees could be tried\.$/m);
    assert.match(stdout, /→ start sluiced/);
    assert.match(stdout, /^\? {5}tcp /m);
    assert.match(stdout, /Note: nothing was tried: no session could be opened: /);
    await stack.restart();
  });

  test('says that the helper is not running', async () => {
    await stack.stopHelper();
    const { stdout, status } = await stack.sluice(['doctor']);
    assert.equal(status, 2);
    assert.match(stdout, /^BAD {3}helper +cannot ask sluice-helper/m);
    assert.match(stdout, /→ start sluice-helper as root/);
  });
});

describe('sluice doctor, where a hook is not in place,', { skip: stackMissing() ?? false }, () => {
  test('fails by the word of the helper, which then opens no session', async () => {
    const stack = await start({ helper: ['--without', 'bind4'] });
    try {
      const result = await stack.sluice(['doctor', '--json']);
      const port = find(findingsOf(result), 'port');
      assert.deepEqual([port.held, port.required, result.status], [false, true, 1]);
      assert.match(port.needs ?? '', /./);
      assert.match(result.stderr, /no session could be opened/);
    } finally {
      await stack.stop();
    }
  });

  test('sees what then gets out of a session that is opened all the same', async () => {
    const stack = await start({ helper: ['--without', 'bind4', '--require', 'tcp'] });
    try {
      const { stdout } = await stack.sluice(['doctor', '--json']);
      const found = FINDINGS.parse(JSON.parse(stdout));
      assert.deepEqual([find(found, 'port').held, find(found, 'tcp').held], [false, true]);
      assert.ok(find(found, 'port').tried.some(({ name, escaped }) => name === 'port-beside' && escaped));
    } finally {
      await stack.stop();
    }
  });
});

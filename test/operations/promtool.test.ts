import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { stackMissing, startStack } from '../harness/stack.ts';
import { get, policyFor } from './site.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const promtool =
  spawnSync('promtool', ['--version']).status === 0 ? null : 'promtool is not there (Debian: prometheus)';

test('promtool finds nothing to say against the alert rules', { skip: promtool ?? false }, () => {
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'rules', join(ROOT, 'monitoring/rules.yaml')], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /SUCCESS: 13 rules found/);
});

test('nor against the metrics', { skip: promtool ?? stackMissing() ?? false }, async (t) => {
  const stack = await startStack({ name: 'promtool', policy: policyFor(5433) });
  t.after(() => stack.stop());
  const { text } = await get({ socketPath: join(stack.runDir, 'daemon/metrics.sock') });
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  assert.deepEqual([status, stdout + stderr], [0, '']);
});

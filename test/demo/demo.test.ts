/** What `npm run demo` promises, on the real thing. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { finished } from '../harness/child.ts';
import { postgresMissing } from '../harness/postgres.ts';
import { stackMissing } from '../harness/stack.ts';

const MAIN = new URL('../../demo/main.ts', import.meta.url).pathname;
const POLICY = new URL('../../demo/policy.yaml', import.meta.url).pathname;
const options = { skip: stackMissing() ?? postgresMissing() ?? false };

/** Temporary files of the demo go here, so that what it leaves can be seen. */
const dir = mkdtempSync(join(tmpdir(), 'sluice-demo-test-'));
chmodSync(dir, 0o755);
after(() => rmSync(dir, { recursive: true }));

const start = (...argv: string[]) =>
  spawn(process.execPath, [MAIN, ...argv], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, TMPDIR: dir } });
const run = (...argv: string[]) => finished(start(...argv));

/** Mounts and cgroups with the demo's names, and files. */
function left(): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const cgroup = mounts.find((line) => line.includes(' - cgroup2 '))!.split(' ')[4]!;
  return [
    ...readdirSync(dir),
    ...mounts.filter((line) => line.includes(dir)),
    ...readdirSync(cgroup).filter((name) => name.startsWith('sluice-demo-')),
  ];
}

test('the story shows what it says it shows, and leaves nothing behind', options, async () => {
  const { status, stdout, stderr } = await run();
  assert.equal(status, 0, stderr + stdout);
  assert.doesNotMatch(stdout, /\d{3}-\d{2}-\d{4}|ada@/, 'no protected value may show');
  for (const expected of [
    /Ada Byron .*\[redacted\]/s,
    /DROP TABLE orders"\n +ERROR: +sluice: /s,
    /refuses this\n.*migrations only.*HINT:/s,
    /held for approval (\w+).*the demo approves by itself.*approvals approve \1.*UPDATE 1/s,
    /straight from the database: .* → {2}2\).*straight from the database: .* → {2}3\)/s,
    /psql -h 127\.0\.0\.1 -p (\d+) .*port \1 failed/s,
    /psql -h ::1 .*"::1", port \d+ failed/s,
    /SOCK_RAW.*Operation not permitted/s,
    /DROP TABLE deny.*approval\.decided \w+ allow by local:root.*UPDATE approve.*deny FLOW_NO_RESOURCE/s,
    /sluice verify\n +OK, \d+ events/s,
  ]) {
    assert.match(stdout, expected);
  }
  for (const line of stdout.split('\n')) assert.ok(line.length <= 100, `too wide: ${line}`);
  assert.deepEqual(left(), []);
});

test('a command of one’s own runs under the policy, and its status comes back', options, async () => {
  assert.deepEqual(await run('psql', '-Atc', 'SELECT ssn FROM people WHERE id = 1'), {
    status: 0,
    stdout: '[redacted]\n',
    stderr: '',
  });
  assert.equal((await run('sh', '-c', 'exit 7')).status, 7);
  const refused = await run('psql', '-Atc', 'DROP TABLE orders');
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /migrations only/);
  assert.deepEqual(left(), []);
});

test('another policy can be put in', options, async () => {
  const file = join(dir, 'open.yaml');
  const text = readFileSync(POLICY, 'utf8');
  writeFileSync(file, text.slice(0, text.indexOf('masks:')));
  const { stdout } = await run('--policy', file, 'psql', '-Atc', 'SELECT ssn FROM people WHERE id = 1');
  assert.equal(stdout, '078-05-1120\n');

  writeFileSync(file, text.replace('rules:', 'rulez:'));
  const wrong = await run('--policy', file, 'true');
  assert.equal(wrong.status, 1);
  assert.match(wrong.stderr, /policy\.yaml.*rulez/);
  rmSync(file);
  assert.deepEqual(left(), []);
});

test('Ctrl-C in the middle ends it and leaves nothing behind', options, async () => {
  for (const when of [/Starting/, /1\. The agent reads/, /held for approval/]) {
    const child = start();
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const before = when.test(said);
      said += text;
      if (!before && when.test(said)) child.kill('SIGINT');
    });
    const { status } = await finished(child);
    assert.equal(status, 130, String(when));
    assert.deepEqual(left(), [], String(when));
  }
});

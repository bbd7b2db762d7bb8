import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, globSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { make, STEP } from './fixture.ts';
import { openState, rollBack } from './state.ts';

const FIXTURE = join(import.meta.dirname, 'fixture.ts');

function place(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-state-'));
  t.after(() => rmSync(dir, { recursive: true }));
  make(dir);
  return dir;
}

/** Every file below, by its path. */
function content(dir: string): Record<string, string> {
  const files = globSync('**', { cwd: dir }).filter((name) => statSync(join(dir, name)).isFile());
  return Object.fromEntries(files.sort().map((name) => [name, readFileSync(join(dir, name), 'utf8')]));
}

const said: string[] = [];
const older = (dir: string) => ({ dir, version: '1.0', steps: [], say: () => {} });
const newer = (dir: string) => ({ dir, version: '2.0', steps: [STEP], say: (text: string) => said.push(text) });

test('a state without a format is of the first one, and from then on says so', async (t) => {
  const dir = place(t);
  const before = content(dir);
  await openState(older(dir));
  assert.deepEqual(content(dir), { FORMAT: '{"format":1,"writer":"1.0"}\n', ...before });
  await assert.rejects(rollBack(older(dir)), { code: 'STATE_FAILED', message: /format 1: there is none before/ });
});

test('a step is taken once, says so, and is taken back with what came after it', async (t) => {
  const dir = place(t);
  await openState(newer(dir));
  assert.deepEqual(said.splice(0), [
    'state: format 1 to 2 (numbers in one file) begins',
    'state: format 1 to 2 (numbers in one file) is done',
  ]);
  assert.deepEqual(content(dir), {
    FORMAT: '{"format":2,"writer":"2.0"}\n',
    index: '1,2,3',
    'numbers/all': '1\n2\n3\n',
    'sessions.json': '{"version":2,"sessions":[]}',
    untouched: 'as it was',
  });
  await openState(newer(dir));
  assert.deepEqual(said, []);

  const refused = openState(older(dir));
  await assert.rejects(refused, {
    code: 'STATE_NEWER',
    message: /is of format 2, written by sluice 2\.0; this version reads formats up to 1$/,
    hint: /install sluice 2\.0 again; .*--rollback-state/,
  });
  writeFileSync(join(dir, 'numbers/all'), '1\n2\n3\n4\n');
  assert.equal(await rollBack(newer(dir)), 1);
  assert.equal(readFileSync(join(dir, 'numbers/4'), 'utf8'), '4\n');
  await openState(older(dir));
  assert.equal(existsSync(join(dir, 'before')), false);
});

test('a step that fails leaves everything as it was', async (t) => {
  const dir = place(t);
  const before = content(dir);
  const failing = {
    ...STEP,
    up: async (from: string, into: string) => {
      await STEP.up(from, into, () => {});
      throw new Error('half way');
    },
  };
  await assert.rejects(openState({ ...newer(dir), steps: [failing] }), { code: 'STATE_FAILED', message: /half way/ });
  await openState(older(dir));
  assert.deepEqual(content(dir), { FORMAT: '{"format":1,"writer":"1.0"}\n', ...before });
});

test('a format that can not be read stops the start', async (t) => {
  const dir = place(t);
  writeFileSync(join(dir, 'FORMAT'), '{"format":');
  await assert.rejects(openState(newer(dir)), { code: 'STATE_FAILED', message: /does not say which format/ });
});

const strace = spawnSync('strace', ['-V']).status === 0;

/** Everything that changes the file system, or makes a change last. */
const CALLS = 'rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,fsync,fdatasync';

for (const way of ['up', 'down'] as const) {
  test(`killed at each of its changes, ${way}: the next start finishes, and nothing is lost`, {
    skip: strace ? false : 'strace is not there',
  }, async (t) => {
    const start = place(t);
    if (way === 'down') await openState(newer(start));
    const expected = place(t);
    if (way === 'up') await openState(newer(expected));
    else await openState(older(expected));
    const kinds = new Map<string, number>();
    for (const call of CALLS.split(',')) {
      for (let nth = 1; ; nth++) {
        const dir = mkdtempSync(join(tmpdir(), 'sluice-state-'));
        t.after(() => rmSync(dir, { recursive: true, force: true }));
        cpSync(start, dir, { recursive: true });
        const inject = ['-qqq', '-o', '/dev/null', '-e', `trace=${call}`];
        const kill = `inject=${call}:signal=KILL:when=${nth}`;
        const run = spawnSync('strace', [...inject, '-e', kill, process.execPath, FIXTURE, way, dir], {
          encoding: 'utf8',
        });
        const killed = run.signal === 'SIGKILL' || run.status === 137;
        if (!killed) assert.equal(run.status, 0, run.stderr);
        // It may have gone far enough that nothing is left to be done; a second way back would be another one.
        if (way === 'up') await openState(newer(dir));
        else if (!existsSync(join(dir, 'FORMAT')) || formatOf(dir) !== 1) await rollBack(newer(dir));
        else await openState({ ...newer(dir), steps: [] });
        const found = content(dir);
        delete found.FORMAT;
        const wanted = content(expected);
        delete wanted.FORMAT;
        assert.deepEqual(found, wanted, `${call} ${nth}`);
        if (!killed) break;
        kinds.set(call, nth);
      }
    }
    t.diagnostic(`killed at ${JSON.stringify(Object.fromEntries(kinds))}`);
    assert.ok((kinds.get('rename') ?? 0) === 8, 'it was killed at the moves');
  });
}

function formatOf(dir: string): number {
  const { format, switching } = JSON.parse(readFileSync(join(dir, 'FORMAT'), 'utf8'));
  return switching?.to ?? format;
}

import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Pending } from '../../daemon/approvals/approval.ts';
import { askFor, openDesk, ROOT } from './desk.ts';

const built = existsSync(join(ROOT, 'build/native/libsluice.so'));
const root = process.getuid!() === 0;
const options = { skip: built ? false : 'needs build/native/libsluice.so (make -C native)' };
const asRoot = { skip: options.skip || (root ? false : 'needs root') };

async function begin(t: TestContext, pretend: { session?: string; uid?: number } = {}) {
  const desk = await openDesk(pretend);
  t.after(() => desk.close());
  return desk;
}

test('a held statement is listed, shown, approved, and passes once', options, async (t) => {
  const desk = await begin(t);
  const ask = askFor('UPDATE orders SET paid = true');
  const held = (await desk.approvals.request(ask)) as Pending;
  const list = await desk.sluice(['approvals']);
  assert.match(list.out, new RegExp(`${held.id} +pending +local:ada +shop +in 9 min +UPDATE orders SET paid = true\n`));
  const shown = await desk.sluice(['approvals', 'show', held.id.toLowerCase()]);
  assert.match(shown.out, /rule +a dba signs off writes/);
  assert.match(shown.out, /\n {2}\| UPDATE orders SET paid = true\n/);
  const wait = held.wait(60_000);
  const approved = await desk.sluice(['approvals', 'approve', held.id, '--reason', 'looks right']);
  assert.deepEqual(approved, { code: 0, out: `approved ${held.id}: UPDATE on shop for local:ada\n`, err: '' });
  assert.equal((await wait).granted, true);
  assert.deepEqual(desk.events.map(({ type, reviewer, reason }) => [type, reviewer, reason]).slice(1), [
    ['approval.decided', root ? 'local:root' : desk.events[1]!.reviewer, 'looks right'],
    ['approval.used', undefined, undefined],
  ]);
  const again = await desk.sluice(['approvals', 'deny', held.id]);
  assert.equal(again.code, 1);
  assert.match(again.err, /^sluice: approval .* decided already.* \(APPROVAL_DECIDED\)\n {2}\S.*\n$/);
});

test('what an agent wrote can not act on the terminal or pass for a line of ours', options, async (t) => {
  const desk = await begin(t);
  const text = `UPDATE t\r\n\u001b[2Japprove? y\u009b1A\u202e${' '.repeat(90)}approve? [y]es\n\u2028who local:root`;
  const { id } = await desk.approvals.request(askFor(text, {}, { parameters: ['1\n  = $2   x'] }));
  for (const args of [['approvals'], ['approvals', 'show', id]]) {
    const { out } = await desk.sluice(args);
    assert.doesNotMatch(out, /[^\n\P{Cc}]|\p{Cf}|\p{Zl}/u);
    assert.doesNotMatch(out, /^ *approve/m);
    assert.doesNotMatch(out, /^ *who local:root/m);
    assert.doesNotMatch(out, /^ *= \$2/m);
  }
});

test('watch --prompt shows each request and takes a verdict on each', options, async (t) => {
  const desk = await begin(t);
  const one = (await desk.approvals.request(askFor('UPDATE a'))) as Pending;
  const two = (await desk.approvals.request(askFor('UPDATE b'))) as Pending;
  const { spawn } = await import('node:child_process');
  const child = spawn(process.execPath, [join(ROOT, 'daemon/bin/sluice.ts'), 'approvals', 'watch', '--prompt'], {
    env: { PATH: process.env.PATH, SLUICE_RUN_DIR: desk.dir },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill());
  let seen = '';
  // Answers are written when their question stands: what comes before it is thrown away.
  const answers: [RegExp, string][] = [
    [/\| UPDATE a\n[\s\S]*approve\? \[y/, 'maybe\n'],
    [/\| UPDATE a\n[\s\S]*approve\?[\s\S]*approve\? \[y/, 'y\n'],
    [/\| UPDATE b\n[\s\S]*approve\? \[y/, 'n\n'],
  ];
  for await (const chunk of child.stdout) {
    seen += chunk;
    if (answers[0]?.[0].test(seen)) child.stdin.write(answers.shift()![1]);
    if (/denied \w+: UPDATE/.test(seen)) child.stdin.end();
  }
  assert.equal(desk.approvals.show(one.id).state, 'granted');
  assert.equal(desk.approvals.show(two.id).state, 'denied');
});

test('an agent gets one clear line and nothing else', options, async (t) => {
  const desk = await begin(t, { session: 'abc' });
  const { id } = await desk.approvals.request(askFor('UPDATE a'));
  for (const args of [['approvals', 'approve', id], ['approvals'], ['status'], ['sessions', 'running'], ['audit']]) {
    const { code, out, err } = await desk.sluice(args);
    assert.deepEqual([code, out], [1, ''], args.join(' '));
    assert.match(err, /^sluice: this process runs in session abc, and an agent can't control sluice \(NOT_ALLOWED\)\n/);
  }
});

test('no daemon, bad options, unknown commands: a line on stderr and a status', options, async (t) => {
  const desk = await begin(t);
  const none = await desk.sluice(['approvals'], { SLUICE_RUN_DIR: '/nonexistent' });
  assert.equal(none.code, 1);
  assert.match(
    none.err,
    /^sluice: sluiced does not answer on \/nonexistent\/daemon\/control.sock: .*\(DAEMON_UNREACHABLE\)\n {2}start sluiced\n$/,
  );
  for (const args of [['nope'], ['approvals', 'show'], ['status', '--what']]) {
    const { code, err } = await desk.sluice(args);
    assert.equal(code, 2, args.join(' '));
    assert.match(err, /^sluice: /);
  }
  assert.equal((await desk.sluice(['run'])).code, 125);
  assert.equal((await desk.sluice(['--help'])).code, 0);
  const rejected = await desk.sluice(['policy', 'reload']);
  assert.match(rejected.err, root ? /POLICY_INVALID\)\n {2}did you mean/ : /NOT_ALLOWED/);
});

test('status is one screen, and fails where something is wrong', options, async (t) => {
  const { code, out } = await (await begin(t)).sluice(['status']);
  assert.equal(code, 0);
  assert.match(out, /^state +well\n/);
  // Where a line is broken depends on the numbers in it.
  assert.match(out, /96\.4\s+MB\s+of\s+memory\n/);
  assert.ok(out.split('\n').length <= 24);
  assert.ok(out.split('\n').every((line) => line.length <= 80));
});

test('run becomes the launcher with the session, its token, and what clients look for', asRoot, async (t) => {
  const desk = await begin(t);
  const lib = join(desk.dir, 'lib');
  mkdirSync(lib);
  writeFileSync(join(lib, 'sluice-launch'), '#!/bin/sh\nprintf "%s\\n" "$@"\nenv\nexit 7\n');
  chmodSync(join(lib, 'sluice-launch'), 0o755);
  // Found on PATH as the agent will find it: no directory, nothing that can't be executed or entered, links followed.
  chmodSync(desk.dir, 0o755);
  for (const name of ['one/psql', 'two', 'closed', 'three']) mkdirSync(join(desk.dir, name), { recursive: true });
  writeFileSync(join(desk.dir, 'two/psql'), '', { mode: 0o644 });
  for (const name of ['closed/psql', 'three/psql-18']) writeFileSync(join(desk.dir, name), '', { mode: 0o755 });
  chmodSync(join(desk.dir, 'closed'), 0o700);
  symlinkSync('psql-18', join(desk.dir, 'three/psql'));
  const run = await desk.sluice(['run', '--user', 'nobody', '-v', 'psql', '-c', 'select 1', '--user', 'x'], {
    PATH: `${['one', 'two', 'closed', 'three'].map((name) => join(desk.dir, name)).join(':')}:${process.env.PATH}`,
    SLUICE_LIB_DIR: lib,
    PGPASSWORD: '',
    XDG_RUNTIME_DIR: '/run/user/0',
    SUDO_USER: 'ada',
    HOME: '/root',
  });
  assert.equal(run.code, 7);
  const [session] = desk.sessions.list();
  assert.equal(run.err, `sluice: session ${session!.id.slice(0, 8)} runs as nobody (65534) in /${session!.id}\n`);
  const words = run.out.split('\n');
  assert.deepEqual(words.slice(0, 14), [
    ...['--helper', join(desk.dir, 'helper.sock'), '--session', session!.id],
    ...['--uid', '65534', '--gid', '65534', '--', 'psql', '-c', 'select 1', '--user', 'x'],
  ]);
  const env = Object.fromEntries(
    words.slice(14).map((line) => [line.split('=')[0], line.slice(line.indexOf('=') + 1)]),
  );
  assert.equal(env.SLUICE_SESSION, session!.id);
  assert.ok(desk.sessions.tokenIs(session!, env.SLUICE_TOKEN!));
  assert.equal(env.SLUICE_CA, join(desk.dir, 'ca.pem'));
  assert.equal(env.PGSSLROOTCERT, join(desk.dir, 'ca.pem'));
  assert.equal(env.PGPASSWORD, '', 'what the user set stays');
  assert.equal(env.USER, 'nobody');
  assert.notEqual(env.HOME, '/root');
  assert.equal(env.XDG_RUNTIME_DIR ?? env.SUDO_USER, undefined);
  assert.deepEqual(session!.principal.subject, 'local:nobody');
  assert.equal(session!.uid, 65534);
  const running = await desk.sluice(['sessions', 'running']);
  const line = `${session!.id.slice(0, 8)} +local:nobody +nobody \\(65534\\) .*psql -c select 1`;
  assert.match(running.out, new RegExp(`^SESSION .*\n${line} .*\n +in /${session!.id}\n$`));
  const json = JSON.parse((await desk.sluice(['sessions', 'running', '--json'])).out);
  assert.deepEqual([json.agent, json.cgroup], [{ uid: 65534, user: 'nobody' }, `/${session!.id}`]);
  const { uid, owner, exe } = desk.events.find(({ type }) => type === 'session.start')!;
  assert.deepEqual([uid, owner, exe], [65534, 65534, join(desk.dir, 'three/psql-18')]);
  assert.equal((await desk.sluice(['sessions', 'end', session!.id.slice(0, 6)])).code, 0);
  assert.deepEqual(desk.sessions.list(), []);
});

test(
  'run fails before a session is opened where the agent would be root or there is no launcher',
  asRoot,
  async (t) => {
    const desk = await begin(t);
    const missing = await desk.sluice(['run', '--user', 'nobody', '--', 'true'], { SLUICE_LIB_DIR: '/nonexistent' });
    assert.equal(missing.code, 125);
    assert.match(missing.err, /can't be executed \(CONFIG_INVALID\)/);
    for (const name of ['root', 'no-such-user']) {
      const { code, err } = await desk.sluice(['run', '-u', name, '--', 'true']);
      assert.equal(code, 125);
      assert.match(err, /does not run as root|runs as root/);
    }
    assert.deepEqual(desk.sessions.list(), []);
  },
);

test('only root opens a session for another', asRoot, async (t) => {
  const desk = await begin(t, { uid: 31_337 });
  const { ControlClient } = await import('../../daemon/control/client.ts');
  const daemon = await ControlClient.connect(join(desk.dir, 'daemon/control.sock'));
  t.after(() => daemon.close());
  await assert.rejects(daemon.call('session.open', { command: ['x'], uid: 4 }), { code: 'NOT_ALLOWED' });
  await assert.rejects(daemon.call('session.open', { command: ['x'], uid: 0 }), { code: 'PROTOCOL_VIOLATION' });
  await assert.rejects(daemon.call('session.open', { command: ['x'], principal: 'y' }), { code: 'PROTOCOL_VIOLATION' });
  const { session } = (await daemon.call('session.open', { command: ['x'] })) as { session: { uid: number } };
  assert.equal(session.uid, 31_337);
});

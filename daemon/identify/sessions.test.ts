import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock, type TestContext, test } from 'node:test';
import { SluiceError } from '../core/errors.ts';
import type { EventInput, Recorder } from '../core/event.ts';
import { type CgroupState, Sessions } from './sessions.ts';

/** cgroups as the helper keeps them, without a kernel. */
class Host {
  readonly cgroups = new Map<string, CgroupState>();
  next = 0x1_0000_0007n;

  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  async createSession(id: string) {
    const cgroupId = this.next++;
    this.cgroups.set(id, { id, cgroupId, populated: false });
    return { cgroupId, path: `/${id}` };
  }

  async endSession(id: string) {
    if (!this.cgroups.delete(id)) throw new SluiceError('SESSION_UNKNOWN', `no cgroup ${id}`);
  }

  async listSessions() {
    return [...this.cgroups.values()];
  }

  set(id: string, change: Partial<CgroupState>) {
    this.cgroups.set(id, { ...this.cgroups.get(id)!, ...change });
  }
}

const OPENING = {
  principal: { subject: 'local:ada', groups: ['ai-agents'] },
  uid: 1001,
  command: ['claude', 'postgresql://ada:secret@db/shop'],
};

function begin(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-sessions-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const host = new Host(directory);
  const events: EventInput[] = [];
  const ended: string[] = [];
  const changed: string[] = [];
  const faults: unknown[] = [];
  const fail = { record: false };
  const recorder: Recorder = {
    record: (event) => {
      if (fail.record) throw new SluiceError('AUDIT_FULL', 'recording: no room');
      events.push(event);
      return { done: true, committed: async () => {}, durable: async () => {} };
    },
  };
  const path = join(directory, 'sessions.json');
  const start = () =>
    new Sessions({
      path,
      verifier: (token) => `of ${token.length}`,
      cgroups: host,
      mount: directory,
      elapsed: () => Date.now(),
      recorder,
      onChange: (session) => changed.push(`${session.principal.groups} ${session.identity?.expiredAt}`),
      onEnd: (session) => ended.push(session.id),
      onFault: (error) => faults.push(error),
    });
  const last = () => events.at(-1)!;
  return { host, events, ended, changed, faults, fail, path, start, last };
}

const code = (expected: string) => (error: unknown) => error instanceof SluiceError && error.code === expected;

test('a session is found by its cgroup and its token, and by nothing once it has ended', async (t) => {
  const { host, events, ended, start } = begin(t);
  const sessions = start();
  const { session, token } = await sessions.open(OPENING);
  const other = await sessions.open(OPENING);
  assert.notEqual(session.id, other.session.id);
  assert.equal(sessions.find(session.cgroupId), session);
  assert.equal(sessions.find(session.cgroupId + 100n), null);
  assert.equal(sessions.byToken(token), session);
  assert.ok(sessions.tokenIs(session, token));
  assert.ok(!sessions.tokenIs(other.session, token));
  assert.equal(sessions.byToken(''), null);
  assert.equal(sessions.verifier(session), `of ${token.length}`);

  await sessions.end(session.id, 'asked for');
  assert.equal(sessions.find(session.cgroupId), null);
  assert.equal(sessions.byToken(token), null);
  assert.ok(!sessions.tokenIs(session, token));
  assert.deepEqual(ended, [session.id]);
  assert.ok(!host.cgroups.has(session.id));
  assert.deepEqual(
    events.map((event) => event.type),
    ['session.start', 'session.start', 'session.end'],
  );
  await assert.rejects(sessions.end(session.id, 'again'), code('SESSION_UNKNOWN'));
});

test('no token and no password of the command line is written down', async (t) => {
  const { events, path, start } = begin(t);
  const { token } = await start().open(OPENING);
  const written = readFileSync(path, 'utf8') + JSON.stringify(events);
  assert.ok(!written.includes(token));
  assert.ok(!written.includes('secret'));
  assert.match(written, /postgresql:\/\/ada:\*\*\*@db\/shop/);
});

test('a daemon that starts again knows its sessions at once, tokens included', async (t) => {
  const { host, start } = begin(t);
  host.next = 2n ** 63n + 1n; // no double holds it
  const { session, token } = await start().open(OPENING);
  const again = start();
  assert.deepEqual(again.find(2n ** 63n + 1n), { ...session, command: session.command });
  assert.ok(again.tokenIs(session, token));
  assert.equal(again.verifier(session), `of ${token.length}`);
});

test('a file of sessions that is not what was written stops the start', async (t) => {
  const { path, start } = begin(t);
  await start().open(OPENING);
  const good = readFileSync(path, 'utf8');
  for (const bad of [
    '',
    '{',
    good.slice(0, -5),
    good.replace('"version":1', '"version":2'),
    good.replace('"uid":1001', '"uid":"0"'),
  ]) {
    writeFileSync(path, bad);
    assert.throws(start, code('STATE_FAILED'), bad.slice(0, 20));
  }
});

test('a session whose start cannot be recorded or kept is undone', async (t) => {
  const { host, fail, path, start } = begin(t);
  const sessions = start();
  fail.record = true;
  await assert.rejects(sessions.open(OPENING), code('AUDIT_FULL'));
  fail.record = false;
  assert.deepEqual(sessions.list(), []);
  assert.equal(host.cgroups.size, 0);
  assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')).sessions, []);
  rmSync(join(path, '..'), { recursive: true });
  await assert.rejects(sessions.open(OPENING), code('STATE_FAILED'));
  assert.equal(host.cgroups.size, 0);
});

test('what ends is on record though it can not be kept, and kept though it can not be recorded', async (t) => {
  const { events, faults, fail, path, start } = begin(t);
  const sessions = start();
  const identity = { provider: 'corp', source: 'presented', until: Date.now() + 60_000 } as const;
  const [first, second] = [await sessions.open({ ...OPENING, identity }), await sessions.open(OPENING)];
  fail.record = true;
  await sessions.end(second.session.id, 'asked for');
  assert.deepEqual(
    (JSON.parse(readFileSync(path, 'utf8')).sessions as { session: { id: string } }[]).map((each) => each.session.id),
    [first.session.id],
  );
  fail.record = false;
  // As on a disk that is full.
  rmSync(join(path, '..'), { recursive: true });
  sessions.expire(first.session, 17);
  await sessions.end(first.session.id, 'asked for');
  assert.deepEqual(
    events.slice(2).map(({ type, session }) => [type, session]),
    [
      ['session.expired', first.session.id],
      ['session.end', first.session.id],
    ],
  );
  assert.deepEqual(faults.map((error) => (error as SluiceError).code).toSorted(), [
    'AUDIT_FULL',
    'STATE_FAILED',
    'STATE_FAILED',
  ]);
});

test('after the last process the session ends; before the first one it has its time', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: 1_700_000_000_000 });
  t.after(() => mock.timers.reset());
  const { host, last, start } = begin(t);
  const sessions = start();
  const { session } = await sessions.open(OPENING);
  await sessions.reconcile();
  assert.equal(sessions.get(session.id), session, 'not launched yet');
  host.set(session.id, { populated: true });
  await sessions.reconcile();
  host.set(session.id, { populated: false });
  await sessions.reconcile();
  assert.equal(sessions.get(session.id), null);
  assert.match(last().reason!, /last process/);

  const never = await sessions.open(OPENING);
  mock.timers.tick(60_000);
  await sessions.reconcile();
  assert.equal(sessions.get(never.session.id), null);
  assert.match(last().reason!, /no process/);
});

test('a command that came and went between two looks has ended its session', async (t) => {
  const { host, last, start } = begin(t);
  const sessions = start();
  const { session, path } = await sessions.open(OPENING);
  mkdirSync(join(host.root, path));
  const stat = join(host.root, path, 'cpu.stat');
  writeFileSync(stat, 'usage_usec 0\nuser_usec 0\n');
  await sessions.reconcile();
  assert.equal(sessions.get(session.id), session);
  writeFileSync(stat, 'usage_usec 2314\nuser_usec 0\n');
  await sessions.reconcile();
  assert.equal(sessions.get(session.id), null);
  assert.match(last().reason!, /last process/);
});

test('a command that joins after the list was made keeps its session', async (t) => {
  const { host, start } = begin(t);
  const sessions = start();
  const { session, path } = await sessions.open(OPENING);
  mkdirSync(join(host.root, path));
  writeFileSync(join(host.root, path, 'cpu.stat'), 'usage_usec 2314\nuser_usec 0\n');
  writeFileSync(join(host.root, path, 'cgroup.events'), 'populated 1\nfrozen 0\n');
  await sessions.reconcile();
  assert.equal(sessions.get(session.id), session);
});

test('a cgroup that is gone or another one ends the session, and one that nobody knows is removed', async (t) => {
  const { host, ended, start } = begin(t);
  const before = start();
  const gone = await before.open(OPENING);
  const exchanged = await before.open(OPENING);
  const stays = await before.open(OPENING);
  for (const { session } of [gone, exchanged, stays]) host.set(session.id, { populated: true });
  await before.reconcile();
  host.cgroups.delete(gone.session.id);
  host.set(exchanged.session.id, { cgroupId: 12345n });
  await host.createSession('f'.repeat(32));
  const sessions = start();
  await sessions.reconcile();
  assert.deepEqual(
    sessions.list().map((each) => each.id),
    [stays.session.id],
  );
  assert.deepEqual(ended.toSorted(), [gone.session.id, exchanged.session.id].toSorted());
  assert.deepEqual([...host.cgroups.keys()], [stays.session.id]);
});

test('a session that is being opened while cgroups are compared is left alone', async (t) => {
  const { host, start } = begin(t);
  const sessions = start();
  // The cgroup is there, and the answer that says so is on its way.
  const answered = Promise.withResolvers<void>();
  const create = host.createSession.bind(host);
  host.createSession = async (id) => {
    const made = await create(id);
    await answered.promise;
    return made;
  };
  const opening = sessions.open(OPENING);
  await sessions.reconcile();
  answered.resolve();
  const { session } = await opening;
  assert.equal(sessions.find(session.cgroupId), session);
  assert.equal(host.cgroups.size, 1);
});

test('another principal and the end of an identity are told at once, before they are kept', async (t) => {
  const { start, changed, path } = begin(t);
  const sessions = start();
  const { session } = await sessions.open({
    ...OPENING,
    identity: { provider: 'corp', source: 'presented', until: Date.now() + 60_000 },
  });
  assert.deepEqual(changed, []);
  const renewed = sessions.renew(session, { subject: 'local:ada', groups: ['dba'] }, session.identity!);
  await renewed;
  assert.deepEqual(changed.splice(0), ['dba undefined']);
  sessions.expire(session, 17);
  assert.deepEqual(changed, ['dba 17']);
  const kept = () => readFileSync(path, 'utf8').includes('"expiredAt":17');
  assert.ok(!kept());
  while (!kept()) await new Promise(setImmediate);
});

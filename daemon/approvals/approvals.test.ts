import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock, type TestContext, test } from 'node:test';
import type { ApprovalTerms } from '../core/decision.ts';
import { SluiceError } from '../core/errors.ts';
import type { EventInput, Receipt } from '../core/event.ts';
import type { Operation } from '../core/operation.ts';
import type { Session } from '../core/principal.ts';
import type { Ask, Granted, Pending, Refused } from './approval.ts';
import { Approvals, type ApprovalsOptions } from './approvals.ts';
import { decidedEvent, expiredEvent, requestedEvent, usedEvent } from './events.ts';
import { openStore } from './store.ts';

const MINUTE = 60_000;
const TERMS: ApprovalTerms = {
  reviewers: [],
  quorum: 1,
  within: 10 * MINUTE,
  hold: MINUTE,
  remember: 'once',
  match: 'exact',
};

function session(id: string, subject = 'local:ada', uid = 1001): Session {
  return { id, principal: { subject, groups: ['ai-agents'] }, cgroupId: 7n, uid, command: ['claude'], startedAt: 1 };
}

function operation(text: string, fingerprint = 'f1', object = 'public.orders'): Operation {
  return {
    protocol: 'postgres',
    verb: 'UPDATE',
    text,
    fingerprint,
    accesses: [{ effect: 'write', object }],
    functions: [],
  };
}

function ask(change: Partial<Ask> = {}, terms: Partial<ApprovalTerms> = {}): Ask {
  return {
    session: session('s1'),
    resource: 'shop',
    operation: operation('UPDATE orders SET paid = true WHERE id = 1'),
    approval: { ...TERMS, ...terms },
    rule: 'a dba signs off writes',
    reason: 'writes need a dba',
    flowId: 'flow1',
    origin: { pid: 4711, uid: 1001, exe: '/usr/bin/psql', cgroupId: 7n },
    ...change,
  };
}

/** Keeps what it is given; `fail` makes it refuse. */
class Log {
  readonly events: EventInput[] = [];
  fail: string | null = null;

  record(event: EventInput): Receipt {
    if (this.fail === event.type) throw new SluiceError('AUDIT_FULL', 'recording: no room');
    this.events.push(event);
    return { done: true, committed: async () => {}, durable: async () => {} };
  }

  get types(): string[] {
    return this.events.map((event) => event.type);
  }
}

function begin(t: TestContext, options: Partial<ApprovalsOptions> = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-approvals-'));
  const log = new Log();
  const faults: unknown[] = [];
  const open = () =>
    new Approvals({ store: openStore(directory), recorder: log, onFault: (error) => faults.push(error), ...options });
  const state = { approvals: open(), log, faults, open };
  t.after(async () => {
    await state.approvals.close();
    rmSync(directory, { recursive: true });
  });
  return state;
}

const reviewer = (subject = 'local:grace', groups: string[] = [], uids: number[] = [2002]) => ({
  reviewer: { subject, groups },
  uids,
});

function pending(answer: Granted | Refused | Pending): Pending {
  assert.equal(answer.kind, 'pending');
  return answer as Pending;
}

const wait = async (on: Pending, ms = MINUTE, signal?: AbortSignal) => (await on.wait(ms, signal)).result;

const code = (expected: string) => (error: unknown) => error instanceof SluiceError && error.code === expected;

test('ten concurrent retries of one statement make one request', async (t) => {
  const { approvals, log } = begin(t);
  const answers = (await Promise.all(Array.from({ length: 10 }, () => approvals.request(ask())))).map(pending);
  assert.equal(new Set(answers.map((each) => each.id)).size, 1);
  assert.equal(answers.filter((each) => each.created).length, 1);
  assert.deepEqual(log.types, ['approval.requested']);
  assert.equal(approvals.list().length, 1);
});

test('of waiters racing for a single use the first one gets it and the others are told so', async (t) => {
  const { approvals, log } = begin(t);
  const answers = (await Promise.all(Array.from({ length: 10 }, () => approvals.request(ask())))).map(pending);
  const waits = answers.map((each) => wait(each));
  await approvals.decide({ id: answers[0]!.id, ...reviewer(), verdict: 'approve' });
  assert.deepEqual(await Promise.all(waits), ['approved', ...Array(9).fill('used')]);
  assert.deepEqual(log.types, ['approval.requested', 'approval.decided', 'approval.used']);
  // A wait that begins after it is told the same, and a new ask makes a new request.
  assert.equal(await wait(answers[5]!), 'used');
  const late = await answers[5]!.wait(MINUTE);
  assert.match(late.granted ? '' : late.error.message, /one use/);
  const next = pending(await approvals.request(ask()));
  assert.notEqual(next.id, answers[0]!.id);
});

test('a retry after the hold passes once approved, and only once', async (t) => {
  const { approvals } = begin(t);
  const first = pending(await approvals.request(ask()));
  const waited = await first.wait(0);
  assert.equal(waited.result, 'timeout');
  const { error } = waited as { error: SluiceError };
  assert.equal(error.code, 'APPROVAL_PENDING');
  assert.match(error.message, new RegExp(first.id));
  await approvals.decide({ id: first.id, ...reviewer(), verdict: 'approve' });
  // From another session of the same person, too.
  const answer = await approvals.request(ask({ session: session('s2') }));
  assert.deepEqual(answer, { kind: 'granted', id: first.id, reviewers: ['local:grace'] });
  assert.equal((await approvals.request(ask())).kind, 'pending');
  assert.equal(approvals.show(first.id).state, 'used');
});

test('racing requests for a granted single use: one gets it', async (t) => {
  const { approvals } = begin(t);
  const { id } = pending(await approvals.request(ask()));
  await approvals.decide({ id, ...reviewer(), verdict: 'approve' });
  const kinds = (await Promise.all(Array.from({ length: 8 }, () => approvals.request(ask())))).map((each) => each.kind);
  assert.deepEqual(kinds.toSorted(), ['granted', ...Array(7).fill('pending')]);
});

test('an approval holds for nothing but what it binds', async (t) => {
  const { approvals } = begin(t);
  const base = ask({ database: 'shop', account: 'rw' });
  const { id } = pending(await approvals.request(base));
  await approvals.decide({ id, ...reviewer(), verdict: 'approve' });
  const text = base.operation.text;
  const others: [string, Ask][] = [
    ['subject', { ...base, session: session('s1', 'local:eve', 1003) }],
    ['resource', { ...base, resource: 'payroll' }],
    ['database', { ...base, database: 'payroll' }],
    ['account', { ...base, account: 'admin' }],
    ['text', { ...base, operation: operation(`${text} `) }],
    ['objects', { ...base, operation: operation(text, 'f1', 'other.orders') }],
    ['verb', { ...base, operation: { ...operation(text), verb: 'DELETE' } }],
    ['parameters', { ...base, parameters: ['1'] }],
    ['rule', { ...base, rule: 'another' }],
    ['quorum', { ...base, approval: { ...TERMS, quorum: 2 } }],
    ['reviewers', { ...base, approval: { ...TERMS, reviewers: ['dba'] } }],
    ['match', { ...base, approval: { ...TERMS, match: 'fingerprint' } }],
    ['remember', { ...base, approval: { ...TERMS, remember: 'session' } }],
  ];
  for (const [what, other] of others) assert.equal((await approvals.request(other)).kind, 'pending', what);
  assert.equal((await approvals.request(base)).kind, 'granted');
});

test('by fingerprint, texts that differ in constants are one request; by text they are two', async (t) => {
  const { approvals } = begin(t);
  const one = operation('UPDATE orders SET paid = true WHERE id = 1');
  const two = operation('UPDATE orders SET paid = true WHERE id = 2');
  const ids = async (match: 'exact' | 'fingerprint') =>
    Promise.all(
      [one, two].map(async (each) => pending(await approvals.request(ask({ operation: each }, { match }))).id),
    );
  assert.equal(new Set(await ids('fingerprint')).size, 1);
  assert.equal(new Set(await ids('exact')).size, 2);
});

test('remember: session serves all waiters and later asks of the session, and ends with it', async (t) => {
  const { approvals } = begin(t);
  const remembered = (id: string) => ask({ session: session(id) }, { remember: 'session', match: 'fingerprint' });
  const answers = [
    pending(await approvals.request(remembered('s1'))),
    pending(await approvals.request(remembered('s1'))),
  ];
  const waits = answers.map((each) => wait(each));
  await approvals.decide({ id: answers[0]!.id, ...reviewer(), verdict: 'approve' });
  assert.deepEqual(await Promise.all(waits), ['approved', 'approved']);
  assert.equal((await approvals.request(remembered('s1'))).kind, 'granted');
  assert.equal((await approvals.request(remembered('s2'))).kind, 'pending', 'another session asks for itself');
  approvals.endSession('s1');
  assert.equal((await approvals.request(remembered('s1'))).kind, 'pending');
});

test('nobody decides what they asked for: not by subject, not by uid, not through sudo', async (t) => {
  const { approvals, log } = begin(t);
  const { id } = pending(await approvals.request(ask()));
  for (const self of [
    reviewer('local:ada', ['dba'], [4004]),
    reviewer('ada@example.com', ['dba'], [1001]),
    reviewer('local:root', ['dba'], [0, 1001]),
  ]) {
    for (const verdict of ['approve', 'deny'] as const) {
      await assert.rejects(approvals.decide({ id, ...self, verdict }), code('APPROVAL_FORBIDDEN'));
    }
  }
  assert.deepEqual(log.types, ['approval.requested']);
  assert.equal(approvals.show(id).state, 'pending');
});

test('only members of the groups named decide', async (t) => {
  const { approvals } = begin(t);
  const { id } = pending(await approvals.request(ask({}, { reviewers: ['dba', 'oncall'] })));
  const attempt = (groups: string[]) =>
    approvals.decide({ id, ...reviewer('local:grace', groups), verdict: 'approve' });
  await assert.rejects(attempt([]), code('APPROVAL_FORBIDDEN'));
  await assert.rejects(attempt(['ai-agents']), code('APPROVAL_FORBIDDEN'));
  assert.equal((await attempt(['staff', 'oncall'])).state, 'granted');
});

test('a quorum is of different people, and one of them can deny', async (t) => {
  const { approvals, log } = begin(t);
  const { id } = pending(await approvals.request(ask({}, { quorum: 2 })));
  const vote = (subject: string, verdict: 'approve' | 'deny' = 'approve') =>
    approvals.decide({ id, ...reviewer(subject), verdict });
  assert.equal((await vote('local:grace')).state, 'pending');
  await assert.rejects(vote('local:grace'), code('APPROVAL_DECIDED'));
  assert.equal((await approvals.request(ask({}, { quorum: 2 }))).kind, 'pending');
  // Both at once: each is counted.
  const [third, fourth] = await Promise.allSettled([vote('local:edsger'), vote('local:barbara')]);
  assert.equal(third.status === 'fulfilled' && third.value.state, 'granted');
  assert.equal(fourth.status, 'rejected');
  assert.equal(log.types.filter((type) => type === 'approval.decided').length, 2);

  const other = ask({ operation: operation('DELETE FROM orders') }, { quorum: 2 });
  const second = pending(await approvals.request(other));
  await approvals.decide({ id: second.id, ...reviewer('local:grace'), verdict: 'approve' });
  await approvals.decide({ id: second.id, ...reviewer('local:edsger'), verdict: 'deny', reason: 'no WHERE' });
  assert.equal((await approvals.request(other)).kind, 'refused');
});

test('denied: waiters and retries hear who and why, and may ask anew after the time', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_700_000_000_000 });
  t.after(() => mock.timers.reset());
  const { approvals } = begin(t);
  const first = pending(await approvals.request(ask()));
  const held = wait(first);
  await approvals.decide({ id: first.id, ...reviewer(), verdict: 'deny', reason: 'not on\nFriday' });
  assert.equal(await held, 'denied');
  const retry = await approvals.request(ask());
  assert.equal(retry.kind, 'refused');
  const { error } = retry as Refused;
  assert.equal(error.code, 'APPROVAL_DENIED');
  assert.match(error.message, /local:grace: not on Friday$/);
  await assert.rejects(approvals.decide({ id: first.id, ...reviewer(), verdict: 'approve' }), code('APPROVAL_DECIDED'));
  mock.timers.tick(10 * MINUTE);
  assert.equal((await approvals.request(ask())).kind, 'pending');
});

test('when the clock is set, what people and agents have left of their time stays', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_700_000_000_000 });
  t.after(() => mock.timers.reset());
  // The wall clock is an hour ahead from here on; the daemon's own follows when it is told.
  let set = 0;
  const { approvals } = begin(t, { clock: () => Date.now() + set });
  const first = pending(await approvals.request(ask()));
  const held = wait(first, 5 * MINUTE);
  const before = approvals.show(first.id).expiresAt!;
  mock.timers.tick(MINUTE);
  set = 60 * MINUTE;
  approvals.clockSet(set);
  mock.timers.tick(3 * MINUTE);
  assert.equal(approvals.show(first.id).state, 'pending');
  assert.equal(approvals.show(first.id).expiresAt, before + set);
  mock.timers.tick(MINUTE);
  assert.equal(await held, 'timeout');
  mock.timers.tick(5 * MINUTE);
  assert.equal(approvals.show(first.id).state, 'expired');
});

test('an undecided request expires, and so does an approval that nobody used', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_700_000_000_000 });
  t.after(() => mock.timers.reset());
  const { approvals, log } = begin(t);
  const first = pending(await approvals.request(ask()));
  const held = wait(first, 60 * MINUTE);
  mock.timers.tick(10 * MINUTE);
  assert.equal(await held, 'expired');
  assert.equal(log.events.at(-1)!.type, 'approval.expired');
  await assert.rejects(approvals.decide({ id: first.id, ...reviewer(), verdict: 'approve' }), code('APPROVAL_EXPIRED'));

  const second = pending(await approvals.request(ask()));
  mock.timers.tick(9 * MINUTE);
  await approvals.decide({ id: second.id, ...reviewer(), verdict: 'approve' });
  mock.timers.tick(9 * MINUTE);
  assert.equal(approvals.show(second.id).state, 'granted');
  mock.timers.tick(1 * MINUTE);
  assert.match(log.events.at(-1)!.reason!, /not used in time/);
  assert.equal((await approvals.request(ask())).kind, 'pending');
});

test('the hold ends with timeout by time or by signal, and the request goes on', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_700_000_000_000 });
  t.after(() => mock.timers.reset());
  const { approvals } = begin(t);
  const first = pending(await approvals.request(ask()));
  const held = wait(first);
  mock.timers.tick(MINUTE);
  assert.equal(await held, 'timeout');
  const gone = new AbortController();
  const aborted = wait(first, MINUTE, gone.signal);
  const stays = wait(first);
  gone.abort();
  assert.equal(await aborted, 'timeout');
  assert.equal(await wait(first, MINUTE, gone.signal), 'timeout');
  await approvals.decide({ id: first.id, ...reviewer(), verdict: 'approve' });
  assert.equal(await stays, 'approved', 'a client that has gone does not take the approval with it');
});

test('requests, approvals, refusals and uses survive a restart', async (t) => {
  const state = begin(t);
  const texts = ['UPDATE a', 'UPDATE b', 'UPDATE c', 'UPDATE d'];
  const asks = texts.map((text) => ask({ operation: operation(text) }));
  const ids: string[] = [];
  for (const each of asks) ids.push(pending(await state.approvals.request(each)).id);
  await state.approvals.decide({ id: ids[1]!, ...reviewer(), verdict: 'approve' });
  await state.approvals.decide({ id: ids[2]!, ...reviewer(), verdict: 'deny' });
  await state.approvals.decide({ id: ids[3]!, ...reviewer(), verdict: 'approve' });
  assert.equal((await state.approvals.request(asks[3]!)).kind, 'granted');
  await state.approvals.close();

  state.approvals = state.open();
  const answers: (Granted | Refused | Pending)[] = [];
  for (const each of asks) answers.push(await state.approvals.request(each));
  assert.deepEqual(
    answers.map((each) => each.kind),
    ['pending', 'granted', 'refused', 'pending'],
  );
  assert.equal(answers[0]!.id, ids[0], 'the request is the same one');
  assert.notEqual(answers[3]!.id, ids[3], 'a use is not given back');
});

test('after a restart what was overdue is expired, and sessions that have gone lose what they were remembered for', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_700_000_000_000 });
  t.after(() => mock.timers.reset());
  const state = begin(t);
  const overdue = pending(await state.approvals.request(ask()));
  const of = (id: string) => ask({ session: session(id) }, { remember: 'session' });
  for (const id of ['s1', 's2']) {
    const asked = pending(await state.approvals.request(of(id)));
    await state.approvals.decide({ id: asked.id, ...reviewer(), verdict: 'approve' });
    await state.approvals.request(of(id));
  }
  await state.approvals.close();
  mock.timers.tick(11 * MINUTE);
  state.approvals = state.open();
  state.approvals.keepSessions(new Set(['s2']));
  await assert.rejects(
    state.approvals.decide({ id: overdue.id, ...reviewer(), verdict: 'approve' }),
    code('APPROVAL_EXPIRED'),
  );
  assert.equal((await state.approvals.request(of('s1'))).kind, 'pending');
  assert.equal((await state.approvals.request(of('s2'))).kind, 'granted');
});

test('what cannot be recorded has no effect', async (t) => {
  const { approvals, log } = begin(t);
  log.fail = 'approval.requested';
  await assert.rejects(approvals.request(ask()), code('AUDIT_FULL'));
  assert.deepEqual(approvals.list(), []);
  log.fail = null;
  const first = pending(await approvals.request(ask()));
  log.fail = 'approval.decided';
  await assert.rejects(approvals.decide({ id: first.id, ...reviewer(), verdict: 'approve' }), code('AUDIT_FULL'));
  assert.equal((await approvals.request(ask())).kind, 'pending');
  log.fail = 'approval.used';
  const held = wait(first);
  const rejected = assert.rejects(held, code('AUDIT_FULL'));
  await approvals.decide({ id: first.id, ...reviewer(), verdict: 'approve' });
  await rejected;
  log.fail = null;
  assert.equal((await approvals.request(ask())).kind, 'pending', 'a use that failed is not tried a second time');
});

test('what cannot be kept has no effect', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-approvals-'));
  const real = openStore(directory);
  let broken = false;
  const store = {
    ...real,
    put: async (approval: Parameters<typeof real.put>[0]) => {
      if (broken) throw new SluiceError('STATE_FAILED', 'keeping: no space left on device');
      await real.put(approval);
    },
  };
  const { approvals } = begin(t, { store });
  t.after(() => rmSync(directory, { recursive: true }));
  broken = true;
  await assert.rejects(approvals.request(ask()), code('STATE_FAILED'));
  broken = false;
  const { id } = pending(await approvals.request(ask()));
  broken = true;
  await assert.rejects(approvals.decide({ id, ...reviewer(), verdict: 'approve' }), code('STATE_FAILED'));
  assert.equal(approvals.show(id).state, 'pending');
  broken = false;
  assert.equal((await approvals.decide({ id, ...reviewer(), verdict: 'approve' })).state, 'granted');
  broken = true;
  await assert.rejects(approvals.request(ask()), code('STATE_FAILED'));
});

test('undecided requests are limited per session and in all, and the text by what a person is shown', async (t) => {
  const { approvals } = begin(t, { perSession: 2, total: 3, textBytes: 100 });
  const nth = (n: number, id: string) =>
    ask({ session: session(id, `local:${id}`), operation: operation(`UPDATE t${n}`) });
  await approvals.request(nth(1, 's1'));
  await approvals.request(nth(2, 's1'));
  await approvals.request(nth(2, 's1'));
  await assert.rejects(approvals.request(nth(3, 's1')), code('APPROVAL_LIMIT'));
  await approvals.request(nth(1, 's2'));
  await assert.rejects(approvals.request(nth(1, 's3')), code('APPROVAL_LIMIT'));
  const long = ask({ operation: operation(`UPDATE ${'x'.repeat(94)}`) });
  await assert.rejects(approvals.request(long), code('STATEMENT_TOO_LARGE'));
  await assert.rejects(approvals.request(ask({ parameters: ['y'.repeat(99)] })), code('STATEMENT_TOO_LARGE'));
});

test('a watcher sees what happens from then on, and one that does not read is dropped', async (t) => {
  const { approvals } = begin(t);
  const stop = new AbortController();
  const watcher = approvals.watch(stop.signal);
  const { id } = pending(await approvals.request(ask()));
  await approvals.decide({ id, ...reviewer(), verdict: 'approve' });
  await approvals.request(ask());
  stop.abort();
  const seen: string[] = [];
  for await (const change of watcher) seen.push(`${change.type} ${change.approval.state}`);
  assert.deepEqual(seen, ['requested pending', 'granted granted', 'used used']);
});

test('an id is understood as people type it, and an unknown one is named', async (t) => {
  const { approvals } = begin(t);
  const { id } = pending(await approvals.request(ask()));
  assert.match(id, /^[0-9A-HJKMNP-TV-Z]{10}$/);
  const typed = id.toLowerCase().replaceAll('0', 'o').replaceAll('1', 'l');
  assert.equal(approvals.show(`${typed.slice(0, 5)}-${typed.slice(5)}`).id, id);
  for (const unknown of ['0000000000', 'nonsense', '', 'U'.repeat(10)]) {
    assert.throws(() => approvals.show(unknown), code('APPROVAL_UNKNOWN'));
  }
});

test('events say which process asked, also when a person or the time decides', async (t) => {
  const { approvals, log } = begin(t);
  const { id } = pending(await approvals.request(ask()));
  const approval = approvals.show(id);
  const other = ask({ flowId: 'flow2', origin: { pid: 815, uid: 70_001, exe: '/usr/bin/python3.11', cgroupId: 9n } });
  const whose = { session: 's1', subject: 'local:ada', pid: 4711, uid: 1001, exe: '/usr/bin/psql', cgroup: '7' };
  for (const event of [
    log.events[0]!,
    requestedEvent(approval),
    decidedEvent(approval, { id, verdict: 'deny', ...reviewer() }),
    expiredEvent(approval, 'not decided in time'),
  ]) {
    const { session, subject, pid, uid, exe, cgroup } = event;
    assert.deepEqual({ session, subject, pid, uid, exe, cgroup }, whose, event.type);
  }
  const { pid, uid, exe, cgroup, flow } = usedEvent(approval, other);
  assert.deepEqual([pid, uid, exe, cgroup, flow], [815, 70_001, '/usr/bin/python3.11', '9', 'flow2']);
});

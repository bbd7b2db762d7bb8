/** Sessions that rest on tokens of a real provider: from the device flow to the end, renewed, cut off, revived. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, type TestContext, test } from 'node:test';
import type { SluiceError } from '../../daemon/core/errors.ts';
import type { EventInput } from '../../daemon/core/event.ts';
import type { Session } from '../../daemon/core/principal.ts';
import { Identities, type LoginStep } from '../../daemon/identify/identities.ts';
import { Provider } from '../../daemon/identify/oidc/provider.ts';
import { providerSettings } from '../../daemon/identify/oidc/settings.ts';
import { Sessions } from '../../daemon/identify/sessions.ts';
import { policyOf } from '../../daemon/policy/fixture.ts';
import type { CompiledPolicy } from '../../daemon/policy/policy.ts';
import { AUDIENCE, CLIENT, startProvider, type TestProvider } from './provider.ts';

suite('sessions that rest on tokens', () => {
  let provider: TestProvider;

  before(async () => {
    provider = await startProvider();
  });
  after(() => provider.close());

  function begin(t: TestContext, change: object = {}) {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-identities-'));
    t.after(() => rmSync(directory, { recursive: true, maxRetries: 20 }));
    provider.groups = ['ai-agents'];
    provider.lifetime = 600;
    const events: EventInput[] = [];
    const cut: [Session, SluiceError][] = [];
    const faults: unknown[] = [];
    // What passes between now and what the test wants it to be.
    const time = { ahead: 0 };
    const clock = () => Date.now() + time.ahead;
    const recorder = {
      record(event: EventInput) {
        events.push(event);
        return { done: true, committed: async () => {}, durable: async () => {} };
      },
    };
    let cgroup = 7n;
    const path = join(directory, 'sessions.json');
    const open = () =>
      new Sessions({
        ...{ path, recorder, mount: directory, verifier: () => '', onEnd: () => {} },
        onFault: (error) => faults.push(error),
        cgroups: {
          createSession: async (id) => ({ cgroupId: cgroup++, path: `/${id}` }),
          endSession: async () => {},
          listSessions: async () => [],
        },
      });
    const sessions = open();
    const { issuer, ca } = provider;
    const base = { name: 'corp', issuer, ca, audience: AUDIENCE, clientId: CLIENT, groupsClaim: 'groups' };
    const settings = providerSettings.parse({ ...base, clockSkewSeconds: 0, ...change });
    const policy = { current: knowing(issuer) };
    const identities = new Identities({
      ...{ sessions, recorder, localSessions: false, policy: () => policy.current, clock },
      providers: [new Provider(settings, clock)],
      onExpire: (session, error) => cut.push([session, error]),
      onFault: (error) => faults.push(error),
    });
    async function start(uid: number, token?: string): Promise<Session> {
      const basis = await identities.basisFor({ uid, pid: process.pid, command: ['agent'] }, token);
      assert.ok(basis !== null);
      return (await sessions.open({ ...basis, uid, command: ['agent'] })).session;
    }
    /** Goes on as the daemon does, which sweeps when there is something to sweep, until it is so. */
    async function until(is: () => boolean): Promise<void> {
      for (const deadline = Date.now() + 20_000; !is(); ) {
        assert.ok(Date.now() < deadline, 'it never came to be so');
        if (identities.next <= clock()) identities.sweep();
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
    return { identities, sessions, events, cut, faults, time, start, until, path, policy, open };
  }

  function knowing(issuer: string, groups = '[ai-agents, dba]'): CompiledPolicy {
    return policyOf(`apiVersion: sluice/v1
identities:
  - {issuer: "${issuer}", tokenGroups: ${groups}}
`);
  }

  async function login(
    identities: Identities,
    uid: number,
    who: string,
    answer?: 'agree' | 'refuse',
  ): Promise<LoginStep[]> {
    const steps: LoginStep[] = [];
    for await (const step of identities.login(uid, undefined, new AbortController().signal)) {
      steps.push(step);
      if ('invitation' in step) await provider.decide(step.invitation.complete!, who, answer);
    }
    return steps;
  }

  test('the device flow to its end: a session is of who logged in, and nothing tells the tokens', async (t) => {
    const { identities, start, events, path } = begin(t);
    await assert.rejects(start(1001), { code: 'IDENTITY_REQUIRED', hint: /run sluice login/ });
    const [invited, done] = await login(identities, 1001, 'ada');
    assert.deepEqual(Object.keys(invited!), ['invitation']);
    assert.deepEqual(Object.keys((invited as { invitation: object }).invitation).sort(), [
      'code',
      'complete',
      'until',
      'uri',
    ]);
    const principal = { subject: 'corp:ada', groups: ['ai-agents'], issuer: provider.issuer };
    assert.deepEqual((done as { done: unknown }).done, principal);
    const session = await start(1001);
    assert.deepEqual(session.principal, principal);
    assert.equal(session.identity?.source, 'login');
    await assert.rejects(start(1002), { code: 'IDENTITY_REQUIRED' }, 'the login of one user is no other user’s');
    const told = JSON.stringify([invited, done, events, session.identity]) + readFileSync(path, 'utf8');
    assert.doesNotMatch(told, /eyJ/, 'no JWT');
    assert.match(told, /"issuer"/);
    const start1 = events.find(({ type }) => type === 'session.start')!;
    assert.deepEqual([start1.subject, start1.groups, start1.issuer], ['corp:ada', ['ai-agents'], provider.issuer]);
  });

  test('refused in the browser, and given up', async (t) => {
    const { identities } = begin(t);
    await assert.rejects(login(identities, 1001, 'ada', 'refuse'), {
      code: 'LOGIN_FAILED',
      message: /refused in the browser/,
    });
    const giveUp = new AbortController();
    const steps = identities.login(1001, undefined, giveUp.signal);
    await steps.next();
    giveUp.abort();
    await assert.rejects(steps.next(), { code: 'LOGIN_FAILED', message: /given up/ });
    await assert.rejects(identities.basisFor({ uid: 1001, pid: 1, command: ['agent'] }, undefined), {
      code: 'IDENTITY_REQUIRED',
    });
  });

  test('renewed: other groups hold at once, for every session of the login and no other', async (t) => {
    const { identities, start, until, events } = begin(t);
    provider.lifetime = 8;
    await login(identities, 1001, 'ada');
    const [first, second] = [await start(1001), await start(1001)];
    const presented = await start(1001, await provider.sign());
    provider.groups = ['dba', 'unknown to the policy'];
    await until(() => [first, second].every(({ principal }) => String(principal.groups) === 'dba'));
    assert.deepEqual(presented.principal.groups, ['ai-agents']);
    const renewed = events.filter(({ type }) => type === 'session.renewed');
    assert.deepEqual(renewed.map(({ session }) => session).sort(), [first.id, second.id].sort());
    assert.deepEqual(renewed[0]!.groups, ['dba']);
    const kept = first.principal;
    const { until: ends } = first.identity!;
    await until(() => first.identity!.until > ends);
    assert.equal(first.principal, kept, 'the same groups are the same object: nothing is decided anew');
  });

  test('the provider is down at renewal: what runs goes on to the end of its token, is cut, and revived', async (t) => {
    const { identities, start, until, cut, events, open } = begin(t);
    provider.lifetime = 6;
    await login(identities, 1001, 'ada');
    const session = await start(1001);
    await provider.stop();
    try {
      await until(() => session.identity!.problem !== undefined);
      assert.match(session.identity!.problem!, /nothing listens there/);
      if (cut.length === 0) assert.equal(identities.expired(session), null);
      await until(() => cut.length > 0);
      assert.ok(Date.now() >= session.identity!.until);
      const [, error] = cut[0]!;
      assert.equal(error.code, 'IDENTITY_EXPIRED');
      assert.match(error.message, /identity corp:ada of this session has ended: .*nothing listens there/);
      assert.match(error.hint, /sluice login/);
      assert.equal(events.filter(({ type }) => type === 'session.expired').length, 1);
      await assert.rejects(start(1001), { code: 'IDENTITY_EXPIRED' });
      // What a daemon that starts again reads.
      await until(() => open().list()[0]!.identity!.expiredAt !== undefined);
    } finally {
      await provider.start();
    }
    await until(() => identities.expired(session) === null);
    assert.equal(session.identity!.problem, undefined);
    assert.equal(cut.length, 1);
  });

  test('the provider refuses to renew: cut off at once, and a new login revives it', async (t) => {
    const { identities, start, until, cut, events } = begin(t);
    provider.lifetime = 8;
    await login(identities, 1001, 'ada');
    const session = await start(1001);
    provider.instead.set('/token', (_, response) => {
      response.writeHead(400).end(JSON.stringify({ error: 'invalid_grant', error_description: 'eyJ.secret' }));
    });
    t.after(() => provider.instead.delete('/token'));
    await until(() => cut.length > 0);
    assert.match(cut[0]![1].message, /does not renew the login \(invalid_grant\)/);
    assert.doesNotMatch(JSON.stringify(events), /eyJ/);
    assert.equal(events.filter(({ type }) => type === 'login.end').length, 1);
    await assert.rejects(start(1001), { code: 'IDENTITY_REQUIRED' });
    provider.instead.delete('/token');
    await login(identities, 1001, 'eve');
    assert.notEqual(identities.expired(session), null, 'who else logs in takes over nothing');
    await login(identities, 1001, 'ada');
    assert.equal(identities.expired(session), null);
  });

  test('logged out: its sessions are cut', async (t) => {
    const { identities, start, cut } = begin(t);
    await login(identities, 1001, 'ada');
    const [session, presented] = [await start(1001), await start(1001, await provider.sign())];
    assert.equal(identities.logout(1001), 'corp:ada');
    assert.deepEqual(
      cut.map(([each]) => each.id),
      [session.id],
    );
    assert.equal(identities.expired(presented), null);
    assert.throws(() => identities.logout(1001), { code: 'LOGIN_FAILED' });
  });

  test('a presented token: renewed by another of the same person and nobody else', async (t) => {
    const { identities, start, time, until, cut, events } = begin(t);
    const session = await start(1001, await provider.sign());
    const refused: readonly (readonly [Promise<string>, RegExp])[] = [
      [provider.sign({ sub: 'eve' }), /not of corp:ada, whose session it is/],
      [provider.sign({ aud: 'https://other.example' }), /meant for/],
      [Promise.resolve('rubbish'), /no JSON Web Token/],
    ];
    for (const [token, reason] of refused) {
      await assert.rejects(identities.renew(session, await token), { code: 'IDENTITY_REFUSED', message: reason });
      assert.equal(identities.expired(session), null);
    }
    const wanted = { uid: 1001, pid: 4242, command: ['psql', 'postgres://ada:secret@db/shop'], exe: '/usr/bin/psql' };
    await assert.rejects(identities.basisFor(wanted, 'rubbish'), { code: 'IDENTITY_REFUSED' });
    const { type, pid, uid, owner, exe, text } = events.pop()!;
    assert.deepEqual([type, pid, uid, owner, exe], ['session.refused', 4242, 1001, 1001, '/usr/bin/psql']);
    assert.equal(text, 'psql postgres://ada:***@db/shop');
    const about = { session: session.id, subject: 'corp:ada', uid: 1001, owner: 1001, exe: 'agent', text: 'agent' };
    const told = events.filter(({ type }) => type === 'session.refused');
    assert.equal(told.length, refused.length);
    for (const event of told) assert.partialDeepStrictEqual(event, { ...about, cgroup: String(session.cgroupId) });
    const last = await identities.renew(session, await provider.sign({ groups: ['dba'] }));
    assert.deepEqual(session.principal.groups, ['dba']);
    time.ahead = last - Date.now() - 30_000;
    await until(() => true);
    assert.equal(cut.length, 0);
    time.ahead = last - Date.now();
    assert.notEqual(identities.expired(session), null, 'by the clock, before anybody has swept');
    await until(() => cut.length === 1);
    assert.match(cut[0]![1].hint, /new token where the session got its own/);
    time.ahead = 0;
    await identities.renew(session, await provider.sign());
    assert.equal(identities.expired(session), null);
  });

  test('a token that the policy knows no more, and a policy that knows no more of the token', async (t) => {
    const { identities, start, cut, policy } = begin(t);
    await assert.rejects(start(1001, await provider.sign({ iss: 'https://evil.example' })), {
      code: 'IDENTITY_REFUSED',
      message: /its issuer is "https:\/\/evil.example", and this host takes only those of/,
    });
    const session = await start(1001, await provider.sign({ groups: ['ai-agents', 'dba'] }));
    policy.current = knowing(provider.issuer, '[dba]');
    await identities.remap();
    assert.deepEqual(session.principal.groups, ['dba']);
    policy.current = knowing('https://another.example');
    await identities.remap();
    assert.equal(cut.length, 1);
    assert.match(cut[0]![1].message, /the policy gives corp:ada no identity/);
    await assert.rejects(start(1001, await provider.sign()), { code: 'NOT_ALLOWED', hint: /add an entry with issuer/ });
  });
});

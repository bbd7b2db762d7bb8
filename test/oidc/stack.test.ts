/** Sessions that different tokens stand behind, at a real PostgreSQL, through the whole of sluice. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { postgresMissing } from '../harness/postgres.ts';
import { stackMissing } from '../harness/stack.ts';
import { type Site, startSite } from './site.ts';

const READ = 'SELECT name, email FROM people;\n';

suite('OIDC through the whole of sluice', { skip: postgresMissing() ?? stackMissing() ?? false }, () => {
  let site: Site;

  before(async () => {
    site = await startSite('oidc');
  });
  after(() => site?.stop());

  test('two sessions of one uid with different groups, the same statement at the same moment: decided differently', {
    timeout: 120_000,
  }, async () => {
    const clients = [
      site.client(await site.put('ada', ['ai-agents', 'pii'])),
      site.client(await site.put('bob', ['ai-agents'])),
      site.client(await site.put('eve', [])),
    ];
    for (const each of clients) each.send('\\echo ready\n');
    for (const each of clients) await each.until(/ready/);
    for (const each of clients) each.send(`${READ}\\echo done\n`);
    const [ada, bob, eve] = await Promise.all(clients.map((each) => each.until(/done/)));
    assert.match(ada!, /^Ada\|ada@shop\.example$/m);
    assert.match(bob!, /^Ada\|(?!ada@)/m);
    assert.doesNotMatch(bob!, /ada@shop/);
    assert.doesNotMatch(eve!, /Ada/);
    assert.match(eve!, /does not allow|POLICY_DENIED/);
    const sessions = await site.running();
    assert.equal(new Set(sessions.map(({ uid }) => uid)).size, 1);
    assert.deepEqual(sessions.map(({ principal }) => principal.subject).sort(), ['corp:ada', 'corp:bob', 'corp:eve']);
    const decided = (await site.events('operation')).filter(({ text }) => text?.startsWith('SELECT name'));
    assert.deepEqual(
      decided.map(({ subject, decision, issuer, groups }) => [subject, decision, issuer, groups]).sort(),
      [
        ['corp:ada', 'allow', site.provider.issuer, ['ai-agents', 'pii']],
        ['corp:bob', 'allow', site.provider.issuer, ['ai-agents']],
        ['corp:eve', 'deny', site.provider.issuer, []],
      ],
    );
    for (const each of clients) each.end();
    await Promise.all(clients.map(({ ended }) => ended));
  });

  test('a token file that is renewed with other groups, and then no more: masked at once, held statements end, cut off', {
    timeout: 150_000,
  }, async () => {
    const path = await site.put('grace', ['ai-agents', 'pii', 'writers'], 30);
    const grace = site.client(path);
    grace.send(`${READ}\\echo done\n`);
    assert.match(await grace.until(/done/), /ada@shop\.example/);
    const before = await site.events('session.renewed');
    await site.put('grace', ['ai-agents', 'writers'], 30);
    for (;;) {
      if ((await site.events('session.renewed')).length > before.length) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    grace.send(`${READ}\\echo done\n`);
    assert.doesNotMatch(await grace.until(/done/), /ada@shop/, 'on the very connection that saw it before');
    grace.send("INSERT INTO people VALUES ('Grace');\n");
    await grace.until(/held for approval/);
    const [ended] = await Promise.all([grace.until(/FATAL/), grace.ended]);
    assert.match(ended, /FATAL: {2}sluice: the identity corp:grace of this session has ended/);
    assert.match(ended, /HINT: {2}put a new token where the session got its own/);
    assert.equal(await site.database.psql('SELECT count(*) FROM people'), '1');
    const approvals = (await site.stack.call('approvals.list', { all: true })) as { state: string }[];
    assert.deepEqual(
      approvals.map(({ state }) => state),
      ['withdrawn'],
    );
    assert.equal((await site.events('session.expired')).length, 1);
  });
});

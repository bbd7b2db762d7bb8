/** Approvals, sessions and policy while flows run: restarts, retries, reloads, ends. */
import assert from 'node:assert/strict';
import { rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { openHelper } from '../../daemon/intake/helper.ts';
import { type Finished, finished } from '../harness/child.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';

interface Request {
  readonly id: string;
  readonly state: string;
}

/** One prepared UPDATE, executed with 5, again with 5, and with 70. */
const PREPARED = `
import asyncio, asyncpg
async def main():
    c = await asyncpg.connect(ssl=False)
    update = await c.prepare('UPDATE counter SET n = n + $1')
    for by in (5, 5, 70):
        try:
            await update.fetch(by)
            print('done', by)
        except asyncpg.PostgresError as error:
            print(error.sqlstate, by, error)
    print(await c.fetchval('SELECT 1'))
asyncio.run(main())
`;

suite('what flows meet', { skip: postgresMissing() ?? stackMissing() ?? false }, () => {
  let database: PostgresServer;
  let stack: Stack;

  before(async () => {
    database = await startPostgres({ sql: 'CREATE TABLE counter AS SELECT 0 AS n;' });
    stack = await startStack({ name: 'held', policy: policy('60s') });
  });

  after(async () => {
    await stack?.stop();
    await database?.stop();
  });

  function policy(hold: string, more = ''): string {
    return `apiVersion: sluice/v1
identities:
  - user: sluice-agent
    groups: [agents]
  - user: root
    groups: [dba]
resources:
  db:
    protocol: postgres
    address: 127.0.0.1:${database.port}
    tls: off
    login: none
rules:
  - name: agents read
    allow: [read, session]
    who: {groups: [agents]}
    on: db
  - name: a dba signs off writes
    approve: [write]
    who: {groups: [agents]}
    on: db
    reviewers: {groups: [dba]}
    hold: ${hold}
${more}`;
  }

  const env = () => ({
    PGHOST: database.host,
    PGPORT: String(database.port),
    PGUSER: 'postgres',
    PGDATABASE: 'postgres',
    PGSSLMODE: 'disable',
  });
  const psql = (sql: string) => stack.run(['psql', '-XAtc', sql], { env: env() });
  const counter = () => database.psql('SELECT n FROM counter');
  const pending = async () =>
    ((await stack.call('approvals.list')) as Request[]).filter(({ state }) => state === 'pending');

  /** Asks again until it is so; the test's own timeout ends what never comes. */
  async function until<T>(ask: () => Promise<T>, so: (answer: T) => boolean): Promise<T> {
    for (;;) {
      const answer = await ask();
      if (so(answer)) return answer;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  const approve = async (id: string) => {
    const { status, stderr } = await stack.sluice(['approvals', 'approve', id]);
    assert.equal(status, 0, stderr);
  };

  test('a request outlives the daemon; approved afterwards, the statement passes once', {
    timeout: 60_000,
  }, async () => {
    const update = 'UPDATE counter SET n = n + 1';
    const first = psql(update);
    const [request] = await until(pending, (all) => all.length === 1);
    await stack.kill('SIGKILL');
    const lost = await first;
    assert.equal(lost.status, 2);
    assert.match(lost.stderr, /server closed the connection unexpectedly/);
    const refused = await psql('SELECT 1');
    assert.match(refused.stderr, /sluiced does not answer|Connection refused/);
    await stack.restart();
    assert.deepEqual(
      (await pending()).map(({ id }) => id),
      [request!.id],
    );
    assert.equal(await counter(), '0');
    await approve(request!.id);
    const again = await psql(update);
    assert.deepEqual(again, { status: 0, stdout: 'UPDATE 1\n', stderr: '' });
    assert.equal(await counter(), '1');
    const third = psql(update);
    const [next] = await until(pending, (all) => all.length === 1);
    assert.notEqual(next!.id, request!.id);
    await stack.sluice(['approvals', 'deny', next!.id, '--reason', 'enough']);
    const denied = await third;
    assert.equal(denied.status, 1);
    assert.match(denied.stderr, /enough/);
    assert.equal(await counter(), '1');
  });

  test('a held statement lives through a helper whose cgroups were made anew, as systemd removes empty ones', {
    timeout: 60_000,
  }, async () => {
    const before = Number(await counter());
    const first = psql('UPDATE counter SET n = n + 100');
    const [request] = await until(pending, (all) => all.length === 1);
    const { mount, cgroup } = await openHelper(join(stack.runDir, 'helper.sock')).status();
    await stack.stopHelper('SIGTERM');
    rmdirSync(join(mount, cgroup, 'daemon'));
    await stack.startHelper();
    // Until sluiced listens in the new one, connections are refused.
    await until(
      () => psql('SELECT 1'),
      ({ status }) => status === 0,
    );
    await approve(request!.id);
    const { status, stdout } = await first;
    assert.deepEqual([status, stdout], [0, 'UPDATE 1\n']);
    assert.equal(Number(await counter()), before + 100);
  });

  test('ten retries at once make one request, and it executes once', { timeout: 60_000 }, async () => {
    const one = `psql -XAtc 'UPDATE counter SET n = n + 10' 2>&1`;
    const all = stack.run(['sh', '-c', `for i in 1 2 3 4 5 6 7 8 9 10; do ${one} & done; wait`], { env: env() });
    const before = Number(await counter());
    const held = async () =>
      Number(
        await database.psql(
          "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name = 'psql' AND pid <> pg_backend_pid()",
        ),
      );
    await until(held, (count) => count === 10);
    const [request] = await until(pending, (each) => each.length >= 1);
    assert.equal((await pending()).length, 1);
    await approve(request!.id);
    await until(counter, (n) => Number(n) > before);
    const { stdout } = await all;
    assert.equal(Number(await counter()), before + 10);
    assert.equal(stdout.match(/UPDATE 1/g)?.length, 1, stdout);
    assert.equal(stdout.match(/^ERROR: .* was given for one use/gm)?.length, 9, stdout);
    assert.deepEqual(await pending(), []);
  });

  test('a prepared statement is approved with its values, for one execution', { timeout: 60_000 }, async () => {
    const before = Number(await counter());
    const client = stack.run(['/usr/bin/python3', '-c', PREPARED], { env: env() });
    const seen: string[] = [];
    for (const verdict of ['approve', 'deny', 'deny']) {
      const [request] = await until(pending, (all) => all.length === 1 && !seen.includes(all[0]!.id));
      seen.push(request!.id);
      const value = seen.length < 3 ? '5' : '70';
      const { stdout } = await stack.sluice(['approvals', 'show', request!.id]);
      assert.match(stdout, new RegExp(`\\b${value}\\b`), 'the reviewer sees the value');
      const decided = await stack.sluice(['approvals', verdict, request!.id]);
      assert.equal(decided.status, 0, decided.stderr);
    }
    const { status, stdout, stderr } = await client;
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^done 5\n42501 5 .*\nHINT: .*\n42501 70 .*\nHINT: .*\n1\n$/);
    assert.equal(Number(await counter()), before + 5);
  });

  test('a session that is ended loses its flows and processes', { timeout: 60_000 }, async () => {
    const running: Promise<Finished> = finished(stack.agent(['psql', '-Xc', 'SELECT pg_sleep(300)'], { env: env() }));
    const sleeping = async () =>
      await database.psql("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(300)'");
    await until(sleeping, (count) => count === '1');
    type Listed = { id: string; command: string[] }[];
    const sessions = async () => (await stack.call('sessions.list')) as Listed;
    const session = (await sessions()).find(({ command }) => command.includes('SELECT pg_sleep(300)'));
    const ended = await stack.sluice(['sessions', 'end', session!.id.slice(0, 8)]);
    assert.equal(ended.status, 0, ended.stderr);
    assert.notEqual((await running).status, 0);
    await until(sleeping, (count) => count === '0');
    assert.ok((await sessions()).every(({ id }) => id !== session!.id));
  });

  test('policy changes in the middle of a connection; a bad file changes nothing and says why', {
    timeout: 60_000,
  }, async () => {
    const child = stack.agent(['psql', '-XAt'], { env: env(), stdio: ['pipe', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    }
    const ask = async (sql: string, answer: RegExp) => {
      said = '';
      child.stdin!.write(`${sql};\n`);
      await until(
        async () => said,
        (text) => answer.test(text) || child.exitCode !== null,
      );
      assert.match(said, answer);
    };
    const end = finished(child);
    await ask("SELECT 'n=' || n FROM counter", /^n=\d+$/m);
    await assert.rejects(stack.setPolicy(policy('60s', '  - nam: x\n')), /nam/);
    await ask("SELECT 'still'", /still/);
    const events = await stack.sluice(['audit', '--no-pager', '-o', 'json', 'TYPE=policy.rejected']);
    assert.match(events.stdout, /nam/);
    const denying =
      '  - name: closed\n    deny: [read]\n    who: everyone\n    on: db\n    tables: [public.counter]\n    reason: stocktaking\n';
    await stack.setPolicy(policy('60s', denying));
    await ask("SELECT 'n=' || n FROM counter", /stocktaking/);
    await ask("SELECT 'alive'", /alive/);
    await stack.setPolicy(policy('60s'));
    await ask("SELECT 'n=' || n FROM counter", /^n=\d+$/m);
    child.stdin!.end();
    assert.equal((await end).status, 0);
  });
});

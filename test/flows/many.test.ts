/** Many flows of many principals at once, and the daemon killed in the middle of their traffic. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import type { Event } from '../../daemon/core/event.ts';
import { command, finished } from '../harness/child.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';
import { type Account, makeAccounts } from './accounts.ts';

const SESSIONS = 20;
const CONNECTIONS = 10;
const WRITERS = 2;
const PASSWORD = 'correct-horse-battery-staple-4711';
const CLI = new URL('../../build/js/daemon/bin/sluice.js', import.meta.url).pathname;

/** One agent's process and what it printed, line by line. */
class Agent {
  readonly account: Account;
  readonly child: ChildProcess;
  readonly ended: ReturnType<typeof finished>;
  readonly lines: string[] = [];
  #wake: () => void = () => {};

  constructor(account: Account, argv: readonly string[], env: Record<string, string>) {
    this.account = account;
    this.child = spawn(argv[0]!, argv.slice(1), { cwd: '/', env, stdio: ['pipe', 'pipe', 'pipe'] });
    this.ended = finished(this.child);
    let rest = '';
    this.child.stdout!.on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      this.lines.push(...lines);
      this.#wake();
    });
    void this.ended.then(() => this.#wake());
  }

  count(word: string): number {
    return this.lines.filter((line) => line.includes(word)).length;
  }

  async until(word: string, count: number): Promise<void> {
    while (this.count(word) < count) {
      if (this.child.exitCode !== null) throw new Error(`an agent ended: ${(await this.ended).stderr}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  said<T>(key: string): T[] {
    return this.lines
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line))
      .filter((each) => key in each);
  }
}

interface Looked {
  readonly pid: number;
  readonly own: number;
  readonly other: string;
}

suite('200 flows of 20 principals', { skip: postgresMissing() ?? stackMissing() ?? false }, () => {
  let database: PostgresServer;
  let stack: Stack;
  let made: ReturnType<typeof makeAccounts>;
  let agents: Agent[];
  let credential: string;

  before(async () => {
    made = makeAccounts(SESSIONS);
    const tables = made.accounts.map((_, i) => `CREATE TABLE own_${i} AS SELECT ${i} AS n;`);
    database = await startPostgres({
      conf: ['max_connections = 260', 'log_connections = on', "password_encryption = 'scram-sha-256'"],
      hba: ['host all shop samehost scram-sha-256'],
      sql: `CREATE ROLE shop LOGIN PASSWORD '${PASSWORD}';
        CREATE TABLE done (who text, pid int, n int, at timestamptz DEFAULT clock_timestamp());
        ${tables.join('\n')}
        GRANT ALL ON ALL TABLES IN SCHEMA public TO shop;`,
    });
    credential = join(database.dir, 'credential');
    writeFileSync(credential, PASSWORD, { mode: 0o600 });
    stack = await startStack({ name: 'many', policy: policy(), daemonReads: [credential] });
    const script = join(stack.dir, 'agent.py');
    copyFileSync(new URL('agent.py', import.meta.url), script);
    chmodSync(script, 0o644);
    agents = made.accounts.map((account, i) => {
      const tables = [`own_${i}`, `own_${(i + 1) % SESSIONS}`];
      const run = [process.execPath, CLI, 'run', '--user', account.name, '--', '/usr/bin/python3', script];
      const argv = [...run, String(database.port), ...tables, String(CONNECTIONS), String(WRITERS)];
      return new Agent(account, argv, { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8', SLUICE_RUN_DIR: stack.runDir });
    });
  });

  after(async () => {
    for (const agent of agents ?? []) agent.child.kill('SIGKILL');
    await stack?.stop();
    await database?.stop();
    made?.remove();
  });

  function policy(): string {
    const identities = made.accounts.map(({ name }) => `  - user: ${name}\n    groups: [agents]`);
    const rules = made.accounts.map(
      ({ name }, i) =>
        `  - name: ${name} reads its own\n    allow: [read]\n    who: {users: ["local:${name}"]}\n    on: db\n    tables: [public.own_${i}]`,
    );
    return `apiVersion: sluice/v1
identities:
${identities.join('\n')}
resources:
  db:
    protocol: postgres
    address: 127.0.0.1:${database.port}
    tls: off
    credential: {file: "${credential}", user: shop}
rules:
${rules.join('\n')}
  - name: all write what they did
    allow: [write]
    who: {groups: [agents]}
    on: db
    tables: [public.done]
`;
  }

  async function events(...matches: string[]): Promise<Event[]> {
    const { stdout, stderr, status } = await stack.sluice(['audit', '--no-pager', '-o', 'json', ...matches]);
    assert.equal(status, 0, stderr);
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Event);
  }

  test('each is decided by its own rules and attributed to its own process', { timeout: 100_000 }, async () => {
    await Promise.all(agents.map((agent) => agent.until('connected', CONNECTIONS)));
    const { flows, sessions } = (await stack.call('status')) as { flows: number; sessions: number };
    assert.deepEqual({ flows, sessions }, { flows: SESSIONS * CONNECTIONS, sessions: SESSIONS });
    for (const agent of agents) agent.child.stdin!.write('go\n');
    await Promise.all(agents.map((agent) => agent.until('"other"', CONNECTIONS)));
    const pids = new Map<number, number>();
    for (const [i, agent] of agents.entries()) {
      for (const { pid, own, other } of agent.said<Looked>('other')) {
        assert.deepEqual({ own, other }, { own: i, other: '42501' });
        pids.set(pid, i);
      }
    }
    assert.equal(pids.size, SESSIONS * CONNECTIONS);
    const python = realpathSync('/usr/bin/python3');
    const sessionOf = new Map<number, string>();
    const cgroupOf = new Map<number, string>();
    const seen = new Set<number>();
    for (const event of await events('TYPE=flow.start')) {
      const i = pids.get(event.pid!)!;
      const { name, uid } = agents[i]!.account;
      assert.deepEqual([event.subject, event.uid, event.exe], [`local:${name}`, uid, python]);
      assert.equal(event.session, sessionOf.get(i) ?? event.session);
      assert.equal(event.cgroup, cgroupOf.get(i) ?? event.cgroup);
      sessionOf.set(i, event.session!);
      cgroupOf.set(i, event.cgroup!);
      seen.add(event.pid!);
    }
    assert.equal(seen.size, SESSIONS * CONNECTIONS);
    for (const each of [sessionOf, cgroupOf]) assert.equal(new Set(each.values()).size, SESSIONS);
    const reads = (await events('TYPE=operation')).filter((event) => event.text?.startsWith('SELECT n FROM'));
    assert.equal(reads.length, SESSIONS * CONNECTIONS * 2);
    for (const event of reads) {
      const i = pids.get(event.pid!)!;
      const { name } = agents[i]!.account;
      const own = event.text === `SELECT n FROM own_${i}`;
      assert.equal(event.subject, `local:${name}`);
      assert.equal(event.session, sessionOf.get(i));
      assert.deepEqual([event.decision, event.rule], own ? ['allow', `${name} reads its own`] : ['deny', undefined]);
    }
  });

  test('the credential is nowhere to be seen, and the agents hold only their token', async () => {
    for (const agent of agents) {
      const { pid } = agent.said<Looked>('other')[0]!;
      const seen = ['environ', 'cmdline', 'mountinfo'].map((name) => readFileSync(`/proc/${pid}/${name}`, 'utf8'));
      assert.match(seen[0]!, /PGPASSWORD=sluice_/);
      assert.ok(!seen.join().includes(PASSWORD));
    }
    const kept = await command(['grep', '-r', '-l', '-a', '-F', PASSWORD, stack.stateDir, stack.runDir]);
    assert.equal(kept.stdout, '');
    assert.ok(!stack.log().includes(PASSWORD));
    const { stdout } = await stack.sluice(['audit', '--no-pager', '-o', 'export']);
    assert.ok(stdout.length > 10_000 && !stdout.includes(PASSWORD));
    const logins = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'shop'";
    assert.ok(Number(await database.psql(logins)) >= SESSIONS * CONNECTIONS);
  });

  test('killed in the middle of writes, the daemon lets nothing through unrecorded', { timeout: 100_000 }, async () => {
    const rows = async () => Number(await database.psql('SELECT count(*) FROM done'));
    while ((await rows()) < 500);
    await stack.kill('SIGKILL');
    await Promise.all(agents.map((agent) => agent.until('refused', WRITERS)));
    const dead = await rows();
    assert.equal(await rows(), dead);
    await stack.restart();
    await Promise.all(agents.map((agent) => agent.until('back', WRITERS)));
    const { sessions } = (await stack.call('status')) as { sessions: number };
    assert.equal(sessions, SESSIONS);
    for (const agent of agents) agent.child.stdin!.end('stop\n');
    for (const agent of agents) {
      assert.equal((await agent.ended).status, 0);
      for (const { errors } of agent.said<{ errors: string[] }>('errors')) {
        for (const error of errors) assert.match(error, /refused|closed the connection|terminat|reset by peer/);
      }
    }
    const written = await database.psql('SELECT who, pid, n, trunc(extract(epoch FROM at) * 1000) FROM done');
    const recorded = new Map<string, Event>();
    for (const event of await events('TYPE=operation', 'VERB=INSERT')) recorded.set(event.text!, event);
    let count = 0;
    for (const line of written.split('\n')) {
      const [who, pid, n, at] = line.split('|');
      const event = recorded.get(`INSERT INTO done VALUES ('${who}', ${pid}, ${n})`);
      assert.ok(event !== undefined, `row ${line} has no event`);
      assert.equal(event.decision, 'allow');
      assert.equal(event.pid, Number(pid));
      assert.equal(event.subject, `local:${agents[Number(who!.slice(4))]!.account.name}`);
      assert.ok(event.time <= Number(at), `row ${line} is older than its event, of ${event.time}`);
      count++;
    }
    assert.ok(count > dead);
    assert.doesNotMatch(database.log(), /password authentication failed/);
    const verified = await stack.sluice(['verify']);
    assert.equal(verified.status, 0, verified.stdout + verified.stderr);
  });
});

/** Through the whole of sluice: sessions of one uid that different tokens stand behind, at a real PostgreSQL. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import type { Event } from '../../daemon/core/event.ts';
import type { Session } from '../../daemon/core/principal.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';
import { AUDIENCE, CLIENT, startProvider, type TestProvider } from './provider.ts';

const TABLE = 'CREATE TABLE people (name text, email text); INSERT INTO people VALUES ($$Ada$$, $$ada@shop.example$$);';
const READ = 'SELECT name, email FROM people;\n';

suite('OIDC through the whole of sluice', { skip: postgresMissing() ?? stackMissing() ?? false }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-tokens-'));
  let provider: TestProvider;
  let database: PostgresServer;
  let stack: Stack;

  before(async () => {
    provider = await startProvider();
    database = await startPostgres({ sql: TABLE });
    const base = { name: 'corp', issuer: provider.issuer, ca: provider.ca, audience: AUDIENCE, clientId: CLIENT };
    stack = await startStack({
      name: 'oidc',
      policy: policy(),
      config: { identity: { providers: [{ ...base, groupsClaim: 'groups', clockSkewSeconds: 0 }] } },
    });
  });

  after(async () => {
    await stack?.stop();
    await database?.stop();
    await provider?.close();
    rmSync(dir, { recursive: true });
  });

  const policy = () => `apiVersion: sluice/v1
identities:
  - {issuer: "${provider.issuer}", tokenGroups: [ai-agents, pii, writers]}
  - {user: sluice-agent, groups: [ai-agents, pii, writers]}
  - {user: root, groups: [dba]}
resources:
  db: {protocol: postgres, address: "127.0.0.1:${database.port}", tls: off, login: none}
rules:
  - {name: agents read, allow: [read, session], who: {groups: [ai-agents]}, on: db}
  - {name: a dba signs off, approve: [write], who: {groups: [writers]}, on: db, reviewers: {groups: [dba]}}
masks:
  - {on: db, columns: [public.people.email], unless: {groups: [pii]}}
`;

  const database_ = () => ({
    ...{ PGHOST: database.host, PGPORT: String(database.port), PGUSER: 'postgres', PGDATABASE: 'postgres' },
    PGSSLMODE: 'disable',
  });

  /** As the kubelet does it: written beside, then renamed. */
  async function put(name: string, groups: readonly string[], seconds = 600): Promise<string> {
    const path = join(dir, name);
    const exp = Math.floor(Date.now() / 1000) + seconds;
    writeFileSync(`${path}.new`, await provider.sign({ sub: name, groups, exp }), { mode: 0o600 });
    renameSync(`${path}.new`, path);
    return path;
  }

  /** psql in a session, which is asked again and again. */
  function client(tokenFile: string) {
    const child = stack.agent(['psql', '-XAt'], {
      env: { ...database_(), SLUICE_ID_TOKEN_FILE: tokenFile },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let said = '';
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    child.stdin!.on('error', () => {});
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    return {
      ended,
      said: () => said,
      send: (sql: string) => child.stdin!.write(sql),
      /** What it prints from here on, once that has what is wanted. */
      async until(wanted: RegExp): Promise<string> {
        for (const deadline = Date.now() + 60_000; !wanted.test(said); ) {
          assert.ok(Date.now() < deadline, `waited for ${wanted}, and it said: ${said}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        const all = said;
        said = '';
        return all;
      },
      end: () => child.stdin!.end(),
    };
  }

  const running = async () => (await stack.call('sessions.list')) as Session[];
  const events = async (...matches: string[]) =>
    (await stack.sluice(['audit', '-o', 'json', ...matches])).stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Event);

  test('two sessions of one uid with different groups, the same statement at the same moment: decided differently', {
    timeout: 120_000,
  }, async () => {
    const clients = [
      client(await put('ada', ['ai-agents', 'pii'])),
      client(await put('bob', ['ai-agents'])),
      client(await put('eve', [])),
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
    const sessions = await running();
    assert.equal(new Set(sessions.map(({ uid }) => uid)).size, 1);
    assert.deepEqual(sessions.map(({ principal }) => principal.subject).sort(), ['corp:ada', 'corp:bob', 'corp:eve']);
    const decided = (await events('TYPE=operation')).filter(({ text }) => text?.startsWith('SELECT name'));
    assert.deepEqual(
      decided.map(({ subject, decision, issuer, groups }) => [subject, decision, issuer, groups]).sort(),
      [
        ['corp:ada', 'allow', provider.issuer, ['ai-agents', 'pii']],
        ['corp:bob', 'allow', provider.issuer, ['ai-agents']],
        ['corp:eve', 'deny', provider.issuer, []],
      ],
    );
    for (const each of clients) each.end();
    await Promise.all(clients.map(({ ended }) => ended));
  });

  test('a token file that is renewed with other groups, and then no more: masked at once, held statements end, cut off', {
    timeout: 150_000,
  }, async () => {
    const path = await put('grace', ['ai-agents', 'pii', 'writers'], 30);
    const grace = client(path);
    grace.send(`${READ}\\echo done\n`);
    assert.match(await grace.until(/done/), /ada@shop\.example/);
    const before = await events('TYPE=session.renewed');
    await put('grace', ['ai-agents', 'writers'], 30);
    for (;;) {
      if ((await events('TYPE=session.renewed')).length > before.length) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    grace.send(`${READ}\\echo done\n`);
    assert.doesNotMatch(await grace.until(/done/), /ada@shop/, 'on the very connection that saw it before');
    grace.send("INSERT INTO people VALUES ('Grace');\n");
    await grace.until(/held for approval/);
    const [ended] = await Promise.all([grace.until(/FATAL/), grace.ended]);
    assert.match(ended, /FATAL: {2}sluice: the identity corp:grace of this session has ended/);
    assert.match(ended, /IDENTITY_EXPIRED/);
    assert.match(ended, /HINT: {2}put a new token where the session got its own/);
    assert.equal(await database.psql('SELECT count(*) FROM people'), '1');
    const approvals = (await stack.call('approvals.list', { all: true })) as { state: string }[];
    assert.deepEqual(
      approvals.map(({ state }) => state),
      ['withdrawn'],
    );
    assert.equal((await events('TYPE=session.expired')).length, 1);
  });

  test('new connections of a session whose identity has ended are told so; a new token in the file revives it', {
    timeout: 150_000,
  }, async () => {
    const path = await put('linus', ['ai-agents'], 12);
    const again =
      'until psql -XAtc "SELECT name FROM people" 2>&1; do sleep 0.2; done; psql -XAtc "SELECT 2 * 21" 2>&1';
    const agent = stack.run(
      ['sh', '-c', `sleep 60 & while psql -XAtc "SELECT 1"; do sleep 0.2; done; echo gone; ${again}; kill %1`],
      {
        env: { ...database_(), SLUICE_ID_TOKEN_FILE: path },
      },
    );
    const expired = async () => (await running()).some(({ identity }) => identity?.expiredAt !== undefined);
    while (!(await expired())) await new Promise((resolve) => setTimeout(resolve, 100));
    const { stdout } = await stack.sluice(['sessions', 'running']);
    assert.match(stdout, /corp:linus .* ended \d+ s ago/);
    await put('linus', ['ai-agents'], 600);
    const { stdout: said, stderr } = await agent;
    assert.match(stderr + said, /FATAL: {2}sluice: the identity corp:linus of this session has ended/);
    assert.match(said, /gone[\s\S]*^Ada\n42$/m);
  });

  test('sluice login in a terminal, then a session without any token; logged out, it can do nothing', {
    timeout: 120_000,
  }, async () => {
    const refused = await stack.sluice(['run', '--user', 'sluice-agent', '--', 'true']);
    assert.equal(refused.status, 125);
    assert.match(
      refused.stderr,
      /asks for a verified identity, and none was given \(IDENTITY_REQUIRED\)\n {2}run sluice login/,
    );
    // As the user whose sessions they will be.
    const cli = join(import.meta.dirname, '../../build/js/daemon/bin/sluice.js');
    const env = { PATH: process.env.PATH, SLUICE_RUN_DIR: stack.runDir };
    const uid = Number(/^sluice-agent:[^:]*:(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'))![1]);
    const login = spawn(process.execPath, [cli, 'login'], { env, stdio: ['ignore', 'pipe', 'inherit'], ...away(uid) });
    let said = '';
    const code = new Promise<string>((resolve) => {
      login.stdout!.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        const address = /or open +(\S+)/.exec(said)?.[1];
        if (address !== undefined) resolve(address);
      });
    });
    await provider.decide(await code, 'ada');
    await new Promise((resolve) => login.once('close', resolve));
    assert.match(said, /Logged in as corp:ada, in ai-agents\.\n$/);
    const { stdout, status } = await stack.run(['psql', '-XAtc', 'SELECT name FROM people'], { env: database_() });
    assert.deepEqual([stdout, status], ['Ada\n', 0]);
  });

  test('no token in the log, the state, the audit, a command line or the environment of an agent', {
    timeout: 120_000,
  }, async () => {
    const path = await put('mallory', ['ai-agents']);
    const agent = stack.agent(['sh', '-c', 'env; for p in /proc/[0-9]*/cmdline; do tr "\\0" " " <$p; done; cat'], {
      env: {
        SLUICE_ID_TOKEN_FILE: path,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'eyJ-of-the-runner',
        ACTIONS_ID_TOKEN_REQUEST_URL: 'https://x',
        SLUICE_ID_TOKEN: 'eyJ-spare',
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let said = '';
    agent.stdout!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    while (!/keeper\.js/.test(said)) await new Promise((resolve) => setTimeout(resolve, 20));
    agent.stdin!.end();
    await new Promise((resolve) => agent.once('close', resolve));
    assert.match(said, /SLUICE_SESSION=/);
    assert.doesNotMatch(said, /eyJ|SLUICE_ID_TOKEN|ACTIONS_ID/);
    assert.doesNotMatch(stack.log(), /eyJ/);
    assert.doesNotMatch((await stack.sluice(['audit', '-o', 'json'])).stdout, /eyJ/);
    for (const name of readdirSync(stack.stateDir, { recursive: true, withFileTypes: true })) {
      if (name.isFile()) assert.doesNotMatch(readFileSync(join(name.parentPath, name.name), 'latin1'), /eyJ[\w-]{20}/);
    }
  });

  test('a token is only taken for a session of the caller, and renews only sessions of the caller', {
    timeout: 60_000,
  }, async () => {
    const token = await provider.sign({ sub: 'ada' });
    const asNobody = (method: string, params: object) =>
      `import { ControlClient } from '${import.meta.dirname}/../../build/js/daemon/control/client.js';
       const c = await ControlClient.connect('${stack.runDir}/daemon/control.sock');
       console.log(await c.call('${method}', ${JSON.stringify(params)}).catch((e) => e.code)); process.exit();`;
    const ask = async (method: string, params: object) => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', asNobody(method, params)], {
        ...{ stdio: ['ignore', 'pipe', 'inherit'], ...away(65_534) },
      });
      let out = '';
      child.stdout!.setEncoding('utf8').on('data', (text: string) => {
        out += text;
      });
      await new Promise((resolve) => child.once('close', resolve));
      return out.trim();
    };
    assert.equal(await ask('session.open', { command: ['x'], uid: 1, identity: token }), 'NOT_ALLOWED');
    const ada = client(await put('ada', ['ai-agents']));
    ada.send('\\echo ready\n');
    await ada.until(/ready/);
    const session = (await running()).find(({ principal }) => principal.subject === 'corp:ada')!;
    assert.equal(await ask('session.renew', { id: session.id, token }), 'SESSION_UNKNOWN');
    ada.end();
    await ada.ended;
  });
});

/** Options of spawn that make a child of another user, who may be unable to reach this checkout by its own rights. */
function away(uid: number) {
  return { uid, gid: uid };
}

/** A whole sluice that takes the tokens of a real provider, a database behind it, and who connects through it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ControlClient } from '../../daemon/control/client.ts';
import type { Event } from '../../daemon/core/event.ts';
import type { Session } from '../../daemon/core/principal.ts';
import { startPostgres } from '../harness/postgres.ts';
import { startStack } from '../harness/stack.ts';
import { AUDIENCE, CLIENT, startProvider } from './provider.ts';

const TABLE = 'CREATE TABLE people (name text, email text); INSERT INTO people VALUES ($$Ada$$, $$ada@shop.example$$);';

export type Site = Awaited<ReturnType<typeof startSite>>;

export async function startSite(name: string) {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-tokens-'));
  const provider = await startProvider();
  const database = await startPostgres({ sql: TABLE });
  const { issuer, ca } = provider;
  const settings = { name: 'corp', issuer, ca, audience: AUDIENCE, clientId: CLIENT, groupsClaim: 'groups' };
  const policy = `apiVersion: sluice/v1
identities:
  - {issuer: "${issuer}", tokenGroups: [ai-agents, pii, writers]}
  - {issuer: "${issuer}/_services/token", claims: {repository: shop/agents}, groups: [ai-agents]}
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
  // As GitHub has it, of whose tokens no claim is a group.
  const runner = { ...{ name: 'ci', ca, audience: AUDIENCE }, issuer: `${issuer}/_services/token` };
  const identity = { providers: [{ ...settings, clockSkewSeconds: 0 }, runner] };
  const stack = await startStack({ name, policy, config: { identity } });
  const env = {
    ...{ PGHOST: database.host, PGPORT: String(database.port), PGUSER: 'postgres', PGDATABASE: 'postgres' },
    PGSSLMODE: 'disable',
  };

  return {
    ...{ provider, database, stack, env },

    /** A token file, written as the kubelet does it: beside, then renamed. */
    async put(who: string, groups: readonly string[], seconds = 600): Promise<string> {
      const path = join(dir, who);
      const exp = Math.floor(Date.now() / 1000) + seconds;
      writeFileSync(`${path}.new`, await provider.sign({ sub: who, groups, exp }), { mode: 0o600 });
      renameSync(`${path}.new`, path);
      return path;
    },

    /** psql in a session of its own. */
    client(tokenFile: string) {
      const child = stack.agent(['psql', '-XAt'], {
        env: { ...env, SLUICE_ID_TOKEN_FILE: tokenFile },
        stdio: ['pipe', 'pipe', 'pipe'],
      });
      const talk = listen(child.stdout!, child.stderr!);
      child.stdin!.on('error', () => {});
      const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
      return { ...talk, ended, send: (sql: string) => child.stdin!.write(sql), end: () => child.stdin!.end() };
    },

    running: async () => (await stack.call('sessions.list')) as Session[],

    async events(type: string): Promise<Event[]> {
      const daemon = await ControlClient.connect(join(stack.runDir, 'daemon/control.sock'));
      const found: Event[] = [];
      for await (const event of daemon.stream('audit.query', { matches: [[`TYPE=${type}`]] }))
        found.push(event as Event);
      daemon.close();
      return found;
    },

    /** Runs a module as another user, who need not be able to reach this checkout: it becomes that user after `imports`. */
    as(user: string, imports: string, script: string) {
      const [, uid, gid] = new RegExp(`^${user}:[^:]*:(\\d+):(\\d+):`, 'm').exec(readFileSync('/etc/passwd', 'utf8'))!;
      const become = `process.setgroups([]); process.setgid(${gid}); process.setuid(${uid});`;
      const connect = `const connect = () => ControlClient.connect('${stack.runDir}/daemon/control.sock');`;
      const client = `import { ControlClient } from './daemon/control/client.ts';`;
      const argv = ['--input-type=module', '-e', `${client} ${imports} ${become} ${connect} ${script}`];
      const cwd = join(import.meta.dirname, '../..');
      const child = spawn(process.execPath, argv, { cwd, stdio: ['ignore', 'pipe', 'inherit'] });
      const ended = new Promise((resolve) => child.once('close', resolve));
      return { ...listen(child.stdout!), ended };
    },

    async stop() {
      await stack.stop();
      await database.stop();
      await provider.close();
      rmSync(dir, { recursive: true });
    },
  };
}

function listen(...streams: readonly NodeJS.ReadableStream[]) {
  let said = '';
  for (const stream of streams)
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  return {
    said: () => said,
    /** What it has said since the last look, once that has what is wanted. */
    async until(wanted: RegExp): Promise<string> {
      for (const deadline = Date.now() + 60_000; !wanted.test(said); ) {
        assert.ok(Date.now() < deadline, `waited for ${wanted}, and it said: ${said}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      const all = said;
      said = '';
      return all;
    },
  };
}

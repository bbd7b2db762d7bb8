/**
 * Two equal databases, one reached directly and one through sluice under a policy that allows everything. A client that
 * says the same in front of both can't tell the difference. Two clusters that get the same statements in the same order
 * hand out the same OIDs and transaction numbers, so those are compared too.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { type Finished, finished } from '../harness/child.ts';
import { type PostgresOptions, type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const AGENT = 'sluice-agent';

/** Where this checkout is for clients, which may be unable to reach it where it lies. */
export const APP = '/mnt';

export interface BothOptions {
  readonly postgres?: PostgresOptions;
  /** Lines of the resource, after protocol and address. */
  readonly resource?: readonly string[];
}

export interface ClientOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Typed further, each text once the client printed the word before it. */
  readonly typed?: readonly (readonly [word: string, text: string])[];
}

export interface Both {
  readonly direct: PostgresServer;
  /** The one behind sluice. */
  readonly behind: PostgresServer;
  readonly stack: Stack;
  /** Runs the client in front of both, at once, as the same account. */
  run(argv: readonly string[], options?: ClientOptions): Promise<{ direct: Finished; sluice: Finished }>;
  /** As run(), and both have to have said and done the same; answers what that was. */
  same(argv: readonly string[], options?: ClientOptions): Promise<Finished>;
  stop(): Promise<void>;
}

export function bothMissing(): string | null {
  return postgresMissing() ?? stackMissing();
}

export async function startBoth(options: BothOptions = {}): Promise<Both> {
  const [direct, behind] = await Promise.all([startPostgres(options.postgres), startPostgres(options.postgres)]);
  let stack: Stack;
  try {
    stack = await startStack({ name: 'compat', policy: policyFor(behind.port, options.resource ?? ['tls: off']) });
  } catch (error) {
    await Promise.all([direct.stop(), behind.stop()]);
    throw error;
  }
  const run: Both['run'] = async (argv, client = {}) => {
    const account = ['setpriv', '--reuid', AGENT, '--regid', AGENT, '--clear-groups', '--'];
    const [one, other] = await Promise.all([
      runClient([...account, ...argv], direct, client),
      runClient([...stack.agentPrefix, ...argv], behind, client),
    ]);
    return { direct: one, sluice: other };
  };
  return {
    direct,
    behind,
    stack,
    run,
    async same(argv, client) {
      const said = await run(argv, client);
      const [one, other] = [said.direct, said.sluice].map((each) => ({
        status: each.status,
        stdout: each.stdout.split('\n'),
        stderr: each.stderr.split('\n'),
      }));
      assert.deepEqual(other, one);
      return said.direct;
    },
    async stop() {
      await stack.stop();
      await Promise.all([direct.stop(), behind.stop()]);
    },
  };
}

function policyFor(port: number, resource: readonly string[]): string {
  return `apiVersion: sluice/v1
identities:
  - user: ${AGENT}
    groups: [ai-agents]
resources:
  db:
    protocol: postgres
    address: 127.0.0.1:${port}
    also: ["[::1]:${port}"]
    ${resource.join('\n    ')}
rules:
  - name: everything
    allow: everything
    who: {groups: [ai-agents]}
    on: db
    breadth: accepted
`;
}

/** With the checkout mounted at APP, for this client alone, and what differs by nature made equal: ports and pids. */
async function runClient(argv: readonly string[], server: PostgresServer, options: ClientOptions): Promise<Finished> {
  const mounted = `mount --bind ${ROOT} ${APP} && exec "$@"`;
  const env = {
    PATH: '/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin',
    LANG: 'C.UTF-8',
    TERM: 'dumb',
    PGHOST: server.host,
    PGPORT: String(server.port),
    PGUSER: 'postgres',
    PGDATABASE: 'postgres',
    PGSSLMODE: 'disable',
    ...options.env,
  };
  const child = spawn('unshare', ['-m', 'sh', '-c', mounted, 'sh', ...argv], {
    cwd: '/',
    env,
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  child.stdin.on('error', () => {});
  child.stdin.write(options.input ?? '');
  type(child, options.typed ?? []);
  const end = await finished(child);
  const plain = (text: string) =>
    text
      .replaceAll(String(server.port), 'PORT')
      .replaceAll(/(server process with PID )\d+/g, '$1PID')
      .replaceAll(/^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}/gm, 'TIME')
      .replaceAll(/^(\\(?:un)?restrict) \w+/gm, '$1 KEY')
      .replaceAll(server.dir, 'DIR');
  return { status: end.status, stdout: plain(end.stdout), stderr: plain(end.stderr) };
}

function type(child: ChildProcess, steps: readonly (readonly [string, string])[]): void {
  const giveUp = setTimeout(() => child.kill('SIGKILL'), 60_000);
  child.once('exit', () => clearTimeout(giveUp));
  let next = 0;
  let text = '';
  const go = (chunk: Buffer | string) => {
    text += chunk;
    for (let step = steps[next]; step !== undefined && text.includes(step[0]); step = steps[next]) {
      text = text.slice(text.indexOf(step[0]) + step[0].length);
      child.stdin!.write(step[1]);
      next++;
    }
    if (next >= steps.length && !child.stdin!.writableEnded) child.stdin!.end();
  };
  child.stdout!.on('data', go);
  child.stderr!.on('data', go);
  go('');
}

/** A client script of this folder. */
export function script(name: string): string {
  return readFileSync(new URL(`clients/${name}`, import.meta.url), 'utf8');
}

/** What every client of this folder finds. */
export const schema = readFileSync(new URL('schema.sql', import.meta.url), 'utf8');

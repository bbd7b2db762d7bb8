/**
 * An agent that wants out: a shell, compilers and clients, the real address of the database and a login of its own there,
 * an hour's list of tricks, and all that sluice-probe knows. Nothing reaches anything but through sluiced, and every
 * attempt that reached sluiced is an event.
 */
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { tryAll } from '../../daemon/cli/doctor/session.ts';
import { openWorld } from '../../daemon/cli/doctor/world.ts';
import type { Event } from '../../daemon/core/event.ts';
import { command } from '../harness/child.ts';
import { localPolicy } from '../harness/policy.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';

const HERE = import.meta.dirname;
const PROBE = join(HERE, '../../build/native/sluice-probe');
const SECRET = 'real-password-5433-of-the-shop';

const RULES = `  - name: agents read
    allow: [read, session]
    who: {groups: [agents]}
    on: db
    tables: [public.people]
`;

/** Addresses of the tricks, 127.77.KIND.NUMBER, and a listener on each of them. */
const KINDS = { tcp: 0, udp: 1 } as const;
const NUMBERS = 60;

describe('a hostile agent', { skip: stackMissing() ?? postgresMissing() ?? false }, () => {
  let database: PostgresServer;
  let stack: Stack;
  let port: number;
  const listeners: (Server | Socket)[] = [];
  /** What came to the listeners: it should be nothing. */
  const reached: string[] = [];
  let script: string[];
  let said: string;

  before(async () => {
    database = await startPostgres({
      conf: ['log_connections = on'],
      hba: [
        'local all mole scram-sha-256',
        'host all mole samehost scram-sha-256',
        'host all shop samehost scram-sha-256',
      ],
      sql: `CREATE TABLE people (id int); INSERT INTO people VALUES (1);
        CREATE ROLE mole SUPERUSER LOGIN PASSWORD 'own-password'; CREATE ROLE shop LOGIN PASSWORD '${SECRET}';
        GRANT SELECT ON people TO shop`,
    });
    const credential = join(database.dir, 'shop.credential');
    writeFileSync(credential, JSON.stringify({ user: 'shop', password: SECRET }), { mode: 0o600 });
    stack = await startStack({
      policy: localPolicy(database.port, {
        resource: ['tls: off', 'login: none', `credential: {file: ${credential}}`],
        rules: RULES,
      }),
      name: 'hostile',
      daemonReads: [credential],
    });
    port = await listen(listeners, reached);
    const tools = join(stack.dir, 'tools');
    mkdirSync(tools, { mode: 0o755 });
    for (const name of ['agent.sh', 'connect.c']) copyFileSync(join(HERE, name), join(tools, name));
    chmodSync(join(tools, 'agent.sh'), 0o755);
    const world = [port, database.port, database.socketDir, stack.runDir, stack.stateDir, credential];
    script = [join(tools, 'agent.sh'), ...world.map(String), join(tools, 'connect.c'), String(stack.daemon.pid)];
  });
  after(async () => {
    for (const each of listeners) each.close();
    await stack?.stop();
    await database?.stop();
  });

  const own = (host: string) =>
    command(
      ['psql', '-XAtc', 'SELECT session_user', '-h', host, '-p', String(database.port), '-U', 'mole', 'postgres'],
      {
        env: { PATH: process.env.PATH, PGPASSWORD: 'own-password', PGSSLMODE: 'disable' },
      },
    );
  const connectionsAsMole = () => database.log().match(/connection authorized: user=mole/g)?.length ?? 0;
  test('has a login that works, were it outside', async () => {
    assert.equal((await own('127.0.0.1')).stdout, 'mole\n');
    assert.equal((await own(database.socketDir)).stdout, 'mole\n');
    assert.equal(connectionsAsMole(), 2);
    // And the listeners hear.
    const knock = await command([
      'bash',
      '-c',
      `echo x >/dev/tcp/127.77.0.1/${port}; echo x >/dev/udp/127.77.1.1/${port}`,
    ]);
    assert.equal(knock.status, 0, knock.stderr);
    while (reached.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(reached.splice(0).sort(), ['TCP 127.77.0.1', 'UDP 127.77.1.1']);
  });

  test('reaches nothing by any of its tricks', async () => {
    const result = await stack.run(script, { env: { HOME: '/tmp' } });
    said = result.stdout;
    assert.equal(result.status, 0, `${result.stdout}\n${result.stderr}`);
    assert.ok(said.split('\n').filter((line) => /^(tcp|udp) \d+ /.test(line)).length > 30, said);
    assert.deepEqual(reached, []);
  });

  test('comes to the database through sluiced alone, as whom the policy names', async () => {
    assert.match(said, /^ {2}as shop$/m);
    assert.equal((await database.psql('SELECT count(*) FROM people')).trim(), '1');
    assert.doesNotMatch(said, /unix as/);
    assert.equal(connectionsAsMole(), 2, 'the two from outside');
  });

  test('learns no secret, changes no policy, stops no part', async () => {
    assert.ok(!said.includes(SECRET));
    assert.doesNotMatch(said, /^ {2}(written|killed)$/m);
    const status = (await stack.call('status')) as {
      pid: number;
      enforcement: { enforcing: boolean; missing: string };
    };
    assert.equal(status.enforcement.enforcing, true, status.enforcement.missing);
    assert.equal(stack.daemon.exitCode, null);
  });

  test('leaves an event for every attempt that reached sluiced', async () => {
    const { stdout } = await stack.sluice(['audit', '-o', 'json']);
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Event);
    const denied = new Set(events.filter(({ decision }) => decision === 'deny').map(({ address }) => address));
    const tricks = [...said.matchAll(/^tcp (\d+) (.*)$/gm)].map(([, number, name]) => [number, name] as const);
    assert.deepEqual(
      tricks.filter(([number]) => !denied.has(`127.77.0.${number}`)),
      [],
      'each TCP trick has an address of its own',
    );
    const operations = events.filter(({ type, decision }) => type === 'operation' && decision === 'deny');
    for (const text of [
      'DROP TABLE',
      'TO PROGRAM',
      'pg_read_file',
      'CREATE EXTENSION',
      'SESSION AUTHORIZATION',
      'lo_import',
    ]) {
      assert.ok(
        operations.some((event) => event.text?.includes(text)),
        text,
      );
    }
    assert.ok(events.every(({ type, session }) => !type.startsWith('flow.') || session !== undefined));
  });

  test('gets nowhere by what sluice-probe knows either', async () => {
    const world = await openWorld(PROBE, null);
    try {
      const { tries } = await tryAll(stack.agentPrefix, world, [
        `daemon=${((await stack.call('status')) as { port: number }).port}`,
      ]);
      assert.ok(tries.length > 100);
      const out = new Set([...world.saw.keys(), ...tries.filter(({ escaped }) => escaped).map(({ name }) => name)]);
      assert.deepEqual([...out], []);
    } finally {
      await world.close();
    }
  });
});

/** On every address that tricks go to, one port for TCP and UDP. */
async function listen(listeners: (Server | Socket)[], reached: string[]): Promise<number> {
  let port = 0;
  for (let number = 1; number <= NUMBERS; number++) {
    const address = `127.77.${KINDS.tcp}.${number}`;
    const server = createServer((socket) => {
      reached.push(`TCP ${address}`);
      socket.on('error', () => {}).destroy();
    });
    listeners.push(server.listen(port, address));
    await once(server, 'listening');
    port = (server.address() as { port: number }).port;
  }
  for (let number = 1; number <= NUMBERS; number++) {
    const address = `127.77.${KINDS.udp}.${number}`;
    const socket = createSocket('udp4', () => reached.push(`UDP ${address}`));
    listeners.push(socket.bind(port, address));
    await once(socket, 'listening');
  }
  return port;
}

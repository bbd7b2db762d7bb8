/**
 * An agent that wants out: a shell, compilers and clients, the real address of the database and a login of its own there,
 * an hour's list of tricks, and all that sluice-probe knows. Nothing reaches anything but through sluiced, and every
 * attempt is an event.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
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
const KINDS = { tcp: 0, udp: 1, kernel: 1 } as const;
const NUMBERS = 60;
/** The kernel counts for about a second, and the daemon asks once a second. Milliseconds, with patience. */
const RECORDED_WITHIN = 20_000;

interface Trick {
  /** `KIND NAME` of agent.sh. */
  readonly name: string;
  readonly address: string;
}

/**
 * Refused by the permissions of UNIX, before the kernel asks a hook of ours. Of nothing that an agent may not even open is
 * there a record: the host's own audit is for that.
 */
const PERMISSION: Readonly<Record<string, string>> = {
  'udp raw': 'a raw socket takes CAP_NET_RAW, which the kernel asks for first (inet_create in net/ipv4/af_inet.c)',
  'kernel node': 'making a device node takes CAP_MKNOD, which the kernel asks for first (vfs_mknod in fs/namei.c)',
  'file credential': 'the file is the daemon’s alone (mode 0600)',
  'file state': 'the directory is the daemon’s alone (mode 0700)',
  'file policy': 'the directory is root’s (mode 0755)',
  'file daemon': 'the daemon is of another account, which is asked before any module of security',
};
/** The same, where no BPF LSM is asked on the way to it. */
const PINS = {
  name: 'file pins',
  hook: 'lsm_inode_permission',
  reason: 'the directory of the pins is root’s (mode 0700)',
};

describe('a hostile agent', { skip: stackMissing() ?? postgresMissing() ?? false }, () => {
  let database: PostgresServer;
  let stack: Stack;
  let port: number;
  const listeners: (Server | Socket)[] = [];
  /** What came to the listeners: it should be nothing. */
  const reached: string[] = [];
  let script: string[];
  let said: string;
  let pid: number;
  let turned: number;
  let device: string;

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
    // As /dev/net/tun is on many hosts: not its mode has to hold.
    device = join(tools, 'tun');
    execFileSync('mknod', ['-m', '666', device, 'c', '10', '200']);
    ({ pid, port: turned } = (await stack.call('status')) as { pid: number; port: number });
    const world = [port, database.port, database.socketDir, stack.runDir, stack.stateDir, credential];
    script = [
      join(tools, 'agent.sh'),
      ...world.map(String),
      join(tools, 'connect.c'),
      String(pid),
      String(turned),
      device,
    ];
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
    assert.ok(said.split('\n').filter((line) => /^(tcp|udp|kernel) \d+ /.test(line)).length > 40, said);
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

  const events = async () => {
    const { stdout } = await stack.sluice(['audit', '-o', 'json']);
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Event);
  };

  /** What an event says that belongs to this trick and to no other. */
  function belongs({ name, address }: Trick): (event: Event) => boolean {
    const denied = (event: Event) => event.decision === 'deny' && event.address === address;
    const refused = (message: RegExp) => (event: Event) =>
      event.error === 'KERNEL_REFUSED' && event.decision === 'deny' && message.test(event.message ?? '');
    const asked = (decision: string, text: string) => (event: Event) =>
      event.type === 'operation' && event.decision === decision && event.text?.includes(text) === true;
    const socket = (path: string) => (event: Event) => event.error === 'SOCKET_REFUSED' && event.address === path;
    const by =
      (...programs: string[]) =>
      (event: Event) =>
        event.error === 'KERNEL_REFUSED' && programs.some((program) => event.exe?.endsWith(`/${program}`) === true);
    const own: Readonly<Record<string, (event: Event) => boolean>> = {
      'udp raw': refused(/socket\(AF_INET, SOCK_RAW/),
      'udp packet': refused(/ socket\(AF_PACKET\)$/),
      'udp old-gate': refused(/ of 32-bit x86$/),
      'udp x32': refused(/ of x32$/),
      'kernel mptcp': refused(/ socket\(AF_INET, SOCK_STREAM, IPPROTO_MPTCP\)$/),
      'kernel interface': refused(/ setsockopt\(SOL_SOCKET, SO_BINDTODEVICE\)$/),
      'kernel source-route': refused(/ setsockopt\(SOL_IP, IP_OPTIONS\)$/),
      'kernel group': refused(/ setsockopt\(SOL_IP, IP_ADD_MEMBERSHIP\)$/),
      'kernel port': (event) => event.verb === 'bind' && event.address === '127.0.0.2' && event.port === turned,
      'kernel device': refused(/ opening the character device 10:200 \(\/dev\/net\/tun\) for reading$/),
      'kernel node': refused(/ making a node of the character device 10:200 /),
      'sql select': asked('allow', "SELECT 'as ' ||"),
      'sql drop': asked('deny', 'DROP TABLE people'),
      'sql program': asked('deny', 'TO PROGRAM'),
      'sql file': asked('deny', 'pg_read_file'),
      'sql dblink': asked('deny', 'CREATE EXTENSION'),
      'sql role': asked('deny', 'SESSION AUTHORIZATION'),
      'sql large': asked('deny', 'lo_import'),
      'unix psql': socket(join(database.socketDir, `.s.PGSQL.${database.port}`)),
      'file credential': by('cat'),
      'file state': by('cat', 'find'),
      'file policy': by('sh', 'dash'),
      'file pins': by('rm'),
      'file daemon': (event) =>
        by('sh', 'dash')(event) || event.verb === 'task_kill' || event.verb === 'ptrace_access_check',
      'file control': socket(join(stack.runDir, 'daemon/control.sock')),
      'file helper': socket(join(stack.runDir, 'helper.sock')),
    };
    return own[name] ?? denied;
  }

  test('leaves an event for every attempt', async () => {
    // Refusals are taken in their order: when this one is on record, so is all that came before.
    const marker = `127.77.1.${NUMBERS}`;
    const send = `import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('${marker}', ${port}))`;
    await stack.run(['python3', '-c', send]);
    let all = await events();
    for (const end = performance.now() + RECORDED_WITHIN; !all.some(({ address }) => address === marker); ) {
      assert.ok(performance.now() < end, 'not even the last attempt is on record');
      all = await events();
    }

    const { attached } = ((await stack.call('status')) as { enforcement: { attached: string[] } }).enforcement;
    const permission = new Set(Object.keys(PERMISSION));
    if (!attached.includes(PINS.hook)) permission.add(PINS.name);
    const tricks = [...said.matchAll(/^(tcp|udp|kernel|sql|unix|file) (\d+) (.*)$/gm)].map(
      ([, kind = '', number, name]): Trick => ({
        name: `${kind} ${name}`,
        address: `127.77.${KINDS[kind as keyof typeof KINDS] ?? ''}.${number}`,
      }),
    );
    assert.equal(new Set(tricks.map(({ name }) => name)).size, tricks.length, 'each has a name of its own');
    const recorded = new Set(tricks.filter((trick) => all.some(belongs(trick))).map(({ name }) => name));
    const names = tricks.map(({ name }) => name);
    assert.deepEqual(
      names.filter((name) => !recorded.has(name) && !permission.has(name)),
      [],
      'each trick is on record, or stands in a list that says why not',
    );
    assert.deepEqual(
      names.filter((name) => recorded.has(name) && permission.has(name)),
      [],
      'what stands in a list is not on record',
    );
    for (const name of permission) assert.ok(names.includes(name), `${name} is tried`);
    // Whoever it was, it was in a session, and a process of it where the kernel knew one.
    const refused = all.filter(({ error }) => error === 'KERNEL_REFUSED');
    for (const event of refused) {
      assert.ok(event.session !== undefined && event.cgroup !== undefined, JSON.stringify(event));
      assert.ok(event.verb === 'packet' || (event.pid! > 0 && event.uid! > 0), JSON.stringify(event));
    }
    assert.ok(all.every(({ type, session }) => !type.startsWith('flow.') || session !== undefined));
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

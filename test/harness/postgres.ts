/**
 * A real PostgreSQL server of a test's own: a cluster in a temporary folder on a free loopback port, stopped by its pid.
 * The server refuses to run as root, so as root it is started as the account `postgres` that Debian's package makes.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const START_TRIES = 3;

export interface PostgresOptions {
  /** Lines of postgresql.conf, e.g. `wal_level = logical`. */
  readonly conf?: readonly string[];
  /** Lines of pg_hba.conf, before the last ones, which trust everybody on the loopback. */
  readonly hba?: readonly string[];
  /** PEM. Absent: no TLS. `ca`: issuer of client certificates. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca?: string };
  /** SQL run as superuser in database postgres once the server is up. */
  readonly sql?: string;
  /** Before the server's command (root only): into a network namespace. */
  readonly enter?: readonly string[];
}

export interface PostgresServer {
  readonly host: '127.0.0.1';
  readonly port: number;
  /** Superuser; may always come over the UNIX socket without a password. */
  readonly user: 'postgres';
  readonly database: 'postgres';
  /** Folder of the UNIX socket: `host=<socketDir> port=<port>`. */
  readonly socketDir: string;
  /** Temporary folder of everything. Files in it can be read by the server's account. */
  readonly dir: string;
  /** Account of the server process. */
  readonly uid: number;
  readonly pid: number;
  /** Runs SQL as superuser through psql; answers its unaligned output without the final newline. Rejects on any SQL error. */
  psql(sql: string, database?: string): Promise<string>;
  /** What the server logged so far. */
  log(): string;
  /** Stops at once, without a checkpoint, and removes the folder. */
  stop(): Promise<void>;
}

/** Why no server can be started here, or null. For `test(…, { skip: postgresMissing() ?? false })`. */
export function postgresMissing(): string | null {
  if (binaries() === null) return 'PostgreSQL server (initdb, postgres) is not installed';
  if (process.getuid?.() === 0 && account() === null) return 'there is no account "postgres" to run the server as';
  return null;
}

export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const missing = postgresMissing();
  if (missing !== null) throw new Error(missing);
  const bin = binaries()!;
  const as = account();
  const dir = mkdtempSync(join(tmpdir(), 'sluice-pg-'));
  const own = (path: string, mode: number) => {
    if (as !== null) chownSync(path, as.uid, as.gid);
    chmodSync(path, mode);
  };
  own(dir, 0o755);
  const data = join(dir, 'data');
  const spawnAs = { ...as, cwd: dir, env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C.UTF-8', TZ: 'UTC' } };
  await run(
    join(bin, 'initdb'),
    [
      '-D',
      data,
      '-U',
      'postgres',
      '-A',
      'trust',
      '--encoding=UTF8',
      '--locale=C.UTF-8',
      '--no-sync',
      '--no-instructions',
    ],
    spawnAs,
  ).catch((error) => {
    rmSync(dir, { recursive: true, force: true });
    throw error;
  });

  const conf = [
    'fsync = off',
    'synchronous_commit = off',
    'full_page_writes = off',
    'autovacuum = off',
    "listen_addresses = '127.0.0.1, ::1'",
    `unix_socket_directories = '${dir}'`,
    'shared_buffers = 32MB',
    'max_connections = 100',
    "timezone = 'UTC'",
    'logging_collector = off',
  ];
  if (options.tls !== undefined) {
    const files = { 'server.crt': options.tls.cert, 'server.key': options.tls.key, 'ca.crt': options.tls.ca };
    for (const [name, pem] of Object.entries(files)) {
      if (pem === undefined) continue;
      writeFileSync(join(dir, name), pem);
      own(join(dir, name), 0o600);
    }
    conf.push(
      'ssl = on',
      `ssl_cert_file = '${join(dir, 'server.crt')}'`,
      `ssl_key_file = '${join(dir, 'server.key')}'`,
    );
    if (options.tls.ca !== undefined) conf.push(`ssl_ca_file = '${join(dir, 'ca.crt')}'`);
  }
  // Not postgresql.auto.conf, which ALTER SYSTEM rewrites.
  appendFileSync(join(data, 'postgresql.conf'), [...conf, ...(options.conf ?? [])].join('\n').concat('\n'));
  writeFileSync(
    join(data, 'pg_hba.conf'),
    [
      'local all postgres trust',
      ...(options.hba ?? []),
      'local all all trust',
      'host all all samehost trust',
      'host replication all samehost trust',
      '',
    ].join('\n'),
  );

  let log = '';
  let child: ChildProcess | undefined;
  let port = 0;
  for (let tries = 1; child === undefined; tries++) {
    port = await freePort();
    // When the test itself is killed, the kernel stops the server.
    const become = as === null ? [] : ['--reuid', String(as.uid), '--regid', String(as.gid), '--clear-groups'];
    const words = ['setpriv', ...become, '--pdeathsig', 'QUIT', join(bin, 'postgres'), '-D', data, '-p', String(port)];
    const argv = [...(options.enter ?? []), ...words];
    // Not in our process group: Ctrl-C at a terminal would stop the server before those that use it.
    const started = spawn(argv[0]!, argv.slice(1), {
      cwd: dir,
      env: spawnAs.env,
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    const up = await new Promise<boolean>((resolve) => {
      started.stderr!.setEncoding('utf8').on('data', (text: string) => {
        log += text;
        if (log.includes('database system is ready to accept connections')) resolve(true);
      });
      started.once('exit', () => resolve(false));
    });
    if (up) child = started;
    else if (tries >= START_TRIES || !log.includes('could not bind')) {
      rmSync(dir, { recursive: true, force: true });
      throw new Error(`PostgreSQL did not start:\n${log}`);
    } else log = '';
  }
  const server = child;
  const atExit = () => {
    server.kill('SIGQUIT');
    rmSync(dir, { recursive: true, force: true });
  };
  process.once('exit', atExit);

  const psql = async (sql: string, database = 'postgres') => {
    const args = [
      '-X',
      '-q',
      '-A',
      '-t',
      '-v',
      'ON_ERROR_STOP=1',
      '-h',
      dir,
      '-p',
      String(port),
      '-U',
      'postgres',
      '-d',
      database,
      '-f',
      '-',
    ];
    const running = run('psql', args, { maxBuffer: 64 << 20 });
    running.child.stdin!.end(sql);
    return (await running).stdout.trimEnd();
  };
  const stop = async () => {
    process.off('exit', atExit);
    if (server.exitCode === null && server.signalCode === null) {
      server.kill('SIGQUIT');
      await once(server, 'exit');
    }
    rmSync(dir, { recursive: true, force: true });
  };
  if (options.sql !== undefined) {
    await psql(options.sql).catch(async (error) => {
      await stop();
      throw error;
    });
  }
  return {
    host: '127.0.0.1',
    port,
    user: 'postgres',
    database: 'postgres',
    socketDir: dir,
    dir,
    uid: as?.uid ?? process.getuid!(),
    pid: server.pid!,
    psql,
    log: () => log,
    stop,
  };
}

/** Folder of initdb and postgres: Debian keeps one per major version. The newest is taken. */
function binaries(): string | null {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).map(Number).filter(Number.isInteger) : [];
  const newest = versions
    .sort((a, b) => b - a)
    .find((version) => existsSync(join(root, String(version), 'bin/initdb')));
  return newest === undefined ? null : join(root, String(newest), 'bin');
}

/** uid and gid of the account to run as; null when not root: as oneself. */
function account(): { uid: number; gid: number } | null {
  if (process.getuid?.() !== 0) return null;
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith('postgres:'));
  if (line === undefined) return null;
  const [, , uid, gid] = line.split(':');
  return { uid: Number(uid), gid: Number(gid) };
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');
  return port;
}

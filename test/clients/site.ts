/** A company in small: agents' host with sluice, servers elsewhere with names in DNS, a policy over them. */
import { spawn } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CertificateAuthority } from '../../daemon/intake/certificates.ts';
import { type Finished, finished, mustSucceed } from '../harness/child.ts';
import { type DnsServer, dnsMissing, startDns } from '../harness/dns.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';
import { GO, gitMissing, goMissing, JAVA, javaMissing } from './installed.ts';
import { type Request, type Servers, startServers } from './servers.ts';
import { makeWares } from './wares.ts';
import { ADDRESSES, type Family, openWorld, type World } from './world.ts';

const { live, closed, lost, late } = ADDRESSES;

/** Names that policy lets through, and their addresses. Where one of two is dead, the name says which. */
export const HOSTS: Readonly<Record<string, readonly string[]>> = {
  'four.shop.test': [live[4]],
  'six.shop.test': [live[6]],
  'closed4.shop.test': [closed[4], live[6]],
  'closed6.shop.test': [live[4], closed[6]],
  'lost4.shop.test': [lost[4], live[6]],
  'lost6.shop.test': [live[4], lost[6]],
  'late6.shop.test': [closed[4], late[6]],
};
/** Those that it does not: a name that nobody may ask for, and one that leads to no resource. */
export const UNKNOWN = 'unknown.shop.test';
export const REFUSED = 'refused.shop.test';

/** A client that has not ended by then hangs, milliseconds. No server or name makes one wait for long. */
const HANGS = 60_000;
const PASSWORD = 'the password of the real account';

export type Event = Readonly<Record<string, unknown>>;

/** What became of one client in a session of its own. */
export interface Visit extends Finished {
  readonly session: string;
  /** What the servers were asked meanwhile. */
  readonly asked: readonly Request[];
  /** Of the session, in their order. */
  readonly events: readonly Event[];
}

export interface Site {
  readonly stack: Stack;
  readonly world: World;
  /** Of the database. */
  readonly port: number;
  /** Where `programs/` lies, what is compiled of it, too. */
  readonly programs: string;
  /** Runs a client in an empty folder that is also its home. Fails when it hangs. */
  visit(argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<Visit>;
  stop(): Promise<void>;
}

export const siteMissing = (): string | false => stackMissing() ?? dnsMissing() ?? postgresMissing() ?? false;

/** `families`: of the agents' host. Absent: both. */
export async function openSite(families: readonly Family[] = [4, 6]): Promise<Site> {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-clients-'));
  chmodSync(dir, 0o755);
  // Taken down in the opposite order, also when only some of them are up.
  const down: (() => unknown)[] = [() => rmSync(dir, { recursive: true, force: true })];
  const stop = async () => {
    for (const each of down.splice(0).reverse()) await each();
  };
  try {
    return await open(dir, families, (each) => down.push(each), stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function open(
  dir: string,
  families: readonly Family[],
  later: (each: () => unknown) => void,
  stop: () => Promise<void>,
): Promise<Site> {
  const authority = await CertificateAuthority.open(join(dir, 'ca'));
  const leaf = await authority.leafFor([...Object.keys(HOSTS), UNKNOWN, REFUSED]);
  const pair = { cert: join(dir, 'server.crt'), key: join(dir, 'server.key') };
  writeFileSync(pair.cert, leaf.cert);
  writeFileSync(pair.key, leaf.key, { mode: 0o600 });
  const trusted = await trust(dir, authority.pem);
  const programs = await compile(join(dir, 'programs'));

  const world = await openWorld(dir, trusted, families);
  later(() => world.close());
  await makeWares(join(dir, 'wares'), gitMissing === false);
  const servers: Servers = await startServers(world.there, join(dir, 'wares'), pair, [live[4], live[6], late[6]]);
  later(() => servers.stop());
  const postgres: PostgresServer = await startPostgres({
    enter: world.there,
    conf: [`listen_addresses = '${live[4]}, ${live[6]}'`, "password_encryption = 'scram-sha-256'"],
    hba: ['hostssl all shop all scram-sha-256'],
    tls: { cert: leaf.cert, key: leaf.key },
    sql: `CREATE ROLE shop LOGIN PASSWORD '${PASSWORD}'`,
  });
  later(() => postgres.stop());
  const credential = join(dir, 'credential');
  writeFileSync(credential, JSON.stringify({ user: 'shop', password: PASSWORD }), { mode: 0o600 });
  const dns: DnsServer = await startDns(
    [...Object.entries(HOSTS), ...[UNKNOWN, REFUSED].map((name) => [name, [live[4], live[6]]] as const)].map(
      ([name, addresses]) => `host-record=${[name, ...addresses].join(',')}`,
    ),
    53,
    { enter: world.there, addresses: Object.values(live) },
  );
  later(() => dns.stop());
  const stack = await startStack({
    name: 'clients',
    enter: world.enter,
    config: { resolvers: families.map((family) => live[family]) },
    daemonReads: [credential],
    policy: policy(postgres.port, credential, join(trusted, 'ca-certificates.crt')),
  });
  later(() => stack.stop());

  const record = async (session: string): Promise<readonly Event[]> => {
    const { stdout } = await stack.sluice(['audit', '-o', 'json', '-n', '10000', `SESSION=${session}`]);
    return stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  };
  let visits = 0;
  return {
    stack,
    world,
    port: postgres.port,
    programs,
    async visit(argv, env = {}) {
      const home = join(dir, `home-${++visits}`);
      mkdirSync(home);
      chmodSync(home, 0o777);
      const before = servers.asked().length;
      const script = 'cd "$1" && echo "$SLUICE_SESSION" && shift && HOME=$PWD exec "$@"';
      const words = [...world.inside, ...stack.agentPrefix, 'sh', '-c', script, 'sh', home, ...argv];
      const said = await within(HANGS, words, { PATH: '/usr/local/bin:/usr/bin:/bin', LANG: 'C.UTF-8', ...env });
      const [session = '', ...lines] = said.stdout.split('\n');
      return {
        ...said,
        stdout: lines.join('\n'),
        session,
        asked: servers.asked().slice(before),
        events: await record(session),
      };
    },
    stop,
  };
}

/** Runs a command to its end. One that takes longer is killed with all that it started. */
async function within(time: number, argv: readonly string[], env: Readonly<Record<string, string>>): Promise<Finished> {
  const child = spawn(argv[0]!, argv.slice(1), { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let hangs = false;
  const timer = setTimeout(() => {
    hangs = true;
    process.kill(-child.pid!, 'SIGKILL');
  }, time);
  const said = await finished(child).finally(() => clearTimeout(timer));
  if (hangs) throw new Error(`${argv.join(' ')} did not end within ${time} ms:\n${said.stdout}${said.stderr}`);
  return said;
}

/** A folder as /etc/ssl/certs, with one CA: for OpenSSL by its hash, for GnuTLS and Go in one file, for Java as a keystore. */
async function trust(dir: string, pem: string): Promise<string> {
  const trusted = join(dir, 'certs');
  mkdirSync(join(trusted, 'java'), { recursive: true });
  const bundle = join(trusted, 'ca-certificates.crt');
  writeFileSync(bundle, pem);
  const { stdout } = await mustSucceed(['openssl', 'x509', '-hash', '-noout', '-in', bundle]);
  writeFileSync(join(trusted, `${stdout.trim()}.0`), pem);
  if (javaMissing === false) {
    const store = ['-keystore', join(trusted, 'java/cacerts'), '-storetype', 'JKS', '-storepass', 'changeit'];
    await mustSucceed([JAVA.keytool, '-importcert', '-noprompt', '-alias', 'company', '-file', bundle, ...store]);
  }
  return trusted;
}

/** Copies of the programs, where agents can read them. */
async function compile(to: string): Promise<string> {
  mkdirSync(to);
  const from = join(import.meta.dirname, 'programs');
  for (const name of ['fetch.py', 'Fetch.java', 'fetch.go']) copyFileSync(join(from, name), join(to, name));
  if (goMissing === false) {
    const env = { ...process.env, HOME: to, GOCACHE: join(to, 'cache'), GOPROXY: 'off', CGO_ENABLED: '1' };
    await mustSucceed([GO, 'build', '-o', join(to, 'fetch'), join(to, 'fetch.go')], { env });
  }
  if (javaMissing === false) await mustSucceed([JAVA.javac, '-d', to, join(to, 'Fetch.java')]);
  return to;
}

const policy = (port: number, credential: string, ca: string): string => {
  const names = Object.keys(HOSTS).map((host) => [host.split('.')[0], host] as const);
  const db = `tls: verify-full, ca: "${ca}", credential: {file: "${credential}"}`;
  return `apiVersion: sluice/v1
identities:
  - user: sluice-agent
    groups: [agents]
dns:
  - names: [${REFUSED}]
    who: {groups: [agents]}
resources:
${names.map(([name, host]) => `  web-${name}: {protocol: tcp, address: "${host}:443"}`).join('\n')}
${names.map(([name, host]) => `  db-${name}: {protocol: postgres, address: "${host}:${port}", ${db}}`).join('\n')}
rules:
  - name: agents fetch
    allow: [network]
    who: {groups: [agents]}
    on: [${names.map(([name]) => `web-${name}`).join(', ')}]
  - name: agents read
    allow: [read, session]
    who: {groups: [agents]}
    on: [${names.map(([name]) => `db-${name}`).join(', ')}]
`;
};

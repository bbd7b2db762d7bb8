/**
 * Two hosts that are network namespaces: the agents' own, and the world with the servers, one wire between them. The agents'
 * host trusts one CA, as a company's host trusts the company's, has its own /etc/resolv.conf and no settings for clients: in
 * a mount namespace, so that nothing of the machine is changed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Addresses of documentation (RFC 5737, RFC 3849), none of which points at the host itself. */
export const ADDRESSES = {
  /** Servers listen there. */
  live: { 4: '203.0.113.23', 6: '2001:db8:17::23' },
  /** A host without servers: it refuses. */
  closed: { 4: '203.0.113.24', 6: '2001:db8:17::24' },
  /** Nobody's: packets to it are lost, and no one says so. */
  lost: { 4: '203.0.113.25', 6: '2001:db8:17::25' },
  /** Nobody's until arrive(), though servers listen there: the way of a host that answers late. */
  late: { 6: '2001:db8:17::26' },
} as const;
/** Of no server: sluice answers at whatever address the agent asks. */
export const NAMESERVERS = { 4: '192.0.2.53', 6: '2001:db8::53' } as const;
export type Family = 4 | 6;

/** Settings that this machine may have for its own clients. The agents' host has none. */
const SETTINGS = ['/etc/pip.conf', '/etc/gitconfig', '/etc/npmrc', '/usr/etc/npmrc', '/etc/curlrc', '/etc/gai.conf'];

/** The ends of the wire. */
const WIRE = {
  agents: { 4: '198.51.100.17/24', 6: '2001:db8:51::17/64' },
  world: { 4: '198.51.100.23/24', 6: '2001:db8:51::23/64' },
} as const;

export interface World {
  /** Before a command: into the network of the agents' host. */
  readonly enter: readonly string[];
  /** Before a command: into the files of the agents' host, too. */
  readonly inside: readonly string[];
  /** Before a command: into the network of the servers. */
  readonly there: readonly string[];
  /** Whom the agents' host asks for names, by which family. */
  askOver(family: Family): void;
  /** How many packets the world has refused so far. */
  refusals(): number;
  /** From now on packets to `late` get there. */
  arrive(): void;
  close(): void;
}

/**
 * `dir`: for its files. `trusted`: a folder that becomes the agents' host's /etc/ssl/certs. `families`: those that the
 * agents' host has; without IPv6 it is turned off there, as in many a container.
 */
export async function openWorld(dir: string, trusted: string, families: readonly Family[]): Promise<World> {
  const resolvConf = join(dir, 'resolv.conf');
  const askOver = (family: Family) => writeFileSync(resolvConf, `nameserver ${NAMESERVERS[family]}\n`);
  askOver(families[0]!);
  const world = await holder(['--net'], 'true');
  const mounts = [
    [trusted, '/etc/ssl/certs'],
    [resolvConf, '/etc/resolv.conf'],
    ...SETTINGS.filter((file) => existsSync(file)).map((file) => ['/dev/null', file]),
  ].map((each) => `mount --bind ${each.join(' ')}`);
  const agents = await holder(['--net', '--mount', '--propagation', 'private'], mounts.join(' && '));
  const enter = ['nsenter', `--net=/proc/${agents.pid}/ns/net`];
  const there = ['nsenter', `--net=/proc/${world.pid}/ns/net`];
  const ip = (where: readonly string[], ...args: string[]) => run([...where, 'ip', ...args]);
  const set = (where: readonly string[], name: string) =>
    run([...where, 'sh', '-c', `echo 1 >/proc/sys/net/ipv6/${name}`]);
  if (!families.includes(6)) set(enter, 'conf/all/disable_ipv6');
  ip(enter, 'link', 'add', 'out', 'type', 'veth', 'peer', 'name', 'in', 'netns', String(world.pid));
  for (const [where, device, ends, has] of [
    [enter, 'out', WIRE.agents, families],
    [there, 'in', WIRE.world, [4, 6]],
  ] as const) {
    ip(where, 'link', 'set', 'lo', 'up');
    ip(where, 'link', 'set', device, 'up');
    if (has.includes(4)) ip(where, 'address', 'add', ends[4], 'dev', device);
    if (has.includes(6)) ip(where, 'address', 'add', ends[6], 'dev', device, 'nodad');
  }
  for (const { 4: four, 6: six } of [ADDRESSES.live, ADDRESSES.closed]) {
    ip(there, 'address', 'add', `${four}/32`, 'dev', 'lo');
    ip(there, 'address', 'add', `${six}/128`, 'dev', 'lo', 'nodad');
  }
  set(there, 'ip_nonlocal_bind');
  // What is nobody's is taken by the world and forwarded to nobody.
  for (const family of families) ip(enter, 'route', 'add', 'default', 'via', WIRE.world[family].split('/')[0]!);
  return {
    enter,
    inside: ['nsenter', `--net=/proc/${agents.pid}/ns/net`, `--mount=/proc/${agents.pid}/ns/mnt`],
    there,
    askOver,
    refusals() {
      const [names = [], values = []] = readFileSync(`/proc/${world.pid}/net/snmp`, 'utf8')
        .split('\n')
        .filter((line) => line.startsWith('Tcp:'))
        .map((line) => line.split(' '));
      return Number(values[names.indexOf('OutRsts')]);
    },
    arrive: () => ip(there, 'address', 'add', `${ADDRESSES.late[6]}/128`, 'dev', 'lo', 'nodad'),
    close() {
      for (const child of [agents, world]) child.kill('SIGKILL');
    },
  };
}

/** A process that does nothing but keep namespaces, once `first` is done in them. */
async function holder(kinds: readonly string[], first: string): Promise<ChildProcess> {
  const argv = ['--pdeathsig', 'KILL', 'unshare', ...kinds, 'sh', '-c', `${first} && echo there && exec sleep 3600`];
  const child = spawn('setpriv', argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (text) => {
    said += text;
  });
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve);
    child.once('exit', () => reject(new Error(`no namespace: ${said}`)));
  });
  return child;
}

function run(argv: readonly string[]): void {
  const { status, stderr } = spawnSync(argv[0]!, argv.slice(1), { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${argv.join(' ')}: ${stderr}`);
}

/**
 * Where ways out are tried: a network namespace that is the agents' host, another that is the world, and a witness in each.
 * A way has been found when a token of the attack reaches a witness, or when the attack itself says so.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const WITNESS = join(import.meta.dirname, 'witness.py');
const PATIENCE_MS = 60_000; // an emulated machine is slow

interface Witness {
  readonly child: ChildProcessWithoutNullStreams;
  readonly lines: string[];
  until(wanted: (line: string) => boolean): Promise<string>;
}

export interface Scene {
  /** Before a command: runs it in the agents' network namespace. */
  readonly enter: readonly string[];
  /** Holds the sockets of the witness on the host. */
  readonly directory: string;
  /** The witness on the host, a connected socket of it, and another process. */
  readonly outside: { readonly pid: number; readonly fd: number; readonly victim: number };
  token(): string;
  /** Has the token reached a witness, of all that was sent before this call? */
  seen(token: string): Promise<boolean>;
  /** Somebody connects to the agents' host and reads. */
  pull(from: 'world' | 'host', address: string, port: number): Promise<void>;
  close(): void;
}

export async function newScene(): Promise<Scene> {
  const agents = await namespace();
  const world = await namespace();
  const enter = ['nsenter', `--net=/proc/${agents.pid}/ns/net`];
  const there = ['nsenter', `--net=/proc/${world.pid}/ns/net`];
  const ip = (where: readonly string[], ...args: string[]) => run([...where, 'ip', ...args]);
  ip(enter, 'link', 'add', 'out', 'type', 'veth', 'peer', 'name', 'in', 'netns', String(world.pid));
  for (const [where, device, last] of [
    [enter, 'out', '17'],
    [there, 'in', '23'],
  ] as const) {
    ip(where, 'link', 'set', 'lo', 'up');
    ip(where, 'link', 'set', device, 'up');
    ip(where, 'address', 'add', `198.51.100.${last}/24`, 'dev', device);
    ip(where, 'address', 'add', `fd00:17::${last}/64`, 'dev', device, 'nodad');
  }
  ip(enter, 'route', 'add', 'default', 'via', '198.51.100.23');
  ip(enter, 'route', 'add', 'default', 'via', 'fd00:17::23');
  const directory = mkdtempSync(join(tmpdir(), 'sluice-ways-'));
  run(['chmod', '755', directory]);
  const far = await witness(there, 'world', 'in');
  const near = await witness(enter, 'host', directory);
  const [pid = 0, fd = 0, victim = 0] = (near.lines[0] ?? '').split(' ').slice(1).map(Number);
  let fences = 0;
  return {
    enter,
    directory,
    outside: { pid, fd, victim },
    token: () => `TOKEN_${randomBytes(4).toString('hex')}`,
    async seen(token) {
      // Behind whatever is still on its way: on the wire, on loopback and in the UNIX socket.
      const [first, second] = [`FENCE_${++fences}`, `FENCE_${++fences}`];
      const send = [
        `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'${first}', ('198.51.100.23', 5433))`,
        `s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b'${second}', '${directory}/datagram')`,
      ];
      run([...enter, 'python3', '-S', '-c', send.join('; ')]);
      await far.until((line) => line === `saw ${first}`);
      await near.until((line) => line === `saw ${second}`);
      const group = Buffer.from(token.slice(6), 'hex').subarray(1).toString('hex');
      return [...far.lines, ...near.lines].some(
        (line) => line === `saw ${token}` || (line.startsWith('groups ') && line.includes(group)),
      );
    },
    async pull(from, address, port) {
      const who = from === 'world' ? far : near;
      const before = who.lines.filter((line) => line === 'pulled').length;
      who.child.stdin.write(`pull ${address} ${port}\n`);
      await who.until(() => who.lines.filter((line) => line === 'pulled').length > before);
    },
    close() {
      for (const child of [near.child, far.child, agents, world]) child.kill('SIGKILL');
      spawnSync('kill', ['-9', String(victim)]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A process that does nothing but keep a network namespace. */
async function namespace(): Promise<ChildProcessWithoutNullStreams & { pid: number }> {
  const child = spawn('unshare', ['-n', 'sh', '-c', 'echo there; exec sleep 3600']);
  await new Promise((resolve) => child.stdout.once('data', resolve));
  return child as ChildProcessWithoutNullStreams & { pid: number };
}

async function witness(enter: readonly string[], ...args: string[]): Promise<Witness> {
  const [file = '', ...rest] = [...enter, 'python3', WITNESS, ...args];
  const child = spawn(file, rest);
  child.stderr.pipe(process.stderr);
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    for (const look of waiting) look();
  });
  const until = (wanted: (line: string) => boolean) =>
    new Promise<string>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`the witness ${args[0]} says nothing: ${lines.slice(-5)}`)),
        PATIENCE_MS,
      );
      const look = () => {
        const found = lines.find(wanted);
        if (found === undefined) return;
        clearTimeout(timer);
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
    });
  await until((line) => line.startsWith('ready'));
  return { child, lines, until };
}

function run([file = '', ...args]: readonly string[]): void {
  const { status, stderr } = spawnSync(file, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${stderr}`);
}

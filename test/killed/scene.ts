/** A host for agents and a world outside of it, joined by one cable on which everything is seen; and the prober, built. */
import {
  type ChildProcess,
  type ChildProcessWithoutNullStreams,
  execFileSync,
  spawn,
  spawnSync,
} from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';

const WORLD = join(import.meta.dirname, 'world.py');
const HERE = ['198.51.100.17', 'fd00:17::17'] as const;
const THERE = ['198.51.100.23', 'fd00:17::23'] as const;
/** Where connections of the prober's to the allowed port come from, if they come. */
const SOURCE = '198.51.100.18';
const DENIED = 5433;
const ALLOWED = 5434;

/** What arrived outside. `posing`: of the escapes, those to the port that policy allows. `lost`: frames that the one who looks could not keep up with. */
export interface Seen {
  readonly allowed: number;
  readonly escapes: number;
  readonly posing: number;
  readonly lost: number;
  readonly first: readonly string[];
}

/** As prober.c says it. */
export interface Report {
  readonly seconds: number;
  readonly tries: number;
  readonly gap: number;
  readonly through: number;
  readonly ways: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

export interface Prober {
  readonly child: ChildProcess;
  report(): Promise<Report>;
  /** Lets it end, and returns its last report. */
  end(): Promise<Report>;
}

export interface Scene {
  /** Before a command: runs it on the agents' host. */
  readonly enter: readonly string[];
  /** Of the prober, in the directory that was named. */
  readonly prober: readonly string[];
  /** What was seen of all that was sent before this call. */
  seen(): Promise<Seen>;
  close(): void;
}

/** One port outside is passed on unread; the other is nobody's. */
export const POLICY = `apiVersion: sluice/v1
identities:
  - user: sluice-agent
    groups: [agents]
resources:
  open: {protocol: tcp, address: "${THERE[0]}:${ALLOWED}", options: {speaks: anything}}
rules:
  - name: agents reach one port
    allow: [network]
    who: {groups: [agents]}
    on: open
`;

/** @param directory that agents can read */
export async function newScene(directory: string): Promise<Scene> {
  const file = join(directory, 'prober');
  execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', file, join(import.meta.dirname, 'prober.c')]);
  const [agents, world] = [spawnIdle(), spawnIdle()];
  await Promise.all([once(agents.stdout, 'data'), once(world.stdout, 'data')]);
  const enter = within(agents);
  const ip = (where: readonly string[], ...args: string[]) => run([...where, 'ip', ...args]);
  ip(enter, 'link', 'add', 'out', 'type', 'veth', 'peer', 'name', 'in', 'netns', String(world.pid));
  for (const [where, device, [v4, v6]] of [
    [enter, 'out', HERE],
    [within(world), 'in', THERE],
  ] as const) {
    ip(where, 'link', 'set', 'lo', 'up');
    ip(where, 'link', 'set', device, 'up');
    ip(where, 'address', 'add', `${v4}/24`, 'dev', device);
    ip(where, 'address', 'add', `${v6}/64`, 'dev', device, 'nodad');
  }
  ip(enter, 'address', 'add', `${SOURCE}/24`, 'dev', 'out');
  // Anyone's pings: else it were not the hooks that hold them.
  run([...enter, 'sh', '-c', 'echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range']);
  const outside = await look([...within(world), 'python3', WORLD, 'world', 'in']);
  const inside = await look([...enter, 'python3', WORLD, 'agents']);
  let fences = 0;
  return {
    enter,
    prober: [file, ...THERE, String(DENIED), String(ALLOWED), SOURCE],
    async seen() {
      inside.child.stdin.write(`fence ${++fences}\n`);
      for (;;) {
        outside.child.stdin.write('count\n');
        const seen = JSON.parse(await next(outside.lines)) as Seen & { fence: number };
        if (seen.fence === fences) return seen;
      }
    },
    close() {
      for (const child of [inside.child, outside.child, agents, world]) child.kill('SIGKILL');
    },
  };
}

/** Takes over a prober that was just started, with pipes for stdin and stdout. */
export function probing(child: ChildProcess): Prober {
  const lines = createInterface({ input: child.stdout! });
  const ended = once(child, 'close');
  const said = async (): Promise<Report> =>
    JSON.parse(
      await Promise.race([
        next(lines),
        ended.then(([status]) => Promise.reject(new Error(`the prober ended: ${status}`))),
      ]),
    );
  return {
    child,
    report() {
      child.stdin!.write('\n');
      return said();
    },
    end() {
      child.stdin!.end();
      return said();
    },
  };
}

async function next(lines: Interface): Promise<string> {
  const [line] = await once(lines, 'line');
  return line as string;
}

async function look([file = '', ...args]: readonly string[]) {
  const child = spawn(file, args);
  child.stderr.pipe(process.stderr);
  const lines = createInterface({ input: child.stdout });
  await next(lines);
  return { child, lines };
}

/** A process that does nothing but keep a network namespace. */
function spawnIdle(): ChildProcessWithoutNullStreams {
  return spawn('unshare', ['-n', 'sh', '-c', 'echo there; exec sleep 3600']);
}

const within = (child: ChildProcess): string[] => ['nsenter', `--net=/proc/${child.pid}/ns/net`];

function run([file = '', ...args]: readonly string[]): void {
  const { status, stderr } = spawnSync(file, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${stderr}`);
}

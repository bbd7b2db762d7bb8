/** A host of its own for tests: helper, pins and cgroups under names that nothing else uses. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Helper, openHelper } from '../../daemon/intake/helper.ts';
import { kernelMissing } from '../harness/kernel.ts';
import { uidRange } from '../harness/stack.ts';

const ROOT = join(import.meta.dirname, '../..');
const BUILD = join(ROOT, 'build/native');
export const DAEMON_UID = 64801;
export const AGENT_UID = 64802;
export const OTHER_UID = 64803;
const START_MS = Number(process.env.SLUICE_TEST_START_MS ?? 20_000); // an emulated machine takes longer

/** Why these tests can't run here, or false. */
export function cannotRun(): string | false {
  return kernelMissing() ?? false;
}

export interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Origin {
  pid: number;
  uid: number;
  cgroupId: string;
  comm: string;
  exe: string;
  address: string;
  port: number;
}

export interface OwnSession {
  readonly id: string;
  readonly path: string;
  readonly uid: number;
  readonly home: string;
}

export interface Host {
  readonly runDir: string;
  readonly cgroup: string;
  readonly helper: Helper;
  startHelper(...options: string[]): Promise<void>;
  /** By the signal; returns when it is gone. */
  stopHelper(signal?: NodeJS.Signals): Promise<void>;
  helperPid(): number;
  /** Starts the stand-in for the daemon; returns its port. */
  startDaemon(backlog?: number): Promise<number>;
  stopDaemon(): Promise<void>;
  daemonPid(): number;
  session(uid?: number): Promise<{ id: string; cgroupId: bigint; path: string }>;
  /** One whose command runs under a uid of its own. `uid`: who may start it. */
  ownSession(uid?: number): Promise<OwnSession>;
  /** Command line that starts it, for whoever may. */
  front(session: string, command: readonly string[], ...options: string[]): string[];
  /** Runs a command in a session to its end. */
  run(session: string, command: readonly string[], input?: string): Promise<Result>;
  /** Runs Python statements in a session, with `connect(family, address, port, first)` that returns the listener's answer. */
  python(session: string, code: string, ...args: string[]): Promise<Result>;
  /** sluice-launch, where every account reaches it. */
  readonly launcher: string;
  launch(session: string, command: readonly string[]): string[];
  detach(...options: string[]): Result;
  close(): Promise<void>;
}

export const PYTHON = `
import sys, socket, os, json, errno
def connect(family, address, port, first=b''):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(60)
    s.connect((address, port))
    text = b''
    peer = s.getpeername()
    s.sendall(first)
    while True:
        part = s.recv(4096)
        if not part: break
        text += part
    s.close()
    return json.loads(text), peer
def attempt(f):
    try:
        f()
        return 'done'
    except OSError as e:
        return errno.errorcode[e.errno] if e.errno in errno.errorcode else str(e)
`;

/** @param enter comes before the commands of daemon and agents: into a network namespace that is their host */
export function newHost(enter: readonly string[] = []): Host {
  // A guest of test/vm has no compiler and is given what was built.
  if (!process.env.SLUICE_PREBUILT)
    execFileSync('make', ['-s', '-C', join(ROOT, 'native')], { stdio: ['ignore', 'ignore', 'inherit'] });
  const runDir = mkdtempSync(join(tmpdir(), 'sluice-native-'));
  chmodSync(runDir, 0o755);
  // Other accounts may be unable to reach this checkout: it may lie in /root.
  const launcher = join(runDir, 'sluice-launch');
  copyFileSync(join(BUILD, 'sluice-launch'), launcher);
  const app = join(runDir, 'app');
  mkdirSync(app, { mode: 0o755 });
  const name = `sluice-test-${randomBytes(4).toString('hex')}`;
  const base = [
    ...['--run-dir', runDir, '--name', name, '--user', String(DAEMON_UID)],
    ...['--homes', join(runDir, 'homes'), '--pool', uidRange(8), '--launcher', launcher],
  ];
  const socket = join(runDir, 'helper.sock');
  const helper = openHelper(socket);
  let running: ChildProcess | null = null;
  let daemon: ChildProcess | null = null;

  const host: Host = {
    runDir,
    cgroup: `/${name}`,
    helper,
    async startHelper(...options) {
      const child = spawn(join(BUILD, 'sluice-helper'), [...base, ...options], { stdio: ['ignore', 'ignore', 'pipe'] });
      await firstLine(child, 'stderr', /: ready: /);
      running = child;
    },
    async stopHelper(signal = 'SIGTERM') {
      await stop(running, signal);
      running = null;
    },
    helperPid: () => running?.pid ?? 0,
    async startDaemon(backlog = 511) {
      const argv = [
        ...['node_modules/node/bin/node', 'test/native/listener.ts'].map((path) => join(app, path)),
        ...[runDir, join(app, 'build/native/libsluice.so'), String(backlog)],
      ];
      const drop = `setpriv --reuid ${DAEMON_UID} --regid ${DAEMON_UID} --clear-groups`;
      const mounted = ['unshare', '-m', 'sh', '-c', `mount --bind ${ROOT} ${app} && exec ${drop} "$@"`, 'sh', ...argv];
      const [file = '', ...args] = [...enter, ...mounted];
      daemon = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'], cwd: '/' });
      return JSON.parse(await firstLine(daemon, 'stdout', /^\{/)).port;
    },
    async stopDaemon() {
      await stop(daemon, 'SIGKILL');
      daemon = null;
    },
    daemonPid: () => daemon?.pid ?? 0,
    async session(uid = AGENT_UID) {
      const id = randomBytes(16).toString('hex');
      return { id, ...(await helper.createSession(id, uid)) };
    },
    async ownSession(uid = OTHER_UID) {
      const id = randomBytes(16).toString('hex');
      const { path, agent } = await helper.createSession(id, uid, true);
      return { id, path, ...agent! };
    },
    front: (session, command, ...options) => [
      ...[launcher, '--helper', socket, '--session', session, '--own-uid', ...options, '--'],
      ...command,
    ],
    launcher,
    launch: (session, command) => [
      ...enter,
      launcher,
      ...['--helper', socket, '--session', session, '--uid', String(AGENT_UID), '--gid', String(AGENT_UID), '--'],
      ...command,
    ],
    run: (session, command, input) => runToEnd(host.launch(session, command), input),
    python: (session, code, ...args) => host.run(session, ['/usr/bin/python3', '-c', PYTHON + code, ...args]),
    detach(...options) {
      const done = spawnSync(join(BUILD, 'sluice-helper'), [...base, '--detach', ...options], { encoding: 'utf8' });
      return { status: done.status, stdout: done.stdout, stderr: done.stderr };
    },
    async close() {
      await host.stopDaemon();
      await host.stopHelper();
      const { status, stderr } = host.detach('--kill');
      if (status !== 0) throw new Error(`sluice-helper --detach --kill: ${stderr}`);
      rmSync(runDir, { recursive: true });
    },
  };
  return host;
}

async function stop(child: ChildProcess | null, signal: NodeJS.Signals): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  await gone;
}

/** The first line that matches; everything before and after is read and dropped, except when the process ends first. */
function firstLine(child: ChildProcess, from: 'stdout' | 'stderr', wanted: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    const seen: string[] = [];
    const timer = setTimeout(() => reject(new Error(`no such line as ${wanted}: ${seen.join('\n')}`)), START_MS);
    child.once('close', (status) => {
      clearTimeout(timer);
      reject(new Error(`ended with ${status}: ${seen.join('\n')}`));
    });
    createInterface({ input: child[from]! }).on('line', (line) => {
      if (seen.length < 100) seen.push(line);
      if (!wanted.test(line)) return;
      clearTimeout(timer);
      resolve(line);
    });
  });
}

export async function runToEnd([file = '', ...args]: readonly string[], input = '', uid?: number): Promise<Result> {
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'], ...(uid ? { uid, gid: uid, cwd: '/' } : {}) });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  child.stderr.on('data', (chunk) => (stderr += chunk));
  child.stdin.on('error', () => {}); // a command need not read its input
  child.stdin.end(input);
  const [status] = await once(child, 'close');
  return { status, stdout, stderr };
}

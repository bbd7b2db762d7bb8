/**
 * A whole sluice of one's own: helper, daemon, policy and agents, over whatever resources the policy names. For tests,
 * demo, corpora and bench. Everything lies in one temporary folder and under one cgroup; stop() leaves nothing behind,
 * nor does the end of this process, whatever ends it short of SIGKILL.
 *
 * The daemon runs as an account that may be unable to reach this checkout (it may lie in /root). So it sees it through a
 * read-only bind mount that exists in its own mount namespace alone.
 */
import { type ChildProcess, type StdioOptions, spawn, spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ControlClient } from '../../daemon/control/client.ts';
import { openHelper } from '../../daemon/intake/helper.ts';
import { command, ended, type Finished, feed, finished } from './child.ts';
import { kernelMissing } from './kernel.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const HELPER = join(ROOT, 'build/native/sluice-helper');
const DAEMON = join(ROOT, 'build/js/daemon/bin/sluiced.js');
const CLI = [process.execPath, join(ROOT, 'build/js/daemon/bin/sluice.js')] as const;
/** As daemon/bin/README.md says. */
const NODE_FLAGS = ['--liftoff-only', '--max-semi-space-size=4'];
/** How the folders of stacks begin, and the file in them that says whose they are. */
const FOLDER = 'sluice-stack-';
const OWNER = 'owner.json';
const READY_WITHIN = 30_000;

export interface StackOptions {
  /** Text of the policy file, or of several by name. */
  readonly policy: string | Readonly<Record<string, string>>;
  /** Part of the name of the cgroup, for people who look. */
  readonly name?: string;
  /** Further settings of the daemon. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Further environment of the daemon. */
  readonly daemonEnv?: Readonly<Record<string, string>>;
  /** Files that are given to the account of the daemon (credentials). */
  readonly daemonReads?: readonly string[];
  /** Further options of the helper. */
  readonly helper?: readonly string[];
  /** Account that agents run as. Absent: sluice-agent. */
  readonly agent?: string;
  /** Before the commands of helper, daemon and agents: into a network namespace that is their host. */
  readonly enter?: readonly string[];
}

export interface RunOptions {
  /** On top of PATH, TERM and LANG. */
  readonly env?: Readonly<Record<string, string>>;
  /** Absent: /. */
  readonly cwd?: string;
}

export interface Stack {
  readonly dir: string;
  /** Of the daemon's sockets. */
  readonly runDir: string;
  readonly stateDir: string;
  /** The daemon that runs now. */
  readonly daemon: ChildProcess;
  readonly helperPid: number;
  /** Prefix of a command line that makes the rest of it an agent in a session of its own. */
  readonly agentPrefix: readonly string[];
  /** Starts an agent; the caller waits for it. */
  agent(argv: readonly string[], options?: RunOptions & { readonly stdio?: StdioOptions }): ChildProcess;
  /** Runs an agent to its end. `input`: its whole stdin. */
  run(argv: readonly string[], options?: RunOptions & { readonly input?: string }): Promise<Finished>;
  /** `sluice ARGV…` on the host, as root. */
  sluice(argv: readonly string[], input?: string, env?: NodeJS.ProcessEnv): Promise<Finished>;
  /** Asks the daemon on its control socket. */
  call(method: string, params?: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** Puts another policy in. Rejects with what the daemon says when it is not valid. */
  setPolicy(policy: StackOptions['policy']): Promise<void>;
  /** What the daemon and the helper wrote so far, the last of it. */
  log(): string;
  /** Sends the daemon a signal that ends it, and waits for that. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Starts the daemon again after kill(). */
  restart(): Promise<void>;
  /** Ends the helper; what it attached stays. */
  stopHelper(signal?: NodeJS.Signals): Promise<void>;
  /** Starts the helper again after stopHelper(). */
  startHelper(): Promise<void>;
  stop(): Promise<void>;
}

/** Why no stack can be started here, or null. For `test(…, { skip: stackMissing() ?? false })`. */
export function stackMissing(): string | null {
  const lacking = kernelMissing();
  if (lacking !== null) return lacking;
  for (const part of [HELPER, DAEMON]) if (!existsSync(part)) return `${part} is not built (npm run build)`;
  const absent = ['sluice', 'sluice-agent'].find((name) => account(name) === null);
  return absent === undefined ? null : `there is no account ${absent} (npm run build makes it)`;
}

export async function startStack(options: StackOptions): Promise<Stack> {
  const missing = stackMissing();
  if (missing !== null) throw new Error(missing);
  sweep();
  const stack = new RunningStack(options);
  try {
    await stack.start();
  } catch (error) {
    await stack.stop();
    throw new Error(`sluice did not start: ${(error as Error).message}\n${stack.log()}`, { cause: error });
  }
  return stack;
}

/** Clears what stacks left whose process was killed before it could: they name it in a file of their folder. */
function sweep(): void {
  for (const name of readdirSync(tmpdir()).filter((each) => each.startsWith(FOLDER))) {
    const dir = join(tmpdir(), name);
    const file = join(dir, OWNER);
    if (!existsSync(file)) continue;
    const { pid, helperArgv } = JSON.parse(readFileSync(file, 'utf8')) as { pid: number; helperArgv: string[] };
    if (!existsSync(`/proc/${pid}`)) clear(dir, helperArgv);
  }
}

/** Detaches the programs, ends the sessions, removes the cgroups and the folder. */
function clear(dir: string, helperArgv: readonly string[]): void {
  const { status, stderr } = spawnSync(HELPER, [...helperArgv, '--detach', '--kill'], { encoding: 'utf8' });
  if (status !== 0) process.stderr.write(`${stderr}${dir} could not be cleared\n`);
  else rmSync(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
}

/** Uids for agents that no other stack of this host has. */
export function uidRange(size: number): string {
  const first = 1_000_000 + randomInt(1_000_000) * size;
  return `${first}-${first + size - 1}`;
}

function account(name: string): { uid: number; gid: number } | null {
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n');
  const [, , uid, gid] = lines.find((line) => line.startsWith(`${name}:`))?.split(':') ?? [];
  return uid === undefined ? null : { uid: Number(uid), gid: Number(gid) };
}

/** Shell words that run a command as the account `sluice` with this checkout at `app`. */
function within(app: string): string {
  // When whoever started it is killed, the kernel stops it.
  const drop =
    'setpriv --reuid sluice --regid sluice --clear-groups --no-new-privs --bounding-set=-all --pdeathsig TERM';
  return `mount --bind ${ROOT} ${app} && mount -o remount,ro,bind ${app} && exec ${drop} "$@"`;
}

class RunningStack implements Stack {
  readonly dir = mkdtempSync(join(tmpdir(), FOLDER));
  readonly runDir = join(this.dir, 'run');
  readonly stateDir = join(this.dir, 'state');
  readonly agentPrefix: readonly string[];
  readonly #options: StackOptions;
  readonly #policyDir = join(this.dir, 'policy');
  /** Where the daemon sees this checkout. */
  readonly #app = join(this.dir, 'app');
  readonly #helperArgv: readonly string[];
  readonly #enter: readonly string[];
  readonly #atExit = () => this.#clear();
  /** Those that run. */
  readonly #agents = new Set<ChildProcess>();
  #helper: ChildProcess | undefined;
  #daemon: ChildProcess | undefined;
  #log = '';
  #cleared = false;

  constructor(options: StackOptions) {
    process.once('exit', this.#atExit);
    this.#options = options;
    this.#enter = options.enter ?? [];
    const cgroup = `sluice-${options.name ?? 'stack'}-${process.pid}-${Date.now().toString(36)}`;
    this.#helperArgv = [
      ...['--run-dir', this.runDir, '--name', cgroup, '--user', 'sluice'],
      ...['--homes', join(this.dir, 'homes'), '--pool', uidRange(16)],
    ];
    const daemon = account('sluice')!;
    chmodSync(this.dir, 0o755);
    writeFileSync(join(this.dir, OWNER), JSON.stringify({ pid: process.pid, helperArgv: this.#helperArgv }));
    for (const dir of [this.#app, this.#policyDir]) mkdirSync(dir, { mode: 0o755 });
    mkdirSync(this.stateDir, { mode: 0o700 });
    for (const path of [this.stateDir, ...(options.daemonReads ?? [])]) chownSync(path, daemon.uid, daemon.gid);
    // One word, so that it can stand wherever a command is named.
    const agent = join(this.dir, 'agent');
    const words = `${CLI.join(' ')} run --user ${options.agent ?? 'sluice-agent'} -- "$@"`;
    // With compiled code kept, since some suites start hundreds of agents.
    const env = `export SLUICE_RUN_DIR=${this.runDir} NODE_COMPILE_CACHE=${join(this.dir, 'compiled')}`;
    writeFileSync(agent, `#!/bin/sh\n${env}\nexec ${[...this.#enter, words].join(' ')}\n`, { mode: 0o755 });
    this.agentPrefix = [agent];
  }

  get daemon(): ChildProcess {
    if (this.#daemon === undefined) throw new Error('the daemon was never started');
    return this.#daemon;
  }

  get helperPid(): number {
    if (this.#helper?.pid === undefined) throw new Error('the helper was never started');
    return this.#helper.pid;
  }

  async start(): Promise<void> {
    this.#writePolicy(this.#options.policy);
    await this.startHelper();
    await this.restart();
  }

  async startHelper(): Promise<void> {
    const options = [...this.#helperArgv, ...(this.#options.helper ?? [])];
    this.#helper = this.#keep(['setpriv', '--pdeathsig', 'TERM', HELPER, ...options]);
    // The socket alone may be one that a killed helper left.
    const helper = openHelper(join(this.runDir, 'helper.sock'));
    const answers = () =>
      helper.status().then(
        () => true,
        () => false,
      );
    await this.#until(answers, this.#helper, 'sluice-helper');
  }

  async restart(): Promise<void> {
    const file = join(this.dir, 'sluiced.json');
    const config = {
      runDir: this.runDir,
      stateDir: this.stateDir,
      policy: [this.#policyDir],
      library: join(this.#app, 'build/native/libsluice.so'),
      ...this.#options.config,
    };
    writeFileSync(file, JSON.stringify(config));
    const [node, sluiced] = ['node_modules/node/bin/node', 'build/js/daemon/bin/sluiced.js'].map((path) =>
      join(this.#app, path),
    );
    // Set where the account is that of the daemon already.
    const env = Object.entries(this.#options.daemonEnv ?? {}).map(([name, value]) => `${name}=${value}`);
    const argv = ['env', ...env, node!, ...NODE_FLAGS, sluiced!];
    this.#daemon = this.#keep(['unshare', '-m', 'sh', '-c', within(this.#app), 'sh', ...argv, '--config', file]);
    const answers = () =>
      this.call('status').then(
        () => true,
        () => false,
      );
    await this.#until(answers, this.#daemon, 'sluiced');
  }

  /** Not in this process's group: Ctrl-C is for whoever uses the stack, and for it to end it in order. */
  #keep(argv: readonly string[]): ChildProcess {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
    const [program = '', ...words] = [...this.#enter, ...argv];
    const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-(1 << 20));
      });
    }
    return child;
  }

  async #until(ready: () => Promise<boolean>, child: ChildProcess, what: string): Promise<void> {
    const deadline = Date.now() + READY_WITHIN;
    while (!(await ready())) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`${what} ended (${child.exitCode ?? child.signalCode})`);
      if (Date.now() > deadline) throw new Error(`${what} was not ready within ${READY_WITHIN / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  agent(argv: readonly string[], options: RunOptions & { stdio?: StdioOptions } = {}): ChildProcess {
    const { stdio = ['ignore', 'pipe', 'pipe'], ...rest } = options;
    const child = spawn(this.agentPrefix[0]!, argv, { ...surroundings(rest), stdio });
    this.#agents.add(child);
    child.once('exit', () => this.#agents.delete(child));
    return child;
  }

  run(argv: readonly string[], options: RunOptions & { input?: string } = {}): Promise<Finished> {
    const { input = '', ...rest } = options;
    const child = this.agent(argv, { ...rest, stdio: ['pipe', 'pipe', 'pipe'] });
    feed(child, input);
    return finished(child);
  }

  sluice(argv: readonly string[], input = '', env: NodeJS.ProcessEnv = {}): Promise<Finished> {
    return command([...CLI, ...argv], { input, env: { ...process.env, SLUICE_RUN_DIR: this.runDir, ...env } });
  }

  async call(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const client = await ControlClient.connect(join(this.runDir, 'daemon/control.sock'));
    try {
      return await client.call(method, params);
    } finally {
      client.close();
    }
  }

  async setPolicy(policy: StackOptions['policy']): Promise<void> {
    this.#writePolicy(policy);
    await this.call('policy.reload');
  }

  #writePolicy(policy: StackOptions['policy']): void {
    rmSync(this.#policyDir, { recursive: true });
    mkdirSync(this.#policyDir, { mode: 0o755 });
    const files = typeof policy === 'string' ? { 'policy.yaml': policy } : policy;
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.#policyDir, name), text);
  }

  log(): string {
    return this.#log;
  }

  kill(signal: NodeJS.Signals): Promise<void> {
    return ended(this.daemon, signal);
  }

  async stopHelper(signal?: NodeJS.Signals): Promise<void> {
    if (this.#helper !== undefined) await ended(this.#helper, signal);
  }

  async stop(): Promise<void> {
    if (this.#daemon !== undefined) await ended(this.#daemon);
    await this.stopHelper();
    this.#clear();
  }

  /** What also the end of the process allows for: nothing in it waits for an event. */
  #clear(): void {
    if (this.#cleared) return;
    this.#cleared = true;
    process.off('exit', this.#atExit);
    // The processes of sessions go with their cgroups; this is for those that are only just entering one.
    for (const agent of this.#agents) agent.kill('SIGKILL');
    this.#daemon?.kill('SIGKILL');
    this.#helper?.kill('SIGKILL');
    // The helper that is going holds the lock for a moment yet.
    spawnSync('flock', ['--wait', '10', join(this.runDir, 'helper.lock'), 'true']);
    clear(this.dir, this.#helperArgv);
  }
}

function surroundings(options: RunOptions): { cwd: string; env: Record<string, string> } {
  const base = { PATH: '/usr/local/bin:/usr/bin:/bin', LANG: 'C.UTF-8', TERM: process.env.TERM ?? 'dumb' };
  return { cwd: options.cwd ?? '/', env: { ...base, ...options.env } };
}

/**
 * A whole sluice of one's own: helper, daemon, policy and agents, over whatever resources the policy names. For tests,
 * demo, corpora and bench. Everything lies in one temporary folder and under one cgroup; stop() leaves nothing behind,
 * nor does the end of this process, whatever ends it short of SIGKILL.
 *
 * The daemon and the agents run as accounts that may be unable to reach this checkout (it may lie in /root). So they
 * see it through a read-only bind mount that exists in their mount namespace alone.
 */
import { type ChildProcess, type StdioOptions, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command, ended, type Finished } from './child.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const HELPER = join(ROOT, 'build/native/sluice-helper');
const READY_WITHIN = 30_000;

export interface StackOptions {
  /** Text of the policy file, or of several by name. */
  readonly policy: string | Readonly<Record<string, string>>;
  /** Part of the names of the folder and the cgroup, for people who look. */
  readonly name?: string;
  /** Bytes that the audit store may take. Absent: the daemon's default. */
  readonly auditQuota?: number;
  /** Further settings of the daemon. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Files that are given to the account of the daemon (credentials). */
  readonly daemonReads?: readonly string[];
  /** Account that starts agents, and that they run as. */
  readonly agent?: string;
}

export interface RunOptions {
  /** On top of PATH, TERM and LANG. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Where `sluice run` is started. Absent: /. */
  readonly cwd?: string;
}

export interface Stack {
  readonly dir: string;
  readonly runDir: string;
  readonly stateDir: string;
  /** Of the daemon that runs now. */
  readonly daemon: ChildProcess;
  /** Prefix of a command line that makes the rest of it an agent in a session of its own. */
  readonly agentPrefix: readonly string[];
  /** Starts an agent; the caller waits. */
  agent(argv: readonly string[], options?: Omit<RunOptions, 'input'> & { stdio?: StdioOptions }): ChildProcess;
  /** Runs an agent to its end. */
  run(argv: readonly string[], options?: RunOptions): Promise<Finished>;
  /** `sluice ARGV…` on the host, as the account that started the stack. */
  sluice(argv: readonly string[], options?: { input?: string }): Promise<Finished>;
  /** Puts another policy in and waits until it is in force. Rejects with what the daemon says when it is not valid. */
  setPolicy(policy: StackOptions['policy']): Promise<void>;
  /** What the daemon and the helper wrote to stderr so far. */
  log(): string;
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Starts the daemon again after kill(). */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Why no stack can be started here, or null. For `test(…, { skip: stackMissing() ?? false })`. */
export function stackMissing(): string | null {
  if (process.getuid?.() !== 0) return 'needs root: BPF programs are loaded';
  if (!existsSync(HELPER)) return 'build/native/sluice-helper is not built (make -C native)';
  for (const name of ['sluice', 'sluice-agent'])
    if (account(name) === null) return `there is no account ${name} (npm run build makes it)`;
  return null;
}

function account(name: string): { uid: number; gid: number } | null {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`));
  if (line === undefined) return null;
  const [, , uid, gid] = line.split(':');
  return { uid: Number(uid), gid: Number(gid) };
}

/** Shell words of a command that sees the checkout at `app` and runs as `user`. */
function within(app: string, user: string | null): string {
  const drop = user === null ? '' : `setpriv --reuid ${user} --regid ${user} --clear-groups `;
  return `mount --bind ${ROOT} ${app} && mount -o remount,ro,bind ${app} && exec ${drop}"$@"`;
}

export async function startStack(options: StackOptions): Promise<Stack> {
  const missing = stackMissing();
  if (missing !== null) throw new Error(missing);
  const stack = new RunningStack(options);
  try {
    await stack.start();
  } catch (error) {
    await stack.stop();
    throw new Error(`sluice did not start: ${(error as Error).message}\n${stack.log()}`, { cause: error });
  }
  return stack;
}

class RunningStack implements Stack {
  readonly dir: string;
  readonly runDir: string;
  readonly stateDir: string;
  readonly agentPrefix: readonly string[];
  readonly #name: string;
  readonly #app: string;
  readonly #policyDir: string;
  readonly #agent: string;
  readonly #options: StackOptions;
  #helper: ChildProcess | undefined;
  #daemon: ChildProcess | undefined;
  #log = '';
  #stopped = false;
  readonly #atExit = () => this.#stopNow();

  constructor(options: StackOptions) {
    this.#options = options;
    this.#name = `sluice-${options.name ?? 'stack'}-${process.pid}-${Date.now().toString(36)}`;
    this.dir = mkdtempSync(join(tmpdir(), 'sluice-'));
    chmodSync(this.dir, 0o755);
    this.runDir = join(this.dir, 'run');
    this.stateDir = join(this.dir, 'state');
    this.#app = join(this.dir, 'app');
    this.#policyDir = join(this.dir, 'policy');
    this.#agent = options.agent ?? 'sluice-agent';
    const daemon = account('sluice')!;
    for (const dir of [this.runDir, this.stateDir, this.#app, this.#policyDir]) mkdirSync(dir, { mode: 0o755 });
    chownSync(this.stateDir, daemon.uid, daemon.gid);
    chmodSync(this.stateDir, 0o700);
    for (const file of options.daemonReads ?? []) chownSync(file, daemon.uid, daemon.gid);
    const agent = join(this.dir, 'agent');
    writeFileSync(
      agent,
      `#!/bin/sh\n# Makes the rest of the command line an agent.\nexec unshare -m sh -c '${within(this.#app, this.#agent)}' sh env SLUICE_RUN_DIR=${this.runDir} ${this.#cli().join(' ')} run -- "$@"\n`,
    );
    chmodSync(agent, 0o755);
    this.agentPrefix = [agent];
    process.once('exit', this.#atExit);
  }

  #cli(): string[] {
    return [join(this.#app, 'node_modules/node/bin/node'), join(this.#app, 'daemon/bin/sluice.ts')];
  }

  get daemon(): ChildProcess {
    if (this.#daemon === undefined) throw new Error('the daemon does not run');
    return this.#daemon;
  }

  async start(): Promise<void> {
    this.#writePolicy(this.#options.policy);
    this.#helper = this.#keep(
      spawn(HELPER, ['--run-dir', this.runDir, '--cgroup-root', 'auto', '--name', this.#name, '--user', 'sluice'], {
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    );
    await this.#until(() => existsSync(join(this.runDir, 'helper.sock')), this.#helper, 'sluice-helper');
    await this.restart();
  }

  async restart(): Promise<void> {
    const config = {
      runDir: this.runDir,
      stateDir: this.stateDir,
      policy: [this.#policyDir],
      helperSocket: join(this.runDir, 'helper.sock'),
      pinDir: join(this.runDir, 'bpf'),
      library: join(this.#app, 'build/native/libsluice.so'),
      listen: { port: 0 },
      ...(this.#options.auditQuota === undefined ? {} : { audit: { quotaBytes: this.#options.auditQuota } }),
      ...this.#options.config,
    };
    const file = join(this.dir, 'sluiced.json');
    writeFileSync(file, JSON.stringify(config, null, 1));
    const node = join(this.#app, 'node_modules/node/bin/node');
    const argv = [
      '-m',
      'sh',
      '-c',
      within(this.#app, 'sluice'),
      'sh',
      node,
      join(this.#app, 'daemon/bin/sluiced.ts'),
      '--config',
      file,
    ];
    this.#daemon = this.#keep(
      spawn('unshare', argv, { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: '/usr/bin:/bin' }, detached: true }),
    );
    await this.#until(async () => (await this.sluice(['status'])).status === 0, this.#daemon, 'sluiced');
  }

  #keep(child: ChildProcess): ChildProcess {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-(1 << 20));
      });
    }
    return child;
  }

  async #until(ready: () => boolean | Promise<boolean>, child: ChildProcess, what: string): Promise<void> {
    const deadline = Date.now() + READY_WITHIN;
    while (!(await ready())) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`${what} ended (${child.exitCode ?? child.signalCode})`);
      if (Date.now() > deadline) throw new Error(`${what} was not ready within ${READY_WITHIN / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  agent(argv: readonly string[], options: Omit<RunOptions, 'input'> & { stdio?: StdioOptions } = {}): ChildProcess {
    return spawn(this.agentPrefix[0] as string, [...argv], {
      ...this.#surroundings(options),
      stdio: options.stdio ?? ['ignore', 'pipe', 'pipe'],
    });
  }

  run(argv: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return command([...this.agentPrefix, ...argv], {
      ...this.#surroundings(options),
      ...(options.input === undefined ? {} : { input: options.input }),
    });
  }

  #surroundings(options: RunOptions): { cwd: string; env: Record<string, string> } {
    const base = { PATH: '/usr/local/bin:/usr/bin:/bin', LANG: 'C.UTF-8', TERM: process.env.TERM ?? 'dumb' };
    return { cwd: options.cwd ?? '/', env: { ...base, ...options.env } };
  }

  sluice(argv: readonly string[], options: { input?: string } = {}): Promise<Finished> {
    return command([process.execPath, join(ROOT, 'daemon/bin/sluice.ts'), ...argv], {
      ...options,
      env: { ...process.env, SLUICE_RUN_DIR: this.runDir },
    });
  }

  #writePolicy(policy: StackOptions['policy']): void {
    const files = typeof policy === 'string' ? { 'policy.yaml': policy } : policy;
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.#policyDir, name), text);
  }

  async setPolicy(policy: StackOptions['policy']): Promise<void> {
    rmSync(this.#policyDir, { recursive: true });
    mkdirSync(this.#policyDir, { mode: 0o755 });
    this.#writePolicy(policy);
    const { status, stderr } = await this.sluice(['policy', 'reload']);
    if (status !== 0) throw new Error(stderr);
  }

  log(): string {
    return this.#log;
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    const child = this.daemon;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    if (this.#daemon !== undefined) await ended(this.#daemon);
    this.#stopNow();
  }

  /** The rest of stop(), which the end of the process allows for too: nothing in it waits for an event. */
  #stopNow(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    process.off('exit', this.#atExit);
    this.#daemon?.kill('SIGKILL');
    this.#helper?.kill('SIGTERM');
    spawnSync(HELPER, ['--run-dir', this.runDir, '--cgroup-root', 'auto', '--name', this.#name, '--detach', '--kill'], {
      stdio: 'ignore',
    });
    rmSync(this.dir, { recursive: true, force: true });
  }
}

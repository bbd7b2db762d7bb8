/** sluice-probe as a process: lines of JSON in and out; native/README.md has the format. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Begins what probes send; the nonce and the name of the attempt follow. */
export const MARK = 'sluice-doctor ';

export type Line = Readonly<Record<string, unknown>>;

/** What sluice-probe says of one attempt. */
export interface Try {
  /** Of the probe; `@far` behind it where it went for the witness in a network namespace of its own. */
  readonly name: string;
  readonly escaped: boolean;
  /** What the kernel answered, or where the bytes arrived. */
  readonly how: string;
  /** Something was taken by the kernel: a witness has to say where it went. */
  readonly sent?: boolean;
  /** It could not be tried. */
  readonly untried?: boolean;
}

export interface Helping {
  readonly child: ChildProcess;
  /** What it said first. */
  readonly ready: Line;
  tell(line: string): void;
  /** Closes its stdin, by which it ends. */
  end(): Promise<void>;
}

/** Starts a witness or a victim and waits for its first line; later ones go to `hear`. @throws Error with its words. */
export function startHelping(
  argv: readonly [string, ...string[]],
  hear: (line: Line) => void,
  options: { readonly uid?: number; readonly gid?: number; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Helping> {
  const child = spawn(argv[0], argv.slice(1), { stdio: ['pipe', 'pipe', 'pipe'], cwd: '/', env: {}, ...options });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-2_000);
  });
  child.stdin.on('error', () => {});
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  const helping = {
    child,
    tell: (line: string) => child.stdin.write(`${line}\n`),
    async end() {
      child.stdin.end();
      await ended;
    },
  };
  return new Promise((resolve, reject) => {
    let begun = false;
    readLines(child, (line) => {
      if (begun) hear(line);
      else resolve({ ...helping, ready: line });
      begun = true;
    });
    child.once('error', reject);
    child.once('close', () => reject(new Error(errors.trim() || 'sluice-probe ended at once')));
  });
}

/** Each line of stdout that is a JSON object; others are dropped. */
export function readLines(child: ChildProcess, hear: (line: Line) => void): void {
  createInterface({ input: child.stdout! }).on('line', (text) => {
    try {
      const line: unknown = JSON.parse(text);
      if (typeof line === 'object' && line !== null) hear(line as Line);
    } catch {
      // Not of sluice-probe; what it does say is looked for by name.
    }
  });
}

export interface Ended {
  readonly status: number | null;
  readonly stderr: string;
}

/** Runs a command to its end, or to the end of its time. */
export function runLines(
  argv: readonly string[],
  hear: (line: Line) => void,
  options: { readonly stdio: StdioOptions; readonly limitMs: number; readonly env?: NodeJS.ProcessEnv },
): Promise<Ended> {
  const { limitMs, ...rest } = options;
  const child = spawn(argv[0]!, argv.slice(1), { ...rest, cwd: '/' });
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-4_000);
  });
  readLines(child, hear);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => {
      clearTimeout(timer);
      resolve({ status, stderr });
    });
  });
}

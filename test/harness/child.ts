/** Processes that tests, demo and bench start: run to their end, or stopped by pid. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';

export interface Finished {
  /** Exit status; 128 and the signal's number when a signal ended it, as a shell says it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const SIGNALS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGTERM: 15,
};

/** Resolves once the process and its output have ended. */
export function finished(child: ChildProcess): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const said = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name]?.setEncoding('utf8').on('data', (text: string) => {
        said[name] += text;
      });
    }
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ ...said, status: code ?? 128 + (SIGNALS[signal ?? ''] ?? 0) }));
  });
}

/** Runs a command to its end. `input` is its whole stdin; absent: nothing. */
export function command(argv: readonly string[], options: SpawnOptions & { input?: string } = {}): Promise<Finished> {
  const { input, ...rest } = options;
  const child = spawn(argv[0] as string, argv.slice(1), { ...rest, stdio: ['pipe', 'pipe', 'pipe'] });
  feed(child, input ?? '');
  return finished(child);
}

/** Gives a process its whole stdin. One that ends without reading it is no fault of ours. */
export function feed(child: ChildProcess, input: string): void {
  child.stdin?.on('error', () => {});
  child.stdin?.end(input);
}

/** As command(), but anything other than status 0 is an error that quotes what the command said. */
export async function mustSucceed(
  argv: readonly string[],
  options: SpawnOptions & { input?: string } = {},
): Promise<Finished> {
  const result = await command(argv, options);
  if (result.status !== 0)
    throw new Error(`${argv.join(' ')} ended with status ${result.status}:\n${result.stderr}${result.stdout}`);
  return result;
}

/** Asks a process to end and waits for it; after `patience` milliseconds it is killed. */
export async function ended(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM', patience = 10_000): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), patience);
  await gone;
  clearTimeout(timer);
}

/** Programs that the build calls: their output, or an error with what they said. */
import { spawnSync } from 'node:child_process';

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Standard output of a program that ends well. What it reads and writes is UTF-8, and its words are English.
 * @throws Error with its status and stderr
 */
export function run(program: string, args: readonly string[], options: RunOptions = {}): string {
  const ended = spawnSync(program, args, {
    cwd: options.cwd,
    env: { ...process.env, LC_ALL: 'C.UTF-8', TZ: 'UTC', ...options.env },
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (ended.error) throw ended.error;
  if (ended.status === 0) return ended.stdout;
  const said = `${ended.stdout}${ended.stderr}`.trimEnd().split('\n').slice(-20).join('\n');
  throw new Error(`${[program, ...args].join(' ')}: status ${ended.status}\n${said}`);
}

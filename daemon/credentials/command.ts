/** Runs a program that prints a credential, in the manner of credential_process: no shell, its stdout counts. */
import { spawn } from 'node:child_process';

/**
 * What it printed. Its stderr is thrown away: it may repeat secrets.
 * @throws Error that says how it failed, with nothing of what it printed
 */
export function runCommand(argv: readonly string[], time: number, limit: number): Promise<Buffer> {
  const [program, ...args] = argv;
  if (program === undefined || !program.startsWith('/'))
    return Promise.reject(new Error('it must be an absolute path'));
  return new Promise((resolve, reject) => {
    // Its own process group, so that what it started ends with it.
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'], detached: true, cwd: '/' });
    const chunks: Buffer[] = [];
    let size = 0;
    let failure: Error | null = null;
    const kill = (reason: string) => {
      failure ??= new Error(reason);
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // The group is gone already.
      }
      child.stdout.destroy();
    };
    const timer = setTimeout(() => kill(`it took longer than ${time} ms`), time);
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) kill(`it printed more than ${limit} bytes`);
      else chunks.push(chunk);
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      reject(new Error(`it could not be started (${error.code ?? 'unknown error'})`));
    });
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      if (failure !== null) reject(failure);
      else if (status !== 0)
        reject(new Error(status === null ? `it ended by ${signal}` : `it ended with status ${status}`));
      else resolve(Buffer.concat(chunks));
      for (const chunk of chunks) chunk.fill(0);
    });
  });
}

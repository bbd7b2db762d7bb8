/** The ways from a client to the database that are compared, and how a client command is run on each. */
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { mustSucceed } from '../test/harness/child.ts';
import type { PostgresServer } from '../test/harness/postgres.ts';
import type { Stack } from '../test/harness/stack.ts';
import type { Pooler } from './pooler.ts';

export const USER = 'bench';
export const DATABASE = 'bench';

export interface Path {
  readonly name: 'direct' | 'pgbouncer' | 'sluice';
  readonly port: number;
  /** Runs a client to its end and answers its stdout. */
  client(argv: readonly string[]): Promise<string>;
}

export function pathsTo(server: PostgresServer, pooler: Pooler, stack: Stack): readonly Path[] {
  const here = async (argv: readonly string[]) => (await mustSucceed(argv)).stdout;
  const agent = async (argv: readonly string[]) => {
    const { status, stdout, stderr } = await stack.run(argv);
    if (status !== 0)
      throw new Error(`${argv.join(' ')} in a session ended with status ${status}:\n${stderr}\n${stack.log()}`);
    return stdout;
  };
  return [
    { name: 'direct', port: server.port, client: here },
    { name: 'pgbouncer', port: pooler.port, client: here },
    // The agent names the database itself; the kernel brings it to sluice.
    { name: 'sluice', port: server.port, client: agent },
  ];
}

/** Compiles the reader to where agents can run it. */
export async function buildReader(dir: string): Promise<string> {
  const built = join(dir, 'reader');
  mkdirSync(dir, { recursive: true });
  await mustSucceed([
    'cc',
    '-O2',
    '-std=gnu11',
    '-Wall',
    '-Wextra',
    '-o',
    built,
    new URL('reader.c', import.meta.url).pathname,
  ]);
  chmodSync(built, 0o755);
  return built;
}

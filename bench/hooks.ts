/**
 * What the kernel side costs by itself: the same client and the same server, in a session with everything attached and
 * without any of it. The server stands in the daemon's place and does nothing but echo.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { mustSucceed } from '../test/harness/child.ts';
import { newHost } from '../test/native/host.ts';

/** Where the client means to go in a session; it is turned to the server. TEST-NET-2, RFC 5737. */
const AWAY = ['198.51.100.23', '5433'] as const;
const LIBRARY = new URL('../build/native/libsluice.so', import.meta.url).pathname;

/** Without any hook, or in a session with all of them. */
type Way = 'direct' | 'sluice';

export interface Hooks {
  /** Per second. */
  connect(way: Way, count: number): Promise<number>;
  echo(way: Way, count: number): Promise<number>;
  close(): Promise<void>;
}

export async function startHooks(): Promise<Hooks> {
  const host = newHost();
  const children: ChildProcess[] = [];
  const built = join(host.runDir, 'connections');
  const source = new URL('connections.c', import.meta.url).pathname;
  await mustSucceed(['cc', '-O2', '-std=gnu11', '-Wall', '-Wextra', '-Werror', '-o', built, source]);
  chmodSync(built, 0o755);
  const serve = async (argv: readonly string[]) => {
    const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    await Promise.race([
      once(child.stdout!, 'data'),
      once(child, 'exit').then(() => Promise.reject(new Error(`${argv.join(' ')} ended`))),
    ]);
  };
  const close = async () => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    }
    await host.close();
  };
  try {
    await host.startHelper();
    const [turned, plain] = [await freePort(), await freePort()];
    const stand = [process.execPath, new URL('turned.ts', import.meta.url).pathname, host.runDir, LIBRARY];
    await serve([...stand, String(turned), built, 'serve', String(turned)]);
    // With the priority that the helper gives what stands in the daemon's place.
    await serve(['nice', '-n', '-10', 'chrt', '--batch', '0', built, 'serve', String(plain)]);
    const session = await host.session();
    const run = async (way: Way, what: string, count: number) => {
      const argv =
        way === 'direct'
          ? [built, what, '127.0.0.1', String(plain), String(count)]
          : host.launch(session.id, [built, what, ...AWAY, String(count)]);
      return Number((await mustSucceed(argv)).stdout);
    };
    return {
      connect: (way, count) => run(way, 'connect', count),
      echo: (way, count) => run(way, 'echo', count),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** A pgbouncer of the bench's own, pooling by session, on a free loopback port. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ended } from '../test/harness/child.ts';

/** uid and gid of Debian's `nobody` and `nogroup`. */
const NOBODY = 65534;

export interface Pooler {
  readonly port: number;
  stop(): Promise<void>;
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** @param upstream port of the server on 127.0.0.1, which takes everybody without a password. */
export async function startPooler(upstream: number): Promise<Pooler> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');

  const dir = mkdtempSync(join(tmpdir(), 'sluice-pooler-'));
  chmodSync(dir, 0o755);
  const file = join(dir, 'pgbouncer.ini');
  writeFileSync(
    file,
    `[databases]
* = host=127.0.0.1 port=${upstream} user=bench
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = session
max_client_conn = 100
default_pool_size = 50
ignore_startup_parameters = extra_float_digits
`,
  );
  // With auth_type any, everybody logs in as the user of the line above. pgbouncer does not run as root.
  const child = spawn('pgbouncer', ['-q', file], {
    uid: NOBODY,
    gid: NOBODY,
    stdio: ['ignore', 'ignore', 'inherit'],
    detached: true,
  });
  const stop = async () => {
    await ended(child, 'SIGINT');
    rmSync(dir, { recursive: true, force: true });
  };
  const deadline = Date.now() + 10_000;
  while (!(await answers(port))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      await stop();
      throw new Error('pgbouncer did not start');
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { port, stop };
}

/** The throwaway database of the demo, a second door to it, and sluice in front of it under a policy. */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, connect as dial, type Server } from 'node:net';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '../test/harness/postgres.ts';
import { type Stack, startStack } from '../test/harness/stack.ts';

const HERE = new URL('.', import.meta.url).pathname;
const PASSWORD = 'a real credential, which no agent ever holds';

export interface Shop {
  readonly database: PostgresServer;
  readonly stack: Stack;
  /** Port on 127.0.0.1 that leads to the same database and that no policy names. */
  readonly sideDoor: number;
  /** Environment of a client of PostgreSQL. */
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

/** @param policyFile path of another policy than the demo's own. */
export async function openShop(policyFile: string = join(HERE, 'policy.yaml')): Promise<Shop> {
  const template = readFileSync(policyFile, 'utf8');
  const database = await startPostgres({
    // The shop's account needs its password. All others may come without one: whoever gets past sluice is in.
    hba: ['host all shop samehost scram-sha-256'],
    sql: readFileSync(join(HERE, 'shop.sql'), 'utf8'),
  });
  const closers: (() => Promise<void>)[] = [() => database.stop()];
  const stop = async () => {
    try {
      for (let close = closers.pop(); close !== undefined; close = closers.pop()) await close();
    } finally {
      // One that fails does not keep the rest from being closed.
      if (closers.length > 0) await stop();
    }
  };
  try {
    const door = await openDoor(database.port);
    closers.push(() => closeDoor(door));
    const credential = join(database.dir, 'shop.credential');
    const policy = template
      .replaceAll(/\$\{PGPORT\}/g, String(database.port))
      .replaceAll(/\$\{CREDENTIAL\}/g, credential);
    writeFileSync(credential, PASSWORD, { mode: 0o600 });
    const stack = await startStack({ name: 'demo', policy, daemonReads: [credential] });
    closers.push(() => stack.stop());
    const { port: sideDoor } = door.address() as { port: number };
    const env = { PGHOST: '127.0.0.1', PGPORT: String(database.port), PGUSER: 'shop', PGDATABASE: 'shop' };
    return { database, stack, sideDoor, env, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function openDoor(port: number): Promise<Server> {
  const door = createServer((from) => {
    const to = dial(port, '127.0.0.1');
    from.pipe(to).pipe(from);
    for (const socket of [from, to]) socket.on('error', () => [from, to].forEach((each) => void each.destroy()));
  });
  await once(door.listen(0, '127.0.0.1'), 'listening');
  return door;
}

async function closeDoor(door: Server): Promise<void> {
  const closed = once(door, 'close');
  door.close();
  await closed;
}

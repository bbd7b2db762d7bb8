/**
 * Keeps the token of a session fresh for as long as the session runs: a small process beside it, outside of it, with the
 * rights of who started it. `sluice run` itself becomes the command and can't.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { SluiceError } from '../core/errors.ts';
import type { Daemon } from './context.ts';
import { nextToken, type Presented, type Renewal } from './identity.ts';

/** What the keeper is told, on its stdin: neither its command line nor its environment has a secret. */
export interface Charge {
  readonly control: string;
  readonly session: string;
  readonly presented: Presented & { readonly renewal: Renewal };
}

/** What it says once it can be left alone. */
export const KEEPER_READY = 'ready\n';

/** Between two looks at the token, milliseconds. */
const SOONEST = 1_000;
const LATEST = 15_000;

/** Starts it in a session of its own: no Ctrl-C reaches it, and no child that it did not start troubles the command. */
export async function startKeeper(program: string, charge: Charge): Promise<void> {
  const argv = ['--fork', process.execPath, '--max-semi-space-size=1', program];
  const { PATH, NODE_EXTRA_CA_CERTS } = process.env;
  const keeper = spawn('setsid', argv, {
    cwd: '/',
    env: { PATH, ...(NODE_EXTRA_CA_CERTS && { NODE_EXTRA_CA_CERTS }) },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  keeper.stdin.on('error', () => {});
  keeper.stdin.end(JSON.stringify(charge));
  const said = await new Promise<string>((resolve, reject) => {
    let text = '';
    keeper.once('error', reject);
    keeper.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.endsWith('\n')) resolve(text);
    });
    keeper.stdout.once('end', () => resolve(text));
  });
  keeper.stdout.destroy();
  if (said !== KEEPER_READY)
    throw new SluiceError('INTERNAL', 'the process that renews the token of the session did not start');
}

export interface KeepOptions {
  connect(): Promise<Daemon>;
  sleep(ms: number): Promise<unknown>;
}

/** Returns when the session is over. What goes wrong meanwhile is told to the daemon, for `sluice sessions running`. */
export async function keep({ session, presented }: Charge, { connect, sleep }: KeepOptions): Promise<void> {
  const { renewal } = presented;
  let told = digest(presented.token);
  let until: number | null = null;
  let since = Date.now();
  for (;;) {
    let ask: Readonly<Record<string, unknown>> = { id: session };
    try {
      if (renewal.from === 'file' || dueAt(since, until) <= Date.now()) {
        const token = until === null ? presented.token : await nextToken(renewal);
        if (digest(token) !== told) ask = { id: session, token };
      }
    } catch (error) {
      ask = { id: session, problem: (error as Error).message.slice(0, 300) };
    }
    try {
      const answer = await call(connect, ask);
      if (answer.until === null) return;
      if (typeof ask.token === 'string') {
        told = digest(ask.token);
        since = Date.now();
      }
      until = answer.until;
    } catch (error) {
      const { code } = error as { code?: unknown };
      // It is over; or it is of somebody else, which it never was.
      if (code === 'SESSION_UNKNOWN') return;
      // One that was refused would be refused again.
      if (code === 'IDENTITY_REFUSED' && typeof ask.token === 'string') told = digest(ask.token);
    }
    await sleep(Math.min(LATEST, Math.max(SOONEST, ((until ?? 0) - Date.now()) / 10)));
  }
}

/** A token that has to be asked for is asked for when three quarters of its time have passed. */
function dueAt(since: number, until: number | null): number {
  return until === null ? Number.POSITIVE_INFINITY : since + (until - since) * 0.75;
}

async function call(connect: KeepOptions['connect'], params: Readonly<Record<string, unknown>>) {
  const daemon = await connect();
  try {
    return (await daemon.call('session.renew', params)) as { readonly until: number | null };
  } finally {
    daemon.close();
  }
}

function digest(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

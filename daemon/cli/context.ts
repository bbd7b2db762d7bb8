/** What the entry point gives to commands. They know no stage; the daemon is what answers on its socket. */
import type { Writable } from 'node:stream';
import type { Paths } from './paths.ts';

export interface Daemon {
  /** @throws SluiceError as the daemon answers, DAEMON_UNREACHABLE. */
  call(method: string, params?: Readonly<Record<string, unknown>>): Promise<unknown>;
  stream(method: string, params?: Readonly<Record<string, unknown>>, signal?: AbortSignal): AsyncIterable<unknown>;
  close(): void;
}

export interface UserEntry {
  readonly uid: number;
  readonly user: string;
  readonly gid?: number;
  readonly home?: string;
  readonly shell?: string;
}

export interface Context {
  readonly paths: Paths;
  /** Program that renews the token of a session; see keep.ts. */
  readonly keeper: string;
  /** @throws SluiceError DAEMON_UNREACHABLE. */
  connect(): Promise<Daemon>;
  lookUp(uid: number): Promise<UserEntry>;
  uidOf(name: string): Promise<number | null>;
  readonly out: Writable & { readonly isTTY?: boolean; readonly columns?: number };
}

/** Runs `use` with a connection, and closes it. */
export async function withDaemon<T>(context: Context, use: (daemon: Daemon) => Promise<T>): Promise<T> {
  const daemon = await context.connect();
  try {
    return await use(daemon);
  } finally {
    daemon.close();
  }
}

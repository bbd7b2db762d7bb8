/** What is measured on a path. Each takes one sample. */
import { DATABASE, type Path, USER } from './paths.ts';

export interface Stream {
  readonly bytes: number;
  readonly rows: number;
  readonly first_row_ms: number;
  readonly total_ms: number;
  readonly mb_per_s: number;
}

export interface Latency {
  readonly median_us: number;
  readonly p99_us: number;
  readonly max_us: number;
}

const at = (path: Path) => ['127.0.0.1', String(path.port), USER, DATABASE];

/**
 * Statements per second of `pgbench -S`, without the time of connecting. `amount`: `-T SECONDS` or `-t TRANSACTIONS` per
 * client. Without `tls` the client does not ask for it: server and pgbouncer have none, and would be compared with more.
 */
export async function pgbench(
  path: Path,
  mode: 'simple' | 'prepared',
  clients: number,
  amount: readonly string[],
  tls = false,
): Promise<number> {
  const [host, port, user, database] = at(path) as [string, string, string, string];
  const threads = String(Math.min(clients, 2));
  const out = await path.client([
    ...['env', `PGSSLMODE=${tls ? 'require' : 'disable'}`],
    ...['pgbench', '-S', '-n', '-M', mode, '-c', String(clients), '-j', threads, ...amount],
    ...['-h', host, '-p', port, '-U', user, database],
  ]);
  const found = /tps = ([\d.]+) \(without initial connection time\)/.exec(out);
  if (found === null) throw new Error(`pgbench printed no rate:\n${out}`);
  return Number(found[1]);
}

/** Reads one result. */
export async function stream(path: Path, reader: string, sql: string): Promise<Stream> {
  return JSON.parse(await path.client([reader, 'stream', ...at(path), sql]));
}

/** Time of one statement after the other on one connection. */
export async function latency(path: Path, reader: string, sql: string, count: number): Promise<Latency> {
  return JSON.parse(await path.client([reader, 'latency', ...at(path), sql, String(count)]));
}

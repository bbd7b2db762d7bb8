/** Puts the PostgreSQL protocol together with masking, parser and catalogs. */

import { join } from 'node:path';
import type { Obligations } from '../core/mask.ts';
import type { Resource } from '../core/resource.ts';
import type { Credentials } from '../credentials/credentials.ts';
import type { FindAddresses } from '../flow/reach.ts';
import { loadMaskKey } from '../masking/key.ts';
import { openScanLibrary } from '../masking/library.ts';
import { Scanner } from '../masking/scanner.ts';
import type { Detection } from '../masking/text.ts';
import { CancelKeys } from '../protocols/postgres/cancel.ts';
import { Databases } from '../protocols/postgres/databases.ts';
import { openRowLibrary } from '../protocols/postgres/mask/library.ts';
import { postgres } from '../protocols/postgres/postgres.ts';
import { Analyzer } from '../protocols/postgres/sql/analyzer.ts';
import { SqlParser } from '../protocols/postgres/sql/parser.ts';
import { maskTools } from '../protocols/postgres/tools.ts';
import type { Protocol } from '../protocols/protocol.ts';
import { connectCatalog } from './connection.ts';

export interface PostgresOptions {
  readonly credentials: Credentials;
  readonly stateDir: string;
  /** Path of libsluice.so. */
  readonly library: string;
  readonly statementBytes: number;
  /** How addresses of resources are found. Absent: as the C library finds them. */
  readonly lookup?: FindAddresses;
  onFault(error: unknown): void;
}

export interface OpenedPostgres {
  readonly protocol: Protocol;
  /** What clients in a session look for. */
  environment(token: string, ca: string, resources: readonly Resource[]): Readonly<Record<string, string>>;
  /** Rejects when no statement can be read. */
  answers(): Promise<unknown>;
  close(): Promise<void>;
}

/** Idle databases are looked for this often, milliseconds. */
const SWEEP = 30_000;

export async function openPostgres(options: PostgresOptions): Promise<OpenedPostgres> {
  const key = loadMaskKey(join(options.stateDir, 'mask.key'));
  const rows = openRowLibrary(options.library);
  const library = openScanLibrary(options.library);
  const detections = new WeakMap<Obligations, Detection | null>();
  const scanners = new Map<string, Scanner>();
  const detection = (obligations: Obligations): Detection | null => {
    let made = detections.get(obligations);
    if (made === undefined) {
      made =
        obligations.detect.length === 0
          ? null
          : { scanner: scannerOf(obligations.detect), with: obligations.detectWith };
      detections.set(obligations, made);
    }
    return made;
  };
  const scannerOf = (names: readonly string[]): Scanner => {
    const id = [...names].sort().join();
    let scanner = scanners.get(id);
    if (scanner === undefined) {
      scanner = new Scanner(names, library);
      scanners.set(id, scanner);
    }
    return scanner;
  };
  const parser = new SqlParser();
  const databases = new Databases({
    analyzer: new Analyzer(parser),
    // Same account, same credential as the flows.
    connect: async (resource, account, database) => {
      const credential = resource.credential === undefined ? {} : await options.credentials.read(resource.credential);
      return connectCatalog(resource, credential, account, database, options.lookup);
    },
    onFault: options.onFault,
  });
  const sweep = setInterval(() => {
    databases.sweep();
    if (!databases.busy) parser.rest();
  }, SWEEP);
  sweep.unref();
  const protocol = postgres({
    cancels: new CancelKeys(),
    statementLimit: options.statementBytes,
    statements: (host, account, database) => databases.open(host.resource, account, database),
    expect: (host, account, database) => {
      // Beside the login and the first look at the catalog, which take as long.
      parser.warm();
      databases.expect(host.resource, account, database);
    },
    tools: (statements) => maskTools({ key, rows, detection }, statements),
  });
  return {
    protocol,
    environment: (token, ca, resources) => ({
      ...(resources.some(wantsToken) ? { PGPASSWORD: token } : {}),
      PGSSLROOTCERT: ca,
    }),
    // Asked for that alone, a thread that rests would never rest.
    answers: async () => (parser.resting ? null : parser.parse('SELECT 1')),
    async close() {
      clearInterval(sweep);
      databases.close();
      await parser.close();
    },
  };
}

/** Elsewhere the token would stand in the way of a password of the client's own. */
function wantsToken(resource: Resource): boolean {
  return resource.protocol === 'postgres' && resource.login === 'token';
}

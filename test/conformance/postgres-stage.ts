/** PostgreSQL 15 behind a tap, behind sluice, with a policy of every kind of answer. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPostgres } from '../../daemon/bin/postgres.ts';
import { Credentials } from '../../daemon/credentials/credentials.ts';
import { DETECTOR_NAMES } from '../../daemon/masking/detectors/table.ts';
import { postgresOptions } from '../../daemon/protocols/postgres/options.ts';
import { type PostgresServer, startPostgres } from '../harness/postgres.ts';
import { type Sides, splitting } from './splitting.ts';
import { openStage, type Stage } from './stage.ts';
import { openTap, type Tap } from './tap.ts';

const LIBRARY = new URL('../../build/native/libsluice.so', import.meta.url).pathname;

export const CANARY = 'canary-7f3a';

export const SETUP = `
  CREATE TABLE people (id int, email text, ssn text);
  INSERT INTO people SELECT g, 'user' || g || '@mail.example', '${CANARY}-' || g FROM generate_series(1, 5) g;
  CREATE TABLE done (what text);
  CREATE TABLE forbidden (what text);
  INSERT INTO forbidden VALUES ('forbidden-row');
  CREATE SCHEMA open;
  CREATE TABLE open.forbidden (what text);
  CREATE TABLE open.people (id int, email text, ssn text);
  INSERT INTO open.people VALUES (1, 'open', 'open');
`;

export interface PostgresStage {
  readonly server: PostgresServer;
  readonly tap: Tap;
  readonly stage: Stage;
  /** Longest statement that is parsed here, bytes. */
  readonly statementBytes: number;
  close(): Promise<void>;
}

/**
 * `rules` and `masks`: YAML of policy.daemon's own language; the resource is `db`. `upstream`: port of another server in
 * the place of the real one.
 */
export const ALLOW = `
rules:
  - {name: all may pass, allow: everything, who: {groups: [agents]}, on: db, breadth: accepted}
`;

export function policyText(port: number, rest: string): string {
  return `
apiVersion: sluice/v1
resources:
  db: {protocol: postgres, address: "127.0.0.1:${port}", tls: "off", login: none}
${rest}`;
}

export async function openPostgresStage(rest: string, sides?: () => Sides): Promise<PostgresStage> {
  const server = await startPostgres({ sql: SETUP });
  const tap = await openTap(server.port);
  const made = await openFor(tap.port, rest, sides);
  return {
    server,
    tap,
    stage: made.stage,
    statementBytes: 1 << 20,
    async close() {
      tap.close();
      await made.close();
      await server.stop();
    },
  };
}

/** Sluice alone, for whatever listens at this port. */
export async function openFor(
  port: number,
  rest: string,
  sides?: () => Sides,
): Promise<{ stage: Stage; close(): Promise<void> }> {
  const stateDir = mkdtempSync(join(tmpdir(), 'sluice-state-'));
  const faults: unknown[] = [];
  const postgres = await openPostgres({
    credentials: new Credentials(),
    stateDir,
    library: LIBRARY,
    statementBytes: 1 << 20,
    onFault: (error) => faults.push(error),
  });
  const stage = await openStage({
    policy: policyText(port, rest),
    kit: { protocols: { postgres: { options: postgresOptions } }, detectors: DETECTOR_NAMES },
    resource: 'db',
    protocol: sides === undefined ? postgres.protocol : splitting(postgres.protocol, sides),
  });
  return {
    stage,
    async close() {
      await stage.close();
      await postgres.close();
      rmSync(stateDir, { recursive: true, force: true });
    },
  };
}

/** A database behind sluice, and what an operator does there. */
import { request } from 'node:http';
import { type PostgresServer, startPostgres } from '../harness/postgres.ts';
import { type Stack, type StackOptions, startStack } from '../harness/stack.ts';

export interface Site {
  readonly database: PostgresServer;
  readonly stack: Stack;
  /** Runs SQL in a session; what psql said on both outputs. */
  psql(sql: string): Promise<string>;
  stop(): Promise<void>;
}

export const policyFor = (port: number, more = '', resources = ''): string => `apiVersion: sluice/v1
identities:
  - user: sluice-agent
    groups: [agents]
resources:
  shop:
    protocol: postgres
    address: 127.0.0.1:${port}
    tls: off
    login: none
${resources}rules:
  - name: agents "read" the shop
    allow: [read, session]
    who: {groups: [agents]}
    on: shop
  - name: a dba signs off writes
    approve: [write]
    who: {groups: [agents]}
    on: shop
    reviewers: anyone
    hold: 1s
  - name: no drops
    deny: [ddl]
    who: {groups: [agents]}
    on: shop
${more}`;

export async function startSite(
  options: Omit<StackOptions, 'policy'> & { readonly more?: string; readonly resources?: string } = {},
): Promise<Site> {
  const { more, resources, ...others } = options;
  const database = await startPostgres({ sql: 'CREATE TABLE orders AS SELECT 1 AS id;' });
  try {
    const stack = await startStack({
      name: 'operations',
      ...others,
      policy: policyFor(database.port, more, resources),
    });
    return {
      database,
      stack,
      async psql(sql) {
        const words = ['-h', '127.0.0.1', '-p', String(database.port), '-U', 'postgres', '-d', 'postgres', '-Atc', sql];
        const { stdout, stderr } = await stack.run(['/usr/bin/psql', ...words], { env: { PGSSLMODE: 'disable' } });
        return stdout + stderr;
      },
      async stop() {
        await stack.stop();
        await database.stop();
      },
    };
  } catch (error) {
    await database.stop();
    throw error;
  }
}

/** GET, as the process that this is. */
export function get(
  at: { socketPath: string } | { port: number },
  path = '/metrics',
): Promise<{ status: number; type: string; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', ...at, path, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode!, type: response.headers['content-type'] ?? '', text }),
      );
    });
    asked.on('error', reject).end();
  });
}

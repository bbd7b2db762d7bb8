/** Every type, every kind, text and binary: real drivers read the masked values of a real server. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { MASK_KINDS, type MaskKind } from '../../daemon/core/mask.ts';
import { randomMaskKey } from '../../daemon/masking/key.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Relay, type RelayMask, startRelay } from './relay.ts';
import { SETUP, select, TYPES } from './types.ts';

const PYTHON = '/usr/bin/python3';
const key = randomMaskKey();

interface Read {
  a?: number;
  m?: unknown;
  z?: string;
  error?: string;
}

/** Becomes NULL whatever the kind: no other value is known to be valid. */
const OPAQUE = /^masking_(mood|pair)/;
/** Redacted or partial values that equal the original's type but say nothing of it are fine; these two may coincide. */
const MAY_EQUAL = new Set(['bool', '"char"']);

describe('drivers read masked values', { skip: postgresMissing() ?? false }, () => {
  let server: PostgresServer;
  let relay: Relay;
  let mask: RelayMask;
  before(async () => {
    server = await startPostgres({ sql: SETUP, conf: ['jit = off'] });
    relay = await startRelay(server, () => mask);
  });
  after(async () => {
    relay?.close();
    await server?.stop();
  });

  const queries = TYPES.map(([type, value]) => select(type, value));

  async function nodePg(port: number, binary: boolean): Promise<Read[]> {
    const client = new pg.Client({ host: '127.0.0.1', port, user: 'postgres', database: 'postgres' });
    await client.connect();
    const results: Read[] = [];
    for (const text of queries) {
      try {
        const { rows } = await client.query({ text, binary } as pg.QueryConfig);
        const row = rows[0] as { a: number; m: unknown; z: string };
        results.push({ a: row.a, m: row.m === null ? null : JSON.stringify(row.m), z: row.z });
      } catch (error) {
        results.push({ error: String(error) });
      }
    }
    await client.end();
    return results;
  }

  function python(driver: string, port: number): Promise<Read[]> {
    return new Promise((resolve, reject) => {
      const child = spawn(PYTHON, [join(import.meta.dirname, 'read.py'), driver, String(port)], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      let out = '';
      child.stdout.on('data', (data) => (out += data));
      child.on('error', reject);
      child.on('close', (code) =>
        code === 0 ? resolve(JSON.parse(out) as Read[]) : reject(new Error(`read.py: ${code}`)),
      );
      child.stdin.end(JSON.stringify(queries));
    });
  }

  const clients: Record<string, (port: number) => Promise<Read[]>> = {
    'node-postgres in text': (port) => nodePg(port, false),
    'node-postgres in binary': (port) => nodePg(port, true),
    psycopg2: (port) => python('psycopg2', port),
    asyncpg: (port) => python('asyncpg', port),
  };

  for (const [name, read] of Object.entries(clients)) {
    const missing = /^(psycopg2|asyncpg)$/.test(name) ? pythonMissing(name) : null;
    for (const plain of [true, false])
      for (const kind of plain ? MASK_KINDS : (['tokenize'] as const))
        test(`${name}: ${plain ? kind : 'derived'}`, { skip: missing ?? false }, async () => {
          const direct = await read(server.port);
          mask = { kind, plain, key, detection: null };
          const got = await read(relay.port);
          const again = await read(relay.port);
          assert.deepEqual(again, got, 'the same value gives the same mask');
          for (const [i, [type]] of TYPES.entries()) {
            const [before_, result] = [direct[i]!, got[i]!];
            if (before_.error !== undefined) continue; // the driver can't read the type at all
            assert.deepEqual({ ...result, m: undefined }, { a: 7, m: undefined, z: 'end' }, `${type}: ${result.error}`);
            if (kind === 'null' || OPAQUE.test(type)) assert.equal(result.m, null, type);
            else {
              assert.notEqual(result.m, null, type);
              if (!MAY_EQUAL.has(type)) assert.notEqual(result.m, before_.m, type);
            }
          }
        });
  }

  test('text and binary forms of a value have the same mask', async () => {
    for (const kind of MASK_KINDS.filter((each: MaskKind) => each !== 'null')) {
      mask = { kind, plain: true, key, detection: null };
      const [text, binary] = [await python('psycopg2', relay.port), await python('asyncpg', relay.port)];
      for (const type of ['text', 'int2', 'int4', 'int8', 'numeric', 'numeric(40,0)', 'float8', 'timestamp']) {
        const i = TYPES.findIndex(([each]) => each === type);
        assert.equal(binary[i]!.m, text[i]!.m, `${type} under ${kind}`);
      }
    }
  });
});

function pythonMissing(module: string): string | null {
  try {
    execFileSync(PYTHON, ['-c', `import ${module}`], { stdio: 'ignore' });
    return null;
  } catch {
    return `python3-${module} is not installed`;
  }
}

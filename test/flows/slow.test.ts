/**
 * A client that does not read: what the server sends for it waits at the server, not in the daemon's memory, whether rows
 * pass as they are or are rewritten.
 */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { after, before, suite, test } from 'node:test';
import { localPolicy } from '../harness/policy.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';

const ROWS = 400_000;
/** Looks at the server in a row that find it waiting, before it is believed. */
const LOOKS = 20;

const RULES = `  - name: agents read
    allow: [read, session]
    who: {groups: [agents]}
    on: db
`;
const PROTECTION = {
  unmasked: '',
  masked: 'masks:\n  - {on: db, columns: [public.people.ssn], with: redact}\n',
  'searched by content': 'detect: [emails]\n',
};

suite('clients that do not read', { skip: postgresMissing() ?? stackMissing() ?? false }, () => {
  let database: PostgresServer;
  let stack: Stack;

  before(async () => {
    database = await startPostgres({
      sql: `CREATE TABLE people AS SELECT '999-12-3456' AS ssn, repeat('x', 500) AS body FROM generate_series(1, ${ROWS});`,
    });
    stack = await startStack({ name: 'slow', policy: localPolicy(database.port, { rules: RULES }) });
    for (const name of ['slow.py', 'late.py']) {
      const script = join(stack.dir, name);
      copyFileSync(new URL(name, import.meta.url), script);
      chmodSync(script, 0o644);
    }
  });

  after(async () => {
    await stack?.stop();
    await database?.stop();
  });

  /** Resolves once the server can't get rid of its result; rejects when it could. */
  async function serverWaits(): Promise<void> {
    const sql =
      "SELECT state, wait_event FROM pg_stat_activity WHERE backend_type = 'client backend' AND query ~ 'people$|people TO STDOUT$'";
    for (let looks = 0; looks < LOOKS; ) {
      const seen = await database.psql(sql);
      assert.notEqual(seen.split('|')[0], 'idle', 'the whole result left the server, and nobody has read it');
      looks = seen === 'active|ClientWrite' ? looks + 1 : 0;
    }
  }

  for (const [name, protection] of Object.entries(PROTECTION)) {
    for (const sql of ['SELECT ssn, body FROM people', 'COPY people TO STDOUT']) {
      test(`${sql}, ${name}: the server waits, and every row comes in the end`, { timeout: 120_000 }, async () => {
        await stack.setPolicy(localPolicy(database.port, { rules: RULES + protection }));
        const argv = ['/usr/bin/python3', join(stack.dir, 'slow.py'), String(database.port), sql];
        const client = stack.agent(argv, { stdio: ['pipe', 'pipe', 'inherit'] });
        const lines = createInterface({ input: client.stdout! })[Symbol.asyncIterator]();
        assert.equal((await lines.next()).value, 'waiting');
        await serverWaits();
        client.stdin!.end('go on\n');
        assert.equal((await lines.next()).value, String(ROWS));
      });
    }
  }

  // What waits for a client lies in memory that is read into again: too early, and the client would get another's bytes.
  for (const kind of ['plain', 'tls']) {
    test(`results that are read in fits and starts come as they are, ${kind}`, { timeout: 120_000 }, async () => {
      await stack.setPolicy(localPolicy(database.port, { rules: RULES }));
      const late = (seed: number) =>
        stack.run(['/usr/bin/python3', join(stack.dir, 'late.py'), String(database.port), kind, String(seed)]);
      for (const { stdout, stderr } of await Promise.all([1, 2, 3].map(late)))
        assert.deepEqual([stdout, stderr], ['1000\n', '']);
    });
  }
});

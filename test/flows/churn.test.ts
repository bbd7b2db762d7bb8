/**
 * Connections that end in the middle of their answers, by the hundred: descriptors and memory of the daemon are used again
 * at once, and nothing that was meant for one flow may come out of another, masked or not.
 */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { localPolicy } from '../harness/policy.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';

const SESSIONS = 4;
const ROUNDS = 40;

interface Seen {
  readonly mark: string;
  readonly whole: number;
  readonly rows: number;
  readonly foreign: number;
  readonly leaked: number;
}

suite('flows that come and go', { skip: postgresMissing() ?? stackMissing() ?? false }, () => {
  let database: PostgresServer;
  let stack: Stack;

  before(async () => {
    database = await startPostgres({
      conf: ['max_connections = 200'],
      sql: "CREATE TABLE people AS SELECT '999-12-3456' AS ssn;",
    });
    const rules = `  - name: agents read
    allow: [read, session]
    who: {groups: [agents]}
    on: db
masks:
  - {on: db, columns: [public.people.ssn], with: redact}
`;
    stack = await startStack({ name: 'churn', policy: localPolicy(database.port, { rules }) });
  });

  after(async () => {
    await stack?.stop();
    await database?.stop();
  });

  test('nobody gets a byte of another’s, and whoever reads to the end gets every row', {
    timeout: 120_000,
  }, async () => {
    const script = join(stack.dir, 'churn.py');
    copyFileSync(new URL('churn.py', import.meta.url), script);
    chmodSync(script, 0o644);
    const pid = stack.daemon.pid;
    const runs = await Promise.all(
      Array.from({ length: SESSIONS }, (_, i) =>
        stack.run(['/usr/bin/python3', script, String(database.port), `<s${i}>`, String(ROUNDS)]),
      ),
    );
    for (const [i, { status, stdout, stderr }] of runs.entries()) {
      assert.equal(status, 0, stderr);
      assert.equal(stderr, '');
      const seen = JSON.parse(stdout) as Seen;
      assert.deepEqual([seen.mark, seen.foreign, seen.leaked], [`<s${i}>`, 0, 0]);
      assert.ok(seen.whole > ROUNDS && seen.rows > 10_000, stdout);
    }
    assert.equal(stack.daemon.pid, pid);
    assert.equal(stack.daemon.exitCode, null);
    const { status, stderr } = await stack.sluice(['verify']);
    assert.equal(status, 0, stderr);
  });
});

/** Drivers, direct and through sluice: each script prints all that its driver tells it, and the prints are equal. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { APP, type Both, bothMissing, schema, script, startBoth } from './both.ts';

const NODE = `${APP}/node_modules/node/bin/node`;

suite('drivers', { skip: bothMissing() ?? false }, () => {
  let both: Both;
  before(async () => {
    both = await startBoth({ postgres: { sql: schema } });
  });
  after(() => both?.stop());

  const clients: readonly [name: string, argv: readonly string[], input: string, last: RegExp][] = [
    ['psycopg2', ['/usr/bin/python3', '-'], script('psycopg.py'), /database "nosuch" does not exist/],
    ['asyncpg', ['/usr/bin/python3', '-'], script('asyncpg_client.py'), /database "nosuch" does not exist/],
    ['node-postgres', [NODE, `${APP}/test/compat/clients/node.ts`], '', /database \\"nosuch\\" does not exist/],
    ['a wire flow as of JDBC', [NODE, `${APP}/test/compat/clients/wire.ts`], '', /closed/],
  ];
  for (const [name, argv, input, last] of clients) {
    test(name, { timeout: 60_000 }, async () => {
      const said = await both.same(argv, { input, env: { NODE_OPTIONS: '--no-deprecation' } });
      assert.equal(said.status, 0, said.stderr);
      assert.match(said.stdout, last);
    });
  }
});

/** `sluice policy test` and `explain --sql` as a user calls them, judging SQL by the catalog of a real database. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { command } from '../harness/child.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';

const SLUICE = new URL('../../daemon/bin/sluice.ts', import.meta.url).pathname;
const PASSWORD = 'a/wörd@:';
const NOBODY_HOME = 'postgres://agent:hunter2@127.0.0.1:1/shop';

const POLICY = `apiVersion: sluice/v1
resources:
  shop: {protocol: postgres, address: "db.shop.example:5433"}
rules:
  - {name: agents read, allow: [read], who: {groups: [agents]}, on: shop, tables: [public.orders, public.people]}
  - {name: a dba signs off writes, approve: [write], who: {groups: [agents]}, on: shop, tables: [public.orders, public.people], reviewers: {groups: [dba]}}
  - {name: no drops, deny: [ddl], who: {groups: [agents]}, on: shop}
  - {name: and look around, allow: [session], who: {groups: [agents]}, on: shop}
masks:
  - {name: contact, on: shop, columns: [public.people.email], with: partial, unless: {groups: [pii-readers]}}
  - {name: numbers, on: shop, columns: ["*.ssn"], conditions: deny}
`;

const CASES = `apiVersion: sluice/v1
cases:
  - {name: read, who: {groups: [agents]}, on: shop, sql: SELECT id FROM orders, expect: allow, rule: agents read, masked: []}
  - {name: read all, who: {groups: [agents]}, on: shop, sql: SELECT * FROM people, expect: allow, masked: [ssn, email]}
  - {name: by another name, who: {groups: [agents]}, on: shop, sql: "SELECT id, lower(email) AS mail FROM contacts c", expect: allow, masked: [mail]}
  - {name: for pii-readers, who: {groups: [agents, pii-readers]}, on: shop, sql: SELECT * FROM people, expect: allow, masked: [ssn]}
  - {name: copied out, who: {groups: [agents]}, on: shop, sql: "COPY people (id, email) TO STDOUT", expect: allow, masked: [email]}
  - {name: nothing but names is asked of the server, who: {groups: [agents]}, on: shop, sql: UPDATE people SET id = 8 RETURNING id AS one, expect: approve, masked: []}
  - {name: returned, who: {groups: [agents]}, on: shop, sql: "DELETE FROM people RETURNING email, id", expect: approve, rule: a dba signs off writes, masked: [email]}
  - {name: worst of several, who: {groups: [agents]}, on: shop, sql: "SELECT ssn FROM people; DROP TABLE orders; SELECT 1", expect: deny, rule: no drops, masked: [ssn]}
  - {name: no rule, who: {groups: [agents]}, on: shop, sql: SELECT * FROM payroll, expect: deny, rule: null}
  - {name: no such table, who: {groups: [agents]}, on: shop, sql: SELECT * FROM nowhere, expect: deny}
  - {name: a mask refuses, who: {groups: [agents]}, on: shop, sql: "SELECT id FROM people WHERE ssn = '1'", expect: deny, rule: agents read}
  - {name: by effect, who: {groups: [agents]}, on: shop, operation: {effects: [read], tables: [public.orders]}, expect: allow}
`;

const WRONG = `apiVersion: sluice/v1
cases:
  - {name: outcome, who: {groups: [agents]}, on: shop, sql: DELETE FROM orders, expect: allow}
  - {name: columns, who: {groups: [agents]}, on: shop, sql: "SELECT email, ssn AS n FROM people", expect: allow, masked: [email]}
  - {name: refused, who: {groups: [agents]}, on: shop, sql: "SELECT id FROM people WHERE ssn = '1'", expect: allow}
  - {name: syntax, who: {groups: [agents]}, on: shop, sql: SELEC 1, expect: deny}
`;

suite('policy by SQL', { skip: postgresMissing() ?? false }, () => {
  let server: PostgresServer;
  let folder: string;
  let url: string;
  let policy: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-sql-cases-'));
    policy = join(folder, 'p.yaml');
    writeFileSync(policy, POLICY);
    server = await startPostgres({ hba: ['host all cases 127.0.0.1/32 scram-sha-256'] });
    await server.psql(`CREATE ROLE cases LOGIN PASSWORD '${PASSWORD}'; CREATE DATABASE shop`);
    await server.psql(
      `CREATE TABLE orders (id int); CREATE TABLE payroll (id int);
       CREATE TABLE people (id int, email text, ssn text); INSERT INTO people VALUES (7, 'a@b.example', '1');
       CREATE VIEW contacts AS SELECT id, email FROM people;
       GRANT ALL ON orders, people, contacts TO cases`,
      'shop',
    );
    url = `postgres://cases:${encodeURIComponent(PASSWORD)}@127.0.0.1:${server.port}/shop`;
  });
  after(async () => {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const sluice = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    command([process.execPath, SLUICE, 'policy', ...args], {
      env: { PATH: process.env.PATH, ...env },
      timeout: 60_000,
    });
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };

  test('cases pass with the outcome, the rule and the masked columns that they expect, and nothing is run', async () => {
    const cases = file('good.test.yaml', CASES);
    const { status, stdout, stderr } = await sluice(['test', policy, cases, '--database', url]);
    assert.equal(
      stdout,
      `${CASES.match(/(?<=name: )[^,]+/g)!
        .map((name) => `ok    ${name}\n`)
        .join('')}all 12 cases as expected\n`,
    );
    assert.deepEqual([status, stderr], [0, '']);
    assert.equal(await server.psql('SELECT * FROM people', 'shop'), '7|a@b.example|1');
    assert.equal(await server.psql("SELECT count(*) FROM pg_class WHERE relname = 'orders'", 'shop'), '1');
  });

  test('a case that is not met says what came instead', async () => {
    const { status, stdout } = await sluice(['test', policy, file('bad.test.yaml', WRONG)], {
      SLUICE_POLICY_DATABASE: url,
    });
    assert.equal(status, 1);
    assert.match(
      stdout,
      /FAIL {2}outcome\n.*bad\.test\.yaml:3: expected allow, got approve: .*"a dba signs off writes"/,
    );
    assert.match(stdout, /FAIL {2}columns\n.*expected masked \[email\], got \[email, n\]/);
    assert.match(
      stdout,
      /FAIL {2}refused\n.*expected allow, got deny: the protected column public\.people\.ssn is used in WHERE/,
    );
    assert.match(stdout, /FAIL {2}syntax\n.*could not be run: syntax error at or near "SELEC" at character 1/);
    assert.match(stdout, /4 of 4 cases not as expected/);
  });

  test('explain goes through the rules for each statement and says what is masked', async () => {
    const about = ['--on', 'shop', '--group', 'agents', '--database', url];
    const read = await sluice([
      'explain',
      policy,
      ...about,
      '--sql',
      'SELECT email AS mail FROM people; DROP TABLE people',
    ]);
    assert.deepEqual([read.status, read.stderr], [0, '']);
    assert.match(
      read.stdout,
      /^SELECT: SELECT email AS mail FROM people as agent \(agents\) on shop\nallow: .*\nmasked: mail\n\n/,
    );
    assert.match(read.stdout, /\* allow {3}agents read +matches read on public\.people\n/);
    assert.match(read.stdout, /\n\nDROP TABLE: DROP TABLE people as agent \(agents\) on shop\ndeny: /);
    const refused = await sluice(['explain', policy, ...about, '--sql', 'SELECT id FROM people ORDER BY ssn']);
    assert.match(
      refused.stdout,
      /\nallow: .*\nrefused all the same: the protected column public\.people\.ssn is used in ORDER BY\n\n/,
    );
  });

  test('without a database SQL can be judged by nothing, and the error says how to name one', async () => {
    const explain = ['explain', policy, '--on', 'shop', '--group', 'agents'];
    const said = await sluice([...explain, '--sql', 'SELECT 1']);
    assert.equal(said.status, 1);
    assert.match(
      said.stderr,
      /none is named: give --database or SLUICE_POLICY_DATABASE \(CATALOG_UNAVAILABLE\)\n {2}as postgres:/,
    );
    assert.equal((await sluice([...explain, '--effect', 'read', '--table', 'public.orders'])).status, 0);
    const cases = await sluice(['test', policy, file('none.test.yaml', CASES)]);
    assert.equal(cases.status, 1);
    assert.match(cases.stdout, /FAIL {2}read\n.*could not be run: .*give --database or SLUICE_POLICY_DATABASE\n/);
    assert.match(cases.stdout, /ok {4}by effect\n11 of 12 cases not as expected/);
  });

  test('a database that cannot be asked is an error that does not tell the password', async () => {
    const explain = ['explain', policy, '--on', 'shop', '--sql', 'SELECT 1', '--database'];
    for (const [wrong, why] of [
      [NOBODY_HOME, /127\.0\.0\.1:1 does not answer.*\(UPSTREAM_UNREACHABLE\)/],
      [url.replace(encodeURIComponent(PASSWORD), 'hunter2'), /password authentication failed.*\(UPSTREAM_LOGIN\)/],
      [`${url}?sslmode=require`, /does not offer TLS.*\(UPSTREAM_TLS\)/],
      [`${url}?sslmode=prefer`, /another sslmode than disable, require.*\(CONFIG_INVALID\)/],
      [`${url}?options=-cx`, /has the parameter options.*\(CONFIG_INVALID\)/],
      ['postgres://hunter2@/shop', /names no host|is none/],
      ['mysql://agent:hunter2@127.0.0.1/shop', /does not begin with postgres:/],
    ] as const) {
      const { status, stderr } = await sluice([...explain, wrong]);
      assert.equal(status, 1, wrong);
      assert.match(stderr, why);
      assert.ok(!stderr.includes('hunter2') && !stderr.includes(encodeURIComponent(PASSWORD)), stderr);
    }
  });
});

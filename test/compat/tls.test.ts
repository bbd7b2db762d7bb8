/** TLS towards clients, and the session token as password: what they are told to trust works, what is wrong is refused. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { mustSucceed } from '../harness/child.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';

const PASSWORD = 'the password of the real account';

suite('TLS and tokens', { skip: postgresMissing() ?? stackMissing() ?? false }, () => {
  let database: PostgresServer;
  let stack: Stack;

  before(async () => {
    database = await startPostgres({
      conf: ["password_encryption = 'scram-sha-256'"],
      hba: ['host all shop samehost scram-sha-256'],
      sql: `CREATE ROLE shop LOGIN PASSWORD '${PASSWORD}'`,
    });
    const credential = join(database.dir, 'credential');
    writeFileSync(credential, JSON.stringify({ user: 'shop', password: PASSWORD }), { mode: 0o600 });
    stack = await startStack({
      name: 'tls',
      daemonReads: [credential],
      policy: `apiVersion: sluice/v1
identities:
  - user: sluice-agent
    groups: [agents]
resources:
  db:
    protocol: postgres
    address: 127.0.0.1:${database.port}
    also: ["[::1]:${database.port}", "localhost:${database.port}"]
    tls: off
    credential: {file: "${credential}"}
    login: token
rules:
  - name: everything
    allow: everything
    who: {groups: [agents]}
    on: db
    breadth: accepted
`,
    });
  });

  after(async () => {
    await stack?.stop();
    await database?.stop();
  });

  const who = "SELECT current_user || ' in ' || current_database()";
  const psql = (host: string, settings: Record<string, string>) =>
    stack.run(['psql', '-XAtc', who], {
      env: { PGHOST: host, PGPORT: String(database.port), PGUSER: 'whoever', PGDATABASE: 'postgres', ...settings },
    });

  for (const mode of ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full']) {
    test(`sslmode=${mode} by address, with the token and the CA of the session`, async () => {
      for (const host of ['127.0.0.1', '::1']) {
        const said = await psql(host, { PGSSLMODE: mode });
        assert.deepEqual(said, { status: 0, stdout: 'shop in postgres\n', stderr: '' });
      }
    });
  }

  test('verify-full by name', async () => {
    const said = await psql('localhost', { PGSSLMODE: 'verify-full' });
    assert.deepEqual(said, { status: 0, stdout: 'shop in postgres\n', stderr: '' });
  });

  test('verify-full with channel binding required', async () => {
    const said = await psql('127.0.0.1', { PGSSLMODE: 'verify-full', PGCHANNELBINDING: 'require' });
    assert.deepEqual(said, { status: 0, stdout: 'shop in postgres\n', stderr: '' });
  });

  test('SLUICE_CA is a CA certificate that agents can read', async () => {
    const { stdout } = await stack.run(['sh', '-c', 'cat "$SLUICE_CA"; test "$SLUICE_CA" = "$PGSSLROOTCERT"']);
    assert.ok(new X509Certificate(stdout).ca);
  });

  test('another CA is not trusted by the client, and a wrong token not by sluice', async () => {
    const other = join(database.dir, 'other.pem');
    const make = `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=other -out`;
    await mustSucceed([...make.split(' '), other]);
    const untrusted = await psql('127.0.0.1', { PGSSLMODE: 'verify-full', PGSSLROOTCERT: other });
    assert.equal(untrusted.status, 2);
    assert.match(untrusted.stderr, /certificate verify failed/);
    const wrong = await psql('127.0.0.1', { PGPASSWORD: 'guess', PGSSLMODE: 'disable' });
    assert.equal(wrong.status, 2);
    assert.match(wrong.stderr, /FATAL: .*token/);
    assert.ok(!stack.log().includes(PASSWORD));
  });

  test('drivers: psycopg2 and asyncpg inside TLS', async () => {
    const script = `
import asyncio, os, ssl, asyncpg, psycopg2
host, port = os.environ["PGHOST"], int(os.environ["PGPORT"])
c = psycopg2.connect(host=host, port=port, user="x", dbname="postgres", sslmode="verify-full")
print(c.info.ssl_in_use, c.info.user)
async def main():
    context = ssl.create_default_context(cafile=os.environ["SLUICE_CA"])
    c = await asyncpg.connect(host=host, port=port, user="x", database="postgres", ssl=context, password=os.environ["SLUICE_TOKEN"])
    print(await c.fetchval("SELECT current_user"))
asyncio.run(main())
`;
    const env = { PGHOST: '127.0.0.1', PGPORT: String(database.port) };
    const said = await stack.run(['/usr/bin/python3', '-c', script], { env });
    assert.deepEqual(said, { status: 0, stdout: 'True x\nshop\n', stderr: '' });
  });
});

/** psql, direct and through sluice: the same bytes on stdout and stderr, the same exit status. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { APP, type Both, bothMissing, schema, script, startBoth } from './both.ts';

suite('psql', { skip: bothMissing() ?? false }, () => {
  let both: Both;
  before(async () => {
    both = await startBoth({ postgres: { sql: schema } });
  });
  after(() => both?.stop());

  test('a long day of commands', async () => {
    const said = await both.same(['psql', '-X'], { input: script('daily.sql') });
    assert.match(said.stdout, /connected again/);
  });

  test('the same with everything echoed, unaligned, with the queries of \\d shown', async () => {
    await both.same(['psql', '-XaeEA'], { input: script('daily.sql') });
  });

  test('Ctrl-C cancels a running statement, and the session goes on', async () => {
    const sleep = `DO $$BEGIN RAISE NOTICE 'as%', 'leep'; PERFORM pg_sleep(60); END$$;\n`;
    // Without the context: it names the statement within, and it may still be the one that made the notice.
    const psql = 'stty -echo; exec psql -Xn -v SHOW_CONTEXT=never';
    const said = await both.same(['env', 'SHELL=/bin/sh', 'script', '-qec', psql, '/dev/null'], {
      env: { PSQL_PAGER: '' },
      typed: [
        ['=# ', sleep],
        ['asleep', '\x03'],
        ['=# ', "SELECT 'awake';\n"],
        ['=# ', '\\q\n'],
      ],
    });
    assert.match(said.stdout, /canceling statement due to user request/);
    assert.match(said.stdout, /awake/);
  });

  test('\\watch goes on until the statement fails', async () => {
    const input = "CREATE TEMP SEQUENCE ticks;\nSELECT 1 / (3 - nextval('ticks')) AS tick \\watch 0.1\n";
    const said = await both.same(['psql', '-X'], { input });
    assert.match(said.stderr, /division by zero/);
  });

  test('a script in one transaction stops at its error and leaves nothing', async () => {
    const input = 'CREATE TABLE half (n int);\nINSERT INTO half VALUES (1);\nSELECT 1/0;\nSELECT 2;\n';
    const said = await both.same(['psql', '-X1v', 'ON_ERROR_STOP=1', '-f', '-'], { input });
    assert.equal(said.status, 3);
    await both.same(['psql', '-Xc', '\\d half']);
  });

  test('several -c, \\copy of files, csv and html output', async () => {
    await both.same(['psql', '-X', '-c', 'SELECT 1', '-c', '\\d people', '-c', 'SELECT 1/0', '-c', 'SELECT 2']);
    await both.same(['psql', '-X', '--csv', '-c', 'TABLE people']);
    await both.same(['psql', '-XH', '-c', 'TABLE rich']);
    await both.same(['psql', '-X', '-c', `\\copy people (name) FROM '${APP}/package.json' CSV QUOTE '|'`]);
    await both.same(['psql', '-Xl']);
  });

  test('parameters of the connection: options, application_name, client_encoding, a wrong database, a wrong role', async () => {
    const show = "SELECT name, setting FROM pg_settings WHERE source = 'client' ORDER BY 1";
    const env = { PGOPTIONS: '-c work_mem=5MB -c search_path=pg_catalog', PGAPPNAME: 'näme', PGCLIENTENCODING: 'UTF8' };
    await both.same(['psql', '-Xc', show, '-c', '\\d'], { env });
    await both.same(['psql', '-X', 'nosuchdb']);
    await both.same(['psql', '-XU', 'nobody']);
    await both.same(['psql', '-X'], { env: { PGCLIENTENCODING: 'NOSUCH' } });
  });

  test('60 MB of rows of all sizes, read fast and read slowly, without TLS and with it', async () => {
    const sql = `SELECT i, repeat(md5(i::text), 1 + (i * 7919) % 300), md5((i * 31)::text) FROM generate_series(1, 12000) i`;
    for (const mode of ['disable', 'prefer']) {
      for (const reader of ['md5sum', 'dd bs=512 status=none | md5sum']) {
        const line = `psql -XAt -c "COPY (${sql}) TO STDOUT" | ${reader}; psql -XAt -c "${sql}" | ${reader}`;
        const said = await both.same(['sh', '-c', line], { env: { PGSSLMODE: mode } });
        assert.match(said.stdout, /^[0-9a-f]{32} .*\n[0-9a-f]{32} /);
      }
    }
  });

  test('over IPv6', async () => {
    await both.same(['psql', '-Xh', '::1', '-c', 'SELECT 1', '-c', '\\d', '-c', 'SELECT 1/0']);
    await both.same(['psql', '-Xh', 'localhost', '-c', 'SELECT 1']);
  });
});

/** pgbench, pg_dump and pg_restore, direct and through sluice. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { type Both, bothMissing, schema, startBoth } from './both.ts';

suite('tools of PostgreSQL', { skip: bothMissing() ?? false }, () => {
  let both: Both;
  before(async () => {
    both = await startBoth({ postgres: { sql: schema } });
  });
  after(() => both?.stop());

  /** All of a database as SQL, read past sluice. */
  const contents = (server: Both['direct'], sql: string, database = 'postgres') => server.psql(sql, database);

  test('pg_dump writes the same plain dump, schema only, as inserts, of one table', async () => {
    const plain = await both.same(['pg_dump']);
    assert.match(plain.stdout, /PostgreSQL database dump complete/);
    await both.same(['pg_dump', '-s', '--no-owner']);
    await both.same(['pg_dump', '--inserts', '--rows-per-insert=50', '-t', 'people']);
    await both.same(['pg_dump', '-t', 'nosuch']);
  });

  test('a custom dump is restored into another database and is the same there', async () => {
    const restore = 'createdb copy && pg_dump -Fc > "$1" && pg_restore -d copy -j 2 "$1" && rm "$1" && pg_dump copy';
    const plain = await both.same(['sh', '-c', `f=$(mktemp) && set -- "$f" && ${restore}`]);
    assert.match(plain.stdout, /PostgreSQL database dump complete/);
    const list = 'SELECT count(*), sum(hashtext(p::text)) FROM people p';
    assert.equal(await contents(both.behind, list, 'copy'), await contents(both.direct, list));
    await both.same(['sh', '-c', 'dropdb copy && dropdb copy']);
  });

  test('pg_dumpall of the globals, vacuumdb, reindexdb, pg_isready', async () => {
    await both.same(['pg_dumpall', '-g']);
    await both.same(['vacuumdb', '-z', '-t', 'people', '-v', '--echo', 'nosuchdb']);
    await both.same(['reindexdb', '-e', '-t', 'people']);
    await both.same(['pg_isready']);
  });

  test('pgbench: the same initial data, every protocol mode, a pipeline', async () => {
    await both.same(['sh', '-c', 'pgbench -i -q -s 1 2>&1 | grep -v -e "done in" -e elapsed']);
    const run = (mode: string) =>
      `pgbench -M ${mode} -c 2 -t 20 --random-seed=7 2>&1 | grep -E "^(transaction type|query mode|number of|ERROR|pgbench: error)"`;
    for (const mode of ['simple', 'extended', 'prepared']) await both.same(['sh', '-c', run(mode)]);
    const sum = 'SELECT sum(abalance) FROM pgbench_accounts';
    assert.equal(await contents(both.behind, sum), await contents(both.direct, sum));
    const pipeline = [
      '\\set n random(1, 1000)',
      '\\startpipeline',
      'BEGIN;',
      'SELECT abalance FROM pgbench_accounts WHERE aid = :n;',
      'UPDATE pgbench_tellers SET tbalance = tbalance + 1 WHERE tid = 1;',
      'SELECT count(*) FROM people;',
      'END;',
      '\\endpipeline',
    ];
    const script = `f=$(mktemp); cat > $f; pgbench -M extended -n -t 25 -f $f 2>&1 | grep -E "^(number of trans|pgbench: error|ERROR)"`;
    const said = await both.same(['sh', '-c', script], { input: `${pipeline.join('\n')}\n` });
    assert.match(said.stdout, /processed: 25\/25/);
    const teller = 'SELECT tbalance FROM pgbench_tellers WHERE tid = 1';
    assert.equal(await contents(both.behind, teller), await contents(both.direct, teller));
  });
});

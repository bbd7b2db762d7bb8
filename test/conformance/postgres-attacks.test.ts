/**
 * Ways to make the codec's picture of a session differ from the server's. Each once let a masked value or an undecided
 * statement pass, or looks as if it could. A case may end in an error or with the connection closed; it must not leak.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { postgresMissing } from '../harness/postgres.ts';
import { ALLOW, CANARY, openPostgresStage, type PostgresStage } from './postgres-stage.ts';
import {
  bind,
  close,
  copyData,
  copyDone,
  copyFail,
  execute,
  flush,
  functionCall,
  type Message,
  parse,
  query,
  run,
  sync,
  Wire,
} from './postgres-wire.ts';

const POLICY = `${ALLOW}
  - name: not this one
    deny: [read, write]
    who: {groups: [agents]}
    on: db
    tables: [public.forbidden]
masks:
  - {name: numbers, on: db, columns: [public.people.ssn], with: redact}
`;

const SECRET = `SELECT ssn || '' FROM people WHERE id = 1`;
const PLAIN = 'SELECT id::text FROM people WHERE id = 1';
const FORBIDDEN = 'SELECT * FROM forbidden';
const all = (...parts: readonly Buffer[]) => Buffer.concat(parts);
const begins =
  (letter: string) =>
  (message: Message): boolean =>
    message.letter === letter;
const LONG = 'n'.repeat(63);

/** Each ends with an ask that the server answers, so that everything before it has come. */
const ATTACKS: Readonly<Record<string, (wire: Wire) => Promise<unknown>>> = {
  async 'queries that the server skips after a failed step'(wire) {
    wire.send(bind([], { name: 'nowhere' }), flush);
    await wire.until(begins('E'));
    wire.send(query(PLAIN), query(PLAIN), sync, query(SECRET), query(SECRET));
    await wire.ask('SELECT 1', 4);
  },
  async 'a function call that the server skips after a failed step'(wire) {
    wire.send(bind([], { name: 'nowhere' }), flush);
    await wire.until(begins('E'));
    wire.send(functionCall(1299), sync);
    await wire.ready();
    for (let i = 0; i < 3; i++) await wire.ask(SECRET);
  },
  async 'queries on their way when a step before them fails'(wire) {
    wire.send(bind([], { name: 'nowhere' }), query(PLAIN), query(PLAIN), sync, query(SECRET), query(SECRET));
    await wire.ask('SELECT 1', 4);
  },
  async 'a statement being made out when a step before it fails'(wire) {
    wire.send(bind([], { name: 'nowhere' }), flush);
    // Never seen before, so that the parser has to be asked.
    for (let i = 0; i < 8; i++) wire.send(parse(`SELECT ${'+'.repeat(i)}1 AS a${Date.now()}, id::text FROM people`));
    wire.send(query(PLAIN), sync, query(SECRET));
    await wire.ask(SECRET, 3);
  },
  async 'Sync after Sync, with failures between'(wire) {
    const storm = Array.from({ length: 50 }, (_, i) => (i % 3 === 0 ? all(bind([], { name: 'nowhere' }), sync) : sync));
    wire.send(...storm, query(PLAIN), ...storm, query(SECRET));
    await wire.ask(SECRET, 103);
  },
  async 'two names that the server keeps as one'(wire) {
    await wire.ask(all(parse(PLAIN, `${LONG}a`), sync));
    await wire.ask(all(close('S', `${LONG}b`), sync));
    await wire.ask(all(parse(SECRET, `${LONG}b`), sync));
    await wire.ask(all(bind([], { name: `${LONG}a` }), execute(), sync));
  },
  async 'two portals that the server keeps as one'(wire) {
    await wire.ask('BEGIN');
    await wire.ask(all(parse(PLAIN), bind([], { portal: `${LONG}a` }), sync));
    await wire.ask(all(close('P', `${LONG}b`), parse(SECRET), bind([], { portal: `${LONG}b` }), sync));
    await wire.ask(all(execute(`${LONG}a`), sync));
  },
  async 'names in LATIN1 that are no UTF-8'(wire) {
    await wire.ask("SET client_encoding = 'LATIN1'");
    await wire.ask(all(parse(SECRET, Buffer.from([0xe9])), sync));
    await wire.ask(all(parse(PLAIN, Buffer.from([0xe8])), sync));
    await wire.ask(all(bind([], { name: Buffer.from([0xe9]) }), execute(), sync));
  },
  async 'a cursor in the place of a portal'(wire) {
    await wire.ask('BEGIN');
    await wire.ask(all(parse(PLAIN), bind([], { portal: 'p1' }), sync));
    await wire.ask(`CLOSE p1; DECLARE p1 CURSOR FOR ${SECRET}`);
    await wire.ask(all(execute('p1'), sync));
  },
  async 'a cursor in the place of a portal, in one pipeline'(wire) {
    await wire.ask('BEGIN');
    const cursor = all(run('CLOSE p1'), run(`DECLARE p1 CURSOR FOR ${SECRET}`));
    await wire.ask(all(parse(PLAIN), bind([], { portal: 'p1' }), cursor, execute('p1'), sync));
  },
  async 'a cursor in the place of a portal that ended with its transaction'(wire) {
    await wire.ask('BEGIN');
    await wire.ask(all(parse(PLAIN), bind([], { portal: 'p1' }), sync));
    await wire.ask(`COMMIT; BEGIN; DECLARE p1 CURSOR FOR ${SECRET}`);
    await wire.ask(all(execute('p1'), sync));
  },
  async 'a function that puts a cursor over its argument in the place of another'(wire) {
    const reopens = 'SELECT reopens(ssn) FROM people WHERE id = 1';
    await wire.ask(`BEGIN; DECLARE c CURSOR FOR SELECT 'x'::text`);
    await wire.ask(reopens);
    await wire.ask('FETCH ALL FROM c');
    await wire.ask(`ROLLBACK; BEGIN; DECLARE c CURSOR FOR SELECT 'x'::text; ${reopens}; FETCH ALL FROM c`);
    await wire.ask('ROLLBACK; BEGIN');
    await wire.ask(all(parse(PLAIN), bind([], { portal: 'c' }), sync));
    await wire.ask(reopens);
    await wire.ask(all(execute('c'), sync));
    await wire.ask('ROLLBACK; BEGIN');
    await wire.ask(all(parse(PLAIN), bind([], { portal: 'c' }), run(reopens), execute('c'), sync));
    await wire.ask(`ROLLBACK; BEGIN; DECLARE c CURSOR FOR SELECT 'x'::text`);
    await wire.ask(all(run(reopens), run('FETCH ALL FROM c'), sync));
    await wire.ask('ROLLBACK; BEGIN');
    await wire.ask('SELECT declares(ssn) FROM people WHERE id = 1');
    await wire.ask('FETCH ALL FROM d');
  },
  async 'a function that would prepare another statement, but is not called'(wire) {
    await wire.ask(`PREPARE s1 AS ${SECRET}`);
    await wire.ask('SELECT prepares() WHERE false');
    await wire.ask('EXECUTE s1');
  },
  async 'a function that would declare another cursor, but is not called'(wire) {
    await wire.ask('BEGIN; SELECT opens()');
    await wire.ask('SELECT redeclares() WHERE false');
    await wire.ask('FETCH ALL FROM c');
  },
  async 'EXPLAIN ANALYZE of DECLARE, which makes no cursor'(wire) {
    await wire.ask('BEGIN; SELECT opens()');
    await wire.ask(`EXPLAIN ANALYZE DECLARE c CURSOR FOR ${PLAIN}`);
    await wire.ask('FETCH ALL FROM c');
  },
  async 'EXECUTE of a name that has changed since Parse'(wire) {
    await wire.ask(`PREPARE s1 AS ${PLAIN}`);
    await wire.ask(all(parse('EXECUTE s1', 'e1'), bind([], { name: 'e1' }), execute(), sync));
    await wire.ask(`DEALLOCATE s1; PREPARE s1 AS ${SECRET}`);
    await wire.ask(all(bind([], { name: 'e1' }), execute(), sync));
  },
  async 'EXECUTE of a name that has changed since Bind'(wire) {
    await wire.ask('BEGIN');
    await wire.ask(`PREPARE s1 AS ${PLAIN}`);
    await wire.ask(all(parse('EXECUTE s1'), bind([], { portal: 'p1' }), sync));
    await wire.ask(`DEALLOCATE s1; PREPARE s1 AS ${SECRET}`);
    await wire.ask(all(execute('p1'), sync));
  },
  async 'EXECUTE of a name that has changed since Bind, in one pipeline'(wire) {
    await wire.ask(`PREPARE s1 AS ${PLAIN}`);
    const change = all(run('DEALLOCATE s1'), run(`PREPARE s1 AS ${SECRET}`));
    await wire.ask(all(parse('EXECUTE s1', 'e1'), bind([], { name: 'e1', portal: 'p1' }), change, execute('p1'), sync));
  },
  async 'FETCH from a name that has changed since Parse'(wire) {
    await wire.ask(`BEGIN; DECLARE c CURSOR FOR ${PLAIN}`);
    await wire.ask(all(parse('FETCH ALL FROM c', 'e1'), bind([], { name: 'e1' }), execute(), sync));
    await wire.ask(`CLOSE c; DECLARE c CURSOR FOR ${SECRET}`);
    await wire.ask(all(bind([], { name: 'e1' }), execute(), sync));
  },
  async 'a name redefined in a part of the pipeline that is skipped'(wire) {
    await wire.ask(all(parse(SECRET, 's1'), sync));
    const skipped = all(bind([], { name: 'nowhere' }), close('S', 's1'), parse(PLAIN, 's1'), sync);
    await wire.ask(all(skipped, bind([], { name: 's1' }), execute(), sync), 2);
  },
  async 'the unnamed statement redefined in a part of the pipeline that is skipped'(wire) {
    await wire.ask(all(parse(SECRET), sync));
    await wire.ask(all(bind([], { name: 'nowhere' }), parse(PLAIN), sync, bind(), execute(), sync), 2);
  },
  async 'a search_path set in the same pipeline'(wire) {
    await wire.ask('SET search_path = open');
    await wire.ask(all(parse(FORBIDDEN, 's1'), sync));
    await wire.ask(all(run('SET search_path = public'), bind([], { name: 's1' }), execute(), sync));
  },
  async 'a search_path that failed, with an analysis meanwhile'(wire) {
    await wire.ask(all(parse(FORBIDDEN, 's1'), sync));
    await wire.ask(all(run('SET search_path = open'), run('SELECT 7'), run('SELECT 1 / 0'), sync));
    await wire.ask(all(bind([], { name: 's1' }), execute(), sync));
  },
  async 'a search_path rolled back in one pipeline, with a Parse meanwhile'(wire) {
    const parsed = all(run('BEGIN'), run('SET search_path = open'), parse(FORBIDDEN, 's1'));
    await wire.ask(all(parsed, run('ROLLBACK'), bind([], { name: 's1' }), execute(), sync));
  },
  async 'a search_path set after PREPARE, before EXECUTE'(wire) {
    await wire.ask('SET search_path = open');
    await wire.ask(`PREPARE s1 AS ${FORBIDDEN}`);
    await wire.ask('SET search_path = public; EXECUTE s1');
    await wire.ask('EXECUTE s1');
  },
  async 'SET LOCAL outside of a transaction'(wire) {
    await wire.ask('SET LOCAL search_path = open');
    await wire.ask(FORBIDDEN);
  },
  async 'SET LOCAL in a transaction that has ended'(wire) {
    await wire.ask('BEGIN; SET LOCAL search_path = open; COMMIT');
    await wire.ask(FORBIDDEN);
  },
  async 'SET LOCAL in a pipeline'(wire) {
    await wire.ask(all(run('SET LOCAL search_path = open'), run(FORBIDDEN), sync));
    await wire.ask(FORBIDDEN);
  },
  async 'set_config() for the transaction'(wire) {
    await wire.ask(`SELECT set_config('search_path', 'open', true)`);
    await wire.ask(FORBIDDEN);
  },
  async 'set_config() for no row'(wire) {
    await wire.ask(`SELECT set_config('search_path', 'open', false) WHERE false`);
    await wire.ask(FORBIDDEN);
  },
  async 'set_config() of something unknown'(wire) {
    await wire.ask(`SELECT set_config('search_path', string_agg(x, ''), false) FROM (VALUES ('pub'), ('lic')) v(x)`);
    await wire.ask(FORBIDDEN);
  },
  async 'ROLLBACK of a search_path in one pipeline'(wire) {
    await wire.ask(all(run('BEGIN'), run('SET search_path = open'), run('ROLLBACK'), run(FORBIDDEN), sync));
  },
  async 'ROLLBACK of a search_path in one Query'(wire) {
    await wire.ask(`BEGIN; SET search_path = open; ROLLBACK; ${FORBIDDEN}`);
    await wire.ask('BEGIN; SET search_path = open; ROLLBACK');
    await wire.ask(FORBIDDEN);
  },
  async 'an error after a search_path in one Query'(wire) {
    await wire.ask('SET search_path = open; SELECT 1 / 0');
    await wire.ask(FORBIDDEN);
  },
  async 'DISCARD ALL in a pipeline'(wire) {
    await wire.ask('SET search_path = open');
    await wire.ask(all(run('DISCARD ALL'), run(FORBIDDEN), sync));
    await wire.ask(FORBIDDEN);
  },
  async 'a blank that only Unicode knows in the search_path of the login'(wire) {
    const other = await Wire.open((wire.socket.remotePort as number) ?? 0, { search_path: '\u00a0open, public' });
    await other.ask(FORBIDDEN);
    await other.ask('SELECT ssn FROM people');
    other.close();
    assert.ok(!other.all.includes(CANARY) && !other.all.includes('forbidden-row'));
  },
  async 'a search_path that a procedure rolls back in one pipeline'(wire) {
    await wire.ask(all(run('SET search_path = open'), run('CALL public.undo()'), sync));
    await wire.ask(FORBIDDEN);
  },
  async 'a cursor of a function under the name of one that is gone'(wire) {
    await wire.ask('BEGIN; DECLARE c CURSOR FOR SELECT id::text FROM people; COMMIT');
    await wire.ask('BEGIN; SELECT opens()');
    await wire.ask('FETCH ALL FROM c');
  },
  async 'Sync amid the data of a simple COPY'(wire) {
    wire.send(query('COPY done FROM STDIN'));
    await wire.until(begins('G'));
    wire.send(sync, copyDone);
    await wire.ready();
    await wire.ask('SELECT ssn::int FROM people');
    for (let i = 0; i < 3; i++) await wire.ask(SECRET);
  },
  async 'CopyDone long before a COPY'(wire) {
    wire.send(query('SELECT pg_sleep(0.05)'), copyDone, query('COPY done FROM STDIN'));
    await wire.until(begins('G'));
    wire.send(sync, copyDone);
    await wire.ready();
    await wire.ask('SELECT ssn::int FROM people');
    for (let i = 0; i < 3; i++) await wire.ask(SECRET);
  },
  async 'a COPY that fails over its data, with more behind it'(wire) {
    wire.send(query('COPY people FROM STDIN'));
    await wire.until(begins('G'));
    wire.send(copyData('bad\tx\n'), sync, query(PLAIN), query(SECRET), query(SECRET));
    await wire.ready(5);
  },
  async 'a COPY that fails before it reads a Sync sent with it'(wire) {
    wire.send(run('COPY guarded FROM STDIN'), sync, query(PLAIN), query(SECRET), query(SECRET));
    await wire.ready(4);
    assert.ok(!wire.ended);
  },
  async 'a COPY that fails a while after it asked for data, and reads a Sync sent with it then'(wire) {
    wire.send(run('COPY hesitant FROM STDIN'), sync, query(PLAIN), query(SECRET), query(SECRET));
    await wire.ready(4);
    assert.ok(!wire.ended);
  },
  async 'a Query behind a Sync, while a COPY waits for data'(wire) {
    wire.send(run('COPY done FROM STDIN'), sync, query(PLAIN), query(SECRET));
    await wire.ready(3);
    assert.ok(!wire.ended);
  },
  async 'a simple COPY that fails before it reads a Sync sent with it'(wire) {
    wire.send(query('COPY guarded FROM STDIN'), sync, query(PLAIN), query(SECRET));
    await wire.ask(SECRET, 5);
  },
  async 'two COPYs of one Query, one of which fails'(wire) {
    wire.send(query('COPY done FROM STDIN; COPY people FROM STDIN'));
    wire.send(copyData('one\n'), copyDone, copyData('bad\n'), copyDone, sync, query(PLAIN), query(SECRET));
    await wire.ask(SECRET, 5);
  },
  async 'COPY in an encoding whose characters end in a backslash and in the delimiter'(wire) {
    await wire.ask(`COPY (SELECT U&'\\30bd', ssn, U&'\\30dd' FROM people) TO STDOUT (ENCODING 'SJIS', DELIMITER '|')`);
  },
  async 'CopyData, CopyDone and CopyFail that nobody asked for'(wire) {
    const flood = Array.from({ length: 300 }, () => all(copyData('x'), copyDone, copyFail));
    wire.send(...flood, query(PLAIN), ...flood, run(PLAIN), ...flood, sync, ...flood, query(SECRET));
    await wire.ask(SECRET, 4);
  },
};

describe('attacks on the codec', { skip: postgresMissing() ?? false }, () => {
  let at: PostgresStage;
  before(async () => {
    at = await openPostgresStage(POLICY);
    await at.server.psql(`
      CREATE TABLE guarded (what text);
      CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'guarded'; END $$;
      CREATE PROCEDURE undo() LANGUAGE plpgsql AS $$ BEGIN ROLLBACK; END $$;
      CREATE FUNCTION opens() RETURNS text LANGUAGE plpgsql AS $$
        DECLARE r refcursor := 'c';
        BEGIN OPEN r FOR SELECT ssn || '' FROM public.people; RETURN r; END $$;
      CREATE FUNCTION reopens(value text) RETURNS int LANGUAGE plpgsql AS $$
        DECLARE r refcursor := 'c';
        BEGIN CLOSE r; OPEN r FOR SELECT value; RETURN 1; END $$;
      CREATE FUNCTION declares(text) RETURNS int LANGUAGE sql AS 'DECLARE d CURSOR FOR SELECT $1; SELECT 1';
      CREATE FUNCTION prepares() RETURNS int LANGUAGE plpgsql AS $$
        BEGIN DEALLOCATE s1; PREPARE s1 AS SELECT id::text FROM public.people; RETURN 1; END $$;
      CREATE FUNCTION redeclares() RETURNS int LANGUAGE sql AS 'DECLARE c CURSOR FOR SELECT ''x''::text; SELECT 1';
      CREATE FUNCTION spells(value text) RETURNS int LANGUAGE plpgsql AS $$
        DECLARE letter text;
        BEGIN
          FOREACH letter IN ARRAY string_to_array(value, NULL) LOOP
            IF letter > 'm' THEN RAISE WARNING ''; ELSE RAISE NOTICE ''; END IF;
          END LOOP;
          RETURN 1;
        END $$;
      CREATE TRIGGER fails BEFORE INSERT ON guarded FOR EACH STATEMENT EXECUTE FUNCTION fails();
      CREATE TABLE hesitant (what text);
      CREATE FUNCTION fails_late() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(0.1); RAISE 'guarded'; END $$;
      CREATE TRIGGER fails BEFORE INSERT ON hesitant FOR EACH STATEMENT EXECUTE FUNCTION fails_late();
    `);
  });
  after(() => at?.close());

  for (const [name, attack] of Object.entries(ATTACKS)) {
    test(name, { timeout: 10_000 }, async () => {
      const wire = await Wire.open(at.stage.port);
      try {
        await attack(wire);
      } finally {
        wire.close();
      }
      assert.ok(!wire.all.includes(CANARY), 'a masked value came');
      assert.ok(!wire.all.includes('forbidden-row'), 'a row of a table that is denied came');
    });
  }

  test('set_config() for no row, and a statement behind it in one Query', async () => {
    const wire = await Wire.open(at.stage.port);
    await wire.ask(`SELECT set_config('search_path', 'open', true) WHERE false; ${FORBIDDEN}`);
    wire.close();
    assert.ok(!wire.all.includes('forbidden-row'));
  });

  test('a routine that raises a notice for each character of a value', async () => {
    const wire = await Wire.open(at.stage.port);
    for (const ask of [query('SELECT spells(ssn) FROM people'), all(run('SELECT spells(ssn) FROM people'), sync)]) {
      wire.send(ask);
      const letters = (await wire.ready()).map(({ letter }) => letter);
      assert.equal(letters.filter((letter) => letter === 'N').length, 1);
      assert.equal(letters.filter((letter) => letter === 'D').length, 5);
    }
    wire.close();
  });

  const declared = 'a value of a type whose check writes, declared for a parameter and not named in the text';
  test(declared, { timeout: 30_000 }, async () => {
    await at.server.psql(`
      CREATE FUNCTION marks(value text) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.forbidden VALUES ('mark ' || value); RETURN true; END $$;
      CREATE DOMAIN marking AS text CHECK (marks(VALUE));
      CREATE DOMAIN over AS marking;
      CREATE TYPE holding AS (what marking);
      CREATE TYPE spanning AS RANGE (subtype = marking);
      CREATE DOMAIN harmless AS text CHECK (VALUE <> 'no');
    `);
    const marks = async () => (await at.server.psql('SELECT count(*) FROM forbidden')).trim();
    const before = await marks();
    const values = {
      marking: 'v',
      over: 'v',
      _marking: '{v}',
      holding: '(v)',
      _holding: '{(v)}',
      spanning: '[v,w]',
      spanning_multirange: '{[v,w]}',
    };
    const oidOf = async (type: string) => Number(await at.server.psql(`SELECT '${type}'::regtype::oid`));
    const tried = async (port: number, type: string, value: string) => {
      const oid = await oidOf(type);
      const wire = await Wire.open(port);
      await wire.ask(all(parse('SELECT 1', 's', [oid]), sync));
      const came = await wire.ask(all(bind([value], { name: 's' }), execute(), sync));
      await wire.ask(all(parse('SELECT $1 IS NULL', '', [oid]), bind([value]), execute(), sync));
      wire.close();
      return came.some((line) => line.startsWith('D'));
    };
    assert.equal(await tried(at.stage.port, 'harmless', 'v'), true);
    for (const [type, value] of Object.entries(values)) {
      assert.equal(await tried(at.stage.port, type, value), false, type);
      assert.equal(await marks(), before, type);
    }
    assert.equal(await tried(at.server.port, 'marking', 'v'), true);
    assert.notEqual(await marks(), before, 'directly it writes');
    await at.server.psql(`DELETE FROM forbidden WHERE what LIKE 'mark %'`);
  });

  test('a type that a PREPARE names begins to write afterwards', async () => {
    await at.server.psql(`
      CREATE OR REPLACE FUNCTION marks(value text) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.forbidden VALUES ('mark ' || value); RETURN true; END $$;
      CREATE DOMAIN turning AS text;`);
    const marks = async () => (await at.server.psql('SELECT count(*) FROM forbidden')).trim();
    const before = await marks();
    const wire = await Wire.open(at.stage.port);
    await wire.ask('PREPARE turned (turning) AS SELECT $1 IS NULL');
    assert.ok((await wire.ask(`EXECUTE turned ('v')`)).includes('D f'));
    await at.server.psql('ALTER DOMAIN turning ADD CHECK (marks(VALUE))');
    // The catalog is looked at beside the traffic.
    for (let i = 0; ; i++) {
      const [answer] = await wire.ask(`PREPARE turned${i} (turning) AS SELECT 1`);
      if (answer?.startsWith('E 42501')) break;
    }
    await wire.ask(`EXECUTE turned ('v')`);
    await wire.ask(all(bind(['v'], { name: 'turned' }), execute(), sync));
    await wire.ask(`EXPLAIN ANALYZE EXECUTE turned ('v')`);
    wire.close();
    assert.equal(await marks(), before);
    await at.server.psql(`PREPARE p (turning) AS SELECT $1 IS NULL; EXECUTE p ('v')`);
    assert.notEqual(await marks(), before, 'directly it writes');
    await at.server.psql(`DELETE FROM forbidden WHERE what LIKE 'mark %'`);
  });

  test('what they try to reach is there', async () => {
    const direct = await Wire.open(at.server.port);
    await direct.ask(SECRET);
    await direct.ask(FORBIDDEN);
    assert.ok(direct.all.includes(CANARY) && direct.all.includes('forbidden-row'));
    direct.close();
  });

  test('no flow met a fault of sluice itself', () => assert.deepEqual(at.stage.faults, []));
});

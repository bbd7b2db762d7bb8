/** The catalog of a real server, as an account without privileges sees it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { QueryClient } from '../../daemon/protocols/postgres/login/client.ts';
import { CatalogSource, SystemCatalogs } from '../../daemon/protocols/postgres/sql/catalog.ts';
import type { Catalog, Relation } from '../../daemon/protocols/postgres/sql/model.ts';
import { STARTUP } from '../../daemon/protocols/postgres/wire.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { streamOf } from '../harness/stream.ts';

const SCHEMA = `
  CREATE ROLE agent LOGIN; CREATE SCHEMA app; CREATE SCHEMA hidden; CREATE SCHEMA agent;
  GRANT USAGE ON SCHEMA app, agent TO agent;
  CREATE FUNCTION app.valid(text) RETURNS bool LANGUAGE sql AS 'SELECT true';
  CREATE DOMAIN app.address AS text CHECK (VALUE LIKE '%@%') CHECK (app.valid(VALUE));
  CREATE DOMAIN app.mail AS app.address CHECK (length(VALUE) > 3);
  CREATE TABLE people (id int PRIMARY KEY, gone int, email app.mail, full_name text GENERATED ALWAYS AS (upper('x' || id)) STORED);
  ALTER TABLE people DROP COLUMN gone;
  CREATE TABLE archive (archived date) INHERITS (people);
  CREATE TABLE parts (k int) PARTITION BY RANGE (k);
  CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (9) PARTITION BY LIST (k);
  CREATE TABLE parts_1a PARTITION OF parts_1 DEFAULT;
  CREATE TABLE hidden.people (secret text);
  CREATE VIEW people_v AS SELECT id, email AS contact FROM people;
  CREATE MATERIALIZED VIEW people_m AS SELECT * FROM hidden.people;
  CREATE FUNCTION app.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
  CREATE TRIGGER stamp BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION app.stamp();
  CREATE TRIGGER off BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION app.stamp();
  ALTER TABLE people DISABLE TRIGGER off;
  CREATE TABLE log (what text);
  CREATE RULE note AS ON DELETE TO people_v DO INSTEAD INSERT INTO log VALUES ('x');
  ALTER TABLE log ENABLE ROW LEVEL SECURITY;
  CREATE POLICY mine ON log USING (app.valid(what)) WITH CHECK (length(what) < 9);
  CREATE POLICY dormant ON people USING (false);
  CREATE FUNCTION app.many(a int, INOUT b text, OUT c int, VARIADIC d int[] DEFAULT '{}') LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = app AS 'SELECT b, 1';
  CREATE FUNCTION app.atomic(x int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT count(*)::int FROM people WHERE id = x; END;
  CREATE FUNCTION app.listing() RETURNS TABLE (one int, two text) LANGUAGE sql AS 'SELECT 1, ''x''';
  CREATE PROCEDURE app.act(n int) LANGUAGE sql AS 'DELETE FROM log';
  CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
  CREATE FUNCTION app.same(int, int) RETURNS bool LANGUAGE sql AS 'SELECT true';
  CREATE OPERATOR app.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = app.same);
  CREATE TYPE app.pair AS (a int, b app.address);
  CREATE FUNCTION app.to_pair(text) RETURNS app.pair LANGUAGE sql AS 'SELECT ROW(1, $1)::app.pair';
  CREATE CAST (text AS app.pair) WITH FUNCTION app.to_pair(text);
  CREATE TYPE app.mood AS ENUM ('sad', 'ok');
  CREATE FUNCTION app.to_int(app.mood) RETURNS int LANGUAGE sql AS 'SELECT 1';
  CREATE CAST (app.mood AS int) WITH FUNCTION app.to_int(app.mood) AS IMPLICIT;
  CREATE FUNCTION app.mood_cmp(app.mood, app.mood) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 0';
  CREATE OPERATOR CLASS app.mood_ops FOR TYPE app.mood USING btree AS FUNCTION 1 app.mood_cmp(app.mood, app.mood);
  CREATE FUNCTION app.add(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1';
  CREATE AGGREGATE app.total(int) (SFUNC = app.add, STYPE = int, FINALFUNC = int4abs);
  CREATE SEQUENCE counter;`;

suite('catalog', { skip: postgresMissing() ?? false }, () => {
  let server: PostgresServer;
  const sockets: Socket[] = [];
  before(async () => {
    server = await startPostgres({ sql: SCHEMA });
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    await server?.stop();
  });

  async function source(database = 'postgres', systems?: SystemCatalogs): Promise<CatalogSource> {
    const socket = connect(server.port, server.host);
    sockets.push(socket);
    await once(socket, 'connect');
    const options = {
      credential: {},
      user: 'agent',
      database,
      parameters: { lock_timeout: '200ms' },
      version: STARTUP.protocol30,
      encrypted: false,
      binding: null,
    };
    return new CatalogSource(await QueryClient.login(streamOf(socket), options), systems);
  }
  const names = (catalog: Catalog, oids: readonly number[]) =>
    oids.map((oid) => catalog.relationByOid(oid)?.name).sort();
  const columns = (relation: Relation | undefined) => relation?.columns.map(({ attnum, name }) => `${attnum} ${name}`);

  test('relations, columns, inheritance and what hangs on them', async () => {
    const catalog = await (await source()).catalog();
    assert.equal(catalog.user, 'agent');
    assert.equal(catalog.database, 'postgres');
    assert.ok(catalog.server >= 130_000);
    assert.deepEqual(catalog.searchPath, ['agent', 'public']);
    assert.ok(['app', 'hidden', 'agent', 'public', 'pg_catalog'].every((schema) => catalog.schemas.has(schema)));

    const people = catalog.relation('public', 'people')!;
    assert.deepEqual([people.kind, people.system, people.schema], ['r', false, 'public']);
    assert.deepEqual(columns(people), ['1 id', '3 email', '4 full_name']);
    assert.match(people.columns[2]!.generated!, /^upper\(/);
    assert.equal(people.columns[0]!.generated, undefined);
    assert.deepEqual(names(catalog, people.children), ['archive']);
    assert.deepEqual(names(catalog, catalog.relation('public', 'archive')!.parents), ['people']);
    assert.deepEqual(names(catalog, catalog.relation('public', 'parts_1')!.children), ['parts_1a']);
    assert.equal(catalog.relation('public', 'parts')!.kind, 'p');
    assert.deepEqual(
      people.triggers.map((oid) => catalog.functionByOid(oid)?.name),
      ['stamp'],
    );
    assert.deepEqual(people.policies, [], 'row security is off');
    assert.deepEqual(catalog.relation('public', 'log')!.policies, ['app.valid(what)', '(length(what) < 9)']);
    assert.match(
      catalog.relation('public', 'people_v')!.rules[0]!,
      /^CREATE RULE note AS\s+ON DELETE TO public.people_v DO INSTEAD/,
    );
    assert.deepEqual(people.rules, []);
    assert.match(
      catalog.relation('public', 'people_v')!.definition!,
      /^ ?SELECT (people\.)?id,\s+(people\.)?email AS contact\s+FROM public\.people;$/,
    );
    assert.match(catalog.relation('public', 'people_m')!.definition!, /FROM hidden\.people/);
    assert.equal(people.definition, undefined);
    assert.deepEqual(
      catalog
        .relationsNamed('people')
        .map((relation) => relation.schema)
        .sort(),
      ['hidden', 'public'],
    );
    assert.equal(catalog.relationByOid(people.oid), people);
    assert.equal(catalog.relation('public', 'counter')!.kind, 'S');
    assert.equal(catalog.relation('public', 'people_pkey')!.kind, 'i');
    assert.equal(catalog.relation('app', 'people'), undefined);
  });

  test('functions with all that a call needs to be understood', async () => {
    const catalog = await (await source()).catalog();
    const [many] = catalog.functionsNamed('many');
    assert.deepEqual(
      { ...many, oid: 0 },
      {
        oid: 0,
        schema: 'app',
        name: 'many',
        kind: 'f',
        language: 'sql',
        volatility: 's',
        securityDefiner: true,
        argTypes: [23, 25, 1007],
        argNames: ['a', 'b', 'd'],
        defaults: 1,
        defaultTexts: "'{}'::integer[]",
        support: [],
        variadic: true,
        returnType: 2249,
        returnsSet: false,
        outNames: ['b', 'c'],
        source: 'SELECT b, 1',
        config: ['search_path=app'],
        system: false,
      },
    );
    assert.match(catalog.functionsNamed('atomic')[0]!.source, /^BEGIN ATOMIC\s+SELECT[^;]*FROM public\.people/);
    assert.deepEqual(catalog.functionsNamed('listing')[0]!.outNames, ['one', 'two']);
    assert.equal(catalog.functionsNamed('act')[0]!.kind, 'p');
    assert.deepEqual(
      catalog.functionsNamed('total')[0]!.support.map((oid) => catalog.functionByOid(oid)!.name),
      ['add', 'int4abs'],
    );
    assert.deepEqual(
      catalog.unnamed.map((func) => func.name),
      ['to_int', 'mood_cmp'],
    );
    const lower = catalog.functionsNamed('lower');
    assert.ok(
      lower.some((func) => func.schema === 'public' && !func.system) &&
        lower.some((func) => func.schema === 'pg_catalog' && func.system),
    );
    assert.deepEqual(
      catalog.operatorFunctions('===').map((func) => func.name),
      ['same'],
    );
    assert.deepEqual(catalog.operatorFunctions('='), []);
  });

  test('what conversions to a type run', async () => {
    const catalog = await (await source()).catalog();
    const mail = catalog.typeCode('mail');
    assert.deepEqual([...mail.checks].sort(), [
      "(VALUE ~~ '%@%'::text)",
      '(length((VALUE)::text) > 3)',
      'app.valid(VALUE)',
    ]);
    const pair = catalog.typeCode('pair');
    assert.deepEqual(
      pair.functions.map((func) => func.name),
      ['to_pair'],
    );
    assert.equal(pair.checks.length, 2, 'those of its column');
    assert.equal(catalog.typeCode('_mail').checks.length, 3, 'an array is made of its elements');
    assert.equal(catalog.typeCode('people').checks.length, 3);
    assert.deepEqual(catalog.typeCode('text'), { functions: [], checks: [] }, 'from it, not to it');
    assert.deepEqual(
      catalog.typeCode('int4').functions.map((func) => func.name),
      ['to_int'],
    );
    const [, email] = catalog.relation('public', 'people')!.columns;
    assert.equal(catalog.typeCodeOf(email!.typeOid)?.checks.length, 3);
    assert.equal(catalog.typeCodeOf(4_000_000_000), undefined);
    assert.deepEqual(catalog.typeCodeOf(23), { functions: [], checks: [] });
  });

  test("the server's own objects are there, shared between databases", async () => {
    const systems = new SystemCatalogs();
    await server.psql('CREATE DATABASE other');
    const [one, two] = [
      await (await source('postgres', systems)).catalog(),
      await (await source('other', systems)).catalog(),
    ];
    const pgClass = one.relation('pg_catalog', 'pg_class')!;
    assert.equal(pgClass.system, true);
    assert.equal(pgClass, two.relation('pg_catalog', 'pg_class'));
    assert.equal(pgClass, one.relationOfType(83));
    assert.ok(columns(pgClass)!.includes('2 relname'));
    assert.ok(one.relation('information_schema', 'columns')!.columns.length > 40);
    const [sleep] = one.functionsNamed('pg_sleep');
    assert.deepEqual([sleep?.volatility, sleep?.system, sleep?.schema], ['v', true, 'pg_catalog']);
    assert.deepEqual(one.functionsNamed('json_each')[0]!.outNames, ['key', 'value']);
    assert.equal(two.relation('public', 'people'), undefined);
    assert.equal(one.relationOfType(one.relation('public', 'people')!.columns[0]!.typeOid), undefined);
  });

  test('every change that matters is noticed, and what changes nothing keeps the snapshot', async () => {
    const watched = await source();
    let last = await watched.catalog();
    assert.equal(await watched.catalog(), last);
    for (const [sql, shown] of [
      [
        'ALTER TABLE people RENAME COLUMN email TO mail',
        () => columns(last.relation('public', 'people'))?.includes('3 mail'),
      ],
      ['ALTER TABLE people RENAME TO folks', () => last.relation('public', 'folks') !== undefined],
      [
        'CREATE OR REPLACE VIEW people_v AS SELECT id, mail AS contact FROM folks WHERE id > 7',
        () => last.relation('public', 'people_v')!.definition!.includes('7'),
      ],
      [
        "CREATE OR REPLACE FUNCTION app.valid(text) RETURNS bool LANGUAGE sql AS 'SELECT false'",
        () => last.functionsNamed('valid')[0]!.source === 'SELECT false',
      ],
      ['ALTER FUNCTION app.listing() IMMUTABLE', () => last.functionsNamed('listing')[0]!.volatility === 'i'],
      ['ALTER TABLE folks ENABLE TRIGGER off', () => last.relation('public', 'folks')!.triggers.length === 2],
      ['ALTER TABLE folks ENABLE ROW LEVEL SECURITY', () => last.relation('public', 'folks')!.policies.length === 1],
      ['DROP RULE note ON people_v', () => last.relation('public', 'people_v')!.rules.length === 0],
      ['ALTER TABLE archive NO INHERIT folks', () => last.relation('public', 'folks')!.children.length === 0],
      ["ALTER DOMAIN app.mail ADD CHECK (VALUE <> 'x')", () => last.typeCode('mail').checks.length === 4],
      [
        'ALTER OPERATOR app.=== (int, int) OWNER TO agent; DROP OPERATOR app.=== (int, int)',
        () => last.operatorFunctions('===').length === 0,
      ],
      ['DROP CAST (text AS app.pair)', () => last.typeCode('pair').functions.length === 0],
      ['DROP OPERATOR CLASS app.mood_ops USING btree', () => last.unnamed.length === 1],
      [
        `CREATE OPERATOR FAMILY app.moods USING btree;
         ALTER OPERATOR FAMILY app.moods USING btree ADD FUNCTION 1 app.mood_cmp(app.mood, app.mood)`,
        () => last.unnamed.length === 2,
      ],
      [
        'ALTER SCHEMA app RENAME TO application',
        () => last.schemas.has('application') && last.functionsNamed('valid')[0]!.schema === 'application',
      ],
      [
        'ALTER TABLE archive ALTER COLUMN archived TYPE bigint USING 1',
        () => last.relation('public', 'archive')!.columns.at(-1)!.typeOid === 20,
      ],
      ['DROP TABLE archive; CREATE TABLE archive ()', () => last.relation('public', 'archive')!.columns.length === 0],
      [
        'ALTER ROLE agent SET search_path = hidden, application, nowhere',
        () => last.searchPath.join() === 'application',
      ],
      ['ALTER ROLE agent IN DATABASE postgres SET search_path = public', () => last.searchPath.join() === 'public'],
    ] as const) {
      await server.psql(sql);
      const next = await watched.catalog();
      assert.ok(next.version > last.version, sql);
      last = next;
      assert.ok(shown(), sql);
    }
    await server.psql(
      "TRUNCATE log; INSERT INTO log VALUES ('x'); VACUUM FULL log; ANALYZE; REFRESH MATERIALIZED VIEW people_m",
    );
    assert.equal(await watched.catalog(), last);
    await server.psql('ALTER ROLE agent RESET search_path; ALTER ROLE agent IN DATABASE postgres RESET search_path');
    await assert.rejects(watched.catalog(), { code: 'CATALOG_UNAVAILABLE', message: /anew/ });
    assert.deepEqual((await (await source()).catalog()).searchPath, ['agent', 'public']);
  });

  test("a user's own objects cannot stand in for what the questions call", async () => {
    await server.psql(`CREATE DATABASE trap`);
    await server.psql(
      `CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO agent; ALTER ROLE agent IN DATABASE trap SET search_path = evil, pg_catalog;
       CREATE FUNCTION evil.to_json(anyelement) RETURNS json LANGUAGE sql AS $$SELECT '["forged"]'::json$$;
       CREATE FUNCTION evil.current_schemas(bool) RETURNS name[] LANGUAGE sql AS $$SELECT '{forged}'::name[]$$;
       CREATE FUNCTION evil.age(xid) RETURNS int LANGUAGE sql AS 'SELECT 1';
       CREATE VIEW evil.pg_class AS SELECT * FROM pg_catalog.pg_class WHERE false; GRANT SELECT ON evil.pg_class TO agent`,
      'trap',
    );
    const catalog = await (await source('trap')).catalog();
    assert.equal(catalog.relation('evil', 'pg_class')!.kind, 'v');
    assert.deepEqual(catalog.searchPath, ['evil', 'pg_catalog']);
  });

  test('a transaction that locks a table does not keep the catalog from being read', async () => {
    await server.psql('CREATE DATABASE locked');
    await server.psql('CREATE TABLE base (a int); CREATE VIEW over AS SELECT a FROM base', 'locked');
    const own = await source('locked');
    const socket = connect(server.port, server.host);
    sockets.push(socket);
    await once(socket, 'connect');
    const login = {
      credential: {},
      user: server.user,
      database: 'locked',
      parameters: {},
      version: STARTUP.protocol30,
    };
    const holder = await QueryClient.login(streamOf(socket), { ...login, encrypted: false, binding: null });
    await holder.query('BEGIN; TRUNCATE base');
    const meanwhile = await own.catalog();
    assert.equal(meanwhile.relation('public', 'over')!.definition, '?', 'what nobody can read, no parser takes');
    assert.equal(meanwhile.relation('public', 'base')!.columns[0]!.name, 'a');
    await holder.query('COMMIT');
    assert.match((await own.catalog()).relation('public', 'over')!.definition!, /SELECT/);
  });

  test('a lost connection is an error, never an empty catalog', async () => {
    const lost = await source();
    await lost.catalog();
    await server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'agent'");
    await assert.rejects(lost.catalog(), { code: 'CATALOG_UNAVAILABLE' });
    await assert.rejects(lost.changed(), { code: 'CATALOG_UNAVAILABLE' });
  });
});

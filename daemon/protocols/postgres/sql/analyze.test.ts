import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { SluiceError } from '../../../core/errors.ts';
import { catalogOf, func, namesOf, relation, shop } from './analyze-fixture.ts';
import { Analyzer } from './analyzer.ts';
import type { Analysis, Catalog, Func, Names, Origin } from './model.ts';
import { SqlParser } from './parser.ts';

const originText = ({ plain, columns, untraced }: Origin): string =>
  `${plain ? '=' : '~'}${columns.map(({ relation: r, column }) => `${r.name}.${column.name}`).join('+')}${untraced ? '?' : ''}`;

suite('analysis', () => {
  let parser: SqlParser;
  let analyzer: Analyzer;
  const catalog = shop();
  const names = namesOf(catalog);
  before(() => {
    parser = new SqlParser({ timeLimit: 60_000 }); // a busy host is not what is tried here
    analyzer = new Analyzer(parser);
  });
  after(() => parser.close());

  const last = async (text: string, given: Names = names): Promise<Analysis> =>
    (await analyzer.analyze(text, given)).at(-1)!;
  const effects = async (text: string): Promise<string> =>
    (await last(text)).operation.accesses
      .map(({ effect, object }) => (object === undefined ? effect : `${effect} ${object.replace('public.', '')}`))
      .sort()
      .join(', ');

  test('effects of statements', async () => {
    const every = 'code, ddl, file, network, privilege, program, session, write';
    const table: Record<string, string> = {
      'SELECT 1': 'read',
      'SELECT name FROM people': 'read people',
      'SELECT relname FROM pg_class': 'read',
      "INSERT INTO scratch VALUES (1, 'a')": 'write scratch',
      'DELETE FROM scratch WHERE k = 1': 'read scratch, write scratch',
      'UPDATE scratch SET v = item FROM orders': 'read orders, write scratch',
      'INSERT INTO orders VALUES (1)': 'write log, write orders',
      'INSERT INTO people_v VALUES (1)': 'write people_v',
      'WITH x AS (DELETE FROM scratch RETURNING k) SELECT k FROM x': 'read scratch, write scratch',
      'SELECT * INTO n FROM scratch': 'ddl n, read scratch, write n',
      'CREATE TEMP TABLE n AS SELECT 1': 'ddl pg_temp.n, write pg_temp.n',
      'SELECT k FROM scratch FOR SHARE': 'read scratch, write scratch',
      'EXPLAIN DELETE FROM scratch': 'read scratch',
      'EXPLAIN (ANALYZE off, VERBOSE) DELETE FROM scratch': 'read scratch',
      'EXPLAIN ("analyze" 1) DELETE FROM scratch': 'write scratch',
      'EXPLAIN (ANALYSE) DELETE FROM scratch': 'write scratch',
      'COPY scratch FROM STDIN': 'write scratch',
      'COPY scratch TO STDOUT': 'read scratch',
      "COPY scratch TO '/x'": 'file, read scratch',
      "COPY (SELECT 1) TO PROGRAM 'x'": 'program',
      'SELECT touch(1)': 'write log',
      'SELECT contact(1)': 'read people',
      "SELECT run_text('x')": every,
      'SELECT native(1)': every,
      "SELECT similarity('a', 'b')": 'read',
      'SELECT forever(1)': every,
      'SELECT nosuch(1)': every,
      'SELECT of_a_later_version()': every,
      "SELECT nextval('ticket_seq')": 'write ticket_seq',
      "SELECT pg_read_file('x')": 'file',
      "SELECT pg_notify('a', 'b')": 'network, session',
      "SELECT set_config('work_mem', '1MB', false)": 'session',
      "SELECT set_config('search_path', '', false)": 'read',
      'SELECT pg_terminate_backend(1)': 'privilege',
      'SELECT rolname FROM pg_authid': 'read',
      'SELECT rolpassword FROM pg_authid': 'privilege pg_catalog.pg_authid, read pg_catalog.pg_authid',
      BEGIN: '',
      'BEGIN READ ONLY': '',
      'BEGIN READ WRITE': 'session, write',
      COMMIT: '',
      "PREPARE TRANSACTION 'x'": 'write',
      'SET search_path = other': '',
      'RESET ALL': '',
      'SET ROLE x': 'privilege, session',
      'SET work_mem = 1': 'session',
      'SET default_transaction_read_only = off': 'session, write',
      'SHOW work_mem': 'read',
      'TRUNCATE scratch': 'write scratch',
      'DROP TABLE scratch': 'ddl scratch',
      'ALTER TABLE scratch ADD c int': 'ddl scratch',
      'ALTER TABLE scratch ENABLE ROW LEVEL SECURITY': 'ddl scratch, privilege scratch',
      'GRANT SELECT ON scratch TO PUBLIC': 'privilege scratch',
      'VACUUM scratch': 'ddl scratch',
      'LOCK scratch': 'write scratch',
      'LOCK scratch IN ACCESS SHARE MODE': 'read scratch',
      "NOTIFY a, 'b'": 'network, session',
      'LISTEN a': 'session',
      'DO $$BEGIN END$$': every,
      'CREATE EXTENSION x': 'code, ddl, file, privilege',
      'DEALLOCATE ALL': '',
      'EXECUTE nosuch': every,
    };
    for (const [text, expected] of Object.entries(table)) assert.equal(await effects(text), expected, text);
  });

  test('code that runs without its name in the statement', async () => {
    const touch = catalog.functionsNamed('touch')[0]!;
    const touching = (name: string, more: Partial<Func> = {}) =>
      func(name, 1, { volatility: 'v', source: 'SELECT public.touch($1)', ...more });
    const add = func('public.add', 2, { source: 'SELECT $1' });
    const checked = 17_001;
    const hidden = catalogOf({
      relations: [relation('public.log', 'what,ref'), relation('public.scratch', 'k,v')],
      functions: [
        touch,
        add,
        touching('evil.lower'),
        func('public.optional', 1, { defaults: 1, defaultTexts: 'public.touch(1)', source: 'SELECT $1' }),
        func('public.takes', 1, { argTypes: [checked], source: 'SELECT 1' }),
        func('public.gives', 0, { returnType: checked, source: 'SELECT 1' }),
        func('public.holds', 0, { language: 'plpgsql', source: 'DECLARE x public.checked := 1; BEGIN RETURN x; END' }),
        func('public.picks', 0, {
          language: 'plpgsql',
          source: 'DECLARE x public.scratch.checked%TYPE; y scratch%ROWTYPE; BEGIN RETURN x; END',
        }),
        func('public.moves', 0, {
          language: 'plpgsql',
          source: "BEGIN PERFORM set_config('search_path', 'evil', true); RETURN lower('X'); END",
        }),
        func('public.tally', 1, { kind: 'a', support: [touch.oid] }),
        func('public.total', 1, { kind: 'a', support: [add.oid] }),
        func('evil.count', 1, { kind: 'a', support: [touch.oid] }),
        func('public.max', 1, { kind: 'a', support: [add.oid] }),
        touching('public.json_value'),
        touching('public.merge_action'),
      ],
      types: { int4: [touching('public.to_int')] },
      checks: { checked: ['(public.touch(VALUE) > 0)'] },
      domainNames: { [checked]: 'checked' },
    });
    const table: Record<string, string> = {
      'SELECT optional(1)': 'read',
      'SELECT optional()': 'write log',
      'SELECT k::checked FROM scratch': 'read scratch, write log',
      "SELECT * FROM unnest('{}') AS t(a checked)": 'write log',
      "SELECT * FROM xmltable('/a' PASSING '<a/>' COLUMNS a checked)": 'write log',
      'PREPARE p(checked) AS SELECT 1': 'write log',
      'SELECT takes(1)': 'write log',
      'SELECT gives()': 'write log',
      'SELECT holds()': 'write log',
      'SELECT picks()': 'read',
      'SELECT moves()': 'write log',
      'SELECT tally(k) FROM scratch': 'read scratch, write log',
      'SELECT total(k), max(k) FROM scratch': 'read scratch',
      'SET search_path = evil; SELECT count(k) FROM public.scratch': 'read scratch, write log',
      'SELECT k::int FROM scratch': 'read scratch, write log',
      'SELECT k::text FROM scratch': 'read scratch',
      "SELECT json_value('{}', '$')": 'write log',
      'SELECT merge_action()': 'write log',
      'SET search_path = evil; COMMIT; BEGIN; SET search_path = public; ROLLBACK; SELECT lower($1)': 'write log',
    };
    for (const [text, expected] of Object.entries(table)) {
      const { accesses } = (await last(text, namesOf(hidden))).operation;
      const found = accesses.map(({ effect, object }) => `${effect} ${object?.replace('public.', '') ?? ''}`.trim());
      assert.equal(found.sort().join(', '), expected, text);
    }
    const [later, harmless, writing] = [
      catalogOf({ functions: [touching('public.json_value'), touch], server: 170_000 }, 2),
      catalogOf({ unnamed: [add], relations: [relation('public.scratch', 'k')] }, 3),
      catalogOf({ unnamed: [touching('public.compare')], functions: [touch] }, 4),
    ];
    const ofLast = async (text: string, given: Catalog) => (await last(text, namesOf(given))).operation;
    assert.deepEqual((await ofLast("SELECT json_value('{}', '$')", later)).functions, [], 'syntax by now');
    assert.deepEqual((await ofLast('SELECT k FROM scratch ORDER BY k', harmless)).functions, []);
    assert.ok((await ofLast('SELECT 1', writing)).accesses.some(({ effect }) => effect === 'write'));
    assert.deepEqual((await ofLast('ROLLBACK', writing)).accesses, []);
  });

  test('a name given as another type is the name only where nothing is cut off', async () => {
    for (const type of ['bpchar(4)', '"varchar"(4)', 'name', '"char"']) {
      assert.ok((await effects(`SELECT set_config('rolexx'::${type}, 'x', false)`)).includes('privilege'), type);
    }
    assert.equal(await effects("SELECT set_config('work_mem'::text, '1MB', false)"), 'session');
  });

  test('where outputs come from', async () => {
    const table: Record<string, string> = {
      'SELECT id, email FROM people': '=people.id =people.email',
      'SELECT * FROM people_v': '=people.id+people_v.id =people.email+people_v.contact',
      'SELECT p.x FROM people AS p(a, b, x)': '=people.email',
      'SELECT q.z FROM (SELECT email, id FROM people) AS q(z)': '=people.email',
      'WITH a(x) AS (SELECT ssn FROM people), b(y) AS (SELECT x FROM a) SELECT y FROM b': '=people.ssn',
      'WITH people AS (SELECT id AS email FROM orders) SELECT email FROM people': '=orders.id',
      'WITH people AS (SELECT id AS email FROM orders) SELECT email FROM public.people': '=people.email',
      'WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT email FROM people) SELECT * FROM a': '=people.email',
      'WITH RECURSIVE t AS (SELECT 1 n, email e FROM people UNION ALL SELECT n + 1, name FROM t, people) SELECT e FROM t':
        '~people.email+people.name',
      'SELECT name FROM other.people UNION ALL SELECT email FROM public.people': '~people.name+people.email',
      'SELECT email FROM people UNION ALL SELECT contact FROM people_v': '=people.email+people_v.contact',
      'SELECT upper(email) FROM people': '~people.email',
      "SELECT CASE WHEN email = 'x' THEN 1 END FROM people": '~people.email',
      'SELECT p FROM scratch p': '~scratch.k+scratch.v',
      'SELECT (p).email FROM people p': '=people.email',
      'SELECT email(people) FROM people': '=people.email',
      'SELECT contact(3)': '~people.email+people.id',
      'SELECT pay(3)': '~people.ssn+people.id',
      'SELECT atomic(3)': '~people.email',
      'SELECT twice(email) FROM people': '~people.email',
      'SELECT 1 ### 2': '~people.email',
      'SELECT count(*) FROM people': '~',
      "SELECT count(*) FILTER (WHERE ssn LIKE '1%') FROM people": '~people.ssn',
      'SELECT rank() OVER w FROM people WINDOW w AS (ORDER BY ssn)': '~people.ssn',
      "SELECT EXISTS (SELECT 1 FROM people WHERE email = 'x')": '~people.email',
      'SELECT u FROM people, unnest(ARRAY[ssn, email]) u': '~people.ssn+people.email',
      'SELECT id FROM people JOIN people_archive USING (id)': '~people.id+people_archive.id',
      'SELECT tag FROM made': '~made.tag+made.mail',
      'SELECT x.* FROM people o, LATERAL (SELECT o.email AS q) x': '=people.email',
      'SELECT q FROM people o, (SELECT 1 AS q) x': '~',
      'DELETE FROM people RETURNING email': '=people.email',
      'SELECT shop.public.people.email FROM shop.public.people': '=people.email',
      'SELECT x FROM nosuch': '~?',
      'SELECT nosuch FROM people': '~?',
      'SELECT ctid FROM people': '~',
      'SELECT run_text(name) FROM people': '~people.name?',
      'SELECT lo_get(1)': '~pg_largeobject.data',
      'SHOW work_mem': '~',
      'EXPLAIN SELECT email FROM people': '~',
      'PREPARE a AS SELECT email FROM people; EXECUTE a': '=people.email',
      'DECLARE c CURSOR FOR SELECT email FROM people; FETCH c': '=people.email',
      'SET search_path = other; SELECT email FROM people': '=people.email',
      'SET search_path = public; SELECT $1': '~',
      "INSERT INTO scratch VALUES (1, 'x')": '',
    };
    for (const [text, expected] of Object.entries(table)) {
      assert.equal((await last(text)).outputs?.map(originText).join(' '), expected, text);
    }
    for (const text of ['SELECT * FROM nosuch', "INSERT INTO ruled VALUES ('x')", 'FETCH nosuch']) {
      assert.equal((await last(text)).outputs, null, text);
    }
  });

  test('a name under a search_path', async () => {
    const path = async (paths: Names['paths'], stale = false) =>
      (await last('SELECT email FROM people', namesOf(catalog, { paths, stale }))).outputs![0]!.columns.map(
        (c) => c.relation.schema,
      );
    assert.deepEqual(await path([['other', 'public']]), ['other']);
    assert.deepEqual(await path([['other'], ['public']]), ['other', 'public']);
    assert.deepEqual(await path([['other', 'public']], true), ['other', 'public'], 'other.people may be gone');
    const dropped = 'BEGIN; DROP TABLE other.people; SELECT email FROM people';
    const after = await last(dropped, namesOf(catalog, { paths: [['other', 'public']] }));
    assert.deepEqual(
      after.outputs![0]!.columns.map((ref) => ref.relation.schema),
      ['other', 'public'],
    );
  });

  test('what conditions are', async () => {
    const uses = async (text: string) =>
      (await last(text)).uses
        .filter((use) => use.origin.columns.some(({ column }) => column.name === 'email'))
        .map((use) => use.how)
        .join(' ');
    const table: Record<string, string> = {
      "WHERE email = 'x'": 'filter',
      "WHERE id = 3 AND (email IN ('a', 'b') OR name IS NULL)": 'filter',
      "WHERE email::text LIKE 'a%'": 'filter',
      'WHERE email = $1': 'filter',
      'WHERE email = ANY($1)': 'filter',
      "WHERE (email, id) = ('a', 3)": 'filter',
      "WHERE lower(email) = 'x'": 'compute',
      'WHERE email = name': 'compute',
      "WHERE email LIKE name || '%'": 'compute',
      'JOIN people b USING (email)': 'filter',
      'JOIN people b ON p.email = b.email': 'filter',
      'JOIN other.people b ON p.email = b.email': 'compute',
      ', generate_series(1, 9) g WHERE email = g': 'compute',
      ", generate_series(1, 9) g WHERE (g = 1 AND email LIKE 'a%') OR (g = 2 AND email LIKE 'b%')":
        'filter filter compute',
      ', generate_series(1, 9) g WHERE email IN (SELECT g)': 'compute',
      'WHERE EXISTS (SELECT 1 FROM generate_series(1, 9) g WHERE g = email)': 'compute',
      'ORDER BY p.email': 'order',
      'ORDER BY lower(p.email)': 'compute',
      'GROUP BY email': 'order',
      'LIMIT (SELECT max(email) FROM people)': 'compute',
      "WHERE email = 'x' AND nextval('ticket_seq') > 0": 'filter call',
    };
    for (const [text, expected] of Object.entries(table))
      assert.equal(await uses(`SELECT 1 FROM people p ${text}`), expected, text);
    assert.equal(await uses("SELECT find('x')"), 'filter risk');
    assert.equal(await uses('SELECT find(name) FROM people'), 'compute risk', 'an argument that is a column');
    assert.equal(await uses('SELECT generate_series(1, email) FROM people'), 'compute risk');
    assert.equal(await uses('INSERT INTO scratch SELECT id, email FROM people'), 'store');
    assert.equal(await uses("SELECT pg_notify('a', email) FROM people"), 'call risk');
    assert.equal(await uses('CREATE VIEW v AS SELECT id FROM people ORDER BY email'), 'define');
  });

  test('changes of the session, in words that the session understands', async () => {
    const changes = async (text: string) => (await last(text)).changes.map((change) => change.kind).join(' ');
    assert.equal(await changes('BEGIN'), 'begin');
    assert.equal(await changes('COMMIT AND CHAIN'), 'commit begin');
    assert.equal(await changes('ROLLBACK TO a'), 'rollback-to');
    assert.equal(await changes('DISCARD ALL'), 'discard search-path catalog');
    const prepare = (await last('PREPARE "as" (numeric(1,2), "AS") /* as */ AS SELECT email FROM people')).changes[0]!;
    assert.ok(prepare.kind === 'prepare' && prepare.name === 'as' && prepare.text === 'SELECT email FROM people');
    assert.deepEqual(prepare.analyses[0]!.outputs!.map(originText), ['=people.email']);
    const path = (await last('SET search_path = "$user", public')).changes[0]!;
    assert.ok(path.kind === 'search-path');
    assert.deepEqual(path.path, ['agent', 'public']);
    assert.deepEqual((await last("SELECT set_config('search_path', 'Other, \"B,c\"', true)")).changes[0], {
      kind: 'search-path',
      path: ['other', 'B,c'],
      local: false,
    });
  });

  test('settings under which later texts would be read otherwise are forbidden whatever the policy', async () => {
    for (const text of [
      'SET standard_conforming_strings = off',
      "SET client_encoding = 'SJIS'",
      "SET NAMES 'big5'",
      "SELECT set_config('client_encoding', 'GBK', false)",
      'SELECT set_config(name, name, false) FROM people',
      "SELECT set_config(name, 'off', false) FROM people",
      'ALTER ROLE x SET standard_conforming_strings = off',
      'SET backslash_quote = on',
    ]) {
      assert.ok((await last(text)).forbidden, text);
    }
    for (const text of [
      "SET client_encoding = 'EUC_JP'",
      "SET NAMES 'utf-8'",
      'SET standard_conforming_strings = on',
      'RESET client_encoding',
      // pg_dump asks for this.
      "SELECT set_config(name, 'view, foreign-table', false) FROM people",
    ]) {
      assert.equal((await last(text)).forbidden, undefined, text);
    }
  });

  test('answers are kept, and statements that differ in a number share one', async () => {
    const first = await analyzer.analyze('SELECT id FROM orders WHERE id = 1;', names);
    const second = analyzer.analyze('SELECT id FROM orders WHERE id = 22;', names);
    assert.ok(Array.isArray(second), 'at once');
    assert.equal(second[0].operation.text, 'SELECT id FROM orders WHERE id = 22');
    assert.equal(second[0].template, first[0]!.template);
    assert.equal(second[0].operation.accesses, first[0]!.operation.accesses);
    const other = catalogOf({ relations: [relation('public.orders', 'id,person_id')] }, 2);
    assert.ok(
      !Array.isArray(analyzer.analyze('SELECT id FROM orders WHERE id = 1;', namesOf(other))),
      'another catalog',
    );
  });

  test('a call by the protocol', async () => {
    const [touch] = catalog.functionsNamed('touch');
    const call = await analyzer.analyzeCall(touch!.oid, names);
    assert.equal(call.operation.verb, 'FunctionCall');
    assert.deepEqual(
      call.operation.accesses.map((access) => access.effect),
      ['write'],
    );
    assert.equal((await analyzer.analyzeCall(1, names)).operation.unclassified, 'function with oid 1 is not known');
  });

  test('a body that calls bodies ends, however many', async () => {
    const functions = Array.from({ length: 60 }, (_, i) =>
      func(`public.f${i}`, 1, { source: `SELECT public.f${i + 1}($1) || public.f${i + 1}($1)` }),
    );
    const deep = namesOf(catalogOf({ functions: [...functions, func('public.f60', 1, { source: 'SELECT $1' })] }, 3));
    assert.ok((await last('SELECT f0($1)', deep)).opaque, 'nested too deeply');
    assert.equal((await last('SELECT f40($1)', deep)).opaque, undefined);
  });

  test('nothing but SluiceError comes of any text', async () => {
    const pieces =
      `SELECT * FROM people p ( ) , WHERE email = 'x' AND NOT EXISTS UNION ALL INSERT INTO scratch VALUES (1) RETURNING *
      WITH a AS ( UPDATE DELETE SET v = 1 USING JOIN ON true GROUP BY 1 ORDER LIMIT CASE WHEN THEN END :: int ARRAY[1] [1] .x
      count(*) OVER (PARTITION BY id) FILTER LATERAL VALUES ROW $1 ; EXPLAIN ANALYZE COPY TO STDOUT CREATE VIEW v AS TABLE`.split(
        /\s+/,
      );
    let seed = 42;
    const random = () => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return seed / 2_147_483_648;
    };
    let parsed = 0;
    for (let i = 0; i < 1500; i++) {
      const text = Array.from({ length: 2 + random() * 9 }, () => pieces[Math.floor(random() * pieces.length)]).join(
        ' ',
      );
      try {
        await analyzer.analyze(text, names);
        parsed++;
      } catch (error) {
        assert.ok(error instanceof SluiceError && error.code !== 'INTERNAL', `${text}: ${error}`);
      }
    }
    assert.ok(parsed > 0);
    await assert.rejects(async () => analyzer.analyze(`SELECT ${'('.repeat(200_000)}`, names), SluiceError);
    const long = await last(`SELECT ${'1+'.repeat(300)}1`);
    assert.deepEqual(long.outputs!.map(originText), ['~']);
  });
});

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { virtualTime } from '../../../../test/harness/time.ts';
import { procedureText } from './functions.ts';
import { SqlParser, StatementSyntaxError } from './parser.ts';

const parser = new SqlParser({ timeLimit: 30_000 }); // a busy host is not what is tried here
after(() => parser.close());

const refusal = (text: string, by = parser) =>
  by.parse(text).then(
    () => 'parsed',
    (error: { code?: string }) => error.code,
  );

test('each statement of a batch has its tree, text and fingerprint, whatever stands around it', async () => {
  const { statements } = await parser.parse(
    " ; select 'é€😀' ; /* ü */ update t set a = 1 where b = 'ß;';; delete from t -- é\n",
  );
  assert.deepEqual(
    statements.map(({ tree, text }) => [Object.keys(tree)[0], text]),
    [
      ['SelectStmt', "select 'é€😀'"],
      ['UpdateStmt', "update t set a = 1 where b = 'ß;'"],
      ['DeleteStmt', 'delete from t -- é'],
    ],
  );
  for (const { fingerprint } of statements) assert.match(fingerprint, /^[0-9a-f]{16}$/);
});

test('a fingerprint does not depend on constants, place in the batch or a final semicolon', async () => {
  const texts = ['select a from t where b = 1', 'select a from t where b = 2;', ' select a from t where b = 3 ;\n'];
  const single = await Promise.all(texts.map(async (text) => (await parser.parse(text)).statements[0]!.fingerprint));
  const batch = (await parser.parse(texts.map((text) => text.replace(';', '')).join(';'))).statements;
  assert.equal(new Set([...single, ...batch.map((statement) => statement.fingerprint)]).size, 1);
  assert.notEqual((await parser.parse('select a from t where c = 1')).statements[0]!.fingerprint, single[0]);
});

test('white space and comments are no statement', async () => {
  for (const text of ['', '  \n', '-- only this', '/* ; */', ';;'])
    assert.deepEqual((await parser.parse(text)).statements, []);
});

test('a syntax error carries what PostgreSQL says and where, in characters', async () => {
  await assert.rejects(parser.parse("select 'é€' fromm x y"), (error: unknown) => {
    assert.ok(error instanceof StatementSyntaxError);
    assert.equal(error.complaint, 'syntax error at or near "x"');
    assert.equal(error.position, 19);
    assert.equal(error.code, 'STATEMENT_UNPARSABLE');
    return true;
  });
});

test('NUL, lone surrogates and overlong texts are refused before the parser sees them', async () => {
  assert.equal(await refusal('select 1\0; drop table t'), 'STATEMENT_UNPARSABLE');
  assert.equal(await refusal("select '\ud800'"), 'STATEMENT_UNPARSABLE');
  assert.equal(await refusal(`select '${'x'.repeat(1 << 20)}'`), 'STATEMENT_TOO_LARGE');
  assert.equal(await refusal(`select '${'€'.repeat(400_000)}'`), 'STATEMENT_TOO_LARGE');
  assert.equal(await refusal(`select '${'x'.repeat(1_000_000)}'`), 'parsed');
});

test('deep nesting ends in an error, again and again, and others are served meanwhile', async () => {
  const bombs = [
    `select ${'('.repeat(10_000)}1${')'.repeat(10_000)}`,
    `select ${'array['.repeat(9_000)}1${']'.repeat(9_000)}`,
    `select ${'(select '.repeat(4_000)}1${')'.repeat(4_000)}`,
    `select ${'not '.repeat(9_000)}true`,
    `select 1${'+1'.repeat(10_000)}`,
    `select 1${'+1'.repeat(500_000)}`,
    `select 1${' union select 1'.repeat(9_000)}`,
  ];
  for (const bomb of bombs) {
    const [code, other] = await Promise.all([refusal(bomb), refusal('select 1')]);
    assert.match(String(code), /STATEMENT_(UNPARSABLE|TOO_COMPLEX)/, bomb.slice(0, 40));
    assert.equal(other, 'parsed');
  }
  const repeated = await Promise.all(Array.from({ length: 100 }, () => refusal(bombs[4]!)));
  assert.deepEqual(new Set(repeated), new Set(['STATEMENT_TOO_COMPLEX']));
  assert.equal(await refusal(`select 1${'+1'.repeat(900)}`), 'parsed');
});

test('braces in strings are no nesting', async () => {
  assert.equal(await refusal(`select '${'{["\\'.repeat(5_000)}', $a$${'[{'.repeat(5_000)}$a$`), 'parsed');
});

test('a tree far larger than its text is refused', async () => {
  assert.equal(
    await refusal(`insert into t values ${'(1,2,3,4,5,6,7,8),'.repeat(50_000)}(1)`),
    'STATEMENT_TOO_COMPLEX',
  );
});

test('past the time limit only the text to blame is refused, and the parser works on', async (t) => {
  // The limit passes when the test says so, which is while the thread reads the text that takes a tenth of a second and more.
  const time = virtualTime(t);
  const hasty = new SqlParser({ timeLimit: 100 });
  let refused: unknown;
  hasty.parse(`select 1${'+1'.repeat(100_000)}${';select 1'.repeat(2)}`).catch((error) => {
    refused = error;
  });
  const others = Promise.all([refusal('select 1', hasty), refusal('select 2', hasty)]);
  await time.until(() => refused !== undefined, 3_600_000);
  assert.match(String(refused), /takes longer than 100 ms to parse/);
  assert.deepEqual(await others, ['parsed', 'parsed']);
  await hasty.close();
});

test('a closed parser refuses what waits and what comes', async () => {
  const short = new SqlParser();
  const waiting = refusal('select 1', short);
  await short.close();
  assert.equal(await waiting, 'INTERNAL');
  assert.equal(await refusal('select 1', short), 'INTERNAL');
});

test('many texts at once are all answered, each with its own tree', async () => {
  const answers = await Promise.all(Array.from({ length: 500 }, (_, i) => parser.parse(`select ${i}`)));
  answers.forEach((answer, i) => {
    assert.equal(answer.statements[0]!.text, `select ${i}`);
    assert.match(JSON.stringify(answer.statements[0]!.tree), i === 0 ? /"ival":\{\}/ : new RegExp(`"ival":${i}\\}`));
  });
});

const FUNCTION = { kind: 'f', argTypes: [], argNames: [], outNames: [], returnType: 23, returnsSet: true } as const;

const body = (text: string) => procedureText({ ...FUNCTION, argTypes: [23], argNames: ['a'], source: text });

test('every expression of a PL/pgSQL function is found, in a form that parses', async () => {
  const source = `declare v1 int := m1(); c1 cursor (k int) for select m2(k); r record; v2 int default m3(); v3 int[];
    cc constant int := m4();
  begin
    v1 := m5(); select m6() into v1; perform m7(); insert into t values (m8()); v3[m9()] := m10() = m11(); r.x = m12();
    if m13() then null; elsif m14() then null; end if;
    case m15() when m16() then null; when m17() then null; end case;
    loop exit when m18(); end loop; while m19() loop continue when m20(); end loop;
    for i in m21()..m22() by m23() loop null; end loop;
    for r in select m24() loop null; end loop; for r in c1(m25()) loop null; end loop;
    foreach v1 in array m26() loop null; end loop;
    open c1(m27()); fetch relative m28() from c1 into r; close c1;
    raise notice '%', m29() using detail = m30(); assert m31(), m32(); call m33();
    begin null; exception when others then perform m34(); end;
    a := m35(); a.field := m36(); return query select m37(); return next m38(); v3['x=y := z'] := m39();
    if m40() then perform m41(); else perform m42(); end if; return;
  end`;
  const { queries, dynamic, opens } = await parser.parsePlpgsql(body(source));
  for (let i = 1; i <= 42; i++)
    assert.ok(
      queries.some((query) => query.includes(`m${i}(`)),
      `m${i}`,
    );
  assert.equal(dynamic, false);
  assert.equal(opens, true);
  assert.equal((await parser.parsePlpgsql(body('begin null; end'))).opens, false);
  for (const query of queries) assert.equal(await refusal(query), 'parsed', query);
});

test('dynamic SQL in any form is told', async () => {
  for (const statement of [
    "execute 'x'",
    "return query execute 'x' using 1",
    "for r in execute 'x' loop null; end loop",
    "open c for execute 'x'",
    "begin null; exception when others then execute 'x'; end",
  ]) {
    const { dynamic } = await parser.parsePlpgsql(body(`declare r record; c refcursor; begin ${statement}; end`));
    assert.equal(dynamic, true, statement);
  }
});

test('a trigger function may use NEW and OLD, OUT arguments are variables, and nonsense is an error', async () => {
  const trigger = {
    ...FUNCTION,
    returnType: 2279,
    source: "begin new.a := f('x'); return new; end",
  };
  assert.deepEqual((await parser.parsePlpgsql(procedureText(trigger))).queries, ["SELECT  f('x')"]);
  const out = {
    ...FUNCTION,
    argTypes: [23],
    argNames: [''],
    outNames: ['a "b'],
    returnsSet: false,
    source: 'begin "a ""b" := $1; end',
  };
  assert.deepEqual((await parser.parsePlpgsql(procedureText(out))).queries, ['SELECT  $1']);
  await assert.rejects(parser.parsePlpgsql(body('begin garbage here; end')), { code: 'STATEMENT_UNPARSABLE' });
});

test('a thread that rests is started again by the next statement, and none rests in the middle of one', async (t) => {
  const parser = new SqlParser();
  t.after(() => parser.close());
  parser.warm();
  assert.equal((await parser.parse('SELECT 1')).statements.length, 1);
  parser.rest();
  const parsing = parser.parse('SELECT 2; SELECT 3');
  parser.rest();
  assert.equal((await parsing).statements.length, 2);
});

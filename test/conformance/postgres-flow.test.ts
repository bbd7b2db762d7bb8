/** Refusals and holds where PostgreSQL has rules of its own: transactions, pipelines, COPY, FunctionCall, cancelling. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { postgresMissing } from '../harness/postgres.ts';
import { ALLOW, openPostgresStage, type PostgresStage } from './postgres-stage.ts';
import {
  bind,
  cancel,
  copyData,
  copyDone,
  execute,
  functionCall,
  parse,
  query,
  run,
  shown,
  startup,
  sync,
  terminate,
  Wire,
} from './postgres-wire.ts';

const POLICY = `${ALLOW}
  - {name: not this, deny: [read, write], who: {groups: [agents]}, on: db, tables: [public.forbidden, closed.*]}
  - {name: no version, deny: everything, who: {groups: [agents]}, on: db, functions: [pg_catalog.pg_backend_pid, public.secret_function]}
  - name: ask first
    approve: [write]
    who: {groups: [agents]}
    on: db
    tables: [public.done]
    reviewers: {groups: [reviewers]}
`;

const DENIED = 'SELECT * FROM forbidden';
const REFUSED = `E 42501 sluice: the policy's rule "not this" refuses this`;
const all = (...parts: readonly Buffer[]) => Buffer.concat(parts);

describe('flows', { skip: postgresMissing() ?? false }, () => {
  let at: PostgresStage;
  let wire: Wire;
  before(async () => {
    at = await openPostgresStage(POLICY);
    await at.server.psql(`
      CREATE FUNCTION secret_function() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
      CREATE FUNCTION notes() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.done VALUES ('planned'); RETURN 1; END $$;
      CREATE FUNCTION constant() RETURNS int IMMUTABLE LANGUAGE plpgsql AS
        $$ BEGIN PERFORM public.notes(); RETURN 1; END $$;
      CREATE TABLE elsewhere (what text);
      CREATE SCHEMA closed;
      CREATE FUNCTION shifting() RETURNS void LANGUAGE sql AS $$ INSERT INTO public.done VALUES ('s') $$;
      CREATE ROLE other SUPERUSER LOGIN;
      CREATE FUNCTION note_elsewhere() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.elsewhere VALUES ('planned'); RETURN 1; END $$;
      CREATE FUNCTION noted_elsewhere() RETURNS int IMMUTABLE LANGUAGE plpgsql AS
        $$ BEGIN PERFORM public.note_elsewhere(); RETURN 1; END $$;
    `);
  });
  after(() => at?.close());
  const on = (name: string, work: () => Promise<void>) =>
    test(name, { timeout: 20_000 }, async () => {
      wire = await Wire.open(at.stage.port);
      try {
        await work();
      } finally {
        wire.close();
      }
    });
  const done = async () => Number(await at.server.psql('SELECT count(*) FROM done'));

  on('a refusal inside a transaction aborts it as an error of the server does', async () => {
    await wire.ask('BEGIN');
    assert.deepEqual(await wire.ask(DENIED), [REFUSED, 'Z E']);
    const [aborted, state] = await wire.ask('SELECT 1');
    assert.match(aborted ?? '', /^E 25P02/);
    assert.equal(state, 'Z E');
    assert.deepEqual(await wire.ask('COMMIT'), ['C ROLLBACK', 'Z I']);
    assert.deepEqual(await wire.ask('SELECT 1'), ['T', 'D 1', 'C SELECT 1', 'Z I']);
  });

  on('a transaction that is aborted already says so, also of what policy refuses', async () => {
    await wire.ask('BEGIN');
    await wire.ask('SELECT 1 / 0');
    const [error] = await wire.ask(DENIED);
    assert.match(error ?? '', /^E (25P02|42501)/);
    assert.deepEqual(await wire.ask('ROLLBACK'), ['C ROLLBACK', 'Z I']);
  });

  on('one refused statement of a Query: none of them runs', async () => {
    const before = await at.server.psql('SELECT count(*) FROM pg_class');
    assert.deepEqual(await wire.ask(`CREATE TABLE made (); ${DENIED}; CREATE TABLE more ()`), [REFUSED, 'Z I']);
    assert.equal(await at.server.psql('SELECT count(*) FROM pg_class'), before);
  });

  on('in a pipeline answers keep their order and a refusal skips to Sync', async () => {
    const pipeline = all(run('SELECT 1'), run(DENIED), run('SELECT 2'), sync, run('SELECT 3'), sync, run(DENIED), sync);
    assert.deepEqual(await wire.ask(all(pipeline, query('SELECT 4')), 4), [
      ...['1', '2', 'D 1', 'C SELECT 1', REFUSED, 'Z I'],
      ...['1', '2', 'D 3', 'C SELECT 1', 'Z I'],
      ...[REFUSED, 'Z I'],
      ...['T', 'D 4', 'C SELECT 1', 'Z I'],
    ]);
  });

  on('a pipeline that fails at the server before a refused step tells the first error alone', async () => {
    const came = await wire.ask(all(run('SELECT 1 / 0'), run(DENIED), sync, run('SELECT 1'), sync), 2);
    assert.deepEqual(came.slice(1), ['E 22012 division by zero', 'Z I', '1', '2', 'D 1', 'C SELECT 1', 'Z I']);
  });

  on('refused at Bind, when policy has changed since Parse', async () => {
    const { stage } = at;
    await wire.ask(all(parse('SELECT what FROM open.forbidden', 's'), sync));
    assert.deepEqual((await wire.ask(all(bind([], { name: 's' }), execute(), sync))).at(-1), 'Z I');
    const text = stage.policyText;
    stage.setPolicy(text.replace('public.forbidden', 'open.forbidden'));
    const came = await wire.ask(all(bind([], { name: 's' }), execute(), sync));
    stage.setPolicy(text);
    assert.deepEqual(came, [REFUSED, 'Z I']);
  });

  on('refused at Execute, when policy has changed since Bind', async () => {
    const { stage } = at;
    await wire.ask('BEGIN');
    await wire.ask(all(parse('SELECT what FROM open.forbidden'), bind([], { portal: 'p' }), sync));
    const text = stage.policyText;
    stage.setPolicy(text.replace('public.forbidden', 'open.forbidden'));
    const came = await wire.ask(all(execute('p'), sync));
    stage.setPolicy(text);
    assert.deepEqual(came, [REFUSED, 'Z E']);
  });

  on('a FunctionCall is refused like a statement, and passes like one', async () => {
    const oid = Number(await at.server.psql(`SELECT 'secret_function'::regproc::oid`));
    const [error, state] = await wire.ask(functionCall(oid));
    assert.match(error ?? '', /^E 42501/);
    assert.equal(state, 'Z I');
    const now = Number(await at.server.psql(`SELECT 'now'::regproc::oid`));
    assert.deepEqual(await wire.ask(functionCall(now)), ['V', 'Z I']);
  });

  on('COPY of a table that is denied, in and out; its data goes nowhere', async () => {
    assert.deepEqual(await wire.ask('COPY forbidden TO STDOUT'), [REFUSED, 'Z I']);
    const copy = all(query('COPY forbidden FROM STDIN'), copyData('row\n'), copyDone);
    assert.deepEqual(await wire.ask(copy), [REFUSED, 'Z I']);
    assert.deepEqual(await wire.ask(all(run('COPY forbidden FROM STDIN'), copyData('x\n'), copyDone, sync)), [
      REFUSED,
      'Z I',
    ]);
    assert.equal(await at.server.psql('SELECT count(*) FROM forbidden'), '1');
    assert.deepEqual(await wire.ask('SELECT 1'), ['T', 'D 1', 'C SELECT 1', 'Z I']);
  });

  on('a Sync before and after CopyDone, as libpq and others send it', async () => {
    await wire.ask('BEGIN; CREATE TEMP TABLE t (a text)');
    const copied = ['1', '2', 'G', 'C COPY 1', 'Z T'];
    assert.deepEqual(await wire.ask(all(run('COPY t FROM STDIN'), sync, copyData('x\n'), copyDone, sync)), copied);
    assert.deepEqual(await wire.ask(all(run('COPY t FROM STDIN'), copyData('x\n'), sync, copyDone, sync)), copied);
    assert.deepEqual(await wire.ask('SELECT count(*) FROM t'), ['T', 'D 2', 'C SELECT 1', 'Z T']);
  });

  on('a COPY in the extended protocol that fails over its data goes on at the next Sync', async () => {
    const copy = all(run('COPY people FROM STDIN'), sync, copyData('bad\tx\n'), copyDone, sync);
    const came = await wire.ask(copy);
    assert.deepEqual([came.slice(0, 3), came[3]?.slice(0, 7), came.slice(4)], [['1', '2', 'G'], 'E 22P02', ['Z I']]);
    assert.deepEqual(await wire.ask('SELECT 1'), ['T', 'D 1', 'C SELECT 1', 'Z I']);
  });

  on('a hold in a pipeline: what is before it is answered, what is behind it waits', async () => {
    const before = await done();
    wire.send(run('SELECT 1'), sync, run(`INSERT INTO done VALUES ('pipeline')`), run('SELECT 2'), sync);
    // The notice of the hold may come at any time.
    const answers = async () => (await wire.ready()).map(shown).filter((each) => !each.startsWith('N'));
    assert.deepEqual(await answers(), ['1', '2', 'D 1', 'C SELECT 1', 'Z I']);
    await at.stage.answer(await at.stage.request(), 'approve');
    assert.deepEqual(await answers(), ['1', '2', 'C INSERT 0 1', '1', '2', 'D 2', 'C SELECT 1', 'Z I']);
    assert.equal(await done(), before + 1);
  });

  on('what the planner would run at Bind is held there, whatever else the text says', async () => {
    const planned = async () => at.server.psql(`SELECT count(*) FROM done WHERE what = 'planned'`);
    for (const text of ['SELECT constant() FETCH FIRST 1 ROW ONLY', `SELECT constant(), 'execute'`]) {
      const before = await planned();
      // No Execute: planning alone is enough.
      wire.send(parse(text), bind(), sync);
      const notice = (await wire.until(({ letter }) => letter === 'N' || letter === 'Z')).map(shown).at(-1);
      assert.equal(await planned(), before, text);
      await at.stage.answer(/for approval (\w+)/.exec(notice ?? '')?.[1] ?? '', 'deny');
      const came = (await wire.ready()).map(shown).filter((each) => !each.startsWith('N'));
      assert.match(came.join(), /E 42501.*,Z I$/);
      assert.equal(await planned(), before, text);
    }
    const direct = await Wire.open(at.server.port);
    const before = await planned();
    await direct.ask(all(parse('SELECT constant() FETCH FIRST 1 ROW ONLY'), bind(), sync));
    direct.close();
    assert.notEqual(await planned(), before, 'directly the planner runs it');
  });

  on('what the planner may run at Bind is on record, and what it may not is not there twice', async () => {
    const before = at.stage.recorded.length;
    await wire.ask(all(parse('SELECT noted_elsewhere()'), bind(), sync));
    await wire.ask(all(parse(`INSERT INTO people VALUES (77, 'planned')`), bind(), execute(), sync));
    await wire.ask('DELETE FROM people WHERE id = 77');
    const verbs = at.stage.recorded.slice(before).map(({ event }) => `${event.type} ${event.act?.verb ?? event.rows}`);
    assert.deepEqual(verbs, [
      ...['operation SELECT', 'result 0'],
      ...['operation INSERT', 'result 1', 'operation DELETE', 'result 1'],
    ]);
  });

  on('what a held statement does changes before it is approved: it is not carried out', async () => {
    const rows = async () => at.server.psql('SELECT (SELECT count(*) FROM done), (SELECT count(*) FROM elsewhere)');
    const body = (table: string) =>
      `CREATE OR REPLACE FUNCTION shifting() RETURNS void LANGUAGE sql AS $$ INSERT INTO public.${table} VALUES ('s') $$`;
    const before = await rows();
    wire.send(query('SELECT shifting()'));
    const notice = (await wire.until(({ letter }) => letter === 'N' || letter === 'Z')).map(shown).at(-1);
    await at.server.psql(body('elsewhere'));
    await at.stage.answer(/for approval (\w+)/.exec(notice ?? '')?.[1] ?? '', 'approve');
    const came = (await wire.ready()).map(shown);
    assert.match(came.join(), /E 42501 sluice: what this does.* has changed.*,Z I$/);
    assert.equal(await rows(), before);
    await at.server.psql(body('done'));
  });

  on('policy asks for another approval before the one asked for is given: it is not carried out', async () => {
    const before = await done();
    wire.send(query(`SELECT 1; INSERT INTO done VALUES ('terms')`));
    const notice = (await wire.until(({ letter }) => letter === 'N' || letter === 'Z')).map(shown).at(-1);
    const text = at.stage.policyText;
    at.stage.setPolicy(text.replace('groups: [reviewers]', 'groups: [board]'));
    await at.stage.answer(/for approval (\w+)/.exec(notice ?? '')?.[1] ?? '', 'approve');
    const came = (await wire.ready()).map(shown);
    assert.match(came.join(), /E 42501 sluice: what this does, or who.* has changed.*,Z I$/);
    at.stage.setPolicy(text);
    assert.equal(await done(), before);
  });

  on('policy asks for another approval between Bind, which had one, and Execute: it is not carried out', async () => {
    const text = at.stage.policyText;
    const other = text.replace('groups: [reviewers]', 'groups: [board]');
    for (const [policy, last] of [
      [text, 'Z T'],
      [other, 'Z E'],
    ] as const) {
      await wire.ask('BEGIN');
      wire.send(parse('SELECT constant()'), bind([], { portal: 'p' }), sync);
      await at.stage.answer(await at.stage.request(), 'approve');
      await wire.ready();
      at.stage.setPolicy(policy);
      const came = await wire.ask(all(execute('p'), sync));
      at.stage.setPolicy(text);
      assert.equal(came.at(-1), last, came.join());
      if (policy === other) assert.match(came.join(), /this now needs an approval/);
      await wire.ask('ROLLBACK');
    }
  });

  on('what one account changes, a statement of another meets at once', async () => {
    const body = (table: string) =>
      `CREATE OR REPLACE FUNCTION turning() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM public.${table} $$`;
    await wire.ask(body('people'));
    const other = await Wire.open(at.stage.port, { user: 'other' });
    assert.deepEqual((await other.ask('SELECT turning()'))[0], 'T');
    // Of the server, and not of the agent's: what it may not do it may not define either.
    await at.server.psql(body('forbidden'));
    await wire.ask('CREATE TABLE IF NOT EXISTS public.any_change (a int)');
    const came = await other.ask('SELECT turning()');
    other.close();
    assert.deepEqual(came, [REFUSED, 'Z I']);
  });

  on('what others make is known when a statement names it', async () => {
    await wire.ask('SELECT 1');
    await at.server.psql(`
      CREATE FUNCTION made_by_others() RETURNS int LANGUAGE sql AS $$ SELECT 5 $$;
      CREATE DOMAIN known_to_others AS text;`);
    assert.deepEqual(await wire.ask('SELECT made_by_others()'), ['T', 'D 5', 'C SELECT 1', 'Z I']);
    // A table of a schema that is closed, made and filled in the same moment.
    await wire.ask('SET search_path TO closed, public');
    await at.server.psql(`CREATE TABLE closed.new AS SELECT 'secret' AS what`);
    assert.deepEqual(await wire.ask('SELECT * FROM new'), [REFUSED, 'Z I']);
    await wire.ask('RESET search_path');
    const oid = Number(await at.server.psql(`SELECT 'known_to_others'::regtype::oid`));
    const asked = all(parse('SELECT $1::text', '', [oid]), bind(['v']), execute(), sync);
    assert.deepEqual(await wire.ask(asked), ['1', '2', 'D v', 'C SELECT 1', 'Z I']);
    const [error] = await wire.ask('SELECT made_by_nobody()');
    assert.match(error ?? '', /^E 42501/);
  });

  on('two CancelRequests during one hold: one error, and the connection goes on', async () => {
    const before = await done();
    wire.send(query(`INSERT INTO done VALUES ('cancelled')`));
    await wire.until(({ letter }) => letter === 'N');
    await Promise.all([cancel(at.stage.port, wire.key), cancel(at.stage.port, wire.key)]);
    const [error, state] = (await wire.ready()).map(shown);
    assert.match(error ?? '', /^E 57014/);
    assert.equal(state, 'Z I');
    // The second may still be on its way, as it may without sluice.
    const came = await wire.ask('SELECT 1');
    assert.equal(came.at(-1), 'Z I');
    assert.equal(await done(), before);
  });

  on('a CancelRequest with a wrong key, or from another session, cancels nothing', async () => {
    wire.send(query('SELECT pg_sleep(0.2)'));
    const wrong = Buffer.from(wire.key);
    wrong[7] = wrong[7]! ^ 1;
    await cancel(at.stage.port, wrong);
    at.stage.groups = ['others'];
    await cancel(at.stage.port, wire.key);
    at.stage.groups = ['agents'];
    assert.deepEqual((await wire.ready()).map(shown), ['T', 'D ', 'C SELECT 1', 'Z I']);
  });

  on('Terminate in the middle: what follows it is not looked at', async () => {
    const before = at.stage.recorded.length;
    wire.send(query('SELECT 1'), terminate, query(DENIED), query('SELECT 2'));
    await wire.end();
    await at.stage.idle();
    const texts = at.stage.recorded.slice(before).map(({ event }) => event.text);
    assert.ok(!texts.includes(DENIED) && !texts.includes('SELECT 2'));
  });

  on('megabytes sent ahead of an answer that they wait for arrive, all of them', async () => {
    // The second segment has to wait for the first, as it uses what that makes.
    wire.send(parse('SELECT length($1::text)', 's'), sync);
    const value = 'v'.repeat(60_000);
    const each = all(bind([value], { name: 's' }), execute(), sync);
    const times = 100;
    for (let i = 0; i < times; i++) wire.send(each);
    const came = await wire.ready(times + 1);
    assert.equal(came.filter(({ letter }) => letter === 'D').length, times);
  });

  on('thousands of steps in one pipeline', async () => {
    await wire.ask(all(parse('SELECT $1::int', 's'), sync));
    const steps = Array.from({ length: 20_000 }, (_, i) => all(bind([String(i)], { name: 's' }), execute()));
    wire.send(...steps, sync);
    const came = await wire.ready();
    assert.equal(came.filter(({ letter }) => letter === 'D').length, steps.length);
  });

  for (const [name, said] of Object.entries({
    nothing: Buffer.alloc(0),
    'half a startup message': startup().subarray(0, 12),
    'the startup message': startup(),
    'the startup message and a query': all(startup(), query('SELECT 1')),
  })) {
    // The greeting's limit is 30 s: only an end that is noticed is as quick as this.
    test(`a client that says ${name} and ends its side: closed at once`, { timeout: 5_000 }, async () => {
      const socket = net.connect({ port: at.stage.port, host: '127.0.0.1', allowHalfOpen: true });
      socket.on('error', () => {});
      socket.resume().end(said);
      await once(socket, 'end');
      socket.destroy();
      await at.stage.idle();
    });
  }

  test('every operation has its result on record, or was refused', { timeout: 20_000 }, async () => {
    await at.stage.idle();
    assert.deepEqual(at.stage.faults, []);
  });
});

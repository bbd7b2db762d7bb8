/** Refusals and holds where PostgreSQL has rules of its own: transactions, pipelines, COPY, FunctionCall, cancelling. */
import assert from 'node:assert/strict';
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
  sync,
  terminate,
  Wire,
} from './postgres-wire.ts';

const POLICY = `${ALLOW}
  - {name: not this, deny: [read, write], who: {groups: [agents]}, on: db, tables: [public.forbidden]}
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
    await at.server.psql('CREATE FUNCTION secret_function() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$');
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

  test('every operation has its result on record, or was refused', { timeout: 20_000 }, async () => {
    await at.stage.idle();
    assert.deepEqual(at.stage.faults, []);
  });
});

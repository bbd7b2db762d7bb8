/**
 * Analysis and protection against a real server's catalog, over the corpora beside the repository: every disguised write
 * is seen, no protected value comes out unmasked, and ordinary traffic is left alone. Statements that are let through run
 * on the server, so that later steps of a case meet what they made. Whether values really stay hidden on the wire is for
 * `npm run corpora`.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { SluiceError } from '../../daemon/core/errors.ts';
import type { Obligations } from '../../daemon/core/mask.ts';
import { QueryClient } from '../../daemon/protocols/postgres/login/client.ts';
import { Analyzer } from '../../daemon/protocols/postgres/sql/analyzer.ts';
import { CatalogSource, SystemCatalogs } from '../../daemon/protocols/postgres/sql/catalog.ts';
import type { Analysis, Names, Origin, Protection } from '../../daemon/protocols/postgres/sql/model.ts';
import { SqlParser } from '../../daemon/protocols/postgres/sql/parser.ts';
import { protect } from '../../daemon/protocols/postgres/sql/protect.ts';
import { STARTUP } from '../../daemon/protocols/postgres/wire.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { streamOf } from '../harness/stream.ts';

const FOLDER = fileURLToPath(new URL('../../../shared/corpora/postgres/', import.meta.url));
const COLUMNS = ['email', 'ssn', 'card', 'salary'].map((name) => `public.people.${name}`);
const run = promisify(execFile);

const obligations = (conditions: 'allow' | 'deny'): Obligations => ({
  masks: [{ name: 'pii', columns: [...COLUMNS, 'public.secrets.value'], with: 'redact', conditions }],
  detect: [],
  detectWith: 'redact',
});
const ALLOW = obligations('allow');
const DENY = obligations('deny');
const NONE: Obligations = { masks: [], detect: [], detectWith: 'redact' };

interface Case {
  readonly id: string;
  readonly family: string;
  readonly client?: string;
  readonly sql?: string;
  // biome-ignore lint/suspicious/noExplicitAny: the corpus is free-form JSON
  readonly steps?: readonly any[];
  readonly reads_only?: 'refuse' | 'allow' | 'either';
  readonly masked?: readonly string[];
  readonly masked_copy?: readonly number[];
  readonly oracle?: { readonly sql: string };
}

/** `call`: signature of a function called by the protocol. */
type Step = { readonly text: string } | { readonly call: string };

interface Judged {
  readonly text: string;
  readonly analysis?: Analysis;
  /** Under each of the obligations asked for. */
  readonly protections: readonly Protection[];
  /** It was not even analysed. */
  readonly error?: SluiceError;
}

const missing =
  postgresMissing() ?? (existsSync(FOLDER) ? null : 'no corpora beside the repository (../shared/corpora)');

suite('analysis over the corpora', { skip: missing ?? false }, () => {
  let server: PostgresServer;
  let admin: pg.Client;
  const parser = new SqlParser({ timeLimit: 60_000 }); // a busy host is not what is tried here
  const analyzer = new Analyzer(parser);
  const systems = new SystemCatalogs();
  /** The database that single statements are judged against; nothing runs in it. */
  let resting: { source: CatalogSource; socket: Socket };

  before(async () => {
    server = await startPostgres({ conf: ['wal_level = logical', 'max_prepared_transactions = 10'] });
    await server.psql('CREATE ROLE corpus_other; CREATE ROLE corpus_admin SUPERUSER LOGIN');
    await server.psql('CREATE DATABASE corpus_base');
    await server.psql(readFileSync(`${FOLDER}schema.sql`, 'utf8'), 'corpus_base');
    // \d and its like need a database of the name that four-part names use.
    await server.psql('CREATE DATABASE corpus_run TEMPLATE corpus_base');
    admin = await client('postgres');
    resting = await catalogOf('corpus_run');
  });
  after(async () => {
    resting?.socket.destroy();
    await admin?.end();
    await parser.close();
    await server?.stop();
  });

  async function client(database: string): Promise<pg.Client> {
    const made = new pg.Client({ host: server.host, port: server.port, user: server.user, database });
    made.on('error', () => undefined);
    await made.connect();
    return made;
  }

  async function catalogOf(database: string) {
    const socket = connect(server.port, server.host);
    await once(socket, 'connect');
    const options = {
      credential: {},
      user: server.user,
      database,
      parameters: {},
      version: STARTUP.protocol30,
      encrypted: false,
      binding: null,
    };
    return { source: new CatalogSource(await QueryClient.login(streamOf(socket), options), systems), socket };
  }

  const filled = (text: string): string =>
    text
      .replaceAll('{{SCRATCH}}', server.dir)
      .replaceAll('{{DB}}', 'corpus_run')
      .replaceAll('{{USER}}', server.user)
      .replaceAll('{{DIRECT_HOST}}', server.host)
      .replaceAll('{{DIRECT_PORT}}', String(server.port))
      .replace(/\{\{(SINK_PORT|SIDE_PID_\d)\}\}/g, '1')
      .replaceAll('{{NONCE}}', 'nonce');

  async function steps(given: Case): Promise<Step[]> {
    const made: Step[] = [];
    const sql = given.sql ?? given.oracle?.sql.replace('{{MID}}', '5').replace('{{POS}}', '1').replace('{{CH}}', 'b');
    for (const step of given.steps ?? [{ q: sql ?? '' }]) {
      if (step.q !== undefined) made.push({ text: await spoken(filled(step.q), given.client) });
      else if (step.x !== undefined || step.copy !== undefined) made.push({ text: filled(step.x ?? step.copy) });
      else if (step.f !== undefined) made.push({ call: /\{\{OID:(.*)\}\}/.exec(step.f)![1]! });
      else if (step.copy_query !== undefined)
        made.push({ text: `COPY (${step.copy_query}) TO STDOUT (FORMAT binary)` });
      else if (step.cursor !== undefined) made.push({ text: `DECLARE x CURSOR FOR ${step.cursor}` });
      for (const [letter, first, second] of step.raw ?? []) {
        if (letter === 'P') made.push({ text: filled(second) });
        else if (letter === 'Q') made.push({ text: filled(first) });
      }
    }
    return made;
  }

  /** What this client sends for a line that was typed. */
  async function spoken(line: string, by: string | undefined): Promise<string> {
    if (by === 'psycopg2') return line.replaceAll('%s', '$1');
    if (by !== 'psql') return line;
    if (/^\\(d|sv|z)/.test(line)) {
      const address = ['-h', server.host, '-p', String(server.port), '-U', server.user, '-d', 'corpus_base'];
      const { stdout } = await run('psql', ['-X', '-E', ...address, '-c', line]);
      return [...stdout.matchAll(/\*{8,} QUERY \*{8,}\n([\s\S]*?)\n\*{8,}/g)].map((found) => found[1]).join(';\n');
    }
    const sent = line.replaceAll('\\;', ';').replace(/\\(crosstabview|gexec|watch).*/, '');
    return sent.startsWith('\\') ? '' : sent;
  }

  async function judged(given: Case, under: readonly Obligations[]): Promise<Judged[]> {
    const list = await steps(given);
    if (list.length === 1) return judgedIn(resting.source, list, under, null);
    await rest();
    const { source, socket } = await catalogOf('corpus_case');
    const session = await client('corpus_case');
    try {
      return await judgedIn(source, list, under, session);
    } finally {
      await session.end().catch(() => undefined);
      socket.destroy();
    }
  }

  /** A fresh database for a case of several steps. */
  async function rest(): Promise<void> {
    const { rows } = await admin.query<{ gid: string }>('SELECT gid FROM pg_prepared_xacts');
    for (const { gid } of rows) await server.psql(`ROLLBACK PREPARED '${gid}'`, 'corpus_case');
    await admin.query('DROP DATABASE IF EXISTS corpus_case WITH (FORCE)');
    await admin.query('CREATE DATABASE corpus_case TEMPLATE corpus_base');
  }

  /** Judges each step by the catalog of the moment, and runs it where the first of the obligations lets it through. */
  async function judgedIn(
    source: CatalogSource,
    list: readonly Step[],
    under: readonly Obligations[],
    session: pg.Client | null,
  ): Promise<Judged[]> {
    const results: Judged[] = [];
    const prepared = new Map<string, readonly Analysis[]>();
    const cursors = new Map<string, readonly (readonly Origin[] | null)[]>();
    let paths: Names['paths'] | null = null;
    for (const step of list) {
      const catalog = await source.catalog();
      const names: Names = { catalog, paths: paths ?? [catalog.searchPath], prepared, cursors };
      const text = 'text' in step ? step.text : step.call;
      let analyses: readonly Analysis[];
      try {
        analyses =
          'text' in step ? await analyzer.analyze(text, names) : [await analyzer.analyzeCall(await oid(text), names)];
      } catch (error) {
        assert.ok(error instanceof SluiceError && error.code !== 'INTERNAL', `${text}: ${error}`);
        results.push({ text, protections: [], error });
        continue;
      }
      const here = analyses.map((analysis) => ({
        text,
        analysis,
        protections: under.map((one) => protect(analysis, one, names)),
      }));
      results.push(...here);
      if (here.some(({ analysis, protections }) => protections[0]?.refuse || analysis.forbidden)) continue;
      if (session !== null && 'text' in step && !/^\s*copy\b/i.test(text)) {
        await session.query(text.replace(/\$\d+/g, 'NULL')).catch(() => undefined);
      }
      for (const change of analyses.flatMap((analysis) => analysis.changes)) {
        if (change.kind === 'prepare') {
          prepared.set(change.name, change.analyses);
          // Bind may run it without any further text.
          for (const analysis of change.analyses) {
            results.push({ text, analysis, protections: under.map((one) => protect(analysis, one, names)) });
          }
        }
        if (change.kind === 'declare') cursors.set(change.name, [...(cursors.get(change.name) ?? []), change.outputs]);
        if (change.kind === 'search-path') {
          paths = change.path === 'default' ? null : change.path === 'unknown' ? [[...catalog.schemas]] : [change.path];
        }
      }
    }
    return results;
  }

  async function oid(signature: string): Promise<number> {
    return Number(await server.psql(`SELECT '${signature}'::regprocedure::oid`, 'corpus_base'));
  }

  const cases = (file: string): Case[] =>
    readFileSync(`${FOLDER}${file}.jsonl`, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));

  test('every disguised effect is seen, and nothing in what only reads', async () => {
    const wrong: string[] = [];
    for (const given of cases('effects')) {
      const list = await judged(given, [NONE]);
      const acts = list.some(
        ({ analysis, error }) =>
          error !== undefined ||
          analysis?.forbidden !== undefined ||
          analysis?.operation.accesses.some(({ effect }) => effect !== 'read'),
      );
      if ((given.reads_only === 'refuse' && !acts) || (given.reads_only === 'allow' && acts)) wrong.push(given.id);
    }
    assert.deepEqual(wrong, []);
  });

  test('what reads a protected column is masked, refused, or has its messages withheld', async () => {
    const wrong: string[] = [];
    for (const given of cases('leaks')) {
      const list = await judged(given, [ALLOW, DENY]);
      const stopped = (i: number) =>
        list.some(({ protections, analysis, error }) => error || analysis?.forbidden || protections[i]?.refuse);
      const covered = (i: number) =>
        list.some(({ protections }) => {
          const outputs = protections[i]?.outputs;
          return outputs === 'all' || outputs?.some((output) => output !== null);
        });
      if (given.family === 'inference') {
        // What is computed from a value may come back masked; anything that hangs on it must not run.
        if (!stopped(1) && !covered(1)) wrong.push(`${given.id} (deny)`);
      } else if (!stopped(0) && !covered(0)) wrong.push(given.id);
    }
    assert.deepEqual(wrong, []);
  });

  test('ordinary traffic passes with the columns named masked and no other', async () => {
    const wrong: string[] = [];
    for (const given of cases('benign')) {
      const expected = (given.masked ?? given.masked_copy)?.length ?? 0;
      let most = 0;
      for (const { text, protections, error } of await judged(given, [ALLOW])) {
        const [protection] = protections;
        const outputs = protection?.outputs;
        if (error || protection?.refuse || outputs === 'all')
          wrong.push(`${given.id}: ${text.slice(0, 80)} ${protection?.refuse?.reason ?? error?.message ?? ''}`);
        else most = Math.max(most, outputs?.filter((output) => output !== null).length ?? 0);
        if (expected === 0 && protection?.withholdErrors) wrong.push(`${given.id}: messages withheld`);
      }
      if (most !== expected) wrong.push(`${given.id}: ${most} columns masked, ${expected} expected`);
    }
    assert.deepEqual(wrong, []);
  });
});

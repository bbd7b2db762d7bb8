/**
 * `npm run corpora -- DIR [--json FILE] [--only NAME,…]`: judges sluice by the corpora in DIR.
 *
 * DIR holds run.py, schema.sql and leaks.jsonl, effects.jsonl, benign.jsonl. Each connection is made by an agent in a
 * session of its own; the state of the database is looked at from outside. Exit status: 0 when nothing leaked, took
 * effect or changed; 1 when something did; 2 when it could not be found out.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { startPostgres } from '../harness/postgres.ts';
import { stackMissing, startStack } from '../harness/stack.ts';
import { runHarness } from './harness.ts';
import { type PolicyKind, policyFor } from './policy.ts';
import { type Case, type Corpus, type Judged, judge, summary } from './verdict.ts';

const CORPORA: readonly Corpus[] = ['leaks', 'effects', 'benign'];
/** Jobs at once: each has a database and a sluice of its own. */
const JOBS = 2;

interface Job {
  readonly name: string;
  readonly corpus: Corpus;
  readonly policy: PolicyKind;
  readonly cases: readonly Case[];
}

function usage(problem: string): never {
  console.error(`corpora: ${problem}\nusage: npm run corpora -- DIR [--json FILE] [--only ID-OR-FAMILY,…] [--direct]`);
  process.exit(2);
}

function casesOf(folder: string, corpus: Corpus, only: readonly string[] | undefined): Case[] {
  const lines = readFileSync(join(folder, `${corpus}.jsonl`), 'utf8').split('\n');
  const cases = lines.filter((line) => line.trim() !== '').map((line) => JSON.parse(line) as Case);
  return cases.filter(
    ({ id, family }) => only === undefined || only.includes(id) || only.includes(family) || only.includes(corpus),
  );
}

/** Inference by conditions is closed by a setting of the mask, which would refuse some of the other cases at the door. */
function jobsOf(cases: Readonly<Record<Corpus, readonly Case[]>>): Job[] {
  const inference = (one: Case) => one.family === 'inference';
  const jobs: Job[] = [
    { name: 'leaks', corpus: 'leaks', policy: 'masked', cases: cases.leaks.filter((one) => !inference(one)) },
    { name: 'effects', corpus: 'effects', policy: 'reads-only', cases: cases.effects },
    { name: 'inference', corpus: 'leaks', policy: 'masked-conditions', cases: cases.leaks.filter(inference) },
    { name: 'benign', corpus: 'benign', policy: 'masked', cases: cases.benign },
  ];
  return jobs.filter((job) => job.cases.length > 0);
}

async function runJob(folder: string, job: Job, direct: boolean): Promise<Judged[]> {
  const server = await startPostgres({
    conf: ['wal_level = logical', 'max_prepared_transactions = 10'],
    sql: 'CREATE ROLE corpus_admin SUPERUSER LOGIN; CREATE ROLE corpus_agent SUPERUSER LOGIN;',
  });
  try {
    const stack = direct
      ? null
      : await startStack({ name: `corpus-${job.name}`, policy: policyFor(job.policy, server.port) });
    try {
      const results = new Map<string, Record<string, unknown>>();
      const started = Date.now();
      const { status, said } = await runHarness({
        folder,
        corpus: job.corpus,
        ids: job.cases.map((one) => one.id),
        port: server.port,
        ...(stack === null ? {} : { connectBy: stack.agentPrefix }),
        onResult: (result) => {
          results.set(String(result.id), result);
          progress(job, results.size, started);
        },
      });
      if (status !== 0) console.error(`\n${job.name}: run.py ended with status ${status}\n${said}`);
      return job.cases.map((one) => judge(job.corpus, one, results.get(one.id)));
    } finally {
      await stack?.stop();
    }
  } finally {
    await server.stop();
  }
}

/** A line for every tenth case, so that a log of it stays short. */
function progress(job: Job, done: number, started: number): void {
  if (done % 10 !== 0 && done !== job.cases.length) return;
  console.log(
    `${job.name.padEnd(10)} ${String(done).padStart(4)} of ${job.cases.length}, ${Math.round((Date.now() - started) / 1000)} s`,
  );
}

async function runJobs(folder: string, jobs: readonly Job[], direct: boolean): Promise<Judged[]> {
  const waiting = [...jobs];
  const judged: Judged[] = [];
  const worker = async () => {
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift())
      judged.push(...(await runJob(folder, job, direct)));
  };
  await Promise.all(Array.from({ length: JOBS }, worker));
  return judged;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, only: { type: 'string' }, direct: { type: 'boolean', default: false } },
});
if (positionals.length !== 1) usage('name the folder');
const folder = resolve(positionals[0] as string);
const missing = values.direct ? null : stackMissing();
if (missing !== null) usage(missing);
const only = values.only?.split(',');
const cases = Object.fromEntries(CORPORA.map((corpus) => [corpus, casesOf(folder, corpus, only)])) as Record<
  Corpus,
  Case[]
>;
const judged = await runJobs(folder, jobsOf(cases), values.direct);

const wrong = judged.filter((one) => one.wrong);
for (const one of wrong) console.log(`WRONG ${one.id} (${one.family}): ${one.verdict} ${JSON.stringify(one.details)}`);
console.log();
for (const corpus of CORPORA)
  console.log(
    summary(
      corpus,
      judged.filter((one) => one.corpus === corpus),
    ),
  );
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(judged, null, 1)}\n`);
process.exit(judged.some((one) => one.verdict === 'not-run') ? 2 : wrong.length > 0 ? 1 : 0);

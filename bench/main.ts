/**
 * `npm run bench [-- --quick] [-- --idle] [-- --hooks] [-- --json FILE]`: what sluice costs, against the server itself and against pgbouncer.
 *
 * One run, everything taken in turns, so that whatever else the machine does falls on all alike; medians over the rounds.
 * Exit status: 0 when every requirement is met, 1 when one is not.
 */
import { writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startPostgres } from '../test/harness/postgres.ts';
import { stackMissing, startStack } from '../test/harness/stack.ts';
import { Figures, type Ratio, type Requirement } from './figures.ts';
import { startHooks } from './hooks.ts';
import { IDLE_SESSIONS, type Idle, measureIdle } from './idle.ts';
import { latency, pgbench, stream } from './measures.ts';
import { MemoryWatch } from './memory.ts';
import { buildReader, DATABASE, pathsTo, USER } from './paths.ts';
import { type Masking, policyFor } from './policy.ts';
import { startPooler } from './pooler.ts';

interface Plan {
  readonly rounds: number;
  readonly seconds: number;
  readonly rows: number;
  readonly statements: number;
  readonly timed: number;
  /** Connections, and a third of the round trips, that the hooks are measured by. */
  readonly connections: number;
}

/** 1,000,000 rows are a result of about 500 MB. */
const FULL: Plan = {
  rounds: 5,
  seconds: 5,
  rows: 1_000_000,
  statements: 3_000_000,
  timed: 20_000,
  connections: 20_000,
};
const QUICK: Plan = { rounds: 1, seconds: 2, rows: 100_000, statements: 100_000, timed: 2_000, connections: 2_000 };

const MEMORY_LIMIT = 200;
/** Growth over the second half of the statements that still counts as flat, megabytes. */
const FLAT = 10;

const RESULTS: readonly (readonly [string, string])[] = [
  ['SELECT', 'SELECT * FROM bulk'],
  ['COPY', 'COPY bulk TO STDOUT'],
];
const MASKINGS: readonly (readonly [Masking, string])[] = [
  ['none', 'unmasked'],
  ['column', 'one column masked'],
  ['detection', 'content detection'],
];
const MODES = [
  ['simple', 1],
  ['simple', 8],
  ['prepared', 1],
  ['prepared', 8],
] as const;

const rateOf = (mode: string, clients: number) => `pgbench -S ${mode}, ${clients} client${clients > 1 ? 's' : ''}`;
const resultOf = (how: string, masking: string) => `large result by ${how}, ${masking}`;

/** Of the kernel side alone: the same echo server, directly and in the daemon's place. */
const HOOKS = { connect: 'connections a second, hooks alone', echo: 'round trips of 64 bytes, hooks alone' } as const;

const HOOK_REQUIREMENTS: readonly Requirement[] = Object.values(HOOKS).map((measure) => ({
  measure,
  path: 'sluice',
  against: 'direct',
  least: 1 / 1.3,
}));

const REQUIREMENTS: readonly Requirement[] = [
  ...(['simple', 'prepared'] as const).map((mode) => ({
    measure: rateOf(mode, 8),
    path: 'sluice',
    against: 'pgbouncer',
    least: 0.6,
  })),
  ...HOOK_REQUIREMENTS,
  ...RESULTS.flatMap(([how]) =>
    [0.8, 0.4, 0.1].map((least, at) => ({
      measure: resultOf(how, MASKINGS[at]![1]),
      path: 'sluice',
      against: 'direct',
      least,
    })),
  ),
];

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    idle: { type: 'boolean', default: false },
    hooks: { type: 'boolean', default: false },
    json: { type: 'string' },
  },
});
const plan = values.quick ? QUICK : FULL;
const missing = stackMissing();
if (missing !== null) {
  console.error(`bench: ${missing}`);
  process.exit(1);
}

interface Check {
  readonly text: string;
  readonly met: boolean;
}

function report(checks: readonly Check[]): void {
  for (const check of checks) console.log(`${check.met ? 'met    ' : 'NOT MET'}  ${check.text}`);
  process.exitCode = checks.every((check) => check.met) ? 0 : 1;
}

/** With idle sessions: less than 120 MB and 0.2 % of a processor; ready within 1.5 s. */
function idleChecks({ ready, resident, proportional, processor, asIs, touch }: Idle): Check[] {
  const machine = `as this machine is ${asIs.toFixed(2)} %, where a page unused for 2.5 s takes ${touch.cold.toFixed(1)} µs to touch, another ${touch.warm.toFixed(1)}`;
  const memory = `${resident.toFixed(0)} MB resident, ${proportional.toFixed(0)} MB its share`;
  return [
    { text: `${IDLE_SESSIONS} idle sessions: ${memory}, wanted less than 120`, met: resident < 120 },
    {
      text: `${IDLE_SESSIONS} idle sessions: ${processor.toFixed(2)} % of a processor, wanted at most 0.2 (${machine})`,
      met: processor <= 0.2,
    },
    { text: `from start to ready: ${ready.toFixed(2)} s, wanted less than 1.5`, met: ready < 1.5 },
  ];
}

const closers: (() => Promise<void>)[] = [];
async function close(): Promise<void> {
  for (let next = closers.pop(); next !== undefined; next = closers.pop()) await next();
}
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void close().then(() => process.exit(130)));

const log = (text: string) => console.error(`bench: ${text}`);
const figures = new Figures();

/** In more rounds than the rest: each is short, and what else the machine does falls on one way or the other. */
async function measureHooks(): Promise<void> {
  log('hooks alone');
  const hooks = await startHooks();
  closers.push(() => hooks.close());
  for (let round = 1; round <= 2 * plan.rounds + 1; round++) {
    for (const path of ['direct', 'sluice'] as const) {
      figures.add(HOOKS.connect, path, await hooks.connect(path, plan.connections), '/s');
      figures.add(HOOKS.echo, path, await hooks.echo(path, 3 * plan.connections), '/s');
    }
  }
  await close();
}

const ratioChecks = (ratios: readonly Ratio[]): Check[] =>
  ratios.map(({ measure, against, ratio, least, met }) => ({
    text: `${measure}: ${ratio.toFixed(2)} of ${against}, wanted ${Number(least.toFixed(2))}`,
    met,
  }));

try {
  if (values.hooks) {
    await measureHooks();
    console.log(figures.table());
    report(ratioChecks(HOOK_REQUIREMENTS.map((requirement) => figures.ratio(requirement))));
    process.exit();
  }
  log(`${IDLE_SESSIONS} idle sessions`);
  const idle = await measureIdle(values.quick ? 15 : 60);
  if (values.idle) {
    report(idleChecks(idle));
    process.exit();
  }
  await measureHooks();
  log('starting PostgreSQL and loading it');
  const server = await startPostgres({
    conf: ['shared_buffers = 1GB', 'max_wal_size = 4GB', 'jit = off'],
    sql: `CREATE ROLE ${USER} LOGIN; CREATE DATABASE ${DATABASE} OWNER ${USER};`,
  });
  closers.push(() => server.stop());
  await server.psql(
    `SET ROLE ${USER};
     CREATE TABLE secrets (name text, value text);
     CREATE TABLE bulk AS SELECT i::bigint AS id, md5(i::text) AS label, repeat(md5((i * 7)::text), 14) AS body
       FROM generate_series(1, ${plan.rows}) i;`,
    DATABASE,
  );
  await server.psql('VACUUM ANALYZE bulk', DATABASE);
  const pooler = await startPooler(server.port);
  closers.push(() => pooler.stop());
  // Millions of statements are more than the audit of a host keeps by default.
  const config = { audit: { quotaBytes: 32 * 1024 ** 3 } };
  const stack = await startStack({ name: 'bench', policy: policyFor('none', server.port), config });
  closers.push(() => stack.stop());
  const paths = pathsTo(server, pooler, stack);
  const [direct, , sluice] = paths as [(typeof paths)[0], unknown, (typeof paths)[0]];
  const reader = await buildReader(join(stack.dir, 'bench'));
  await direct.client([
    'pgbench',
    '-i',
    '-q',
    '-s',
    '10',
    '-h',
    '127.0.0.1',
    '-p',
    String(server.port),
    '-U',
    USER,
    DATABASE,
  ]);

  const memory = new MemoryWatch(stack.daemon.pid!);
  for (let round = 1; round <= plan.rounds; round++) {
    for (const [mode, clients] of MODES) {
      log(`round ${round} of ${plan.rounds}: pgbench ${mode}, ${clients}`);
      for (const path of paths)
        figures.add(
          rateOf(mode, clients),
          path.name,
          await pgbench(path, mode, clients, ['-T', String(plan.seconds)]),
          'tps',
        );
    }
    const secured = await pgbench(sluice, 'prepared', 8, ['-T', String(plan.seconds)], true);
    figures.add(`${rateOf('prepared', 8)}, TLS to sluice`, 'sluice', secured, 'tps');
    log(`round ${round} of ${plan.rounds}: latency`);
    for (const path of paths) {
      const { median_us, p99_us } = await latency(
        path,
        reader,
        'SELECT abalance FROM pgbench_accounts WHERE aid = 4711',
        plan.timed,
      );
      figures.add('one statement, median', path.name, median_us, 'us');
      figures.add('one statement, p99', path.name, p99_us, 'us');
    }
    for (const [masking, name] of MASKINGS) {
      log(`round ${round} of ${plan.rounds}: large results, ${name}`);
      await stack.setPolicy(policyFor(masking, server.port));
      for (const [how, sql] of RESULTS) {
        for (const path of paths) {
          if (path.name === 'pgbouncer' && masking !== 'none') continue;
          const { mb_per_s, first_row_ms } = await stream(path, reader, sql);
          figures.add(resultOf(how, name), path.name, mb_per_s, 'MB/s');
          figures.add(`first row of it by ${how}, ${name}`, path.name, first_row_ms, 'ms');
        }
      }
      // Rows larger than the server's buffer, so that something of each leaves at once.
      const slow = "SELECT i, repeat('x', 16384), pg_sleep(0.2) FROM generate_series(1, 5) i";
      for (const path of paths)
        figures.add(
          `first row of a 1 s query, ${name}`,
          path.name,
          (await stream(path, reader, slow)).first_row_ms,
          'ms',
        );
    }
    await stack.setPolicy(policyFor('none', server.port));
  }

  log(`${plan.statements.toLocaleString('en')} statements, for the daemon's memory`);
  const steps: { statements: number; total: number; anonymous: number }[] = [];
  for (let done = 0; done < plan.statements; ) {
    const step = Math.ceil(plan.statements / 10);
    await pgbench(sluice, 'prepared', 8, ['-t', String(Math.ceil(step / 8))]);
    done += step;
    steps.push({ statements: done, ...memory.now()! });
  }
  memory.stop();

  const ratios = REQUIREMENTS.map((requirement) => figures.ratio(requirement));
  const growth = steps.at(-1)!.anonymous - steps[Math.floor(steps.length / 2) - 1]!.anonymous;
  const late = Math.max(
    ...MASKINGS.map(
      ([, name]) =>
        figures.of(`first row of a 1 s query, ${name}`, 'sluice') -
        figures.of(`first row of a 1 s query, ${name}`, 'direct'),
    ),
  );
  const checks = [
    ...idleChecks(idle),
    ...ratioChecks(ratios),
    { text: `first row of a slow query: ${late.toFixed(1)} ms later than direct, wanted less than 50`, met: late < 50 },
    {
      text: `memory of the daemon: at most ${memory.most('total').toFixed(0)} MB, wanted less than ${MEMORY_LIMIT}`,
      met: memory.most('total') < MEMORY_LIMIT,
    },
    {
      text: `second half of ${plan.statements.toLocaleString('en')} statements: ${growth.toFixed(1)} MB more, wanted less than ${FLAT}`,
      met: growth < FLAT,
    },
  ];
  const added = (what: string) =>
    figures.of(`one statement, ${what}`, 'sluice') - figures.of(`one statement, ${what}`, 'direct');

  console.log(
    `\nMedians of ${plan.rounds}, ${cpus().length} CPUs (${cpus()[0]?.model.trim()}), ${(totalmem() / 1e9).toFixed(0)} GB${values.quick ? ', QUICK: too short to judge by' : ''}\n`,
  );
  console.log(figures.table());
  console.log(`\nadded to one statement: median ${added('median').toFixed(0)} us, p99 ${added('p99').toFixed(0)} us`);
  console.log(
    `memory of the daemon at most: ${memory.most('total').toFixed(0)} MB resident, ${memory.most('anonymous').toFixed(0)} MB of it anonymous`,
  );
  console.log(
    `anonymous memory over ${plan.statements.toLocaleString('en')} statements: ${steps.map((step) => step.anonymous.toFixed(0)).join(' ')} MB\n`,
  );
  report(checks);
  if (values.json !== undefined) {
    writeFileSync(
      values.json,
      `${JSON.stringify({ plan, quick: values.quick, samples: figures.samples, ratios, checks, memory: memory.samples, statements: steps }, null, 1)}\n`,
    );
  }
} finally {
  await close();
}
process.exit();

/**
 * `npm test`: checks the sources, then runs every test in groups, and ends with one line `N passed, N failed, N skipped`
 * after a list of the skips with their reasons. Arguments name groups or parts of file names to run only those. `npm run
 * test:longer` runs what `npm test` leaves out, to stay below six minutes.
 *
 * Exit status: 0 when nothing failed.
 */
import { globSync } from 'node:fs';
import { relative } from 'node:path';
import { run } from 'node:test';
import { check } from './check.ts';

interface Group {
  readonly name: string;
  readonly files: readonly string[];
  /** Files run at once: each has servers and a host of its own, and spends half of its time waiting for them. */
  readonly concurrency: number;
}

interface Tally {
  passed: number;
  failed: number;
  skips: { name: string; reason: string }[];
}

/** Longest that one file may take, milliseconds: a test that hangs must not hang the run. */
const FILE_TIMEOUT = Number(process.env.SLUICE_TEST_FILE_MS ?? 240_000);

/** Their files look at what the whole machine has: sockets, processes, deadlines of seconds. */
const ALONE: ReadonlySet<string> = new Set(['conformance', 'native', 'launch', 'doctor', 'killed']);

/** Left out of a run of everything: long lists of attacks, and suites around parts that `npm test` sees at work elsewhere. */
const LONGER =
  /^test\/(clients|dns|doctor|hostile|killed|launch|oidc|tcp|flows\/(churn|events|slow|sockets)|native\/(calls|ways-|tamper|loopback|full|hosts|watch)|postgres\/analysis|operations\/promtool)/;

const root = new URL('..', import.meta.url).pathname;

/** One group for the unit tests beside the code, then one for each folder of test/. `longer`: those left out otherwise. */
export function groups(only: readonly string[], longer = false): Group[] {
  const named = new Map<string, string[]>();
  const add = (group: string, file: string) => named.set(group, [...(named.get(group) ?? []), file]);
  for (const file of globSync('{daemon,bench,demo}/**/*.test.ts', { cwd: root }).sort()) add('unit', file);
  for (const file of globSync('test/**/*.test.ts', { cwd: root }).sort()) add(file.split('/')[1] as string, file);
  const picked = [...named].map(([name, files]) => ({
    name,
    files:
      only.length === 0 || only.includes(name)
        ? files.filter((file) => only.includes(name) || LONGER.test(file) === longer)
        : files.filter((file) => only.some((part) => file.includes(part))),
    concurrency: ALONE.has(name) ? 1 : 2,
  }));
  return picked.filter((group) => group.files.length > 0);
}

async function runGroup(group: Group, tally: Tally): Promise<void> {
  const started = Date.now();
  const before = { passed: tally.passed, failed: tally.failed, skipped: tally.skips.length };
  const stream = run({
    files: group.files.map((file) => root + file),
    concurrency: group.concurrency,
    timeout: FILE_TIMEOUT,
    execArgv: ['--disable-warning=ExperimentalWarning'],
  });
  const where = (file: string | undefined) => (file ? relative(root, file) : group.name);
  stream.on('test:pass', (event) => {
    // A suite that is skipped stands for its tests, of which nothing is said.
    if (event.details.type === 'suite' && event.skip === undefined) return;
    if (event.skip !== undefined || event.todo !== undefined) {
      const said = event.skip ?? event.todo;
      const reason = typeof said === 'string' && said !== '' ? said : 'no reason given';
      tally.skips.push({ name: `${where(event.file)}: ${event.name}`, reason });
    } else tally.passed += 1;
  });
  stream.on('test:fail', (event) => {
    // A suite fails with its tests, which are counted; it counts itself only when a hook of its own broke.
    const { failureType } = event.details.error as { failureType?: string };
    if (failureType === 'subtestsFailed') return;
    tally.failed += 1;
    const cause = event.details.error.cause as { stack?: string } | undefined;
    const text = cause?.stack ?? String(cause ?? event.details.error);
    console.log(`\nFAILED ${where(event.file)}:${event.line ?? ''}\n  ${event.name}\n${text.replace(/^/gm, '    ')}\n`);
  });
  stream.on('test:stderr', (event) => process.stderr.write(event.message));
  stream.resume();
  await new Promise<void>((resolve, reject) => {
    stream.once('end', resolve);
    stream.once('error', reject);
  });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  const passed = tally.passed - before.passed;
  const failed = tally.failed - before.failed;
  const skipped = tally.skips.length - before.skipped;
  console.log(`${group.name.padEnd(14)} ${passed} passed, ${failed} failed, ${skipped} skipped in ${seconds} s`);
}

/** Runs the groups that `only` names (empty: all). */
export async function runTests(only: readonly string[], longer = false): Promise<Tally> {
  const tally: Tally = { passed: 0, failed: 0, skips: [] };
  for (const group of groups(only, longer)) await runGroup(group, tally);
  return tally;
}

if (import.meta.main) {
  const longer = process.argv.includes('--longer');
  const only = process.argv.slice(2).filter((word) => word !== '--longer');
  const checked = only.length === 0 && !longer ? await check() : { passed: 0, failed: 0 };
  const tally = await runTests(only, longer);
  tally.passed += checked.passed;
  tally.failed += checked.failed;
  if (tally.skips.length > 0) {
    console.log('\nSkipped:');
    for (const skip of tally.skips) console.log(`- ${skip.name}: ${skip.reason}`);
  }
  console.log(`\n${tally.passed} passed, ${tally.failed} failed, ${tally.skips.length} skipped`);
  process.exit(tally.failed === 0 && tally.passed > 0 ? 0 : 1);
}

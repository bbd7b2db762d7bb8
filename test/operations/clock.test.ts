import assert from 'node:assert/strict';
import { chmodSync, globSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { postgresMissing } from '../harness/postgres.ts';
import { stackMissing } from '../harness/stack.ts';
import { type Site, startSite } from './site.ts';

const LIBRARY = globSync('/usr/lib/*/faketime/libfaketimeMT.so.1')[0];
const YEAR = 365 * 86_400;
const lacking = LIBRARY === undefined ? 'libfaketime is not there' : null;

interface Status {
  readonly clockJumps: number;
  readonly problems: readonly { what: string }[];
  readonly approvals: { held: number };
  readonly audit: { kept: number; events: number };
}

suite('the wall clock jumps', { skip: lacking ?? postgresMissing() ?? stackMissing() ?? false }, () => {
  let site: Site;
  let dir: string;
  /** Sets the clock of the daemon, and of nobody else, by so many seconds. */
  const set = (by: number) => {
    writeFileSync(join(dir, 'new'), `${by < 0 ? '' : '+'}${by}s\n`);
    renameSync(join(dir, 'new'), join(dir, 'time'));
  };
  const status = () => site.stack.call('status') as Promise<Status>;
  /** Asks until it is so; the test's own limit ends it otherwise. */
  const until = async (is: (status: Status) => boolean): Promise<Status> => {
    for (;;) {
      const now = await status();
      if (is(now)) return now;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const events = async (...argv: string[]): Promise<{ time: number; reason: string; type: string }[]> => {
    const { stdout } = await site.stack.sluice(['audit', '--no-pager', '-o', 'json', ...argv]);
    return stdout
      .trim()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
  };

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'sluice-clock-'));
    chmodSync(dir, 0o755);
    set(0);
    site = await startSite({
      daemonEnv: {
        LD_PRELOAD: LIBRARY!,
        FAKETIME_TIMESTAMP_FILE: join(dir, 'time'),
        FAKETIME_NO_CACHE: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
        DONT_FAKE_MONOTONIC: '1',
      },
      config: { audit: { retentionDays: 30 } },
    });
  });
  after(async () => {
    await site?.stop();
    if (dir !== undefined) rmSync(dir, { recursive: true });
  });

  test('a year ahead: it is recorded with its size, nothing is deleted, sessions and approvals go on', {
    timeout: 60_000,
  }, async () => {
    // More than one block of the audit, or retention would have nothing to delete.
    const many = Array.from({ length: 700 }, (_, i) => `SELECT ${i};`).join(' ');
    await site.psql(many);
    assert.match(await site.psql('UPDATE orders SET id = 3'), /approv/);
    const idle = site.stack.agent(['/bin/sh', '-c', 'echo begun; exec sleep 100'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => idle.stdout!.once('data', resolve));
    const before = await until(({ audit }) => audit.events > 1_100);
    assert.equal(before.approvals.held, 1);
    set(YEAR);
    const ahead = await until(({ clockJumps }) => clockJumps === 1);
    assert.match(
      ahead.problems.map(({ what }) => what).join(),
      /the clock jumped ahead by 8,7\d\d h: old events are kept/,
    );
    const [jump] = await events('TYPE=daemon.clock');
    assert.match(jump!.reason, /^the clock was set ahead by 31,53\d,\d{3} s$/);
    // What is recorded now makes the store look for what is too old.
    await site.psql(many);
    const later = await until(({ audit }) => audit.events > before.audit.events + 1_000);
    assert.equal(later.audit.kept, later.audit.events);
    assert.equal(later.approvals.held, 1, 'who was asked has the time that there was');
    assert.ok((await events('TYPE=session.end')).every(({ reason }) => /last process|ended/.test(reason)));
    assert.equal(idle.exitCode, null);
    assert.match(await site.psql('SELECT id FROM orders'), /^1\n/);
  });

  test('and back: the order of events is kept, and retention is where it was', { timeout: 60_000 }, async () => {
    set(0);
    const back = await until(({ clockJumps }) => clockJumps === 2);
    const said = back.problems.map(({ what }) => what).join();
    assert.match(said, /events were recorded under a clock that was ahead/);
    assert.doesNotMatch(said, /jumped ahead/);
    assert.equal(back.approvals.held, 1);
    assert.match(await site.psql('SELECT id FROM orders'), /^1\n/);
    const times = (await events()).map(({ time }) => time);
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
    );
    assert.equal((await site.stack.sluice(['verify'])).status, 0);
  });
});

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Event } from '../core/event.ts';
import { type AuditStore, openAudit } from './audit.ts';
import { auditHandlers } from './handlers.ts';
import type { QueryParams } from './query.ts';
import { BLOCK } from './terms.ts';

const dir = mkdtempSync(join(tmpdir(), 'sluice-query-'));
const START = 1_795_342_800_000;
const COUNT = BLOCK * 4;
let store: AuditStore;
let now = START;

before(async () => {
  store = await openAudit({ dir, quotaBytes: 1e9, clock: () => now });
  for (let n = 1; n <= COUNT; n++) {
    now = START + n * 1_000;
    store.record({
      type: n % 2 === 0 ? 'result' : 'operation',
      session: n <= BLOCK ? 'aaaa1111' : n % 5 === 0 ? 'aaaa2222' : 'bbbb3333',
      decision: n % 100 === 1 ? 'deny' : 'allow',
      subject: n % 3 === 0 ? 'local:eve' : 'local:dev',
      text: n % 7 === 0 ? `DELETE FROM t WHERE id = ${n}` : `SELECT ${n}`,
    });
  }
  await store.record({ type: 'fault', session: 'cccc', reason: 'needle in the reason' }).durable();
});

after(async () => {
  await store.close();
  rmSync(dir, { recursive: true, force: true });
});

async function seqs(params: QueryParams): Promise<number[]> {
  const found: number[] = [];
  for await (const event of auditHandlers(store).query(params)) found.push(event.seq);
  return found;
}

const every = (keep: (n: number) => boolean): number[] => Array.from({ length: COUNT }, (_, i) => i + 1).filter(keep);

const CASES: readonly (readonly [string, QueryParams, number[]])[] = [
  ['everything', {}, [...every(() => true), COUNT + 1]],
  ['newest first', { reverse: true, lines: 3 }, [COUNT + 1, COUNT, COUNT - 1]],
  ['the newest three, in order', { lines: 3 }, [COUNT - 1, COUNT, COUNT + 1]],
  ['none', { lines: 0 }, []],
  ['one field', { matches: [['DECISION=deny']] }, every((n) => n % 100 === 1)],
  [
    'a session by its first characters, across two sessions',
    { matches: [['SESSION=aaaa']] },
    every((n) => n <= BLOCK || n % 5 === 0),
  ],
  ['a session by its id', { matches: [['SESSION=aaaa2222']] }, every((n) => n > BLOCK && n % 5 === 0)],
  [
    'two values of one field',
    { matches: [['SESSION=aaaa1111', 'SESSION=aaaa2222']] },
    every((n) => n <= BLOCK || n % 5 === 0),
  ],
  ['two fields', { matches: [['DECISION=deny', 'SUBJECT=local:eve']] }, every((n) => n % 100 === 1 && n % 3 === 0)],
  ['two groups', { matches: [['DECISION=deny'], ['TYPE=fault']] }, [...every((n) => n % 100 === 1), COUNT + 1]],
  ['a value that nowhere occurs', { matches: [['RESOURCE=none']] }, []],
  ['since, inclusive', { since: START + (COUNT - 1) * 1_000 }, [COUNT - 1, COUNT, COUNT + 1]],
  ['until, inclusive', { until: START + 3_000 }, [1, 2, 3]],
  ['between', { since: START + BLOCK * 1_000, until: START + (BLOCK + 1) * 1_000 }, [BLOCK, BLOCK + 1]],
  ['words of the statement', { grep: 'delete from', until: START + 21_000 }, [7, 14, 21]],
  ['words of the reason', { grep: 'needle' }, [COUNT + 1]],
  ['after a number', { after: COUNT - 1 }, [COUNT, COUNT + 1]],
  [
    'all of it together',
    { matches: [['DECISION=allow', 'TYPE=result']], grep: 'DELETE', since: START + 2_000_000, lines: 2 },
    every((n) => n % 2 === 0 && n % 7 === 0 && n % 100 !== 1).slice(-2),
  ],
];

for (const [name, params, expected] of CASES) test(name, async () => assert.deepEqual(await seqs(params), expected));

test('a query that is not valid is refused with a code, wherever it comes from', async () => {
  for (const params of [
    { matches: 'DECISION=deny' },
    { lines: -1 },
    { what: 1 },
    null,
    { grep: '' },
    { since: 2, until: 1 },
    { follow: true, reverse: true },
    { matches: [['NOPE=1']] },
  ]) {
    await assert.rejects(
      async () => {
        for await (const _ of auditHandlers(store).query(params)) break;
      },
      { code: 'AUDIT_QUERY' },
      JSON.stringify(params),
    );
  }
});

test('follow shows the newest, then each new event that matches, and ends when told', { timeout: 20_000 }, async () => {
  const stop = new AbortController();
  const found: Event[] = [];
  for await (const event of auditHandlers(store).query(
    { follow: true, lines: 1, matches: [['TYPE=fault']] },
    stop.signal,
  )) {
    found.push(event);
    if (found.length < 4) {
      store.record({ type: 'operation', text: 'other' });
      store.record({ type: 'fault', reason: `number ${found.length}` });
    } else stop.abort();
  }
  assert.deepEqual(
    found.map((event) => event.reason),
    ['needle in the reason', 'number 1', 'number 2', 'number 3'],
  );
});

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Event } from '../core/event.ts';
import { Archive } from './archive.ts';
import { decode, GENESIS } from './canonical.ts';
import { loadPublicKey } from './checkpoint.ts';
import { fill, open, operation, place } from './fixture.ts';
import { FRAME_HEADER, readJournal } from './journal.ts';
import { query } from './query.ts';
import { summarise } from './sessions.ts';
import { verifyChain } from './verify.ts';

async function all(events: AsyncIterable<Event>): Promise<Event[]> {
  const found: Event[] = [];
  for await (const event of events) found.push(event);
  return found;
}

test('events of one turn share a receipt, are committed together, and chained', async (t) => {
  const store = await open(place(t));
  const first = store.record(operation(1));
  const second = store.record(operation(2));
  assert.equal(first.done, false);
  await Promise.all([first.committed(), second.committed()]);
  assert.equal(first.done, true);
  const third = store.record(operation(3));
  await third.durable();
  const events = await all(query(store, {}));
  assert.deepEqual(
    events.map((e) => e.seq),
    [1, 2, 3],
  );
  assert.equal(events[0]!.prev, GENESIS);
  assert.equal(events[1]!.prev, events[0]!.hash);
  assert.equal(events[2]!.prev, events[1]!.hash);
  await store.close();
  assert.throws(() => store.record(operation(4)), { code: 'AUDIT_FAILED' });
});

test('a store that is opened again goes on with its chain, from LMDB and from the journal alone', async (t) => {
  const dir = place(t);
  let store = await open(dir);
  await fill(store, 3_000);
  await store.close();
  store = await open(dir);
  await fill(store, 10, 3_001);
  await store.close();
  const archive = new Archive(dir);
  t.after(() => archive.close());
  const found = await verifyChain(archive, loadPublicKey(join(dir, 'host.pub')));
  assert.deepEqual([found.ok, found.events, found.last, found.signedUpTo], [true, 3_010, 3_010, 3_010]);
});

test('a reader beside the running daemon sees what is only in the journal', async (t) => {
  const dir = place(t);
  const store = await open(dir);
  await store.record(operation(1)).committed();
  const archive = new Archive(dir);
  assert.equal((await all(query(archive, {}))).length, 1);
  await archive.close();
  await store.close();
});

test('large events of many turns at once fill segment after segment and all come back', async (t) => {
  const dir = place(t);
  const store = await open(dir);
  const text = '\u{1f512}'.repeat(10_000);
  for (let n = 1; n <= 400; n++) {
    const receipt = store.record(operation(n, { text }));
    if (n % 7 === 0) await receipt.committed();
  }
  await store.record(operation(401)).durable();
  let count = 0;
  for await (const event of query(store, {})) {
    count++;
    if (event.op !== 401) assert.equal(event.text, text);
  }
  assert.equal(count, 401);
  await store.close();
});

test('a cut chain is not continued', async (t) => {
  const dir = place(t);
  const store = await open(dir);
  await fill(store, 10);
  await store.close();
  for (const name of readdirSync(dir)) if (/^(events|journal)/.test(name)) rmSync(join(dir, name));
  await assert.rejects(open(dir), { code: 'AUDIT_BROKEN', message: /ends at event 0, but event 10/ });
});

test('there is a head before the first checkpoint, so that none is missing whenever the daemon dies', async (t) => {
  const dir = place(t);
  const store = await open(dir);
  assert.equal(store.head()?.seq, 0);
  await store.record(operation(1)).durable();
  assert.deepEqual((await verifyChain(store, store.publicKey)).problems, []);
  await store.close();
});

test('the key is private, and one that others can read is refused', async (t) => {
  const dir = place(t);
  await (await open(dir)).close();
  assert.equal(statSync(join(dir, 'host.key')).mode & 0o777, 0o600);
  const loose = join(dir, 'loose.key');
  writeFileSync(loose, readFileSync(join(dir, 'host.key')), { mode: 0o644 });
  await assert.rejects(open(dir, { key: loose }), { code: 'CONFIG_INVALID', message: /chmod 600/ });
});

test('torn records at the end of the journal are left out, at whatever byte they are torn', async (t) => {
  const dir = place(t);
  const store = await open(dir);
  await store.record(operation(1)).committed();
  await store.record(operation(2)).committed();
  const journal = readFileSync(join(dir, 'journal.0'));
  const records = 16;
  const second = records + FRAME_HEADER + journal.readUInt32LE(records);
  const end = second + FRAME_HEADER + journal.readUInt32LE(second);
  await store.close();
  const copy = place(t);
  for (let cut = records; cut <= end; cut++) {
    const torn = Buffer.from(journal.subarray(0, end + 4_096));
    torn.fill(0, cut);
    writeFileSync(join(copy, 'journal.0'), torn);
    const found = readJournal(copy, { seq: 0, hash: GENESIS }).map(({ bytes }) => decode(bytes).op);
    assert.deepEqual(found, cut >= end ? [1, 2] : cut >= second ? [1] : [], `torn at ${cut - records}`);
  }
  writeFileSync(join(copy, 'journal.1'), 'not a journal');
  assert.equal(readJournal(copy, { seq: 0, hash: GENESIS }).length, 2);
});

test('sessions are counted from their events', async (t) => {
  const store = await open(place(t), { clock: () => 1_800_000_000_000 });
  store.record({ type: 'session.start', session: 'aaaa', subject: 'local:dev', text: 'claude -p "fix \\"it\\""' });
  store.record({ type: 'flow.start', session: 'aaaa', flow: '1' });
  await fill(store, 25);
  store.record(operation(1, { session: 'aaaa', text: '"decision":"deny"', decision: 'approve' }));
  await store.record({ type: 'session.end', session: 'aaaa' }).committed();
  const [a, b] = (await summarise(store)).sort((x, y) => x.id.localeCompare(y.id) * -1);
  assert.deepEqual(a, {
    id: 'aaaa',
    subject: 'local:dev',
    command: 'claude -p "fix \\"it\\""',
    start: 1_800_000_000_000,
    end: 1_800_000_000_000,
    seen: 1_800_000_000_000,
    flows: 1,
    operations: 1,
    denied: 0,
    held: 1,
  });
  assert.deepEqual([b!.operations, b!.denied, b!.end], [25, 2, null]);
  await store.close();
});

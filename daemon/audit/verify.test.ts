/** Each test does to a store what someone with write access to its files could do, and shows what verify says of it. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Database, open as openLmdb } from 'lmdb';
import { Archive } from './archive.ts';
import { openAudit } from './audit.ts';
import { decode, digest, Encoder, links } from './canonical.ts';
import { loadPublicKey } from './checkpoint.ts';
import { type Entry, pack, unpack } from './run.ts';
import { BLOCK } from './terms.ts';
import { type Verification, verifyChain } from './verify.ts';

const COUNT = 2_500;
const SESSION = 'c0ffee00112233445566778899aabbcc';

/** A closed store of COUNT events. `checkpoints`: sequence numbers at which it was closed in between. */
async function store(t: TestContext, ...checkpoints: number[]): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-verify-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  let n = 0;
  for (const end of [...checkpoints, COUNT]) {
    const audit = await openAudit({ dir, quotaBytes: 1e9, clock: () => 1_795_342_800_000 + n });
    while (n < end)
      audit.record({ type: 'operation', session: SESSION, op: ++n, verb: 'UPDATE', text: `UPDATE t SET a = ${n}` });
    await audit.close();
  }
  return dir;
}

/** Single events of a store, within the runs that hold them. */
class Events {
  readonly #runs: Database<Buffer, number>;

  constructor(runs: Database<Buffer, number>) {
    this.#runs = runs;
  }

  get(seq: number): Buffer | undefined {
    return this.#run(seq).entries.find((entry) => entry.seq === seq)?.bytes;
  }

  putSync(seq: number, bytes: Buffer): void {
    this.#change(seq, (entry) => [{ seq: entry.seq, bytes }]);
  }

  removeSync(seq: number): void {
    this.#change(seq, () => []);
  }

  #change(seq: number, how: (entry: Entry) => Entry[]): void {
    const { first, entries } = this.#run(seq);
    const changed = pack(entries.flatMap((entry) => (entry.seq === seq ? how(entry) : [entry])));
    if (changed.length === 0) this.#runs.removeSync(first);
    else this.#runs.putSync(first, changed);
  }

  #run(seq: number): { first: number; entries: Entry[] } {
    for (const { key, value } of this.#runs.getRange({ start: seq, reverse: true, limit: 1 }))
      return { first: key, entries: unpack(value, key) };
    throw new Error(`there is no event ${seq}`);
  }
}

async function tamper(
  dir: string,
  how: (events: Events, marks: Database<unknown, number>, runs: Database<Buffer, number>) => void,
): Promise<void> {
  const root = openLmdb({ path: join(dir, 'events.mdb'), noSubdir: true, maxDbs: 8 });
  const runs: Database<Buffer, number> = root.openDB({ name: 'events', encoding: 'binary' });
  const marks: Database<unknown, number> = root.openDB({ name: 'marks', encoding: 'json' });
  how(new Events(runs), marks, runs);
  await root.flushed;
  await root.close();
}

async function verdict(dir: string): Promise<Verification> {
  const archive = new Archive(dir);
  try {
    return await verifyChain(archive, loadPublicKey(join(dir, 'host.pub')));
  } finally {
    await archive.close();
  }
}

/** The event with another text, its seq, time and prev as before. */
function altered(bytes: Buffer, text: string, prev?: string): Buffer {
  const { seq, time, prev: before, schema: _, hash: __, ...input } = decode(bytes);
  return Buffer.from(new Encoder().encode({ ...input, text }, seq, time, prev ?? before));
}

test('an untouched chain is whole', async (t) => {
  const found = await verdict(await store(t, 1_000));
  assert.deepEqual(found.problems, []);
  assert.deepEqual(
    [found.ok, found.events, found.first, found.last, found.checkpoints, found.signedUpTo],
    [true, COUNT, 1, COUNT, 2, COUNT],
  );
});

for (const victim of [1, 777, 1_024, COUNT - 1, COUNT]) {
  test(`event ${victim} changed: named`, async (t) => {
    const dir = await store(t);
    await tamper(dir, (events) => events.putSync(victim, altered(events.get(victim)!, 'SELECT 1')));
    const found = await verdict(dir);
    assert.equal(found.ok, false);
    const [problem] = found.problems;
    assert.equal(problem!.seq, victim);
    assert.equal(problem!.kind, victim === COUNT ? 'rewritten' : 'changed');
    assert.match(problem!.message, new RegExp(`event ${victim} \\(2026-11-22T.*, session c0ffee00, UPDATE\\)`));
    assert.equal(found.problems.length, 1);
  });
}

test('the last event of a block changed: named, though its memory is used again when the event loop goes on', async (t) => {
  const dir = await store(t);
  const victim = BLOCK - 1;
  await tamper(dir, (events) => events.putSync(victim, altered(events.get(victim)!, 'SELECT 1')));
  const archive = new Archive(dir);
  t.after(() => archive.close());
  const read = archive.read.bind(archive);
  // As it may be with events that no block holds yet: valid until the caller next awaits, and no longer.
  archive.read = function* (...range) {
    const lent = [...read(...range)].map(({ seq, bytes }) => ({ seq, bytes: Buffer.from(bytes) }));
    setImmediate(() => {
      for (const { bytes } of lent) bytes.fill(0);
    });
    yield* lent;
  };
  const { problems } = await verifyChain(archive, loadPublicKey(join(dir, 'host.pub')));
  assert.deepEqual(
    problems.map(({ kind, seq, verb }) => [kind, seq, verb]),
    [['changed', victim, 'UPDATE']],
  );
});

test('an event whose `prev` was changed is the one named, not its neighbour', async (t) => {
  const dir = await store(t);
  await tamper(dir, (events) =>
    events.putSync(500, altered(events.get(500)!, 'UPDATE t SET a = 500', 'ab'.repeat(32))),
  );
  const found = await verdict(dir);
  assert.deepEqual(
    found.problems.map(({ kind, seq }) => [kind, seq]),
    [['changed', 500]],
  );
});

test('one byte flipped anywhere in an event is seen', async (t) => {
  const dir = await store(t);
  let length = 0;
  await tamper(dir, (events) => {
    length = events.get(700)!.length;
  });
  for (let at = 0; at < length; at += 7) {
    let before: Buffer = Buffer.alloc(0);
    await tamper(dir, (events) => {
      before = events.get(700)!;
      const bytes = Buffer.from(before);
      bytes[at]! ^= 1;
      events.putSync(700, bytes);
    });
    const found = await verdict(dir);
    assert.equal(found.problems[0]?.seq, 700, `byte ${at}: ${JSON.stringify(found.problems)}`);
    await tamper(dir, (events) => events.putSync(700, before));
  }
});

test('an event removed from the middle: named, with its neighbours', async (t) => {
  const dir = await store(t);
  await tamper(dir, (events) => events.removeSync(1_500));
  const found = await verdict(dir);
  assert.deepEqual(
    found.problems.map(({ kind, seq }) => [kind, seq]),
    [['removed', 1_500]],
  );
  assert.match(found.problems[0]!.message, /event 1500 was removed: event 1499 \(.*\) is followed by event 1501/);
});

test('the first events removed without retention: named', async (t) => {
  const dir = await store(t);
  await tamper(dir, (events) => {
    for (let seq = 1; seq <= 10; seq++) events.removeSync(seq);
  });
  const found = await verdict(dir);
  assert.deepEqual(
    found.problems.map(({ kind, seq }) => [kind, seq]),
    [['removed', 1]],
  );
  assert.match(found.problems[0]!.message, /events 1 to 10 were removed/);
});

test('two events exchanged: both places named', async (t) => {
  const dir = await store(t);
  await tamper(dir, (events) => {
    const [a, b] = [events.get(800)!, events.get(801)!];
    events.putSync(800, b);
    events.putSync(801, a);
  });
  const found = await verdict(dir);
  assert.deepEqual(
    found.problems.map(({ kind, seq }) => [kind, seq]),
    [
      ['moved', 800],
      ['moved', 801],
    ],
  );
  assert.match(found.problems[0]!.message, /in the place of event 800 stands event 801/);
});

test('what stands before an event within its run changed: that event is named', async (t) => {
  const dir = await store(t);
  for (const [offset, kind] of [
    [0, 'changed'],
    [3, 'changed'],
    [4, 'removed'],
    [5, 'changed'],
    [7, 'changed'],
  ] as const) {
    let whole: Buffer = Buffer.alloc(0);
    let first = 0;
    await tamper(dir, (_, __, runs) => {
      for (const { key, value } of runs.getRange({ start: 700, reverse: true, limit: 1 })) {
        [first, whole] = [key, value];
        const changed = Buffer.from(value);
        const entry = unpack(changed, key).find(({ seq }) => seq === 700)!;
        changed[entry.bytes.byteOffset - changed.byteOffset - 8 + offset]! ^= 2;
        runs.putSync(key, changed);
      }
    });
    const [problem] = (await verdict(dir)).problems;
    assert.deepEqual([problem?.kind, problem?.seq], [kind, 700], `byte ${offset}`);
    await tamper(dir, (_, __, runs) => void runs.putSync(first, whole));
  }
});

test('a whole run removed, cut short, put twice or made to hold more: told', async (t) => {
  const dir = await store(t);
  let stored: { key: number; value: Buffer }[] = [];
  await tamper(dir, (_, __, runs) => {
    stored = [...runs.getRange({})].map(({ key, value }) => ({ key, value }));
  });
  const [run, next] = [stored[2]!, stored[3]!];
  const cases: [string, number, (runs: Database<Buffer, number>) => void][] = [
    ['removed', run.key, (runs) => void runs.removeSync(run.key)],
    ['changed', next.key - 1, (runs) => void runs.putSync(run.key, run.value.subarray(0, -1))],
    [
      'moved',
      run.key + 1,
      (runs) => void runs.putSync(run.key + 1, run.value.subarray(unpack(run.value, run.key)[0]!.bytes.length + 8)),
    ],
    ['removed', run.key, (runs) => void runs.putSync(run.key, Buffer.alloc(0))],
    [
      'changed',
      next.key - 1,
      (runs) => void runs.putSync(run.key, Buffer.concat([run.value.subarray(0, -9), Buffer.alloc(9)])),
    ],
  ];
  for (const [kind, seq, how] of cases) {
    await tamper(dir, (_, __, runs) => how(runs));
    const { problems } = await verdict(dir);
    assert.ok(
      problems.some((problem) => problem.kind === kind && problem.seq === seq),
      `${kind} ${seq}: ${JSON.stringify(problems[0])}`,
    );
    await tamper(dir, (_, __, runs) => {
      for (const key of [...runs.getKeys()]) runs.removeSync(key);
      for (const { key, value } of stored) runs.putSync(key, value);
    });
  }
  assert.deepEqual((await verdict(dir)).problems, []);
});

test('the tail cut off, also together with the newest checkpoint: the head tells', async (t) => {
  const dir = await store(t, 1_000);
  await tamper(dir, (events, marks) => {
    for (let seq = COUNT; seq > 1_000; seq--) events.removeSync(seq);
    marks.removeSync(COUNT);
  });
  const found = await verdict(dir);
  assert.deepEqual(
    found.problems.map(({ kind, seq }) => [kind, seq]),
    [['truncated', 1_001]],
  );
  assert.match(found.problems[0]!.message, /events 1001 to 2500 are missing/);
});

test('the tail cut off and the head replaced by the older, rightly signed checkpoint: no head', async (t) => {
  const dir = await store(t, 1_000);
  await tamper(dir, (events, marks) => {
    for (let seq = COUNT; seq > 1_000; seq--) events.removeSync(seq);
    marks.removeSync(COUNT);
    writeFileSync(join(dir, 'head'), JSON.stringify({ ...(marks.get(1_000) as object), kind: 'head' }));
  });
  const found = await verdict(dir);
  assert.equal(found.ok, false);
  assert.equal(found.problems[0]!.kind, 'signature');
});

test('head removed', async (t) => {
  const dir = await store(t);
  rmSync(join(dir, 'head'));
  assert.match((await verdict(dir)).problems[0]!.message, /head file is missing/);
});

test('the chain calculated anew from an event on, every link right: the signature does not fit', async (t) => {
  const dir = await store(t, 1_000);
  await tamper(dir, (events) => {
    let prev = links(events.get(900)!)!.prev;
    for (let seq = 900; seq <= COUNT; seq++) {
      const bytes = altered(events.get(seq)!, seq === 900 ? 'SELECT 1' : `UPDATE t SET a = ${seq}`, prev);
      events.putSync(seq, bytes);
      prev = digest(bytes);
    }
  });
  const found = await verdict(dir);
  assert.deepEqual(
    found.problems.map(({ kind, seq }) => [kind, seq]),
    [
      ['rewritten', 1_000],
      ['rewritten', COUNT],
    ],
  );
});

test('a store put in the place of another, signed by the same host: its chain is not the one of the head', async (t) => {
  const [one, other] = [await store(t), await store(t)];
  copyFileSync(join(other, 'events.mdb'), join(one, 'events.mdb'));
  assert.equal((await verdict(one)).problems[0]!.kind, 'signature');
});

test('a file of noise, or one cut short, is an error with a code and not a crash', async (t) => {
  const dir = await store(t);
  const path = join(dir, 'events.mdb');
  const whole = readFileSync(path);
  writeFileSync(path, Buffer.alloc(65_536, 0x5a));
  assert.throws(() => new Archive(dir), { code: 'AUDIT_BROKEN', message: /not an LMDB database/ });
  for (const size of [0, 1, 4_096, 8_192, 40_000, Math.floor(whole.length / 2)]) {
    writeFileSync(path, whole.subarray(0, size));
    assert.throws(() => new Archive(dir), { code: 'AUDIT_BROKEN' }, `${size} bytes`);
    await assert.rejects(openAudit({ dir, quotaBytes: 1e9, clock: Date.now }), { code: 'AUDIT_BROKEN' });
  }
});

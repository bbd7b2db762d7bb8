import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Deadlines } from './deadlines.ts';
import { Feed } from './feed.ts';

const START = 1_700_000_000_000;

test('deadlines run in their order, whatever the order in which they were set', (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: START });
  t.after(() => mock.timers.reset());
  const deadlines = new Deadlines(() => Date.now());
  const ran: number[] = [];
  // 7919 is prime to 1000, so every delay from 0 to 999 comes once.
  for (let i = 0; i < 1000; i++) {
    const delay = (i * 7919) % 1000;
    const deadline = deadlines.add(START + delay, () => ran.push(delay));
    if (delay % 3 !== 0) deadlines.cancel(deadline);
  }
  assert.ok(deadlines.size < 1000, 'cancelled ones are not carried for ever');
  mock.timers.tick(501);
  assert.equal(ran.at(-1), 501);
  mock.timers.tick(499);
  assert.deepEqual(
    ran,
    Array.from({ length: 1000 }, (_, i) => i).filter((i) => i % 3 === 0),
  );
  assert.equal(deadlines.size, 0);
});

test('a deadline beyond what setTimeout takes waits its time', (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: START });
  t.after(() => mock.timers.reset());
  const deadlines = new Deadlines(() => Date.now());
  let ran = 0;
  deadlines.add(START + 2 ** 32, () => ran++);
  mock.timers.tick(2 ** 31);
  assert.equal(ran, 0);
  mock.timers.tick(2 ** 31);
  assert.equal(ran, 1);
});

test('a reader that falls behind is dropped, and others read on', async () => {
  const feed = new Feed<number>(3);
  const slow = feed.subscribe();
  const quick = feed.subscribe();
  const read: unknown[] = [];
  for (let i = 0; i < 5; i++) {
    feed.publish(i);
    read.push((await quick.next()).value);
  }
  assert.deepEqual(read, [0, 1, 2, 3, 4]);
  const seen: number[] = [];
  await assert.rejects(async () => {
    for await (const item of slow) seen.push(item);
  }, /fell 3 changes behind/);
  assert.deepEqual(seen, [0, 1, 2]);
});

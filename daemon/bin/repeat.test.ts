import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtualTime } from '../../test/harness/time.ts';
import { hasRun } from './ran.ts';
import { repeat } from './repeat.ts';

test('it is done after the time that was asked for, one at a time, and its faults are told', async (t) => {
  const time = virtualTime(t);
  const faults: unknown[] = [];
  const begun: number[] = [];
  const late: number[] = [];
  const from = performance.now();
  const repeated = repeat(
    () => 20,
    async (ms) => {
      late.push(ms);
      begun.push(performance.now() - from);
      repeated.within(1); // it is being done
      await time.wait(50);
      if (begun.length === 2) throw new Error('once');
    },
    (error) => faults.push(error),
  );
  await time.pass(500);
  repeated.stop();
  assert.deepEqual(begun, [20, 90, 160, 230, 300, 370, 440]);
  assert.deepEqual([...new Set(late)], [0]);
  assert.match(String(faults), /^Error: once$/);
  await time.pass(150);
  assert.equal(begun.length, 7);
});

test('how late it is, it is told', async (t) => {
  const time = virtualTime(t);
  const late: number[] = [];
  const repeated = repeat(
    () => 20,
    async (ms) => late.push(ms),
    () => {},
  );
  const { now } = performance;
  t.mock.method(performance, 'now', () => now() + 300);
  await time.pass(20);
  repeated.stop();
  assert.deepEqual(late, [300]);
});

test('it can be wanted sooner, and is never put off by that', async (t) => {
  const time = virtualTime(t);
  let times = 0;
  const repeated = repeat(
    () => 60_000,
    async () => times++,
    () => {},
  );
  for (let i = 0; i < 5; i++) {
    assert.equal(times, 0);
    repeated.within(100);
    await time.pass(20);
  }
  assert.equal(times, 1, 'the first of them counts');
  repeated.within(90_000);
  await time.pass(59_990);
  assert.equal(times, 1);
  await time.pass(10);
  assert.equal(times, 2);
  repeated.stop();
  repeated.within(1);
  await time.pass(50);
  assert.equal(times, 2);
});

test('a process has run when it has, since that was last so', () => {
  const ran = hasRun(50);
  while (!ran());
  assert.equal(ran(), false);
  const end = performance.now() + 2_000;
  while (!ran()) assert.ok(performance.now() < end);
});

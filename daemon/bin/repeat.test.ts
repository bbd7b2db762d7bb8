import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { hasRun } from './ran.ts';
import { repeat } from './repeat.ts';

test('it is done after the time that was asked for, one at a time, and its faults are told', async () => {
  const faults: unknown[] = [];
  const late: number[] = [];
  let inside = 0;
  const repeated = repeat(
    () => 20,
    async (ms) => {
      late.push(ms);
      assert.equal(++inside, 1);
      await pause(50);
      inside--;
      if (late.length === 2) throw new Error('once');
    },
    (error) => faults.push(error),
  );
  await pause(500);
  repeated.stop();
  const done = late.length;
  assert.ok(done >= 3 && done <= 8, `${done} times`);
  assert.ok(late.every((ms) => ms > -2));
  assert.match(String(faults), /^Error: once$/);
  await pause(150);
  assert.equal(late.length, done);
});

test('it can be wanted sooner, and is never put off by that', async () => {
  let times = 0;
  const repeated = repeat(
    () => 60_000,
    async () => times++,
    () => {},
  );
  for (let i = 0; i < 10; i++) {
    repeated.within(100);
    await pause(20);
  }
  assert.ok(times >= 1, 'the first of them counts');
  repeated.within(90_000);
  await pause(150);
  assert.ok(times <= 2);
  repeated.stop();
  repeated.within(1);
  await pause(50);
  assert.ok(times <= 2);
});

test('a process has run when it has, since that was last so', () => {
  const ran = hasRun(50);
  while (!ran());
  assert.equal(ran(), false);
  const end = performance.now() + 2_000;
  while (!ran()) assert.ok(performance.now() < end);
});

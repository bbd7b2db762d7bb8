/** Time that passes when the test says so, whatever the machine takes for it. */
import type { TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

/** Milliseconds between two looks of what waits for a time. */
const STEP = 5;
/** Turns of the event loop after each, in which sockets within this process have said what they have to say. */
const TURNS = 6;

export interface Time {
  /** Milliseconds. */
  pass(ms: number): Promise<void>;
  /** Resolves when so much of it has passed. */
  wait(ms: number): Promise<void>;
  /** Passes until it is so. @throws Error when it is not after `ms`. */
  until(seen: () => boolean, ms?: number): Promise<void>;
}

/** `setTimeout` and `performance.now` go by it until the test ends. */
export function virtualTime(t: TestContext): Time {
  let now = Math.ceil(performance.now());
  t.mock.timers.enable({ apis: ['setTimeout'] });
  t.mock.method(performance, 'now', () => now);
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= STEP) {
      now += Math.min(left, STEP);
      t.mock.timers.tick(Math.min(left, STEP));
      for (let i = 0; i < TURNS; i++) await turn();
    }
  };
  return {
    pass,
    wait: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    async until(seen, ms = 5_000) {
      for (let left = ms; !seen(); left -= STEP) {
        if (left <= 0) throw new Error(`it does not happen within ${ms} ms`);
        await pass(STEP);
      }
    },
  };
}

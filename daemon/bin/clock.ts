/**
 * The host's wall clock, and jumps of it. Durations go by the monotonic clock throughout; what has to outlive the process
 * (the end of an approval) is an instant, and between two looks at the clock it goes by the one here, which does not jump.
 */
import { uptime } from 'node:os';

/** Smaller changes are a clock that is being set right, milliseconds. */
const LEAST = 1_000;

export interface Jump {
  /** Milliseconds; negative: the clock was set back. */
  readonly by: number;
  /** The host slept: the time has passed, and no clock was set. */
  readonly slept: boolean;
}

export class Clock {
  /** Wall clock less the monotonic one. */
  #offset = Date.now() - performance.now();
  /** Time since the boot less the monotonic clock: it grows while the host sleeps. proc_uptime(5). */
  #asleep = uptime() * 1000 - performance.now();

  /** Milliseconds since the epoch, as if the clock had not jumped since the last look. */
  readonly now = (): number => Math.round(this.#offset + performance.now());

  /** Follows the wall clock. @returns how far that is from where it was expected, null when it is there. */
  look(): Jump | null {
    const offset = Date.now() - performance.now();
    const by = Math.round(offset - this.#offset);
    this.#offset = offset;
    if (Math.abs(by) < LEAST) return null;
    const asleep = uptime() * 1000 - performance.now();
    const slept = Math.abs(by - (asleep - this.#asleep)) < LEAST;
    this.#asleep = asleep;
    return { by, slept };
  }
}

/** For the record. */
export function described({ by, slept }: Jump): string {
  const seconds = `${(Math.abs(by) / 1000).toLocaleString('en', { maximumFractionDigits: 0 })} s`;
  if (slept) return `the host slept for ${seconds}`;
  return `the clock was set ${by > 0 ? 'ahead' : 'back'} by ${seconds}`;
}

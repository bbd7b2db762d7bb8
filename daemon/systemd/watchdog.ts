/**
 * Tells the service manager that the daemon is well, and only when it has just been seen to be: a timer alone would go on
 * to fire while the parts that agents wait for hang.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** A part that is asked whether it works. Resolves when it answered; whatever it rejects with is the reason why it did not. */
export type Vital = () => Promise<unknown>;

export interface WatchdogOptions {
  /** Milliseconds without a word after which the manager acts. */
  readonly limit: number;
  readonly vitals: Readonly<Record<string, Vital>>;
  /** All of it was well. */
  well(): void;
  /** Something was not, and what. The manager is told nothing then. */
  unwell(what: string): void;
}

/** Looks within the manager's limit: one that fails by chance does not end the daemon. */
const LOOKS = 3;
/** Longest that the event loop may have been held up between two looks, as a part of the limit. */
const HELD_UP = 0.1;
/** How exactly that is measured, as a part of it: each look of the measure wakes an idle daemon. */
const RESOLUTION = 0.25;

export class Watchdog {
  readonly #options: WatchdogOptions;
  /** Milliseconds. */
  readonly #resolution: number;
  readonly #delay: ReturnType<typeof monitorEventLoopDelay>;
  readonly #timer: NodeJS.Timeout;
  #looking = false;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#resolution = Math.ceil(options.limit * HELD_UP * RESOLUTION);
    this.#delay = monitorEventLoopDelay({ resolution: this.#resolution });
    this.#delay.enable();
    this.#timer = setInterval(() => void this.look(), options.limit / LOOKS);
  }

  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const { limit, vitals, well, unwell } = this.#options;
    const failures: string[] = [];
    const held = this.#delay.max / 1e6 - this.#resolution;
    this.#delay.reset();
    if (held > limit * HELD_UP) failures.push(`the event loop was held up for ${Math.round(held)} ms`);
    const names = Object.keys(vitals);
    const results = await Promise.allSettled(names.map((name) => within(limit / LOOKS, vitals[name]!)));
    for (const [i, result] of results.entries())
      if (result.status === 'rejected') failures.push(`${names[i]}: ${(result.reason as Error).message}`);
    this.#looking = false;
    if (failures.length === 0) well();
    else unwell(failures.join('; '));
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#delay.disable();
  }
}

async function within(ms: number, vital: Vital): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer within ${Math.round(ms)} ms`)), ms);
  try {
    await Promise.race([vital(), promise]);
  } finally {
    clearTimeout(timer);
  }
}

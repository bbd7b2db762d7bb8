/** Resident memory of a process, sampled while other things are measured. */
import { readFileSync } from 'node:fs';

export interface Resident {
  /** Megabytes (10^6 bytes). `anonymous` leaves out what is mapped from files: the audit store, the runtime's own text. */
  readonly total: number;
  readonly anonymous: number;
}

/** null when the process is gone. */
export function resident(pid: number): Resident | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const field = (name: string) => (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024) / 1e6;
    return { total: field('VmRSS'), anonymous: field('RssAnon') };
  } catch {
    return null;
  }
}

export class MemoryWatch {
  readonly #timer: NodeJS.Timeout;
  readonly #pid: number;
  readonly samples: (Resident & { readonly second: number })[] = [];

  constructor(pid: number, every = 250) {
    this.#pid = pid;
    const started = performance.now();
    this.#timer = setInterval(() => {
      const now = resident(pid);
      if (now !== null) this.samples.push({ ...now, second: (performance.now() - started) / 1000 });
    }, every);
  }

  now(): Resident | null {
    return resident(this.#pid);
  }

  most(kind: keyof Resident): number {
    return Math.max(0, ...this.samples.map((sample) => sample[kind]));
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

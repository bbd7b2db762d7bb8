/**
 * Keeps what the kernel lets each session reach of the host's UNIX sockets in step with policy. What is there is read from
 * the kernel each time, so that nothing of a daemon before, or of a session that is gone, stays open.
 */
import type { Kernel, UnixName } from './kernel.ts';

/** Does so again and again, and says when it begins to fail and when it works again, not each time that it fails. */
export class UnixNames {
  readonly #kernel: Pick<Kernel, 'allowUnix' | 'unixNames'>;
  readonly #told: { failing(error: unknown): void; again(): void };
  #failing = false;

  constructor(kernel: Pick<Kernel, 'allowUnix' | 'unixNames'>, told: { failing(error: unknown): void; again(): void }) {
    this.#kernel = kernel;
    this.#told = told;
  }

  /** Something is not as it was wanted last. */
  get failing(): boolean {
    return this.#failing;
  }

  /** @throws SluiceError INTERNAL; the rest was done nevertheless */
  set(wanted: readonly UnixName[]): void {
    setUnixNames(this.#kernel, wanted);
    if (this.#failing) this.#told.again();
    this.#failing = false;
  }

  keep(wanted: readonly UnixName[]): void {
    try {
      this.set(wanted);
    } catch (error) {
      if (!this.#failing) this.#told.failing(error);
      this.#failing = true;
    }
  }
}

const keyOf = ({ cgroupId, name }: UnixName) => `${cgroupId} ${name}`;

/**
 * Closes first, then opens: when something fails, less is open than should be.
 * @throws SluiceError INTERNAL; the rest was done nevertheless
 */
export function setUnixNames(kernel: Pick<Kernel, 'allowUnix' | 'unixNames'>, wanted: readonly UnixName[]): void {
  const want = new Set(wanted.map(keyOf));
  const there = kernel.unixNames();
  const have = new Set(there.map(keyOf));
  let failed: unknown;
  const set = (name: UnixName, allow: boolean) => {
    try {
      kernel.allowUnix(name, allow);
    } catch (error) {
      failed ??= error;
    }
  };
  for (const name of there) if (!want.has(keyOf(name))) set(name, false);
  for (const name of wanted) if (!have.has(keyOf(name))) set(name, true);
  if (failed !== undefined) throw failed;
}

/** What the store takes on disk, as far as it is known without asking each time. Bytes. */
import { SluiceError } from '../core/errors.ts';

export const QUOTA_MIN = 96 * 1_048_576;
/** Kept free of the quota for the events that end what has begun and for those that say that the store is full. */
const RESERVE = 8 * 1_048_576;
/**
 * So much must be free again before new operations are taken again. What is expected is more than what will be taken, so
 * without it each drain of a full store would open it for a moment.
 */
const MARGIN = 8 * 1_048_576;

export class Quota {
  readonly #bytes: number;
  readonly #measure: () => number;
  #used: number;
  #putSince = 0;
  #full = false;

  /**
   * @param measure asks what is taken now
   */
  constructor(bytes: number, measure: () => number) {
    this.#bytes = bytes;
    this.#measure = measure;
    this.#used = measure();
  }

  /** @throws SluiceError CONFIG_INVALID */
  static check(bytes: number): void {
    if (bytes >= QUOTA_MIN) return;
    throw new SluiceError('CONFIG_INVALID', `the audit quota is ${bytes} bytes, it must be at least ${QUOTA_MIN}`);
  }

  /** What will be on disk once all that is pending is in LMDB. Large values take up to twice their size there. */
  #expected(pending: number): number {
    return this.#used + (pending + this.#putSince) * 2;
  }

  /** True when new operations have no room. Asked for certain before it says so: what was expected may be too much. */
  reached(pending: number): boolean {
    const most = this.#bytes - RESERVE - (this.#full ? MARGIN : 0);
    if (this.#expected(pending) > most && this.#putSince > 0) this.#ask();
    this.#full = this.#expected(pending) > most;
    return this.#full;
  }

  /** More is in LMDB now. Measures when that may matter: near the bound, or (`exactly`) when it is asked for. */
  put(bytes: number, pending: number, exactly: boolean): void {
    this.#putSince += bytes;
    if (!exactly && this.#expected(pending) <= this.#bytes - 2 * RESERVE) return;
    this.#ask();
  }

  #ask(): void {
    this.#used = this.#measure();
    this.#putSince = 0;
  }

  /** True when not even the reserve is left. */
  get exceeded(): boolean {
    return this.#used > this.#bytes;
  }

  refusal(pending: number): SluiceError {
    return new SluiceError(
      'AUDIT_FULL',
      `the audit store holds ${this.#expected(pending)} bytes of a quota of ${this.#bytes}, new operations are refused`,
    );
  }
}

/** What this store has signed of its chain: when the next checkpoint is due, and the file that says where the chain ends. */
import { join } from 'node:path';
import { type HostKey, type Mark, readHead, replaceFile } from './checkpoint.ts';

const CHECKPOINT_MS = 10_000;
const CHECKPOINT_EVENTS = 8_192;

export interface SignerOptions {
  readonly dir: string;
  readonly key: HostKey;
  readonly chain: string;
  /** Newest event there is. */
  readonly seq: number;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Monotonic, milliseconds. */
  readonly elapsed: () => number;
}

export class Signer {
  readonly #options: SignerOptions;
  #last: { readonly seq: number; readonly at: number };

  constructor(options: SignerOptions) {
    this.#options = options;
    this.#last = { seq: options.seq, at: options.elapsed() };
  }

  /** Newest event that the head names, or that was there at the start. */
  get seq(): number {
    return this.#last.seq;
  }

  /** Has so much come, or so much time gone by, that the event is to be a checkpoint? */
  due(seq: number): boolean {
    return seq - this.#last.seq >= CHECKPOINT_EVENTS || this.#options.elapsed() - this.#last.at >= CHECKPOINT_MS;
  }

  sign(kind: Mark['kind'], seq: number, hash: string): Mark {
    const { key, chain, clock } = this.#options;
    return key.sign({ kind, chain, seq, hash, time: clock() });
  }

  /** Only what is on disk may be called the head: a head beyond the last event is the sign of a cut chain. */
  async putHead(end: { readonly seq: number; readonly hash: string }): Promise<void> {
    const { dir, elapsed } = this.#options;
    const head = this.sign('head', end.seq, end.hash);
    await replaceFile(join(dir, 'head'), `${JSON.stringify(head)}\n`, 0o600);
    this.#last = { seq: head.seq, at: elapsed() };
  }

  head(): Mark | null {
    return readHead(this.#options.dir);
  }
}

/** What the upstream said and the client may not have yet: each chunk waits until the last record before it is committed. */
import type { Receipt } from '../core/event.ts';

export interface WithheldParts {
  /** What chunks that come now wait for; null: nothing. */
  readonly last: () => Receipt | null;
  /** Gives a chunk to the client. False: no further one, the flow has ended. */
  readonly relay: (chunk: Buffer) => boolean;
  /** The first chunk waits; no more is wanted meanwhile. */
  readonly began: () => void;
  /** Nothing waits any more. */
  readonly empty: () => void;
  readonly fail: (error: unknown) => void;
}

export class Withheld {
  readonly #parts: WithheldParts;
  #chunks: { readonly chunk: Buffer; readonly receipt: Receipt | null }[] = [];

  constructor(parts: WithheldParts) {
    this.#parts = parts;
  }

  get isEmpty(): boolean {
    return this.#chunks.length === 0;
  }

  take(chunk: Buffer): void {
    const receipt = this.#parts.last();
    if (!this.isEmpty) this.#chunks.push({ chunk, receipt });
    else if (receipt !== null && !receipt.done) {
      this.#chunks.push({ chunk, receipt });
      this.#parts.began();
      this.#await(receipt);
    } else this.#parts.relay(chunk);
  }

  #await(receipt: Receipt): void {
    receipt.committed().then(
      () => this.#release(receipt),
      (error) => this.#parts.fail(error),
    );
  }

  /** Lets go what waited for this record, up to what waits for a later one. */
  #release(committed: Receipt): void {
    for (let first = this.#chunks[0]; first !== undefined; first = this.#chunks[0]) {
      const { chunk, receipt } = first;
      if (receipt !== null && receipt !== committed && !receipt.done) {
        this.#await(receipt);
        return;
      }
      this.#chunks.shift();
      if (!this.#parts.relay(chunk)) break;
    }
    this.#parts.empty();
  }
}

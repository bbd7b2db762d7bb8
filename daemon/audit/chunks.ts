/** The memory that events are encoded into and stay in until LMDB has them: chunks that are used again, in turn. */

const CHUNK_BYTES = 262_144;
/** More than the journal lets wait at usual sizes of events; above it, chunks are left to the garbage collector. */
const CHUNKS_KEPT = 24;

export class Chunks {
  /** The chunk being written, and where the next byte goes. */
  bytes: Buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  at = 0;
  readonly #spare: Buffer[] = [];
  /** Chunks that are full, with the last event each holds. Oldest first. */
  readonly #full: { readonly chunk: Buffer; readonly last: number }[] = [];

  has(room: number): boolean {
    return this.at + room <= this.bytes.length;
  }

  /** Goes on in another chunk, of `least` bytes or more. `last`: event that stands last in the one before. */
  next(least: number, last: number): void {
    this.#full.push({ chunk: this.bytes, last });
    this.bytes =
      (least <= CHUNK_BYTES ? this.#spare.pop() : undefined) ?? Buffer.allocUnsafeSlow(Math.max(least, CHUNK_BYTES));
    this.at = 0;
  }

  /** Nobody needs the events up to this one any more. */
  release(seq: number): void {
    while (this.#full.length > 0 && this.#full[0]!.last <= seq) {
      const { chunk } = this.#full.shift()!;
      if (chunk.length === CHUNK_BYTES && this.#spare.length < CHUNKS_KEPT) this.#spare.push(chunk);
    }
  }
}

const NOTHING: Buffer = Buffer.alloc(0);
/** So many buffers are remembered until what they hold has left; more are left to the garbage collector. */
const WAITING = 4;

/** Memory that one large row made grow beyond this is not kept for the next chunk, bytes. */
const LARGE = 1024 * 1024;

/** A growing buffer that masked bytes are written to; used again from chunk to chunk. */
export class OutBuffer {
  /** Made when it is first written to: most flows mask nothing. */
  bytes: Buffer = NOTHING;
  length = 0;
  readonly #room: number;
  /** Handed over, and not known to have left. */
  #waiting: Buffer[] = [];
  readonly #free: Buffer[] = [];

  constructor(room = 64 * 1024) {
    this.#room = room;
  }

  /** Makes room for `more` further bytes. */
  reserve(more: number): void {
    const wanted = this.length + more;
    if (wanted <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(wanted, this.bytes.length * 2, this.#room));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }

  /** source[from, to) */
  copy(source: Uint8Array, from: number, to: number): void {
    const size = to - from;
    if (size <= 0) return;
    this.reserve(size);
    const bytes = this.bytes;
    let at = this.length;
    // A native copy costs more than a loop below some tens of bytes.
    if (size <= 32) for (let i = from; i < to; i++) bytes[at++] = source[i]!;
    else (source as Buffer).copy(bytes, at, from, to);
    this.length += size;
  }

  /** Signed, big-endian. */
  int32(value: number): void {
    this.reserve(4);
    this.bytes.writeInt32BE(value, this.length);
    this.length += 4;
  }

  /** What was written, as a view that the next write or `clear` overwrites. */
  view(): Buffer {
    return this.bytes.subarray(0, this.length);
  }

  clear(): void {
    this.length = 0;
    if (this.bytes.length > LARGE) this.bytes = NOTHING;
  }

  /** What was written, handed over: another buffer takes its place. */
  take(): Buffer {
    const full = this.view();
    if (this.bytes.length > 0 && this.#waiting.push(this.bytes) > WAITING) this.#waiting.shift();
    this.bytes = this.#free.pop() ?? NOTHING;
    this.length = 0;
    return full;
  }

  /** All that was handed over has left: its memory may be written to again. */
  settle(): void {
    if (this.#waiting.length === 0) return;
    this.#free.push(...this.#waiting);
    this.#waiting = [];
  }
}

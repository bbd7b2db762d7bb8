/** A growing buffer that masked bytes are written to; used again from chunk to chunk. */
export class OutBuffer {
  bytes: Buffer;
  length = 0;

  constructor(room = 64 * 1024) {
    this.bytes = Buffer.allocUnsafeSlow(room);
  }

  /** Makes room for `more` further bytes. */
  reserve(more: number): void {
    const wanted = this.length + more;
    if (wanted <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(wanted, this.bytes.length * 2));
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
  }

  /** What was written, handed over: a new buffer of the same room takes its place. */
  take(): Buffer {
    const full = this.view();
    this.bytes = Buffer.allocUnsafeSlow(this.bytes.length);
    this.length = 0;
    return full;
  }
}

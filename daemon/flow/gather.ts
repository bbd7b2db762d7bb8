/**
 * Collects what one turn sends on one socket, so that it leaves in one system call: these dominate the cost of a small
 * statement. Pieces that lie next to each other in memory, as most do, are put together without copying.
 */
import type net from 'node:net';

/** Up to here pieces are copied together; beyond, they go out as a vector. */
const COPY = 16 * 1024;

export class Gather {
  readonly #socket: net.Socket;
  readonly #pieces: Buffer[] = [];
  /** The piece that grows, as long as what comes lies behind it. */
  #run: Buffer | null = null;
  #runLength = 0;
  #size = 0;

  constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  add(bytes: Buffer): void {
    const run = this.#run;
    this.#size += bytes.length;
    if (run !== null && run.buffer === bytes.buffer && run.byteOffset + this.#runLength === bytes.byteOffset) {
      this.#runLength += bytes.length;
      return;
    }
    this.#endRun();
    this.#run = bytes;
    this.#runLength = bytes.length;
  }

  #endRun(): void {
    const run = this.#run;
    if (run === null) return;
    this.#run = null;
    const whole = run.length === this.#runLength;
    this.#pieces.push(whole ? run : (Buffer.from(run.buffer, run.byteOffset, this.#runLength) as Buffer));
  }

  /** False when the socket wants to be waited for. */
  flush(): boolean {
    if (this.#run === null) return true;
    this.#endRun();
    const pieces = this.#pieces;
    const size = this.#size;
    this.#size = 0;
    const socket = this.#socket;
    if (!socket.writable) {
      pieces.length = 0;
      return true;
    }
    if (pieces.length === 1) return socket.write(pieces.pop()!);
    if (size <= COPY) {
      const all = Buffer.concat(pieces, size);
      pieces.length = 0;
      return socket.write(all);
    }
    socket.cork();
    for (const piece of pieces) socket.write(piece);
    pieces.length = 0;
    socket.uncork();
    return !socket.writableNeedDrain;
  }
}

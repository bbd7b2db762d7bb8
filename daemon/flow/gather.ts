/**
 * Collects what one turn sends on one socket, so that it leaves in one system call: these dominate the cost of a small
 * statement. Pieces that lie next to each other in memory, as most do, are put together without copying.
 */
import type net from 'node:net';

/** Up to here pieces are copied together; beyond, they go out as a vector. */
const COPY = 16 * 1024;

export class Gather {
  readonly #socket: net.Socket;
  #pieces: Buffer[] = [];
  #size = 0;

  constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  add(bytes: Buffer): void {
    const last = this.#pieces.length - 1;
    const before = this.#pieces[last];
    this.#size += bytes.length;
    if (
      before !== undefined &&
      before.buffer === bytes.buffer &&
      before.byteOffset + before.length === bytes.byteOffset
    ) {
      this.#pieces[last] = Buffer.from(bytes.buffer, before.byteOffset, before.length + bytes.length) as Buffer;
    } else this.#pieces.push(bytes);
  }

  /** False when the socket wants to be waited for. */
  flush(): boolean {
    const pieces = this.#pieces;
    if (pieces.length === 0) return true;
    const size = this.#size;
    this.#pieces = [];
    this.#size = 0;
    const socket = this.#socket;
    if (!socket.writable) return true;
    if (pieces.length === 1) return socket.write(pieces[0]!);
    if (size <= COPY) return socket.write(Buffer.concat(pieces, size));
    socket.cork();
    for (const piece of pieces) socket.write(piece);
    socket.uncork();
    return !socket.writableNeedDrain;
  }
}

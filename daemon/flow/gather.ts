/**
 * Collects what one flow sends on one socket, so that it leaves in one system call: these dominate the cost of a small
 * statement. Pieces that lie next to each other in memory, as most do, are put together without copying.
 */
import type net from 'node:net';
import type { Outbox } from './outbox.ts';

export class Gather {
  readonly #socket: net.Socket;
  readonly #outbox: Outbox;
  #pieces: Buffer[] = [];
  /** The piece that grows, as long as what comes lies behind it. */
  #run: Buffer | null = null;
  #runLength = 0;
  #size = 0;

  constructor(socket: net.Socket, outbox: Outbox) {
    this.#socket = socket;
    this.#outbox = outbox;
    outbox.begin(socket);
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
    const size = this.#size;
    this.#size = 0;
    const kept = !this.#socket.writable || this.#outbox.write(this.#socket, this.#pieces, size);
    this.#pieces = [];
    return kept;
  }

  /** Sends everything now, for what is done with the socket itself afterwards. */
  finish(): void {
    this.flush();
    this.#outbox.flush();
  }
}

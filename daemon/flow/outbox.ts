/**
 * What one turn of the event loop sends, on all sockets. Small pieces are put together in memory of the outbox and leave
 * at the end of the turn in one native call: a write of Node's own costs several times what the kernel takes for it, and
 * whoever is woken by one takes the processor away in the middle of the turn. Pieces that are large, or for a socket that
 * has some waiting, go by the socket's own `write`, after what was put together before them.
 */
import net from 'node:net';
import type { Sending } from './send.ts';

/** Sends `count` jobs of four words each: descriptor, offset into `bytes`, length, and what was sent or -errno. */
export type SendMany = (bytes: Uint8Array, jobs: Int32Array, count: number) => void;

/** Bytes that are put together for one turn. */
const ROOM = 256 * 1024;
const JOBS = 256;
const WORDS = 4;
/** Larger pieces are not worth copying. */
const PIECE = 16 * 1024;

export class Outbox {
  readonly #sending: Sending;
  readonly #bytes = Buffer.allocUnsafeSlow(ROOM);
  readonly #jobs = new Int32Array(WORDS * JOBS);
  #sockets: net.Socket[] = [];
  #end = 0;
  #scheduled = false;

  constructor(sending: Sending) {
    this.#sending = sending;
  }

  /** A connection begins, of which much will be written here. */
  begin(socket: net.Socket): void {
    const fd = descriptor(socket);
    if (fd >= 0) this.#sending.unpace(fd);
  }

  /**
   * Called before a turn does anything else that ends with it: what goes upstream then leaves before the turn's events are
   * written to disk, and the upstream works meanwhile. No result that waits for an event can be among it.
   */
  expect(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#flushTurn);
  }

  /** Sends in the order of calls. False when the socket wants to be waited for, as `write` has it. */
  write(socket: net.Socket, pieces: readonly Buffer[], size: number): boolean {
    // Nothing of TLS is ever put together here.
    if (socket.constructor !== net.Socket) return writeNow(socket, pieces);
    if (size > PIECE || socket.writableLength > 0) {
      this.flush();
      return writeNow(socket, pieces);
    }
    if (this.#end + size > ROOM || this.#sockets.length === JOBS) this.flush();
    this.expect();
    const at = WORDS * this.#sockets.push(socket) - WORDS;
    this.#jobs[at + 1] = this.#end;
    this.#jobs[at + 2] = size;
    for (const piece of pieces) {
      this.#bytes.set(piece, this.#end);
      this.#end += piece.length;
    }
    return true;
  }

  readonly #flushTurn = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  /** To be called before a socket is ended by whoever wrote to it. */
  flush(): void {
    const sockets = this.#sockets;
    const count = sockets.length;
    if (count === 0) return;
    const jobs = this.#jobs;
    for (let i = 0; i < count; i++) {
      // Asked for now: the number of a socket that was closed meanwhile may belong to another one.
      jobs[WORDS * i] = descriptor(sockets[i]!);
      jobs[WORDS * i + 3] = 0;
    }
    this.#sending.many(this.#bytes, jobs, count);
    const left: [net.Socket, Buffer][] = [];
    for (let i = 0; i < count; i++) {
      const [from, length, sent] = [jobs[WORDS * i + 1]!, jobs[WORDS * i + 2]!, jobs[WORDS * i + 3]!];
      if (sent === length) continue;
      // The socket's own write waits for room, or finds the error again and tells of it.
      const rest = this.#bytes.subarray(from + Math.max(sent, 0), from + length);
      left.push([sockets[i]!, Buffer.from(rest)]);
    }
    this.#sockets = [];
    this.#end = 0;
    for (const [socket, rest] of left) if (socket.writable) socket.write(rest);
  }
}

function writeNow(socket: net.Socket, pieces: readonly Buffer[]): boolean {
  if (pieces.length === 1) return socket.write(pieces[0]!);
  socket.cork();
  for (const piece of pieces) socket.write(piece);
  socket.uncork();
  return !socket.writableNeedDrain;
}

/** -1 once the socket is closed. Node has no public way to a socket's descriptor. */
function descriptor(socket: net.Socket): number {
  return (socket as unknown as { _handle: { fd: number } | null })._handle?.fd ?? -1;
}

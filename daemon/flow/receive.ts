/**
 * Reading a relay's sockets into memory that is used again. Node allocates 64 KB for each read of a socket and gives most
 * of it back when little came, which costs a small statement more than looking into it does. Sockets of `net` can read
 * into a buffer of the caller's (`onread`), yet only from their making on, and accepted ones are made by Node: so a new
 * Socket is put onto the handle of the old one. Sockets of TLS are read as usual; their bytes come out of OpenSSL.
 */
import net from 'node:net';

/** Who takes what comes. */
export interface Receiver {
  take(chunk: Buffer): void;
  /** Nothing is kept of what was taken so far: its memory may be read into again. */
  readonly idle: boolean;
}

/** A socket begins with this much, as most never get more at once, and V8 is slow to notice what ended flows leave. */
const FIRST = 8 * 1024;
/** As much as Node itself reads at once. */
const READ = 64 * 1024;
/**
 * Up to here what came is copied out while something is kept already: a piece that is not copied keeps all of the memory
 * that it was read into. For every one a copy of its own would leave the garbage collector hundreds of megabytes a second.
 */
const COPY = 8 * 1024;
/** So many memories are remembered until the receiver is idle; more are left to the garbage collector. */
const LENT = 4;

/** What Node does not declare: a socket's handle, and that a socket can be made on one. */
interface Handled {
  _handle: object | null;
  /** `ended`: the other side's end was read, if not told of yet. A handle tells it once. */
  readonly _readableState: { readonly ended: boolean };
}
interface OnHandle {
  readonly handle: object;
  readonly onread: { buffer(): Uint8Array; callback(length: number, bytes: Uint8Array): boolean };
}

/**
 * Gives `receiver` whatever comes, from the next turn on. `socket`: paused, and nobody listens to its data. Answers
 * the socket to use from now on in its place; the given one ends with it.
 */
export function receive(socket: net.Socket, receiver: Receiver): net.Socket {
  const bare = socket as unknown as Handled;
  const handle = bare._handle;
  const idle = socket.readableLength === 0 && socket.writableLength === 0 && !bare._readableState.ended;
  if (socket.constructor !== net.Socket || handle === null || !idle) {
    socket.on('data', (chunk: Buffer) => receiver.take(chunk));
    return socket;
  }
  bare._handle = null;
  let memory: Buffer = Buffer.allocUnsafeSlow(FIRST);
  let lent: Buffer[] = [];
  let free: Buffer[] = [];
  const reclaim = () => {
    if (lent.length === 0) return;
    free.push(...lent);
    lent = [];
  };
  /** From now on no memory of the first size is used any more. */
  const grow = () => {
    memory = Buffer.allocUnsafeSlow(READ);
    lent = [];
    free = [];
  };
  const options: OnHandle = {
    handle,
    onread: {
      buffer: () => memory,
      callback(length) {
        const full = length === memory.length && length < READ;
        // Looked at before, too: of a receiver that has something waiting after each chunk, all had left by now.
        const idle = receiver.idle;
        if (idle) reclaim();
        if (!idle && length <= COPY) {
          receiver.take(Buffer.from(memory.subarray(0, length)));
        } else {
          const bytes = memory;
          receiver.take(bytes.subarray(0, length));
          if (receiver.idle) {
            reclaim();
          } else {
            if (lent.push(bytes) > LENT) lent.shift();
            memory = free.pop() ?? Buffer.allocUnsafeSlow(bytes.length);
          }
        }
        if (full) grow();
        return true;
      },
    },
  };
  const taken = new net.Socket(options as unknown as net.SocketConstructorOpts);
  taken.once('close', () => socket.destroy());
  return taken;
}

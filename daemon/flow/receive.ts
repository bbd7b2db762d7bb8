/**
 * Reading a relay's sockets into memory that is used again. Node allocates 64 KB for each read of a socket and gives most
 * of it back when little came, which costs a small statement more than looking into it does. Sockets of `net` can read
 * into a buffer of the caller's (`onread`), yet only from their making on, and accepted ones are made by Node: so a new
 * Socket is put onto the handle of the old one. Sockets of TLS are read as usual; their bytes come out of OpenSSL.
 */
import net from 'node:net';

/** Takes what came. False: nothing of it, or of what came before, is kept any more, and its memory may be read into again. */
export type Received = (chunk: Buffer) => boolean;

/** A socket begins with this much, as most never get more at once, and V8 is slow to notice what ended flows leave. */
const FIRST = 8 * 1024;
/** As much as Node itself reads at once. */
const READ = 64 * 1024;
/** Up to here what came is copied out; a longer piece keeps the memory that it was read into, as long as it is kept. */
const COPY = 8 * 1024;
/** So many memories are remembered until nothing is kept of them; more are left to the garbage collector. */
const LENT = 4;

/** What Node does not declare: a socket's handle, and that a socket can be made on one. */
interface Handled {
  _handle: object | null;
}
interface OnHandle {
  readonly handle: object;
  readonly onread: { buffer(): Uint8Array; callback(length: number, bytes: Uint8Array): boolean };
}

/**
 * Calls `received` with whatever comes, from the next turn on. `socket`: paused, and nobody listens to its data. Answers
 * the socket to use from now on in its place; the given one ends with it.
 */
export function receive(socket: net.Socket, received: Received): net.Socket {
  const bare = socket as unknown as Handled;
  const handle = bare._handle;
  const idle = socket.readableLength === 0 && socket.writableLength === 0;
  if (socket.constructor !== net.Socket || handle === null || !idle) {
    socket.on('data', received);
    return socket;
  }
  bare._handle = null;
  let memory: Buffer = Buffer.allocUnsafeSlow(FIRST);
  let lent: Buffer[] = [];
  let free: Buffer[] = [];
  const options: OnHandle = {
    handle,
    onread: {
      buffer: () => memory,
      callback(length) {
        if (length <= COPY) {
          const full = length === memory.length;
          received(Buffer.from(memory.subarray(0, length)));
          if (full) memory = Buffer.allocUnsafeSlow(READ);
        } else {
          const full = memory;
          if (received(full.subarray(0, length))) {
            if (lent.push(full) > LENT) lent.shift();
            memory = free.pop() ?? Buffer.allocUnsafeSlow(READ);
          } else if (lent.length > 0) {
            free = lent;
            lent = [];
          }
        }
        return true;
      },
    },
  };
  const taken = new net.Socket(options as unknown as net.SocketConstructorOpts);
  taken.once('close', () => socket.destroy());
  return taken;
}

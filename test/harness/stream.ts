/** A socket as the byte stream that the daemon's own clients read and write. */
import type { Duplex } from 'node:stream';

export interface SocketStream {
  read(): Promise<Buffer | null>;
  write(bytes: Buffer): void;
}

export function streamOf(socket: Duplex): SocketStream {
  const chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  return {
    read: async () => {
      const { value, done } = await chunks.next();
      return done ? null : value;
    },
    write: (bytes) => {
      socket.write(bytes);
    },
  };
}

/** A relay in front of a server that sees, and can cut, delay or break, what passes between sluice and it. */
import net from 'node:net';

export interface TapRules {
  /** Bytes per write towards the server and towards sluice. Absent: as they came. */
  up?: number;
  down?: number;
  /** Sees every chunk towards the server before it leaves. */
  onUp?: (bytes: Buffer) => void;
  /** What leaves towards sluice in place of these bytes of the server; null: the connection is reset. */
  onDown?: (bytes: Buffer) => Buffer | null;
}

export interface Tap {
  readonly port: number;
  rules: TapRules;
  /** Connections open through it. */
  readonly sockets: Set<net.Socket>;
  close(): void;
}

export async function openTap(port: number): Promise<Tap> {
  const sockets = new Set<net.Socket>();
  const tap: { -readonly [K in keyof Tap]: Tap[K] } = { port: 0, rules: {}, sockets, close: () => {} };
  const server = net.createServer({ noDelay: true }, (near) => {
    const far = net.connect({ port, host: '127.0.0.1', noDelay: true });
    sockets.add(near);
    near.on('data', (chunk) => {
      tap.rules.onUp?.(chunk);
      pieces(far, chunk, tap.rules.up);
    });
    far.on('data', (chunk) => {
      const made = tap.rules.onDown === undefined ? chunk : tap.rules.onDown(chunk);
      if (made === null) {
        near.resetAndDestroy();
        far.destroy();
      } else pieces(near, made, tap.rules.down);
    });
    const end = () => {
      sockets.delete(near);
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on('error', end).on('close', end);
    // What was read before an end still has to leave.
    near.on('end', () => far.end());
    far.on('end', () => near.end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  tap.port = (server.address() as net.AddressInfo).port;
  tap.close = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return tap;
}

/** Writes in pieces of `size` bytes; the other side need not read them as such, so codecs are split directly as well. */
export function pieces(socket: net.Socket, bytes: Buffer, size: number | undefined): void {
  if (size === undefined) {
    socket.write(bytes);
    return;
  }
  for (let at = 0; at < bytes.length; at += size) socket.write(bytes.subarray(at, at + size));
}

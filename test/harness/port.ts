/** A port that was free on both loopback addresses, TCP and UDP, a moment ago. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';

export async function freePort(): Promise<number> {
  for (;;) {
    const server = net.createServer().listen(0, '::1');
    await once(server, 'listening');
    const { port } = server.address() as net.AddressInfo;
    const taken = await new Promise<boolean>((resolve) => {
      const socket = createSocket('udp4');
      socket.once('error', () => resolve(true));
      socket.bind(port, '127.0.0.1', () => socket.close(() => resolve(false)));
    });
    await new Promise((resolve) => server.close(resolve));
    if (!taken) return port;
  }
}

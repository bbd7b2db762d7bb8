/**
 * Stands for the daemon: enters its cgroup, listens, and answers every connection and every datagram with one line of
 * JSON: what the kernel says of its origin, or null. Datagrams' answers have the first 16 bytes of the question before it.
 * Arguments: run directory, library, and how many connections may wait.
 */

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { openHelper } from '../../daemon/intake/helper.ts';
import { openKernel } from '../../daemon/intake/kernel.ts';

const [runDir = '', library = '', backlog = '511'] = process.argv.slice(2);
await openHelper(join(runDir, 'helper.sock')).enterDaemonCgroup();
const kernel = openKernel({ pinDir: join(runDir, 'bpf'), library });

const lineOf = (value: unknown) =>
  `${JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? String(part) : part))}\n`;

function answer(socket: Socket): void {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  const origin = kernel.origin(fd);
  socket.on('error', () => socket.destroy());
  socket.resume(); // bytes left unread would make the end a reset
  socket.end(lineOf(origin));
}

async function listen(host: string, port: number): Promise<Server> {
  const server = createServer(answer);
  server.listen({ host, port, backlog: Number(backlog) });
  await once(server, 'listening');
  return server;
}

async function receive(type: 'udp4' | 'udp6', address: string, port: number): Promise<void> {
  const socket = createSocket({ type, ipv6Only: type === 'udp6' });
  socket.on('message', (bytes, from) => {
    const origin = lineOf(kernel.datagram(from.address, from.port, bytes));
    socket.send(Buffer.concat([bytes.subarray(0, 16), Buffer.from(origin)]), from.port, from.address);
  });
  socket.bind(port, address);
  await once(socket, 'listening');
}

const v4 = await listen('127.0.0.1', 0);
const { port } = v4.address() as { port: number };
await listen('::1', port);
await receive('udp4', '127.0.0.1', port);
await receive('udp6', '::1', port);
kernel.setListener(port);
process.stdout.write(`${JSON.stringify({ port, cgroup: kernel.cgroupOfPid(process.pid) })}\n`);

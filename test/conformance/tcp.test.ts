/** The suite for what passes unread, in front of a server that answers line by line, as far as there is something to read. */
import { once } from 'node:events';
import net from 'node:net';
import { TCP_UNREAD, tcpOptions } from '../../daemon/protocols/tcp/options.ts';
import { tcp } from '../../daemon/protocols/tcp/tcp.ts';
import type { Answer, Client, Fixture } from './fixture.ts';
import { splitting } from './splitting.ts';
import { openStage } from './stage.ts';
import { conformance } from './suite.ts';
import { openTap } from './tap.ts';

const KIT = { protocols: { tcp: { options: tcpOptions, unread: TCP_UNREAD } }, detectors: [] };

const policyOf = (port: number): string => `apiVersion: sluice/v1
resources:
  lines: {protocol: tcp, address: "127.0.0.1:${port}", options: {speaks: anything}}
rules:
  - {name: all may pass, allow: [network], who: {groups: [agents]}, on: lines}
`;

/** Says hello, and of each line how long it is and what it is. */
async function startLines(): Promise<net.Server> {
  const server = net.createServer((socket) => {
    let left = '';
    socket.on('error', () => {}).write('hello\n');
    socket.on('data', (chunk: Buffer) => {
      const lines = (left + chunk.toString('latin1')).split('\n');
      left = lines.pop()!;
      for (const line of lines) socket.write(`${line.length} ${line}\n`, 'latin1');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

const portOf = (server: net.Server): number => (server.address() as net.AddressInfo).port;

async function connectTo(port: number): Promise<Client> {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
  let came = Buffer.alloc(0);
  let read = 0;
  const wakers = new Set<() => void>();
  const wake = () => {
    for (const each of wakers) each();
    wakers.clear();
  };
  socket.on('data', (chunk: Buffer) => {
    came = Buffer.concat([came, chunk]);
    wake();
  });
  socket.on('close', wake).on('error', () => {});
  const answer = async (): Promise<Answer> => {
    for (;;) {
      const end = came.indexOf(10, read);
      if (end >= 0) {
        const text = came.toString('latin1', read, end);
        read = end + 1;
        return { done: true, text };
      }
      if (socket.closed) return { done: false, text: '' };
      await new Promise<void>((resolve) => wakers.add(resolve));
    }
  };
  const none = () => Promise.reject(new Error('there is no such thing here'));
  await answer();
  return {
    ask(act) {
      socket.write(act);
      return answer();
    },
    send: (bytes) => socket.write(bytes),
    notice: none,
    cancel: none,
    answer,
    bytes: () => came,
    async ended() {
      while (!socket.closed) await new Promise<void>((resolve) => wakers.add(resolve));
      return came.toString('latin1', read);
    },
    vanish: () => socket.destroy(),
  };
}

const line = (text: string): Buffer => Buffer.from(`${text}\n`, 'latin1');
const WHOLE = 'a connection is decided as a whole, before it says anything: test/tcp does that';

const fixture: Fixture = {
  name: 'tcp',
  missing: () => null,
  lacks: {
    refused: WHOLE,
    held: WHOLE,
    masked: 'nothing is read, so nothing is masked',
    'on record': WHOLE,
    'bad input': 'nothing is read, so nothing is bad',
    ignored: 'nothing is read, so nothing is bad',
    lies: 'nothing is read, so nothing is believed',
  },
  async open() {
    const server = await startLines();
    const tap = await openTap(portOf(server));
    let sides = { client: false, upstream: false };
    const stage = await openStage({
      policy: policyOf(tap.port),
      kit: KIT,
      resource: 'lines',
      protocol: splitting(tcp, () => sides),
    });
    return {
      stage,
      tap,
      connect: () => connectTo(stage.port),
      direct: () => connectTo(portOf(server)),
      effects: async () => 0,
      split(wanted) {
        sides = wanted;
      },
      async close() {
        tap.close();
        await stage.close();
        server.close();
      },
    };
  },
  liar: () => Promise.reject(new Error('nothing is believed')),
  acts: {
    read: line('a line'),
    denied: line('-'),
    deniedCode: '',
    held: line('-'),
    heldText: '-',
    large: line('-'),
  },
  masked: {},
  canary: 'nothing is masked',
  talks: {
    'a line': [line('one')],
    'many lines, one of them long': [line('one'), line('x'.repeat(7_000)), line(''), line('last')],
    'every byte there is': [
      line(Array.from({ length: 256 }, (_, i) => (i === 10 ? '' : String.fromCharCode(i))).join('')),
    ],
    'what begins like TLS further on': [line('x'), line('\x16\x03\x01\x00\x05\x01')],
  },
  half: Buffer.alloc(0),
  bad: {},
  lies: [],
};

conformance(fixture);

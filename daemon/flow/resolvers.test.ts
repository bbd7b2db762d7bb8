import assert from 'node:assert/strict';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { after, test } from 'node:test';
import { dns } from '../protocols/dns/dns.ts';
import { CLASS_IN, FLAG, nameBytes, RCODE, readMessage, TYPE, writeMessage } from '../protocols/dns/wire.ts';
import { Resolvers } from './resolvers.ts';

const ADDRESS = Buffer.from([198, 51, 100, 23]);
const LIE = Buffer.from([203, 0, 113, 66]);
const sockets: Socket[] = [];
const servers: net.Server[] = [];
after(() => {
  for (const socket of sockets) socket.close();
  for (const server of servers) server.close();
});

type Say = (bytes: Buffer) => void;

/** Both of one port; a port that one of them gets may be taken for the other. */
async function bound(): Promise<{ socket: Socket; stream: net.Server }> {
  for (;;) {
    const stream = net.createServer().listen(0, '127.0.0.1');
    await once(stream, 'listening');
    const socket = createSocket('udp4');
    socket.bind((stream.address() as net.AddressInfo).port, '127.0.0.1');
    try {
      await once(socket, 'listening');
    } catch (error) {
      stream.close();
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      continue;
    }
    sockets.push(socket);
    servers.push(stream);
    return { socket, stream };
  }
}

/** A server that does as it likes with each question. */
async function server(
  answer: (question: Buffer, say: Say, from: RemoteInfo) => void,
  tcp?: (question: Buffer) => Buffer,
) {
  const asked: Buffer[] = [];
  const { socket, stream } = await bound();
  socket.on('message', (question, from) => {
    asked.push(question);
    answer(question, (bytes) => socket.send(bytes, from.port, from.address), from);
  });
  stream.on('connection', (client) => {
    if (tcp === undefined) {
      client.resetAndDestroy();
      return;
    }
    client.once('data', (bytes) => {
      const reply = tcp(bytes.subarray(2));
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      // In two pieces, the second after the first was read.
      client.write(length.subarray(0, 1), () => client.end(Buffer.concat([length.subarray(1), reply])));
    });
  });
  const { port } = socket.address();
  return { host: '127.0.0.1', port, asked };
}

function reply(question: Buffer, { address = ADDRESS, id = 0, flags = 0, name = '' } = {}): Buffer {
  const { id: its, questions } = readMessage(question);
  const asked = name === '' ? questions[0]! : { ...questions[0]!, name: nameBytes(name) };
  const answers = [{ name: asked.name, type: TYPE.A, ttl: 1, data: address }];
  return writeMessage({ id: its ^ id, flags: FLAG.QR | flags, question: asked, answers: flags === 0 ? answers : [] });
}

/** Addresses that a client is told. */
async function ask(...from: readonly { readonly host: string; readonly port: number }[]): Promise<readonly string[]> {
  const resolvers = new Resolvers({ servers: () => from, limit: 10 });
  const question = { name: nameBytes('shop.test'), type: TYPE.A, class: CLASS_IN };
  const inquiry = dns.read(writeMessage({ id: 1, flags: FLAG.RD, question }), true)!;
  const let_ = { outcome: 'allow', rule: null, reason: '', known: true, inward: false, zone: null } as const;
  return (await inquiry.answer(let_, resolvers.ask)).addresses;
}

test('answers with a wrong id, another question, or that can’t be read are passed over for the right one', async () => {
  const liar = await server((question, say) => {
    say(Buffer.from('rubbish'));
    for (let id = 1; id < 20; id++) say(reply(question, { address: LIE, id }));
    say(reply(question, { address: LIE, name: 'other.test' }));
    say(question);
    say(reply(question));
  });
  assert.deepEqual(await ask(liar), ['198.51.100.23']);
});

test('an answer from another port or address is not seen', async () => {
  const other = createSocket('udp4');
  sockets.push(other);
  const liar = await server((question, say, from) => {
    other.send(reply(question, { address: LIE }), from.port, from.address, () => say(reply(question)));
  });
  assert.deepEqual(await ask(liar), ['198.51.100.23']);
});

test('each question comes from another port with another id', async () => {
  const seen = new Set<string>();
  const honest = await server((question, say, from) => {
    seen.add(`${from.port} ${question.readUInt16BE(0)}`);
    say(reply(question));
  });
  for (let i = 0; i < 20; i++) await ask(honest);
  assert.equal(seen.size, 20);
  assert.ok(new Set([...seen].map((each) => each.split(' ')[0])).size > 10);
});

test('a cut answer is asked for again over TCP', async () => {
  const cut = await server((question, say) => say(reply(question, { flags: FLAG.TC })), reply);
  assert.deepEqual(await ask(cut), ['198.51.100.23']);
});

test('one that refuses, can’t say, is not there or is silent is followed by the next', async () => {
  const closed = createSocket('udp4').bind(0, '127.0.0.1');
  await once(closed, 'listening');
  const { port } = closed.address();
  closed.close();
  await once(closed, 'close');
  const broken = await Promise.all(
    [RCODE.SERVFAIL, RCODE.REFUSED].map((flags) => server((question, say) => say(reply(question, { flags })))),
  );
  const honest = await server((question, say) => say(reply(question)));
  assert.deepEqual(await ask({ host: '127.0.0.1', port }, ...broken, honest), ['198.51.100.23']);
  const silent = await server(() => {});
  assert.deepEqual(await ask(silent, honest), ['198.51.100.23']);
});

test('when nobody answers, the error says who was asked; a guesser of ids gets no further', async () => {
  await assert.rejects(ask(), { code: 'UPSTREAM_UNREACHABLE', message: /no resolver is configured/ });
  const guesser = await server((question, say) => {
    for (let id = 1; id <= 80; id++) say(reply(question, { address: LIE, id }));
  });
  await assert.rejects(ask(guesser), { code: 'UPSTREAM_UNREACHABLE', message: /127\.0\.0\.1 port \d+.*64 answers/ });
});

test('questions at once are bounded', async () => {
  const held: (() => void)[] = [];
  const slow = await server((question, say) => held.push(() => say(reply(question))));
  const resolvers = new Resolvers({ servers: () => [slow], limit: 2 });
  const question = writeMessage({
    id: 9,
    flags: 0,
    question: { name: nameBytes('a.test'), type: TYPE.A, class: CLASS_IN },
  });
  const both = [1, 2].map(() => resolvers.ask(question, () => 'yes'));
  await assert.rejects(
    resolvers.ask(question, () => 'yes'),
    { code: 'NAME_LIMIT' },
  );
  while (held.length < 2) await new Promise((resolve) => setImmediate(resolve));
  for (const each of held) each();
  await Promise.all(both);
  const again = resolvers.ask(question, () => 'yes');
  while (held.length < 3) await new Promise((resolve) => setImmediate(resolve));
  held[2]!();
  await again;
});

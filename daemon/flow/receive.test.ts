import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { receive } from './receive.ts';

/** An accepted socket as intake hands it over, paused, and its client. */
async function accepted(t: TestContext) {
  const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  server.close();
  for (const each of [client, socket]) each.on('error', () => {});
  t.after(() => {
    for (const each of [client, socket]) each.destroy();
  });
  return { client, socket };
}

/** Keeps what it takes and emits `chunk` for each; `idle` is asked with the number of those taken. */
async function keeping(t: TestContext, idle: (taken: number) => boolean) {
  const { client, socket } = await accepted(t);
  const chunks: Buffer[] = [];
  const taken = receive(socket, {
    take(chunk) {
      chunks.push(chunk);
      taken.emit('chunk');
    },
    get idle() {
      return idle(chunks.length);
    },
  });
  t.after(() => taken.destroy());
  taken.resume();
  return { client, chunks, taken };
}

test('chunks stay as they were when more comes, small ones and large ones', async (t) => {
  const { client, chunks, taken } = await keeping(t, () => false);
  const sent = [Buffer.from('small')];
  client.write(sent[0]!);
  await once(taken, 'chunk');
  for (let i = 0; i < 400; i++) {
    const bytes = Buffer.alloc(1 + ((i * 7919) % 100_000), i);
    sent.push(bytes);
    if (!client.write(bytes)) await once(client, 'drain');
  }
  client.end();
  await once(taken, 'end');
  assert.ok(Buffer.concat(chunks).equals(Buffer.concat(sent)));
  assert.ok(chunks[0]!.length <= 8192 && chunks.some((chunk) => chunk.length > 8192));
});

test('it writes on the same connection, and the socket given ends with it', async (t) => {
  const { client, socket } = await accepted(t);
  const taken = receive(socket, { take() {}, idle: true });
  assert.notEqual(taken, socket);
  const closed = once(socket, 'close');
  taken.resume();
  taken.end('answer');
  const [answer] = (await once(client, 'data')) as [Buffer];
  assert.equal(answer.toString(), 'answer');
  client.end();
  await closed;
});

test('paused it takes nothing, resumed it goes on', async (t) => {
  const { client, socket } = await accepted(t);
  let came = 0;
  const taken = receive(socket, {
    take(chunk) {
      came += chunk.length;
      if (came < 100_000) return;
      taken.pause();
      taken.emit('enough');
    },
    idle: true,
  });
  t.after(() => taken.destroy());
  const enough = once(taken, 'enough');
  taken.resume();
  const all = 64_000_000;
  client.end(Buffer.alloc(all));
  await enough;
  const stood = came;
  // The client's socket is full by now, and nothing is read.
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(came, stood);
  assert.ok(came < all);
  taken.on('enough', () => setImmediate(() => taken.resume()));
  taken.resume();
  await once(taken, 'end');
  assert.equal(came, all);
});

test('a socket with bytes that nobody has read yet is read as it is', async (t) => {
  const { client, socket } = await accepted(t);
  client.end('early');
  socket.resume();
  socket.pause();
  await once(socket, 'readable');
  const chunks: Buffer[] = [];
  const taken = receive(socket, { take: (chunk) => void chunks.push(chunk), idle: false });
  assert.equal(taken, socket);
  const ended = once(taken, 'end');
  taken.resume();
  await ended;
  assert.equal(Buffer.concat(chunks).toString(), 'early');
});

/** Takes ten megabytes; `idle` is asked with the number of large chunks taken, within `take` and outside of it. */
async function memoriesOf(t: TestContext, idle: (taken: number) => boolean, seen: (chunk: Buffer) => void = () => {}) {
  const { client, socket } = await accepted(t);
  const memories = new Set<ArrayBufferLike>();
  let large = 0;
  const taken = receive(socket, {
    take(chunk) {
      if (chunk.length <= 8192) return;
      large++;
      memories.add(chunk.buffer);
      seen(chunk);
    },
    get idle() {
      return idle(large);
    },
  });
  t.after(() => taken.destroy());
  taken.resume();
  client.end(Buffer.alloc(10_000_000, 'k'));
  await once(taken, 'end');
  assert.ok(large > 10);
  return memories.size;
}

test('memory that nothing is kept of is read into again, and no other', async (t) => {
  const kept: Buffer[] = [];
  // From the third chunk on all are kept, until the sixth lets go of them.
  const size = await memoriesOf(
    t,
    (taken) => taken < 3 || taken >= 6,
    (chunk) => {
      kept.push(chunk);
      if (kept.length >= 3 && kept.length <= 6)
        assert.ok(kept.slice(2, 5).every((each) => each.every((byte) => byte === 'k'.charCodeAt(0))));
    },
  );
  assert.equal(size, 4, 'one, and one more for each that was kept');
});

test('a receiver that keeps each chunk until the next one comes needs two memories', async (t) => {
  let asked = 0;
  // Asked before a chunk all has left, asked after it something waits.
  assert.equal(await memoriesOf(t, () => asked++ % 2 === 0), 2);
});

/** Sends `count` small pieces, each when the one before was taken. */
async function smallOnes(t: TestContext, count: number, idle: (taken: number) => boolean): Promise<Buffer[]> {
  const { client, chunks, taken } = await keeping(t, idle);
  for (let i = 0; i < count; i++) {
    const came = once(taken, 'chunk');
    client.write(Buffer.alloc(4_000, i));
    await came;
  }
  return chunks;
}
const memoryOf = (chunk: Buffer) => chunk.buffer;

test('small pieces of which nothing is kept are read into the same memory, and not copied', async (t) => {
  const chunks = await smallOnes(t, 50, () => true);
  assert.equal(new Set(chunks.map(memoryOf)).size, 1);
});

test('of small pieces that are kept the first keeps its memory, the others are copies', async (t) => {
  // The tenth to the twenty-first are kept, which lets go of them.
  const chunks = await smallOnes(t, 50, (taken) => taken < 10 || taken > 20);
  for (const [i, chunk] of chunks.entries())
    if (i >= 9 && i <= 20) assert.ok(chunk.equals(Buffer.alloc(4_000, i)), `piece ${i + 1}`);
  // All others were read into memories that were read into again.
  const used = new Set(chunks.filter((_, i) => i < 10 || i > 20).map(memoryOf));
  assert.equal(used.size, 2);
  assert.ok(chunks.slice(10, 21).every((chunk) => !used.has(memoryOf(chunk))));
});

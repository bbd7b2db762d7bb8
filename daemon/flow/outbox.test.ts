import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import koffi from 'koffi';
import { Outbox, type SendMany } from './outbox.ts';
import { openSending } from './send.ts';

/** tcp(7), linux/tcp.h. */
const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;
const LIBRARY = new URL('../../build/native/libsluice.so', import.meta.url).pathname;

/** Two ends of a connection, and what came out of the far one. */
async function connection(t: TestContext) {
  const server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  const [far] = (await once(server, 'connection')) as [net.Socket];
  await (near.connecting && once(near, 'connect'));
  server.close();
  for (const socket of [near, far]) socket.on('error', () => {});
  t.after(() => {
    for (const socket of [near, far]) socket.destroy();
  });
  return { near, far };
}

async function readAll(far: net.Socket): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of far) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('latin1');
}

const descriptor = (socket: net.Socket) => (socket as unknown as { _handle: { fd: number } })._handle.fd;
const piece = (text: string) => [Buffer.from(text)] as const;

test('what is written in one turn arrives in its order on each socket, large pieces among small ones', async (t) => {
  const outbox = new Outbox(openSending(LIBRARY));
  const [a, b] = [await connection(t), await connection(t)];
  const large = Buffer.alloc(40_000_000, 'L');
  for (const { near } of [a, b]) {
    outbox.write(near, piece('one'), 3);
    outbox.write(near, [Buffer.from('t'), Buffer.from('wo')], 3);
    assert.equal(outbox.write(near, [large], large.length), false, 'a full socket wants to be waited for');
    outbox.write(near, piece('three'), 5);
    near.end();
  }
  const expected = `onetwo${large.toString('latin1')}three`;
  assert.deepEqual(await Promise.all([readAll(a.far), readAll(b.far)]), [expected, expected]);
});

test('small pieces of one turn leave in one call, at its end', async (t) => {
  const calls: number[] = [];
  const { many: send } = openSending(LIBRARY);
  const counting: SendMany = (bytes, jobs, count) => {
    calls.push(count);
    send(bytes, jobs, count);
  };
  const outbox = new Outbox({ many: counting, unpace: () => 0 });
  const [a, b] = [await connection(t), await connection(t)];
  outbox.write(a.near, piece('a'), 1);
  outbox.write(b.near, piece('b'), 1);
  assert.deepEqual(calls, []);
  await turn();
  await turn();
  assert.deepEqual(calls, [2]);
});

test('a piece for a socket that was closed is sent nowhere: its number may be that of another socket', async (t) => {
  const asked: number[] = [];
  const outbox = new Outbox({
    many(_bytes, jobs, count) {
      for (let i = 0; i < count; i++) asked.push(jobs[4 * i]!);
    },
    unpace: () => 0,
  });
  const [closed, open] = [await connection(t), await connection(t)];
  const number = descriptor(open.near);
  outbox.write(closed.near, piece('secret'), 6);
  outbox.write(open.near, piece('mine'), 4);
  closed.near.destroy();
  outbox.flush();
  assert.deepEqual(asked, [-1, number]);
});

test('a socket that was closed and one that the peer reset do not keep others from their bytes', async (t) => {
  const outbox = new Outbox(openSending(LIBRARY));
  const [gone, reset, whole] = [await connection(t), await connection(t), await connection(t)];
  reset.far.resetAndDestroy();
  await new Promise((resolve) => reset.near.once('close', resolve));
  outbox.write(gone.near, piece('x'), 1);
  outbox.write(whole.near, piece('whole'), 5);
  gone.near.destroy();
  outbox.flush();
  whole.near.end();
  assert.equal(await readAll(whole.far), 'whole');
});

test('what the kernel did not take goes by the socket itself', async (t) => {
  const { many: send } = openSending(LIBRARY);
  // A kernel that takes one byte of each.
  const meagre: SendMany = (bytes, jobs, count) => {
    const asked = Array.from({ length: count }, (_, i) => jobs[4 * i + 2]!);
    for (let i = 0; i < count; i++) jobs[4 * i + 2] = 1;
    send(bytes, jobs, count);
    for (let i = 0; i < count; i++) jobs[4 * i + 2] = asked[i]!;
  };
  const outbox = new Outbox({ many: meagre, unpace: () => 0 });
  const { near, far } = await connection(t);
  for (const text of ['alpha', 'beta', 'gamma']) {
    outbox.write(near, piece(text), text.length);
    outbox.flush();
  }
  near.end();
  assert.equal(await readAll(far), 'alphabetagamma');
});

test('more than fits into one turn leaves early and whole', async (t) => {
  const outbox = new Outbox(openSending(LIBRARY));
  const { near, far } = await connection(t);
  const rows = Array.from({ length: 1_000 }, (_, i) => Buffer.alloc(1_000, 65 + (i % 26)));
  for (const row of rows) outbox.write(near, [row], row.length);
  outbox.flush();
  near.end();
  assert.equal(await readAll(far), Buffer.concat(rows).toString('latin1'));
});

test('after a piece that the socket did not take whole, none of that socket is sent, and others are', async (t) => {
  const { many: send } = openSending(LIBRARY);
  const [full, other] = [await connection(t), await connection(t)];
  const size = 40_000_000;
  const jobs = Int32Array.of(
    ...[descriptor(full.near), 0, size, 0],
    ...[descriptor(full.near), 0, 5, 0],
    ...[descriptor(other.near), 0, 5, 0],
  );
  send(new Uint8Array(size), jobs, 3);
  assert.ok(jobs[3]! > 0 && jobs[3]! < size, `${jobs[3]}`);
  const EBADF = 9;
  assert.equal(jobs[7], -EBADF, 'not even tried');
  assert.equal(jobs[11], 5);
});

test('the native call refuses a piece that does not lie within the memory', () => {
  const { many: send } = openSending(LIBRARY);
  for (const [from, length] of [
    [0, 17],
    [16, 1],
    [-1, 1],
    [8, -1],
  ] as const) {
    assert.throws(() => send(new Uint8Array(16), Int32Array.of(-1, from, length, 0), 1), { code: 'INTERNAL' });
  }
});

test('a connection within the host is not paced by a model of a network', async (t) => {
  const { near } = await connection(t);
  const libc = koffi.load('libc.so.6');
  const get = libc.func('int getsockopt(int, int, int, _Out_ uint8_t *, _Inout_ uint32_t *)');
  const set = libc.func('int setsockopt(int, int, int, str, uint32_t)');
  const control = () => {
    const name = Buffer.alloc(16);
    assert.equal(get(descriptor(near), IPPROTO_TCP, TCP_CONGESTION, name, [name.length]), 0);
    return name.toString('latin1').replace(/\0.*/s, '');
  };
  const others = readFileSync('/proc/sys/net/ipv4/tcp_available_congestion_control', 'latin1').trim().split(' ');
  const other = others.find((name) => name !== 'reno');
  if (other !== undefined) set(descriptor(near), IPPROTO_TCP, TCP_CONGESTION, other, other.length);
  assert.equal(control(), other ?? 'reno');
  const sending = openSending(LIBRARY);
  new Outbox(sending).begin(near);
  assert.equal(control(), 'reno');
  assert.equal(sending.unpace(descriptor(near)), 1);
});

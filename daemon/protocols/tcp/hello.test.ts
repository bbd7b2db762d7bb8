import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import tls, { type ConnectionOptions } from 'node:tls';
import { HELLO_LIMIT, readHello } from './hello.ts';

/** What OpenSSL sends first. */
async function helloOf(options: ConnectionOptions): Promise<Buffer> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const client = tls.connect({ port, host: '127.0.0.1', ...options }).on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
  return bytes;
}

const NAMED = await helloOf({ servername: 'Mirror.Shop.test' });
const HELLO = { kind: 'hello', server: 'mirror.shop.test', encrypted: false } as const;

/** The same hello in records of so many bytes each. */
function inRecords(hello: Buffer, size: number): Buffer {
  const body = hello.subarray(5);
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; at += size) {
    const part = body.subarray(at, at + size);
    parts.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 0xff]), part);
  }
  return Buffer.concat(parts);
}

/** A hello of our own with these extensions. */
function made(...extensions: readonly (readonly [type: number, data: Buffer])[]): Buffer {
  const short = (n: number) => Buffer.from([n >> 8, n & 0xff]);
  const list = Buffer.concat(extensions.map(([type, data]) => Buffer.concat([short(type), short(data.length), data])));
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 7),
    Buffer.from([0, 0, 2, 0x13, 1, 1, 0]),
    short(list.length),
    list,
  ]);
  return Buffer.concat([
    Buffer.from([22, 3, 1]),
    short(body.length + 4),
    Buffer.from([1, 0]),
    short(body.length),
    body,
  ]);
}

const sni = (...names: string[]): Buffer => {
  const list = Buffer.concat(
    names.map((name) => Buffer.concat([Buffer.from([0, 0, name.length]), Buffer.from(name, 'latin1')])),
  );
  return Buffer.concat([Buffer.from([0, list.length]), list]);
};

test('the name is read, with whatever clients send beside it', async () => {
  assert.deepEqual(readHello(NAMED), HELLO);
  assert.deepEqual(readHello(await helloOf({ servername: 'mirror.shop.test', maxVersion: 'TLSv1.2' })), HELLO);
  assert.deepEqual(readHello(await helloOf({ servername: 'mirror.shop.test', ALPNProtocols: ['h2'] })), HELLO);
  assert.deepEqual(readHello(await helloOf({})), { ...HELLO, server: null });
  assert.deepEqual(readHello(Buffer.concat([NAMED, Buffer.from('early data')])), HELLO);
});

test('cut anywhere it needs more, and in any records it is the same', () => {
  for (let length = 0; length < NAMED.length; length++)
    assert.deepEqual(readHello(NAMED.subarray(0, length)), { kind: 'more' }, String(length));
  for (const size of [1, 2, 3, 4, 5, 17, 100]) {
    const parted = inRecords(NAMED, size);
    assert.deepEqual(readHello(parted), HELLO, `records of ${size}`);
    for (let length = 0; length < parted.length; length++)
      assert.equal(readHello(parted.subarray(0, length)).kind, 'more', `${size} ${length}`);
  }
});

test('an encrypted hello is seen, and what is no TLS', () => {
  for (const type of [0xfe0d, 0xffce])
    assert.deepEqual(readHello(made([0, sni('mirror.shop.test')], [type, Buffer.from([0])])), {
      ...HELLO,
      encrypted: true,
    });
  for (const text of ['GET / HTTP/1.1\r\n', 'SSH-2.0-x\r\n', '\x80\x2e\x01\x03\x01', '\x00', '\x15\x03\x01'])
    assert.deepEqual(readHello(Buffer.from(text, 'latin1')), { kind: 'other' });
});

test('what could be read in two ways is bad', () => {
  for (const [why, bytes] of Object.entries({
    'the name twice': made([0, sni('a.test')], [0, sni('b.test')]),
    'two names': made([0, sni('a.test', 'b.test')]),
    'no name in the list': made([0, Buffer.from([0, 0])]),
    'an empty name': made([0, sni('')]),
    'a NUL in it': made([0, sni('a.test\0.b.test')]),
    'an address list': made([0, Buffer.from([0, 4, 1, 0, 1, 65])]),
    'a list shorter than its extension': made([0, Buffer.concat([sni('a.test'), Buffer.from([0])])]),
    'another handshake message': Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0]),
    'an empty record': Buffer.from([22, 3, 1, 0, 0]),
    'a huge record': Buffer.from([22, 3, 1, 0xff, 0xff]),
    'a huge hello': Buffer.concat([Buffer.from([22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff])]),
    'another record in between': Buffer.concat([
      inRecords(NAMED, 50).subarray(0, 55),
      Buffer.from([23, 3, 3, 0, 1, 0]),
    ]),
    'an unknown version': Buffer.from([22, 4]),
  }))
    assert.equal(readHello(bytes).kind, 'bad', why);
  assert.ok(HELLO_LIMIT < 1 << 16);
});

test('whatever comes is an answer, never a fault', () => {
  let state = 4711;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const names = new Set<string | null>();
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.from(i % 2 === 0 ? NAMED : inRecords(NAMED, 64));
    for (let k = 0; k <= random() * 4; k++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    const hello = readHello(bytes.subarray(0, Math.ceil(random() * bytes.length * 1.5)));
    if (hello.kind === 'hello') names.add(hello.server);
  }
  for (const name of names) assert.match(name ?? 'none', /^[a-z0-9._-]+$/);
});

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { type FindAddresses, reach } from './reach.ts';

const PORT = 5433;

/** A name with these addresses. */
const named = (...addresses: string[]): FindAddresses =>
  async function* () {
    if (addresses.length > 0) yield addresses;
  };

/** Lets everything happen that is due. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('the first address that answers', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
  afterEach(() => mock.timers.reset());

  /** Attempts that end as the test says. */
  const trying = (...addresses: string[]) => finding(named(...addresses));

  async function finding(lookup: FindAddresses) {
    const sockets = new Map<string, net.Socket>();
    const aborting = new AbortController();
    const reached = reach({
      host: 'x.test',
      port: PORT,
      signal: aborting.signal,
      lookup,
      open(address) {
        const socket = new net.Socket();
        sockets.set(address, socket);
        return socket;
      },
    });
    reached.catch(() => {});
    await settle();
    return {
      reached,
      abort: () => aborting.abort(),
      tried: () => [...sockets.keys()],
      of: (address: string) => sockets.get(address)!,
      refuse: (address: string) => sockets.get(address)!.emit('error', new Error(`refused by ${address}`)),
    };
  }

  test('families take turns, a quarter of a second each, beginning with the one that was found first', async () => {
    const { tried, of, reached } = await trying('2001:db8::1', '2001:db8::2', '192.0.2.1', '2001:db8::3');
    const order = ['2001:db8::1', '192.0.2.1', '2001:db8::2', '2001:db8::3'];
    for (let i = 1; i <= order.length; i++) {
      assert.deepEqual(tried(), order.slice(0, i));
      mock.timers.tick(249);
      assert.deepEqual(tried(), order.slice(0, i));
      mock.timers.tick(1);
    }
    of('2001:db8::2').emit('connect');
    assert.equal(await reached, of('2001:db8::2'));
    assert.deepEqual(
      order.map((address) => of(address).destroyed),
      [true, true, false, true],
    );
  });

  test('after a refusal the next address is tried at once', async () => {
    const { tried, refuse, of, reached } = await trying('192.0.2.1', '2001:db8::1');
    refuse('192.0.2.1');
    assert.deepEqual(tried(), ['192.0.2.1', '2001:db8::1']);
    of('2001:db8::1').emit('connect');
    assert.equal(await reached, of('2001:db8::1'));
  });

  test('one that is slow is waited for when the others have refused', async () => {
    const { refuse, of, reached } = await trying('2001:db8::1', '192.0.2.1');
    mock.timers.tick(250);
    refuse('192.0.2.1');
    mock.timers.tick(5_000);
    assert.equal(of('2001:db8::1').destroyed, false);
    of('2001:db8::1').emit('connect');
    assert.equal(await reached, of('2001:db8::1'));
  });

  test('when all have refused, each is named', async () => {
    const { refuse, reached } = await trying('192.0.2.1', '2001:db8::1');
    refuse('192.0.2.1');
    refuse('2001:db8::1');
    await assert.rejects(reached, { message: 'refused by 192.0.2.1; refused by 2001:db8::1' });
  });

  test('an end from outside ends all attempts, and says which did not answer', async () => {
    const { refuse, of, abort, reached } = await trying('192.0.2.1', '2001:db8::1', '2001:db8::2');
    refuse('192.0.2.1');
    mock.timers.tick(250);
    abort();
    const rest = 'no answer from 2001:db8::1 in time; no answer from 2001:db8::2 in time';
    await assert.rejects(reached, { message: `refused by 192.0.2.1; ${rest}` });
    assert.deepEqual([of('2001:db8::1').destroyed, of('2001:db8::2').destroyed], [true, true]);
    mock.timers.tick(1_000);
  });

  /** A name whose addresses are found when the test says so, until it says that those were all. */
  function found() {
    let wake = Promise.withResolvers<readonly string[] | null>();
    const lookup: FindAddresses = async function* () {
      for (let list = await wake.promise; list !== null; list = await wake.promise) {
        wake = Promise.withResolvers();
        yield list;
      }
    };
    const tell = (list: readonly string[] | null) => {
      wake.resolve(list);
      return settle();
    };
    return { lookup, more: (...list: string[]) => tell(list), all: () => tell(null) };
  }

  test('what is found first is tried while the rest is looked for; what comes later has its turn', async () => {
    const { lookup, more } = found();
    const { tried, refuse, of, reached } = await finding(lookup);
    await more('192.0.2.1', '192.0.2.2');
    assert.deepEqual(tried(), ['192.0.2.1']);
    await more('2001:db8::1');
    assert.deepEqual(tried(), ['192.0.2.1']);
    refuse('192.0.2.1');
    assert.deepEqual(tried(), ['192.0.2.1', '2001:db8::1']);
    of('2001:db8::1').emit('connect');
    assert.equal(await reached, of('2001:db8::1'));
  });

  test('when all that was found has refused, the rest is waited for, and tried at once', async () => {
    const { lookup, more, all } = found();
    const { tried, refuse, reached } = await finding(lookup);
    await more('192.0.2.1');
    refuse('192.0.2.1');
    mock.timers.tick(1_000);
    await more('2001:db8::1');
    assert.deepEqual(tried(), ['192.0.2.1', '2001:db8::1']);
    refuse('2001:db8::1');
    await all();
    await assert.rejects(reached, { message: 'refused by 192.0.2.1; refused by 2001:db8::1' });
  });

  test('of many that do not answer, eight are waited for at once', async () => {
    const many = Array.from({ length: 20 }, (_, i) => `192.0.2.${i + 1}`);
    const { tried, of, reached } = await trying(...many);
    for (let i = 0; i < many.length; i++) mock.timers.tick(250);
    assert.deepEqual(tried(), many);
    assert.deepEqual(
      many.filter((address) => !of(address).destroyed),
      many.slice(-8),
    );
    of('192.0.2.13').emit('connect');
    assert.equal(await reached, of('192.0.2.13'));
  });
});

test('a name without an address, one that is not found, and one that is not found in time', async () => {
  const { signal } = new AbortController();
  const to = (lookup: FindAddresses, until = signal) => reach({ host: 'x.test', port: PORT, signal: until, lookup });
  await assert.rejects(to(named()), /x\.test has no address/);
  await assert.rejects(
    // biome-ignore lint/correctness/useYield: it finds none
    to(async function* () {
      throw new Error('no such name');
    }),
    /no such name/,
  );
  const aborting = new AbortController();
  const never = to(async function* () {
    await new Promise(() => {});
  }, aborting.signal);
  aborting.abort();
  await assert.rejects(never, /the addresses of x\.test were not found in time/);
  await assert.rejects(to(named('192.0.2.1'), AbortSignal.abort()), /not found in time/);
});

test('real sockets: one address refuses, the other answers; then both refuse', async () => {
  const server = net.createServer((socket) => socket.on('error', () => {}).end('hello')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const { signal } = new AbortController();
  const socket = await reach({ host: 'x.test', port, signal, lookup: named('::1', '127.0.0.1') });
  assert.equal(socket.remoteAddress, '127.0.0.1');
  assert.equal(String((await once(socket, 'data'))[0]), 'hello');
  socket.destroy();
  // Found as the C library finds it.
  const local = await reach({ host: 'localhost', port, signal });
  assert.equal(local.remoteAddress, '127.0.0.1');
  local.on('error', () => {}).destroy();
  server.close();
  await once(server, 'close');
  const message = `connect ECONNREFUSED ::1:${port}; connect ECONNREFUSED 127.0.0.1:${port}`;
  await assert.rejects(reach({ host: 'x.test', port, signal, lookup: named('::1', '127.0.0.1') }), { message });
});

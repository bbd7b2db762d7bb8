import assert from 'node:assert/strict';
import { createSocket, type RemoteInfo } from 'node:dgram';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { lookupBy } from './lookup.ts';

const A = 1;
const AAAA = 28;

interface Question {
  readonly type: number;
  /** With these addresses, as bytes; none: the name has no such. */
  answer(...addresses: readonly (readonly number[])[]): void;
}

/** A resolver that does as the test says. */
async function resolver(t: TestContext, asked: (question: Question) => void) {
  const socket = createSocket('udp4');
  t.after(() => socket.close());
  socket.on('message', (message: Buffer, from: RemoteInfo) => {
    // Header, name, type and class; whatever follows (EDNS) is left out of the answer.
    const end = message.indexOf(0, 12) + 1;
    asked({
      type: message.readUInt16BE(end),
      answer(...addresses) {
        const question = Buffer.from(message.subarray(0, end + 4));
        question.writeUInt16BE(0x8180, 2);
        question.writeUInt16BE(addresses.length, 6);
        question.writeUInt32BE(0, 8);
        const records = addresses.map((address) => {
          const fixed = Buffer.from([0xc0, 12, 0, message.readUInt16BE(end), 0, 1, 0, 0, 0, 60, 0, address.length]);
          return Buffer.concat([fixed, Buffer.from(address)]);
        });
        socket.send(Buffer.concat([question, ...records]), from.port, from.address);
      },
    });
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return lookupBy([{ host: '127.0.0.1', port: socket.address().port }], (name) =>
    name === 'known.test' ? ['192.0.2.7'] : [],
  );
}

const FOUR = [192, 0, 2, 23];
const SIX = [0x20, 0x01, 0x0d, 0xb8, ...Array<number>(11).fill(0), 0x17];

for (const silent of [AAAA, A]) {
  test(`a resolver that is silent about ${silent === A ? 'A' : 'AAAA'} keeps nobody from the other family`, async (t) => {
    const waiting: Question[] = [];
    const find = await resolver(t, (question) => {
      if (question.type === silent) waiting.push(question);
      else question.answer(silent === A ? SIX : FOUR);
    });
    const found = find('shop.test')[Symbol.asyncIterator]();
    const [first, second] = silent === A ? ['2001:db8::17', '192.0.2.23'] : ['192.0.2.23', '2001:db8::17'];
    assert.deepEqual((await found.next()).value, [first]);
    // It was asked, and is answered only now.
    assert.equal(waiting.length, 1);
    waiting[0]!.answer(silent === A ? FOUR : SIX);
    assert.deepEqual((await found.next()).value, [second]);
    assert.equal((await found.next()).done, true);
  });
}

/** All that is found, list by list. */
async function all(found: AsyncIterable<readonly string[]>): Promise<(readonly string[])[]> {
  const lists: (readonly string[])[] = [];
  for await (const list of found) lists.push(list);
  return lists;
}

test('IPv6 comes first where it is answered first, and a family that there is not is left out', async (t) => {
  let four: Question | null = null;
  let six = false;
  const find = await resolver(t, (question) => {
    if (question.type === A) four = question;
    else question.answer(SIX);
    six ||= question.type === AAAA;
    if (six) four?.answer(FOUR);
  });
  assert.deepEqual(await all(find('shop.test')), [['2001:db8::17'], ['192.0.2.23']]);
  const alone = await resolver(t, ({ type, answer }) => (type === A ? answer(FOUR) : answer()));
  assert.deepEqual(await all(alone('shop.test')), [['192.0.2.23']]);
});

test('a name without addresses is an error, and one of the host is not asked for', async (t) => {
  let asked = 0;
  const find = await resolver(t, ({ answer }) => {
    asked++;
    answer();
  });
  assert.deepEqual(await all(find('Known.test.')), [['192.0.2.7']]);
  assert.equal(asked, 0);
  await assert.rejects(all(find('none.test')), { code: 'ENODATA' });
});

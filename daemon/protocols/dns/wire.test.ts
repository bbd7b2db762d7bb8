import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Framer, frame } from './framer.ts';
import { readQuery } from './query.ts';
import { findRecords, judge, makeQuery } from './upstream.ts';
import {
  CLASS_IN,
  dataOf,
  FLAG,
  Malformed,
  nameBytes,
  nameText,
  type Plain,
  RCODE,
  readMessage,
  readName,
  TYPE,
  writeMessage,
} from './wire.ts';

const question = (name: string, type: number = TYPE.A) => ({ name: nameBytes(name), type, class: CLASS_IN });
const record = (name: string, type: number, data: Buffer, ttl = 60): Plain => ({
  name: nameBytes(name),
  type,
  ttl,
  data,
});
const v4 = (text: string) => Buffer.from(text.split('.').map(Number));

/** As the server of a client that asks for `www.shop.test` would answer. */
const answer = (id: number, answers: readonly Plain[], flags = 0): Buffer =>
  writeMessage({ id, flags: FLAG.QR | FLAG.RA | flags, question: question('www.shop.test'), answers });

test('what was written reads the same, names of a chain as pointers', () => {
  const bytes = answer(17, [
    record('www.shop.test', TYPE.CNAME, nameBytes('deb.shop.test')),
    record('deb.shop.test', TYPE.A, v4('198.51.100.23')),
    record('deb.shop.test', TYPE.MX, Buffer.concat([Buffer.from([0, 10]), nameBytes('mail.test')])),
  ]);
  const message = readMessage(bytes);
  assert.deepEqual(
    message.answers.map((entry) => [nameText(entry.name), entry.type, entry.ttl]),
    [
      ['www.shop.test', TYPE.CNAME, 60],
      ['deb.shop.test', TYPE.A, 60],
      ['deb.shop.test', TYPE.MX, 60],
    ],
  );
  assert.equal(nameText(dataOf(bytes, message.answers[0]!)), 'deb.shop.test');
  assert.equal(
    bytes.filter((byte) => byte === 0xc0).length,
    3,
    'the second deb.shop.test and www.shop.test are pointers',
  );
});

test('a pointer forward, to itself or into the header, and names too long or cut off are malformed', () => {
  const header = Buffer.alloc(12);
  for (const [why, tail] of [
    ['to itself', [0xc0, 12]],
    ['forward', [0xc0, 14, 0]],
    ['into the header', [0xc0, 3]],
    ['half of one', [0xc0]],
    ['unknown kind', [0x40, 1, 0]],
    ['cut off', [3, 97, 98]],
    ['without an end', [1, 97]],
    ['255 bytes and more', [...Array(128).fill([1, 97]).flat(), 0]],
  ] as const)
    assert.throws(() => readName(Buffer.concat([header, Buffer.from(tail)]), 12), Malformed, why);
  // A chain of pointers, each leading to the one before.
  const chain = Buffer.alloc(12 + 2 * 200);
  for (let i = 1; i < 200; i++) chain.writeUInt16BE(0xc000 | (12 + 2 * (i - 1)), 12 + 2 * i);
  assert.throws(() => readName(chain, 12 + 2 * 199), Malformed);
});

test('a stream comes apart into its messages, wherever it is cut', () => {
  const messages = [Buffer.from('first'), Buffer.alloc(0), Buffer.from('the second')];
  const stream = Buffer.concat(messages.map(frame));
  for (let cut = 0; cut <= stream.length; cut++) {
    const framer = new Framer(64);
    const out: Buffer[] = [];
    for (const part of [stream.subarray(0, cut), stream.subarray(cut)]) {
      framer.push(part);
      for (let message = framer.next(); message !== null; message = framer.next()) out.push(message);
    }
    assert.deepEqual(out, messages);
    assert.equal(framer.partial, false);
  }
  const single = new Framer(64);
  const out: string[] = [];
  for (const byte of stream) {
    single.push(Buffer.from([byte]));
    for (let message = single.next(); message !== null; message = single.next()) out.push(String(message));
  }
  assert.deepEqual(out, messages.map(String));
  const long = new Framer(64);
  long.push(Buffer.from([0, 65]));
  assert.throws(() => long.next(), { code: 'PROTOCOL_VIOLATION' });
});

/** OPT with options, a payload of 4096 and a version. */
function opt(options = Buffer.alloc(0), version = 0): Buffer {
  const head = Buffer.from([0, 0, 41, 0x10, 0, 0, version, 0x80, 0, 0, 0]);
  head.writeUInt16BE(options.length, 9);
  return Buffer.concat([head, options]);
}
const ask = (
  flags: number,
  additionals: readonly Buffer[] = [],
  type: number = TYPE.A,
  name = 'Deb.Shop.TEST',
): Buffer => writeMessage({ id: 4711, flags, question: question(name, type), additionals });

test('a query is one question with at most one OPT; the rest is told by its RCODE', () => {
  const plain = readQuery(ask(FLAG.RD))!;
  assert.equal(plain.fault, null);
  assert.equal(nameText(plain.question!.name), 'Deb.Shop.TEST');
  assert.deepEqual([plain.edns, plain.payload], [false, 512]);
  const edns = readQuery(ask(FLAG.RD, [opt(Buffer.from([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]))]))!;
  assert.deepEqual([edns.fault, edns.edns, edns.payload], [null, true, 1232]);
  const rcode = (bytes: Buffer) => readQuery(bytes)?.fault?.rcode ?? null;
  assert.equal(rcode(ask(FLAG.RD, [opt(undefined, 1)])), RCODE.BADVERS);
  assert.equal(rcode(ask(0x2800)), RCODE.NOTIMP, 'UPDATE');
  assert.equal(rcode(ask(FLAG.RD, [opt(), opt()])), RCODE.FORMERR);
  assert.equal(rcode(Buffer.concat([ask(FLAG.RD), Buffer.from('more')])), RCODE.FORMERR);
  assert.equal(rcode(Buffer.concat([ask(FLAG.RD), Buffer.alloc(5000)])), RCODE.FORMERR);
  assert.equal(rcode(ask(FLAG.RD, [], TYPE.AXFR)), RCODE.REFUSED);
  const chaos = ask(FLAG.RD);
  chaos.writeUInt16BE(3, chaos.length - 2);
  assert.equal(rcode(chaos), RCODE.REFUSED);
  assert.equal(readQuery(ask(FLAG.QR)), null, 'an answer is not answered');
  assert.equal(readQuery(Buffer.alloc(11)), null);
});

test('a query that is cut anywhere is malformed or dropped, and never taken for a whole one', () => {
  const whole = ask(FLAG.RD, [opt()]);
  for (let length = 0; length < whole.length; length++)
    assert.ok(readQuery(whole.subarray(0, length))?.fault !== null || length < 12, String(length));
});

test('only what answers the very question is an answer', () => {
  const sent = makeQuery(nameBytes('www.shop.test'), TYPE.A);
  const good = [record('www.shop.test', TYPE.A, v4('198.51.100.23'))];
  assert.equal(judge(sent, answer(sent.id, good)), 'yes');
  assert.equal(judge(sent, answer(sent.id ^ 1, good)), 'no');
  assert.equal(judge(sent, answer(sent.id, good, FLAG.TC)), 'cut');
  assert.equal(judge(sent, answer(sent.id, [], RCODE.NXDOMAIN)), 'yes');
  for (const rcode of [RCODE.SERVFAIL, RCODE.REFUSED, RCODE.NOTIMP])
    assert.equal(judge(sent, answer(sent.id, [], rcode)), 'next');
  const other = (name: string, type: number) =>
    writeMessage({ id: sent.id, flags: FLAG.QR, question: question(name, type), answers: good });
  assert.equal(judge(sent, other('www.shop.test', TYPE.AAAA)), 'no');
  assert.equal(judge(sent, other('wwx.shop.test', TYPE.A)), 'no');
  assert.equal(judge(sent, writeMessage({ id: sent.id, flags: FLAG.QR, question: null, answers: good })), 'no');
  assert.equal(judge(sent, sent.bytes), 'no', 'the question itself');
  const whole = answer(sent.id, good);
  for (let length = 0; length < whole.length; length++) assert.equal(judge(sent, whole.subarray(0, length)), 'no');
});

test('of an answer only the chain from the name asked counts', () => {
  const sent = makeQuery(nameBytes('www.shop.test'), TYPE.A);
  const found = (answers: readonly Plain[]) => findRecords(sent, answer(sent.id, answers));
  const stray = record('bank.test', TYPE.A, v4('203.0.113.9'));
  const chain = [
    record('www.shop.test', TYPE.CNAME, nameBytes('a.test')),
    record('a.test', TYPE.CNAME, nameBytes('b.test')),
    record('b.test', TYPE.A, v4('198.51.100.23')),
  ];
  // In whatever order they come.
  const { chain: links, records } = found([stray, chain[2]!, chain[1]!, chain[0]!]);
  assert.deepEqual(
    links.map(({ name }) => nameText(name)),
    ['www.shop.test', 'a.test'],
  );
  assert.deepEqual(
    records.map(({ data }) => [...data]),
    [[198, 51, 100, 23]],
  );
  assert.equal(found([stray]).records.length, 0);
  assert.throws(() => found([chain[0]!, record('a.test', TYPE.CNAME, nameBytes('www.shop.test'))]), Malformed);
  const endless = Array.from({ length: 20 }, (_, i) =>
    record(i === 0 ? 'www.shop.test' : `x${i}.test`, TYPE.CNAME, nameBytes(`x${i + 1}.test`)),
  );
  assert.throws(() => found(endless), Malformed);
  assert.throws(() => found([record('www.shop.test', TYPE.A, Buffer.from([1, 2, 3]))]), Malformed);
  assert.deepEqual(found([record('www.shop.test', TYPE.A, v4('198.51.100.23'), 0x8000_0000)]).records[0]!.ttl, 0);
  assert.equal(found([record('www.shop.test', TYPE.A, v4('198.51.100.23'), 0x7fff_ffff)]).records[0]!.ttl, 86_400);
});

test('the question that goes out holds name and type, and nothing that the client chose besides', () => {
  const a = makeQuery(nameBytes('www.shop.test'), TYPE.A);
  const message = readMessage(a.bytes);
  assert.deepEqual([message.flags, message.counts], [FLAG.RD, [1, 0, 0, 1]]);
  assert.equal(message.additionals[0]!.to - message.additionals[0]!.from, 0, 'no EDNS option');
  const ids = new Set(Array.from({ length: 50 }, () => makeQuery(nameBytes('www.shop.test'), TYPE.A).id));
  assert.ok(ids.size > 40, 'ids are chosen by chance');
});

/** Numbers that are the same in each run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test('whatever comes is read, refused or malformed, and nothing else', () => {
  const random = numbers(17);
  const sent = makeQuery(nameBytes('www.shop.test'), TYPE.A);
  const seeds = [
    ask(FLAG.RD, [opt()]),
    answer(sent.id, [
      record('www.shop.test', TYPE.CNAME, nameBytes('a.test')),
      record('a.test', TYPE.A, v4('198.51.100.23')),
      record('a.test', TYPE.TXT, Buffer.from('\x03abc\x01d')),
    ]),
  ];
  for (let i = 0; i < 40_000; i++) {
    const bytes = Buffer.from(seeds[i % seeds.length]!);
    for (let k = 0; k <= random() * 6; k++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    const cut = bytes.subarray(0, Math.ceil(random() * bytes.length * 1.3));
    readQuery(cut);
    if (judge(sent, cut) === 'yes') {
      try {
        findRecords(sent, cut);
      } catch (error) {
        assert.ok(error instanceof Malformed, String(error));
      }
    }
  }
});

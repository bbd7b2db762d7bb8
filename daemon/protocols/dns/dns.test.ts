import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NameDecision } from '../../core/policy.ts';
import { Allowance, BOUNDS } from './allowance.ts';
import { dns } from './dns.ts';
import { inwardOf } from './inward.ts';
import { CLASS_IN, FLAG, nameBytes, nameText, type Plain, RCODE, readMessage, TYPE, writeMessage } from './wire.ts';

const OPT = Buffer.from([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
const LET: NameDecision = { outcome: 'allow', rule: 'r', reason: '', known: true, inward: false, zone: null };

function ask(name: string, type: number = TYPE.A, edns = true): Buffer {
  const question = { name: nameBytes(name), type, class: CLASS_IN };
  return writeMessage({ id: 77, flags: FLAG.RD, question, additionals: edns ? [OPT] : [] });
}

/** Answers whatever it is asked with these records, from the name asked on. */
const server = (records: readonly Omit<Plain, 'name' | 'ttl'>[]) => async (bytes: Buffer) => {
  const { id, questions } = readMessage(bytes);
  const answers = records.map((each) => ({ ...each, name: questions[0]!.name, ttl: 30 }));
  return writeMessage({ id, flags: FLAG.QR, question: questions[0]!, answers });
};
const rcodeOf = (bytes: Buffer) => bytes.readUInt16BE(2) & 0xf;

test('the answer echoes id, question and its case, and tells the addresses', async () => {
  const inquiry = dns.read(ask('DeB.ShOp.TeSt'), true)!;
  assert.deepEqual([inquiry.name, inquiry.type, inquiry.operation.text], ['deb.shop.test', 'A', 'A deb.shop.test']);
  const told = await inquiry.answer(LET, server([{ type: TYPE.A, data: Buffer.from([198, 51, 100, 23]) }]));
  const reply = readMessage(told.bytes);
  assert.equal(reply.id, 77);
  assert.equal(nameText(reply.questions[0]!.name), 'DeB.ShOp.TeSt');
  assert.deepEqual([told.rows, told.addresses], [1, ['198.51.100.23']]);
});

test('an address that leads back to the host is told to nobody, unless policy lets it', async () => {
  for (const [type, bytes] of [
    [TYPE.A, [127, 0, 0, 1]],
    [TYPE.A, [169, 254, 169, 254]],
    [TYPE.A, [0, 0, 0, 0]],
    [TYPE.AAAA, [...Array(15).fill(0), 1]],
    [TYPE.AAAA, [...Array(10).fill(0), 255, 255, 127, 0, 0, 1]],
    [TYPE.AAAA, [0, 0x64, 0xff, 0x9b, ...Array(8).fill(0), 169, 254, 169, 254]],
    [TYPE.AAAA, [0xfe, 0x80, ...Array(13).fill(0), 1]],
    [TYPE.AAAA, [0x20, 2, 127, 0, 0, 1, ...Array(10).fill(0)]],
  ] as const) {
    // Beside one that is all right.
    const good = { type, data: type === TYPE.A ? Buffer.from([198, 51, 100, 23]) : Buffer.alloc(16, 0x20) };
    const records = [good, { type, data: Buffer.from(bytes) }];
    const inquiry = dns.read(ask('rebind.test', type), true)!;
    const told = await inquiry.answer(LET, server(records));
    assert.deepEqual([told.error, told.addresses, readMessage(told.bytes).answers], ['NAME_INWARD', [], []]);
    assert.equal((await inquiry.answer({ ...LET, inward: true }, server(records))).rows, 2);
  }
  for (const address of ['0a000001', 'c0a80101', 'c6336417', '20010db8000000000000000000000017'])
    assert.equal(inwardOf(Buffer.from(address, 'hex')), null, address);
});

test('what is too long for a datagram is cut, and whole over TCP', async () => {
  const many = Array.from({ length: 100 }, (_, i) => ({ type: TYPE.A, data: Buffer.from([198, 51, 100, i]) }));
  const long = await dns.read(ask('many.test'), true)!.answer(LET, server(many));
  assert.ok(long.bytes.length <= 1232);
  assert.equal(long.bytes.readUInt16BE(2) & FLAG.TC, FLAG.TC);
  const plain = await dns.read(ask('many.test', TYPE.A, false), true)!.answer(LET, server(many.slice(0, 40)));
  assert.equal(plain.bytes.readUInt16BE(2) & FLAG.TC, FLAG.TC, 'more than 512 bytes without EDNS');
  const stream = await dns.read(ask('many.test'), false)!.answer(LET, server(many));
  assert.equal(readMessage(stream.bytes).answers.length, 100);
});

test('refusals are what resolvers go on after: NXDOMAIN, or no such record, with a SOA and a reason', () => {
  const inquiry = dns.read(ask('no.shop.test', TYPE.TXT), true)!;
  const told = (code: 'NAME_UNKNOWN' | 'NAME_TYPE' | 'NAME_LIMIT' | 'AUDIT_FULL', known: boolean) => {
    const bytes = inquiry.refuse({ code, message: 'why not' }, known);
    const { authorities } = readMessage(bytes);
    assert.ok(bytes.includes(`why not (${code})`), 'the reason, as an extended error');
    return [rcodeOf(bytes), ...authorities.map(({ name, type }) => [nameText(name), type])];
  };
  assert.deepEqual(told('NAME_UNKNOWN', false), [RCODE.NXDOMAIN, ['shop.test', TYPE.SOA]]);
  assert.deepEqual(told('NAME_TYPE', true), [RCODE.NOERROR, ['no.shop.test', TYPE.SOA]]);
  assert.deepEqual(told('NAME_LIMIT', true), [RCODE.REFUSED]);
  assert.deepEqual(told('AUDIT_FULL', true), [RCODE.SERVFAIL]);
  const plain = dns.read(ask('no.shop.test', TYPE.A, false), true)!;
  assert.deepEqual(readMessage(plain.refuse({ code: 'NAME_UNKNOWN', message: 'x' }, false)).additionals, []);
  const update = ask('shop.test');
  update.writeUInt16BE(0x2800, 2);
  const fault = dns.read(update, true)!;
  assert.equal(rcodeOf(fault.refuse(fault.fault!, false)), RCODE.NOTIMP);
});

test('names of odd letters are never those of a policy', () => {
  const dotted = Buffer.concat([Buffer.from([13]), Buffer.from('deb.shop.test'), Buffer.from([0])]);
  const bytes = writeMessage({ id: 1, flags: 0, question: { name: dotted, type: TYPE.A, class: CLASS_IN } });
  assert.equal(dns.read(bytes, true)!.name, 'deb\\046shop\\046test');
});

test('questions are bounded in number, and names below a zone in what they can carry', () => {
  const allowance = new Allowance();
  let taken = 0;
  for (let i = 0; i < 1000; i++) if (allowance.take(1_000_000)) taken++;
  assert.equal(taken, BOUNDS.burst);
  assert.equal(allowance.take(1_001_000), true);
  const below = (name: string) => allowance.below(name, 'zone.test', 0);
  for (const name of ['cdn.zone.test', 'd111111abcdef8.zone.test', 'eu-central-1.files.zone.test'])
    assert.equal(below(name), null, name);
  assert.match(below(`${'a'.repeat(41)}.zone.test`)!, /more than 40 characters/);
  assert.match(below('a.b.c.d.e.zone.test')!, /more than 4 labels/);
  assert.match(below('mzxw6ytboi3dcmrtgq2tmnzyhezt.zone.test')!, /look like data/);
  let asked = 0;
  for (let i = 0; i < 1000; i++) if (below(`n${i}.zone.test`) === null) asked++;
  assert.equal(asked, BOUNDS.names - 3);
  assert.equal(below('n1.zone.test'), null, 'a name that was asked for already');
  assert.equal(allowance.below('n900.zone.test', 'zone.test', 3_600_001), null, 'an hour later');
});

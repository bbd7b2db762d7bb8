/** DNS's words for the conformance suite, over TCP and over UDP, in front of a real server. */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { dns } from '../../daemon/protocols/dns/dns.ts';
import { Framer, frame } from '../../daemon/protocols/dns/framer.ts';
import { QUERY_LIMIT } from '../../daemon/protocols/dns/query.ts';
import {
  CLASS_IN,
  dataOf,
  type Entry,
  FLAG,
  HEADER,
  nameBytes,
  nameText,
  type Plain,
  RCODE,
  rcodeName,
  readHeader,
  readMessage,
  readQuestion,
  TYPE,
  typeName,
  writeMessage,
} from '../../daemon/protocols/dns/wire.ts';
import { dnsMissing, startDns } from '../harness/dns.ts';
import type { Answer, Client, Fixture, Lie, Part } from './fixture.ts';
import { splittingStream } from './splitting.ts';
import { openStage, type Stage } from './stage.ts';
import { openTap, type Tap } from './tap.ts';

/** Its bytes as an address can be read, and must not be. */
const CANARY = 'sAFE';

const RECORDS = [
  'host-record=read.test,198.51.100.23,2001:db8::17:23',
  'host-record=forbidden.test,198.51.100.26',
  'cname=alias.test,chained.test',
  'host-record=chained.test,198.51.100.25',
  'txt-record=text.test,anybody may read this',
  'mx-host=text.test,mx.text.test,10',
  ...Array.from({ length: 90 }, (_, i) => `host-record=many.test,203.0.113.${i + 1}`),
  'local-ttl=61',
  // Else the same question is answered in another order each time.
  'no-round-robin',
];

const POLICY = `apiVersion: sluice/v1
dns:
  - {name: addresses, names: [read.test, alias.test, many.test, gone.test], who: {groups: [agents]}}
  - {name: texts, names: [text.test], who: {groups: [agents]}, types: [TXT, MX]}
`;

const OPT = Buffer.from([0, 0, TYPE.OPT, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
const ID = 0x4711;

/** A question as a client asks it: `EDNS`, recursion desired. */
function ask(name: string, type: number = TYPE.A): Buffer {
  const question = { name: nameBytes(name), type, class: CLASS_IN };
  return writeMessage({ id: ID, flags: FLAG.RD, question, additionals: [OPT] });
}

/** The text of an extended error (RFC 8914) in an OPT record: `code:2 length:2 (info:2 text)`. */
function extendedError(bytes: Buffer, { from, to }: Entry): string | undefined {
  return to - from > 6 ? bytes.toString('utf8', from + 6, to) : undefined;
}

/** `text` is made of the bytes of the records, so that it shows in what came. */
function answered(bytes: Buffer): Answer {
  const { flags, answers, additionals } = readMessage(bytes);
  const text = answers.map((entry) => bytes.toString('latin1', entry.from, entry.to)).join('');
  const rcode = flags & 0xf;
  const opt = additionals.find(({ type }) => type === TYPE.OPT);
  const message = opt === undefined ? undefined : extendedError(bytes, opt);
  if (rcode === RCODE.NOERROR && message === undefined) return { done: true, text };
  return { done: false, text, error: { code: rcodeName(rcode), message: message ?? '' } };
}

/** What a resolver goes by: question, code and records; not the server's flags, its compression and its SOA. */
function shown(message: Buffer): string {
  const { flags, questions, answers } = readMessage(message);
  const records = answers.map((entry) => {
    const data = dataOf(message, entry).toString('hex');
    return `${nameText(entry.name)} ${entry.ttl} ${typeName(entry.type)} ${data}`;
  });
  const asked = questions.map(({ name, type }) => `${nameText(name)} ${typeName(type)}`);
  return [rcodeName(flags & 0xf), ...asked, ...records.sort()].join('\n');
}

function shownAll(bytes: Buffer): string {
  const framer = new Framer(0xffff);
  framer.push(bytes);
  const all: string[] = [];
  for (let message = framer.next(); message !== null; message = framer.next()) all.push(shown(message));
  return all.join('\n\n');
}

/** What has come, whoever brings it, and those who wait for more. */
class Inbox {
  #came = Buffer.alloc(0);
  readonly #messages: Buffer[] = [];
  readonly #framer = new Framer(0xffff);
  #closed = false;
  #wake = Promise.withResolvers<void>();

  push(bytes: Buffer): void {
    this.#came = Buffer.concat([this.#came, bytes]);
    this.#framer.push(bytes);
    for (let message = this.#framer.next(); message !== null; message = this.#framer.next())
      this.#messages.push(message);
    this.#tell();
  }

  close(): void {
    this.#closed = true;
    this.#tell();
  }

  #tell(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  get bytes(): Buffer {
    return this.#came;
  }

  async answer(): Promise<Answer> {
    for (;;) {
      const message = this.#messages.shift();
      if (message !== undefined) return answered(message);
      if (this.#closed) return { done: false, text: '' };
      await this.#wake.promise;
    }
  }

  /** What came since the last answer. */
  async ended(): Promise<string> {
    while (!this.#closed) await this.#wake.promise;
    return this.#messages.map((message) => answered(message).error?.message ?? '').join('\n');
  }
}

const none = () => Promise.reject(new Error('there is no such thing here'));

async function connectStream(port: number): Promise<Client> {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
  const inbox = new Inbox();
  socket.on('data', (chunk: Buffer) => inbox.push(chunk));
  socket.on('close', () => inbox.close()).on('error', () => {});
  await once(socket, 'connect');
  return {
    ask(act) {
      socket.write(act);
      return inbox.answer();
    },
    send: (bytes) => socket.write(bytes),
    ...{ notice: none, cancel: none },
    answer: () => inbox.answer(),
    bytes: () => inbox.bytes,
    ended: () => inbox.ended(),
    vanish: () => socket.destroy(),
  };
}

/** Acts and `bytes` are framed here as well, so that both fixtures have the same words; on the wire they are not. */
async function connectDatagrams(port: number): Promise<Client> {
  const socket = createSocket('udp4');
  const inbox = new Inbox();
  socket.on('message', (message) => inbox.push(frame(message)));
  socket.on('close', () => inbox.close());
  socket.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const send = (act: Buffer) => socket.send(act.subarray(2));
  return {
    ask(act) {
      send(act);
      return inbox.answer();
    },
    send,
    ...{ notice: none, cancel: none },
    answer: () => inbox.answer(),
    bytes: () => inbox.bytes,
    ended: () => inbox.ended(),
    vanish: () => socket.close(),
  };
}

/** The question of a message, answered that it has to be asked again over a stream (RFC 1035 4.2.1). */
function cut(message: Buffer): Buffer {
  const { next } = readQuestion(message, HEADER);
  const reply = Buffer.from(message.subarray(0, next));
  reply.writeUInt16BE(readHeader(message).flags | FLAG.QR | FLAG.TC, 2);
  reply.fill(0, 6, HEADER);
  return reply;
}

interface Datagrams {
  readonly tap: Tap;
  close(): void;
}

/**
 * A tap for both: streams as they are, and datagrams at the same port. `streams`: those are told to come again as a stream,
 * so that what goes upstream can be cut in pieces. Else they are passed on; one that the rules break is told so as well.
 */
async function openBoth(port: number, streams: boolean): Promise<Datagrams> {
  for (;;) {
    const tap = await openTap(port);
    const near = createSocket('udp4');
    const far = new Set<DatagramSocket>();
    try {
      near.bind(tap.port, '127.0.0.1');
      await once(near, 'listening');
    } catch {
      tap.close(); // somebody has the port for datagrams
      continue;
    }
    near.on('message', (question, from) => {
      tap.rules.onUp?.(question);
      const back = (reply: Buffer) => near.send(reply, from.port, from.address);
      if (streams) {
        back(cut(question));
        return;
      }
      const socket = createSocket('udp4');
      far.add(socket);
      socket.on('message', (reply) => {
        back((tap.rules.onDown === undefined ? reply : tap.rules.onDown(reply)) ?? cut(question));
        socket.close();
        far.delete(socket);
      });
      socket.send(question, port, '127.0.0.1');
    });
    return {
      tap,
      close() {
        tap.close();
        near.close();
        for (const socket of far) socket.close();
      },
    };
  }
}

/** Where an id stands in a lie, the question's own is put, unless the lie is about that. */
interface NameLie extends Lie {
  readonly keepsId?: true;
}

const record = (name: string, type: number, data: Buffer): Plain => ({ name: nameBytes(name), type, ttl: 61, data });
const address = record('read.test', TYPE.A, Buffer.from(CANARY));
const question = { name: nameBytes('read.test'), type: TYPE.A, class: CLASS_IN };
const reply = (answers: readonly Plain[], change: Partial<Parameters<typeof writeMessage>[0]> = {}): Buffer =>
  writeMessage({ id: 0, flags: FLAG.QR | FLAG.RA, question, answers, ...change });
const chain = (from: string, to: string): Plain => record(from, TYPE.CNAME, nameBytes(to));
/** What is not of the chain from the name asked is not looked at. */
const NODATA = { error: 'NODATA' };

function patched(bytes: Buffer, at: number, ...values: readonly number[]): Buffer {
  const copy = Buffer.from(bytes);
  copy.set(values, at);
  return copy;
}

const lie = (name: string, bytes: Buffer, then: Lie['then'] = 'wait', more: Partial<NameLie> = {}): NameLie => ({
  name,
  bytes,
  then,
  ...more,
});
const good = reply([address]);
/** Behind header and question, where the first record begins. */
const FIRST = readQuestion(good, HEADER).next;

const LIES: readonly NameLie[] = [
  lie('the answer to another id', good, 'wait', { keepsId: true }),
  lie('the answer to another name', reply([address], { question: { ...question, name: nameBytes('other.test') } })),
  lie('the answer to another type', reply([address], { question: { ...question, type: TYPE.AAAA } })),
  lie('the answer to another class', reply([address], { question: { ...question, class: 3 } })),
  lie('an answer without its question', reply([address], { question: null })),
  lie('a question back', reply([address], { flags: FLAG.RD })),
  lie('another opcode', reply([address], { flags: FLAG.QR | 0x2800 })),
  lie('cut, over a stream', reply([address], { flags: FLAG.QR | FLAG.TC })),
  lie('a failure with records', reply([address], { flags: FLAG.QR | RCODE.SERVFAIL })),
  lie('records of another name', reply([{ ...address, name: nameBytes('other.test') }]), 'wait', NODATA),
  lie('records of another type', reply([record('read.test', TYPE.TXT, Buffer.from(`\x04${CANARY}`))]), 'wait', NODATA),
  lie('records of another class', patched(good, FIRST + 4, 0, 3), 'wait', NODATA),
  lie(
    'a chain that leads past the record',
    reply([chain('read.test', 'a.test'), { ...address, name: nameBytes('b.test') }]),
    'wait',
    NODATA,
  ),
  lie('a chain without an end', reply([chain('read.test', 'a.test'), chain('a.test', 'read.test'), address])),
  lie(
    'a chain of twenty',
    reply(Array.from({ length: 20 }, (_, i) => chain(i === 0 ? 'read.test' : `c${i}.test`, `c${i + 1}.test`))),
  ),
  lie('an address of five bytes', reply([record('read.test', TYPE.A, Buffer.from(`${CANARY}!`))])),
  lie('an address of no bytes', reply([record('read.test', TYPE.A, Buffer.alloc(0))])),
  lie('more records than there are', patched(good, 6, 0, 2)),
  lie('65535 records', patched(good, 6, 0xff, 0xff)),
  lie('a record longer than the message', patched(good, FIRST + 10, 0xff, 0xff)),
  lie('a name that points at itself', patched(good, FIRST, 0xc0, FIRST)),
  lie('a name that points forward', patched(good, FIRST, 0xc0, FIRST + 2)),
  lie('a name that points into the header', patched(good, FIRST, 0xc0, 2)),
  lie('a label of an unknown kind', patched(good, FIRST, 0x80)),
  lie('bytes behind the message', Buffer.concat([good, Buffer.from(CANARY)])),
  lie('nothing, then gone', Buffer.alloc(0), 'close'),
  lie('half a message, then gone', good.subarray(0, FIRST), 'close'),
  lie('half a message, then reset', good.subarray(0, FIRST), 'reset'),
  lie('less than a header', good.subarray(0, 7)),
];

/** Sends the lie of the moment, framed, in answer to each question; half a message is announced as whole. */
async function startLiar(now: () => NameLie): Promise<net.Server> {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (asked: Buffer) => {
      const { bytes, then, keepsId } = now();
      const message = Buffer.from(bytes);
      const id = asked.readUInt16BE(2) ^ (keepsId === true ? 1 : 0);
      if (message.length >= HEADER) message.writeUInt16BE(id, 0);
      const framed = frame(message);
      if (then !== 'wait') framed.writeUInt16BE(good.length, 0);
      if (bytes.length > 0) socket.write(framed);
      if (then === 'reset') setImmediate(() => socket.resetAndDestroy());
      else if (then === 'close') socket.end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

const portOf = (server: net.Server): number => (server.address() as net.AddressInfo).port;
const at = (port: number) => [{ host: '127.0.0.1', port }];
const KIT = { protocols: {}, detectors: [] };

function fixtureOf(kind: 'TCP' | 'UDP', lacks: Readonly<Partial<Record<Part, string>>>): Fixture {
  const streams = kind === 'TCP';
  const connectTo = (port: number) => (streams ? connectStream(port) : connectDatagrams(port));
  const portOn = (stage: Stage) => (streams ? stage.port : stage.datagramPort);
  const inquiry = (name: string, type?: number): Buffer => frame(ask(name, type));
  const withFlags = (flags: number): Buffer => {
    const bytes = ask('read.test');
    bytes.writeUInt16BE(flags, 2);
    return bytes;
  };
  return {
    name: `dns over ${kind}`,
    missing: dnsMissing,
    lacks: {
      held: 'names are let or refused: nobody is asked',
      masked: 'an answer is told or refused, no part of it is masked',
      changes: 'to ask for a name changes nothing',
      ...lacks,
    },
    independent: true,
    mute: true,
    same: shownAll,
    trace: (act) => readQuestion(act.subarray(2), HEADER).question.name,
    async open() {
      const server = await startDns(RECORDS);
      const both = await openBoth(server.port, streams);
      let parted = false;
      const responder = splittingStream(dns, () => parted);
      const stage = await openStage({ policy: POLICY, kit: KIT, responder, resolvers: at(both.tap.port) });
      return {
        stage,
        tap: both.tap,
        connect: () => connectTo(portOn(stage)),
        direct: () => connectTo(server.port),
        effects: async () => 0,
        split({ client, upstream }) {
          parted = client;
          both.tap.rules = upstream ? { down: 1 } : {};
        },
        async close() {
          await stage.close();
          both.close();
          await server.stop();
        },
      };
    },
    async liar() {
      let lie: Lie = LIES[0]!;
      const server = await startLiar(() => lie as NameLie);
      const both = await openBoth(portOf(server), true);
      const stage = await openStage({ policy: POLICY, kit: KIT, responder: dns, resolvers: at(both.tap.port) });
      return {
        stage,
        get lie() {
          return lie;
        },
        set lie(next) {
          lie = next;
        },
        connect: () => connectTo(portOn(stage)),
        async close() {
          await stage.close();
          both.close();
          server.close();
        },
      };
    },
    acts: {
      read: inquiry('read.test'),
      denied: inquiry('forbidden.test'),
      deniedCode: 'NXDOMAIN',
      deniedSays: /^sluice: forbidden\.test is no name of a resource .*\(NAME_UNKNOWN\)$/,
      held: inquiry('read.test'),
      heldText: '',
      large: frame(Buffer.concat([ask('read.test'), Buffer.alloc(60_000)])),
    },
    masked: {},
    canary: CANARY,
    talks: {
      'both families': [inquiry('read.test'), inquiry('read.test', TYPE.AAAA)],
      'in letters of any case': [inquiry('ReAd.TeSt')],
      'by an alias': [inquiry('alias.test'), inquiry('alias.test', TYPE.CNAME)],
      'other types': [inquiry('text.test', TYPE.TXT), inquiry('text.test', TYPE.MX)],
      'what is not there': [inquiry('gone.test'), inquiry('alias.test', TYPE.AAAA)],
      ...(streams ? { 'ninety addresses': [inquiry('many.test')] } : {}),
    },
    half: inquiry('read.test').subarray(0, 17),
    ignored: {
      'an answer': frame(withFlags(FLAG.QR)),
      'less than a header': frame(ask('read.test').subarray(0, 11)),
      'nothing at all': frame(Buffer.alloc(0)),
    },
    bad: {
      [`a message of ${QUERY_LIMIT + 1} bytes`]: frame(Buffer.alloc(QUERY_LIMIT + 1)),
      'a message of 65535 bytes, of which none come': Buffer.from([0xff, 0xff]),
      HTTP: Buffer.from('GET / HTTP/1.1\r\nHost: read.test\r\n\r\n'),
    },
    lies: LIES,
  };
}

export const overStreams = fixtureOf('TCP', {
  large: 'what is announced as longer ends the stream, as bad input does',
});

const WHOLE = 'a datagram comes whole or not at all';
export const overDatagrams = fixtureOf('UDP', {
  split: WHOLE,
  'bad input': 'there is no connection that could end',
  half: WHOLE,
});

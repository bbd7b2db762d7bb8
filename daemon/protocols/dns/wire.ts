/**
 * Messages of RFC 1035, section 4, read and written. A message is at most 65,535 bytes, and everything in it is bounded by
 * that: a record takes at least 11 bytes, a pointer of a compressed name has to lead backwards.
 */

/** RFC 1035 3.2.2, 3.2.3; RFC 3596, 2782, 6891, 8659, 9460. */
export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  SVCB: 64,
  HTTPS: 65,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
  CAA: 257,
} as const;
const TYPE_NAMES = new Map<number, string>(Object.entries(TYPE).map(([name, type]) => [type, name]));
/** RFC 3597, section 5. */
export const typeName = (type: number): string => TYPE_NAMES.get(type) ?? `TYPE${type}`;

export const CLASS_IN = 1;
/** RFC 1035 4.1.1, RFC 6891 9. */
export const RCODE = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16 } as const;
const RCODE_NAMES = new Map<number, string>(Object.entries(RCODE).map(([name, code]) => [code, name]));
export const rcodeName = (rcode: number): string => RCODE_NAMES.get(rcode) ?? `RCODE${rcode}`;

/** Bits of the second word of the header. */
export const FLAG = { QR: 0x8000, AA: 0x0400, TC: 0x0200, RD: 0x0100, RA: 0x0080, CD: 0x0010 } as const;
export const opcodeOf = (flags: number): number => (flags >> 11) & 0xf;

export const HEADER = 12;
const MAX_NAME = 255;
const MAX_LABEL = 63;
const MAX_JUMPS = 126;

/** What can't be read. */
export class Malformed extends Error {}

export interface Header {
  readonly id: number;
  readonly flags: number;
  /** Entries of question, answer, authority and additional. */
  readonly counts: readonly [number, number, number, number];
}

export interface Question {
  /** Uncompressed, as it came: letters keep their case. */
  readonly name: Buffer;
  readonly type: number;
  readonly class: number;
}

export interface Entry {
  /** Uncompressed, in lower case. */
  readonly name: Buffer;
  readonly type: number;
  readonly class: number;
  readonly ttl: number;
  /** Where its data stands in the message. */
  readonly from: number;
  readonly to: number;
}

export interface Message extends Header {
  readonly bytes: Buffer;
  readonly questions: readonly Question[];
  readonly answers: readonly Entry[];
  readonly authorities: readonly Entry[];
  readonly additionals: readonly Entry[];
}

/** A record as it is written: data without compressed names. */
export interface Plain {
  readonly name: Buffer;
  readonly type: number;
  readonly ttl: number;
  readonly data: Buffer;
}

/** `id flags counts*4`, a word each. @throws Malformed */
export function readHeader(bytes: Buffer): Header {
  if (bytes.length < HEADER) throw new Malformed('shorter than a header');
  const word = (at: number) => bytes.readUInt16BE(at);
  return { id: word(0), flags: word(2), counts: [word(4), word(6), word(8), word(10)] };
}

/** `(length label)* 0`, or instead of a label a pointer `11 offset:14` to where the rest stands. @throws Malformed */
export function readName(bytes: Buffer, at: number): { readonly name: Buffer; readonly next: number } {
  const parts: Buffer[] = [];
  let size = 1;
  let next = -1;
  let jumps = 0;
  for (;;) {
    const length = byteAt(bytes, at);
    if (length === 0) {
      parts.push(ROOT);
      return { name: Buffer.concat(parts, size), next: next < 0 ? at + 1 : next };
    }
    if (length >= 0xc0) {
      const to = ((length & 0x3f) << 8) | byteAt(bytes, at + 1);
      if (next < 0) next = at + 2;
      // Only backwards, so that no loop is possible.
      if (to >= at || to < HEADER || ++jumps > MAX_JUMPS) throw new Malformed('a pointer that leads nowhere');
      at = to;
      continue;
    }
    if (length > MAX_LABEL) throw new Malformed('a label of an unknown kind');
    size += length + 1;
    if (size > MAX_NAME) throw new Malformed('a name of more than 255 bytes');
    if (at + 1 + length > bytes.length) throw new Malformed('a label that is cut off');
    parts.push(bytes.subarray(at, at + 1 + length));
    at += 1 + length;
  }
}

const ROOT = Buffer.from([0]);

function byteAt(bytes: Buffer, at: number): number {
  const byte = bytes[at];
  if (byte === undefined) throw new Malformed('ends within a name');
  return byte;
}

/** `name type class` @throws Malformed */
export function readQuestion(bytes: Buffer, at: number): { readonly question: Question; readonly next: number } {
  const { name, next } = readName(bytes, at);
  if (next + 4 > bytes.length) throw new Malformed('ends within a question');
  const question = { name, type: bytes.readUInt16BE(next), class: bytes.readUInt16BE(next + 2) };
  return { question, next: next + 4 };
}

/** `name type class ttl:4 length data` @throws Malformed */
function readEntry(bytes: Buffer, at: number): { readonly entry: Entry; readonly next: number } {
  const { name, next } = readName(bytes, at);
  if (next + 10 > bytes.length) throw new Malformed('ends within a record');
  const from = next + 10;
  const to = from + bytes.readUInt16BE(next + 8);
  if (to > bytes.length) throw new Malformed('a record longer than the message');
  const entry: Entry = {
    name: lower(name),
    type: bytes.readUInt16BE(next),
    class: bytes.readUInt16BE(next + 2),
    ttl: bytes.readUInt32BE(next + 4),
    from,
    to,
  };
  return { entry, next: to };
}

/** A whole message, nothing after it. @throws Malformed */
export function readMessage(bytes: Buffer): Message {
  const header = readHeader(bytes);
  let at = HEADER;
  const questions: Question[] = [];
  for (let i = 0; i < header.counts[0]; i++) {
    const read = readQuestion(bytes, at);
    questions.push(read.question);
    at = read.next;
  }
  const section = (count: number): Entry[] => {
    const entries: Entry[] = [];
    for (let i = 0; i < count; i++) {
      const read = readEntry(bytes, at);
      entries.push(read.entry);
      at = read.next;
    }
    return entries;
  };
  const [, answer, authority, additional] = header.counts;
  const answers = section(answer);
  const authorities = section(authority);
  const additionals = section(additional);
  if (at !== bytes.length) throw new Malformed('bytes after the message');
  return { ...header, bytes, questions, answers, authorities, additionals };
}

/** Bytes before the name in the data of types that hold one name at their end. */
const NAME_AFTER: Readonly<Record<number, number>> = {
  [TYPE.NS]: 0,
  [TYPE.CNAME]: 0,
  [TYPE.PTR]: 0,
  [TYPE.MX]: 2,
  [TYPE.SRV]: 6,
};
/** serial, refresh, retry, expire, minimum */
const SOA_NUMBERS = 20;
const ADDRESS_BYTES: Readonly<Record<number, number>> = { [TYPE.A]: 4, [TYPE.AAAA]: 16 };

/** A record's data with its names written out. @throws Malformed when it is not what its type wants. */
export function dataOf(bytes: Buffer, { type, from, to }: Entry): Buffer {
  const raw = bytes.subarray(from, to);
  const after = NAME_AFTER[type];
  if (after !== undefined) {
    const { name, next } = readName(bytes, from + after);
    if (next !== to) throw new Malformed(`${typeName(type)} data that do not end with their name`);
    return Buffer.concat([raw.subarray(0, after), lower(name)]);
  }
  if (type === TYPE.SOA) {
    const server = readName(bytes, from);
    const mailbox = readName(bytes, server.next);
    if (mailbox.next + SOA_NUMBERS !== to) throw new Malformed('SOA data of a wrong length');
    return Buffer.concat([lower(server.name), lower(mailbox.name), bytes.subarray(mailbox.next, to)]);
  }
  const length = ADDRESS_BYTES[type];
  if (length !== undefined && raw.length !== length) throw new Malformed(`${typeName(type)} data of a wrong length`);
  if (type === TYPE.TXT) checkStrings(raw);
  return Buffer.from(raw);
}

/** `(length text)+` */
function checkStrings(raw: Buffer): void {
  let at = 0;
  do at += 1 + (raw[at] ?? raw.length);
  while (at < raw.length);
  if (at !== raw.length) throw new Malformed('TXT data that are cut off');
}

/** ASCII letters alone (RFC 4343); lengths of labels are below 64 and so no letters. */
export function lower(name: Buffer): Buffer {
  const copy = Buffer.from(name);
  for (let i = 0; i < copy.length; i++) if (copy[i]! >= 0x41 && copy[i]! <= 0x5a) copy[i]! += 0x20;
  return copy;
}

/** `Deb.Debian.org` from the wire, without the last dot; bytes other than letters, digits, - and _ as `\DDD`. */
export function nameText(name: Buffer): string {
  const labels: string[] = [];
  for (let at = 0; name[at] !== 0; at += 1 + name[at]!) {
    const label = name.subarray(at + 1, at + 1 + name[at]!);
    labels.push(
      [...label]
        .map((byte) =>
          /[A-Za-z0-9_-]/.test(String.fromCharCode(byte))
            ? String.fromCharCode(byte)
            : `\\${String(byte).padStart(3, '0')}`,
        )
        .join(''),
    );
  }
  return labels.join('.');
}

/** The wire form of a name that nameText wrote without escapes. */
export function nameBytes(text: string): Buffer {
  if (text === '') return ROOT;
  const parts = text.split('.').map((label) => Buffer.from([label.length, ...Buffer.from(label, 'latin1')]));
  return Buffer.concat([...parts, ROOT]);
}

export interface Draft {
  readonly id: number;
  readonly flags: number;
  readonly question: Question | null;
  readonly answers?: readonly Plain[];
  readonly authorities?: readonly Plain[];
  /** Written as they are. */
  readonly additionals?: readonly Buffer[];
}

/** Names that occurred whole before are written as pointers. */
export function writeMessage(draft: Draft): Buffer {
  const { question, answers = [], authorities = [], additionals = [] } = draft;
  const header = Buffer.alloc(HEADER);
  [draft.id, draft.flags, question === null ? 0 : 1, answers.length, authorities.length, additionals.length].forEach(
    (word, i) => {
      header.writeUInt16BE(word, i * 2);
    },
  );
  const parts: Buffer[] = [header];
  const seen = new Map<string, number>();
  let at = HEADER;
  const add = (part: Buffer) => {
    parts.push(part);
    at += part.length;
  };
  if (question !== null) {
    seen.set(lower(question.name).toString('latin1'), at);
    const tail = Buffer.alloc(4);
    tail.writeUInt16BE(question.type, 0);
    tail.writeUInt16BE(question.class, 2);
    add(question.name);
    add(tail);
  }
  for (const record of [...answers, ...authorities]) {
    const key = record.name.toString('latin1');
    const known = seen.get(key);
    const fixed = Buffer.alloc(10);
    fixed.writeUInt16BE(record.type, 0);
    fixed.writeUInt16BE(CLASS_IN, 2);
    fixed.writeUInt32BE(record.ttl, 4);
    fixed.writeUInt16BE(record.data.length, 8);
    if (known !== undefined && known < 0x4000) add(Buffer.from([0xc0 | (known >> 8), known & 0xff]));
    else {
      seen.set(key, at);
      add(record.name);
    }
    add(fixed);
    if (record.type === TYPE.CNAME) seen.set(record.data.toString('latin1'), at);
    add(record.data);
  }
  for (const part of additionals) add(part);
  return Buffer.concat(parts, at);
}

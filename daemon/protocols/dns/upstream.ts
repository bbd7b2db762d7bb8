/**
 * The question as it goes to a resolver, and what of its answer is believed. Nothing of the client's message goes out but
 * name and type: lower case, an id of our own, no EDNS options, no padding.
 */
import { randomInt } from 'node:crypto';
import { PAYLOAD } from './query.ts';
import {
  CLASS_IN,
  dataOf,
  FLAG,
  Malformed,
  type Message,
  opcodeOf,
  type Plain,
  RCODE,
  readMessage,
  TYPE,
  writeMessage,
} from './wire.ts';

export interface Sent {
  readonly id: number;
  /** Wire form, lower case. */
  readonly name: Buffer;
  readonly type: number;
  readonly bytes: Buffer;
}

export function makeQuery(name: Buffer, type: number): Sent {
  const id = randomInt(0x10000);
  const opt = Buffer.alloc(11);
  opt.writeUInt16BE(TYPE.OPT, 1);
  opt.writeUInt16BE(PAYLOAD, 3);
  const question = { name, type, class: CLASS_IN };
  return { id, name, type, bytes: writeMessage({ id, flags: FLAG.RD, question, additionals: [opt] }) };
}

/** `no`: not an answer to it. `cut`: to be asked again over TCP. `next`: this resolver has none, another may. */
export function judge(sent: Sent, bytes: Buffer): 'yes' | 'no' | 'cut' | 'next' {
  let reply: Message;
  try {
    reply = readMessage(bytes);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return 'no';
  }
  const [question] = reply.questions;
  if ((reply.flags & FLAG.QR) === 0 || reply.id !== sent.id || opcodeOf(reply.flags) !== 0) return 'no';
  if (reply.questions.length !== 1 || question === undefined) return 'no';
  if (!question.name.equals(sent.name) || question.type !== sent.type || question.class !== CLASS_IN) return 'no';
  if ((reply.flags & FLAG.TC) !== 0) return 'cut';
  const rcode = reply.flags & 0xf;
  return rcode === RCODE.NOERROR || rcode === RCODE.NXDOMAIN ? 'yes' : 'next';
}

export interface Found {
  readonly rcode: number;
  /** The chain of CNAMEs from the name asked, then the records at its end. */
  readonly chain: readonly Plain[];
  readonly records: readonly Plain[];
  readonly soa: Plain | null;
}

const CHAIN = 12;
const RECORDS = 128;
/** Seconds; RFC 8767 4 warns of longer ones, and RFC 2181 8 takes the top bit for 0. */
const LONGEST_TTL = 86_400;
const ttlOf = (ttl: number): number => (ttl > 0x7fffffff ? 0 : Math.min(ttl, LONGEST_TTL));

/**
 * Of a reply that was judged `yes`: records of the type asked at the end of the chain that begins at the name asked, and
 * nothing else, whatever more it holds.
 * @throws Malformed
 */
export function findRecords(sent: Sent, bytes: Buffer): Found {
  const reply = readMessage(bytes);
  const answers = reply.answers.filter((entry) => entry.class === CLASS_IN);
  const plain = (entry: (typeof answers)[number]): Plain => ({
    name: entry.name,
    type: entry.type,
    ttl: ttlOf(entry.ttl),
    data: dataOf(bytes, entry),
  });
  const chain: Plain[] = [];
  let name = sent.name;
  while (sent.type !== TYPE.CNAME) {
    const entry = answers.find((each) => each.type === TYPE.CNAME && each.name.equals(name));
    if (entry === undefined) break;
    const link = plain(entry);
    if (chain.length === CHAIN || chain.some((each) => each.name.equals(link.data)))
      throw new Malformed('a chain of CNAMEs without an end');
    chain.push(link);
    name = link.data;
  }
  const records: Plain[] = [];
  for (const entry of answers) {
    if (entry.type !== sent.type || !entry.name.equals(name)) continue;
    const record = plain(entry);
    if (!records.some((each) => each.data.equals(record.data))) records.push(record);
    if (records.length === RECORDS) break;
  }
  const authority = reply.authorities.find(
    (entry) => entry.type === TYPE.SOA && entry.class === CLASS_IN && isWithin(name, entry.name),
  );
  const rcode = records.length > 0 ? RCODE.NOERROR : reply.flags & 0xf;
  return { rcode, chain, records, soa: authority === undefined ? null : plain(authority) };
}

/** Whether a name is the zone or below it. */
function isWithin(name: Buffer, zone: Buffer): boolean {
  for (let at = 0; ; at += 1 + name[at]!) {
    if (name.subarray(at).equals(zone)) return true;
    if (name[at] === 0) return false;
  }
}

/** What a client is answered. A refusal says why as an extended error (RFC 8914), which dig and others show. */
import { PAYLOAD, type Query } from './query.ts';
import { FLAG, nameBytes, type Plain, TYPE, writeMessage } from './wire.ts';

/** RFC 8914, section 4. */
export const EDE = {
  OTHER: 0,
  BLOCKED: 15,
  FILTERED: 17,
  PROHIBITED: 18,
  NOT_SUPPORTED: 21,
  NO_REACHABLE_AUTHORITY: 22,
  NETWORK_ERROR: 23,
} as const;

export interface Answer {
  readonly rcode: number;
  readonly answers?: readonly Plain[];
  readonly authorities?: readonly Plain[];
  readonly extended?: { readonly code: number; readonly text: string };
}

const OPTION_EDE = 15;
/** Longest text of an extended error, bytes: a datagram has to hold it beside the rest. */
const TEXT = 240;

/** The reply's bytes; for a datagram cut to what the client takes, which then asks again over TCP. */
export function writeReply(query: Query, answer: Answer, datagram: boolean): Buffer {
  const write = (cut: boolean) =>
    writeMessage({
      id: query.id,
      flags:
        FLAG.QR | FLAG.RA | (query.flags & (0x7800 | FLAG.RD | FLAG.CD)) | (cut ? FLAG.TC : 0) | (answer.rcode & 0xf),
      question: query.question,
      ...(cut ? {} : { answers: answer.answers ?? [], authorities: answer.authorities ?? [] }),
      additionals: query.edns ? [opt(answer)] : [],
    });
  const whole = write(false);
  return datagram && whole.length > query.payload ? write(true) : whole;
}

/** `root type payload:2 extended-rcode version flags:2 length (code:2 length:2 data)*`; DO is never set. */
function opt({ rcode, extended }: Answer): Buffer {
  const text = Buffer.from(extended?.text ?? '').subarray(0, TEXT);
  const options = extended === undefined ? Buffer.alloc(0) : Buffer.alloc(6 + text.length);
  if (extended !== undefined) {
    options.writeUInt16BE(OPTION_EDE, 0);
    options.writeUInt16BE(2 + text.length, 2);
    options.writeUInt16BE(extended.code, 4);
    text.copy(options, 6);
  }
  const head = Buffer.alloc(11);
  head.writeUInt16BE(TYPE.OPT, 1);
  head.writeUInt16BE(PAYLOAD, 3);
  head[5] = rcode >> 4;
  head.writeUInt16BE(options.length, 9);
  return Buffer.concat([head, options]);
}

/** How long what policy refuses may be kept, seconds: a change of the policy is felt after so long. */
const REFUSED_TTL = 5;

/** A SOA of our own, so that resolvers may keep a negative answer (RFC 2308). `zone` in wire form. */
export function ownSoa(zone: Buffer): Plain {
  const numbers = Buffer.alloc(20);
  [1, 3600, 600, 86_400, REFUSED_TTL].forEach((number, i) => {
    numbers.writeUInt32BE(number, i * 4);
  });
  const data = Buffer.concat([nameBytes('sluice.invalid'), nameBytes('hostmaster.sluice.invalid'), numbers]);
  return { name: zone, type: TYPE.SOA, ttl: REFUSED_TTL, data };
}

/** The name without its first label. */
export const parent = (name: Buffer): Buffer => (name[0] === 0 ? name : name.subarray(1 + name[0]!));

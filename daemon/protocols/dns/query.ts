/** A client's message as far as it is let in: one question, and what EDNS says of the client (RFC 6891). */
import {
  CLASS_IN,
  FLAG,
  HEADER,
  type Header,
  Malformed,
  opcodeOf,
  type Question,
  RCODE,
  readHeader,
  readMessage,
  readQuestion,
  TYPE,
} from './wire.ts';

/** Bytes of the longest query that is read. One name, one OPT with padding: more is never needed. */
export const QUERY_LIMIT = 4096;

export interface Query {
  readonly id: number;
  readonly flags: number;
  /** Null: it could not be read. */
  readonly question: Question | null;
  /** The client speaks EDNS. */
  readonly edns: boolean;
  /** Bytes of the longest datagram that the client takes. */
  readonly payload: number;
  /** Why it is not looked at any further: the RCODE, and what is wrong in words. */
  readonly fault: { readonly rcode: number; readonly text: string } | null;
}

/** RFC 1035 4.2.1: what everyone takes. */
const PLAIN_PAYLOAD = 512;
/** Passes every path unfragmented (RFC 9715, 3.2). */
export const PAYLOAD = 1232;

/** Null: not a question at all, or too short to be answered. */
export function readQuery(bytes: Buffer): Query | null {
  let header: Header;
  try {
    header = readHeader(bytes);
  } catch {
    return null;
  }
  // An answer to an answer could go round for ever.
  if ((header.flags & FLAG.QR) !== 0) return null;
  const base = { id: header.id, flags: header.flags, question: null, edns: false, payload: PLAIN_PAYLOAD };
  const fault = (rcode: number, text: string, more: Partial<Query> = {}): Query => ({
    ...base,
    ...more,
    fault: { rcode, text },
  });
  const opcode = opcodeOf(header.flags);
  if (opcode !== 0) return fault(RCODE.NOTIMP, `opcode ${opcode} is not answered, queries alone are`);
  if (bytes.length > QUERY_LIMIT)
    return fault(RCODE.FORMERR, `a query of ${bytes.length} bytes; at most ${QUERY_LIMIT} are read`);
  const [questions, answers, authorities, additionals] = header.counts;
  if (questions !== 1 || answers !== 0 || authorities !== 0 || additionals > 1)
    return fault(RCODE.FORMERR, 'not one question and at most one OPT record');
  let question: Question | null = null;
  try {
    question = readQuestion(bytes, HEADER).question;
    const message = readMessage(bytes);
    const [opt] = message.additionals;
    if (opt !== undefined && (opt.type !== TYPE.OPT || opt.name.length !== 1))
      return fault(RCODE.FORMERR, 'a record that is no OPT', { question });
    const edns = opt !== undefined;
    const payload = edns ? Math.min(Math.max(opt.class, PLAIN_PAYLOAD), PAYLOAD) : PLAIN_PAYLOAD;
    const known = { question, edns, payload };
    // `extended-rcode version flags:2` stand where other records have their TTL (RFC 6891 6.1.3).
    const version = edns ? (opt.ttl >>> 16) & 0xff : 0;
    if (version !== 0) return fault(RCODE.BADVERS, `EDNS version ${version}`, known);
    if (question.class !== CLASS_IN) return fault(RCODE.REFUSED, `class ${question.class}, not IN`, known);
    if (question.type === TYPE.AXFR || question.type === TYPE.IXFR)
      return fault(RCODE.REFUSED, 'a transfer of a zone', known);
    return { ...base, ...known, fault: null };
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return fault(RCODE.FORMERR, error.message, { question });
  }
}

/**
 * DNS, answered by sluice for a session. What policy does not know does not exist: NXDOMAIN, at once, with the reason as an
 * extended error. REFUSED would say it more exactly, and end the walk through search domains in glibc (res_nsearch takes
 * it for a failure that is final), so that no name would be found behind a domain that is not allowed.
 */
import { createHash } from 'node:crypto';
import { SluiceError } from '../../core/errors.ts';
import type { Operation } from '../../core/operation.ts';
import type { NameDecision } from '../../core/policy.ts';
import type { AskUpstream, Inquiry, Refusal, Responder, Told } from '../protocol.ts';
import { Allowance } from './allowance.ts';
import { Framer, frame } from './framer.ts';
import { addressText, inwardOf } from './inward.ts';
import { QUERY_LIMIT, type Query, readQuery } from './query.ts';
import { type Answer, EDE, ownSoa, parent, writeReply } from './reply.ts';
import { findRecords, judge, makeQuery } from './upstream.ts';
import { lower, Malformed, nameText, type Plain, RCODE, rcodeName, TYPE, typeName } from './wire.ts';

const PORT = 53;
/** Of the text of a fingerprint. */
const HEX = 32;

export const dns: Responder = {
  name: 'dns',
  port: PORT,
  framer: () => new Framer(QUERY_LIMIT),
  frame,
  allowance: () => new Allowance(),
  read(message, datagram) {
    const query = readQuery(message);
    return query === null ? null : new DnsInquiry(query, datagram);
  },
};

/** Which RCODE a refusal is, where the name may not even be known to exist, and as which extended error it goes. */
const REFUSALS: Readonly<Record<string, { readonly rcode: number; readonly extended: number }>> = {
  NAME_UNKNOWN: { rcode: RCODE.NXDOMAIN, extended: EDE.BLOCKED },
  NAME_TYPE: { rcode: RCODE.NOERROR, extended: EDE.BLOCKED },
  NAME_INWARD: { rcode: RCODE.NOERROR, extended: EDE.FILTERED },
  NAME_LIMIT: { rcode: RCODE.REFUSED, extended: EDE.PROHIBITED },
  UPSTREAM_UNREACHABLE: { rcode: RCODE.SERVFAIL, extended: EDE.NO_REACHABLE_AUTHORITY },
  UPSTREAM_VIOLATION: { rcode: RCODE.SERVFAIL, extended: EDE.NETWORK_ERROR },
};
const OTHER = { rcode: RCODE.SERVFAIL, extended: EDE.OTHER };

class DnsInquiry implements Inquiry {
  readonly operation: Operation;
  readonly name: string;
  readonly type: string;
  readonly fault: Refusal | null;
  readonly #query: Query;
  readonly #datagram: boolean;
  /** Wire form, lower case. */
  readonly #wire: Buffer;

  constructor(query: Query, datagram: boolean) {
    this.#query = query;
    this.#datagram = datagram;
    const { question, fault } = query;
    this.#wire = question === null ? Buffer.from([0]) : lower(question.name);
    this.name = nameText(this.#wire);
    this.type = question === null ? '?' : typeName(question.type);
    this.fault = fault === null ? null : { code: 'PROTOCOL_UNSUPPORTED', message: `sluice: ${fault.text}` };
    const text = `${this.type} ${this.name === '' ? '.' : this.name}`;
    this.operation = {
      protocol: 'dns',
      verb: this.type,
      text,
      fingerprint: createHash('sha256').update(text).digest('hex').slice(0, HEX),
      accesses: [{ effect: 'read', object: this.name === '' ? '.' : this.name }],
      functions: [],
    };
  }

  refuse(refusal: Refusal, known: boolean): Buffer {
    const { fault } = this.#query;
    const kind = REFUSALS[refusal.code] ?? OTHER;
    const rcode = fault !== null && refusal.code === this.fault?.code ? fault.rcode : kind.rcode;
    const extended = { code: kind.extended, text: `${refusal.message} (${refusal.code})` };
    const negative = fault === null && (rcode === RCODE.NXDOMAIN || rcode === RCODE.NOERROR);
    // Of a name that is not known nothing may be kept longer than a change of the policy takes; nor of its parents.
    const zone = known || rcode === RCODE.NOERROR ? this.#wire : parent(this.#wire);
    return this.#write({ rcode, extended, authorities: negative ? [ownSoa(zone)] : [] });
  }

  async answer(decision: NameDecision, ask: AskUpstream): Promise<Told> {
    const sent = makeQuery(this.#wire, this.#query.question!.type);
    const reply = await ask(sent.bytes, (bytes) => judge(sent, bytes));
    try {
      const found = findRecords(sent, reply);
      const isAddress = sent.type === TYPE.A || sent.type === TYPE.AAAA;
      const wrong = isAddress && !decision.inward ? found.records.find(({ data }) => inwardOf(data) !== null) : null;
      if (wrong) return this.#inward(wrong);
      const { rcode, chain, records } = found;
      const empty = records.length === 0;
      const authorities = empty ? [found.soa ?? ownSoa(this.#wire)] : [];
      return {
        bytes: this.#write({ rcode, answers: [...chain, ...records], authorities }),
        rows: records.length,
        addresses: isAddress ? records.map(({ data }) => addressText(data)) : [],
        ...(empty ? { error: rcode === RCODE.NOERROR ? 'NODATA' : rcodeName(rcode) } : {}),
      };
    } catch (cause) {
      if (!(cause instanceof Malformed)) throw cause;
      throw new SluiceError('UPSTREAM_VIOLATION', `sluice: a resolver's answer can't be read: ${cause.message}`, {
        cause,
      });
    }
  }

  #inward({ data }: Plain): Told {
    const message = `sluice: ${this.name} points at ${addressText(data)}, which is ${inwardOf(data)}`;
    return {
      bytes: this.refuse({ code: 'NAME_INWARD', message }, true),
      rows: 0,
      addresses: [],
      error: 'NAME_INWARD',
      message,
    };
  }

  #write(answer: Answer): Buffer {
    return writeReply(this.#query, answer, this.#datagram);
  }
}

/**
 * What a session reaches beside the operations on a resource: names, connections that pass unread, UNIX sockets of the
 * host. As cases and `explain` ask for it; the decisions are those of run time.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import type { Decision } from '../core/decision.ts';
import type { Operation } from '../core/operation.ts';
import type { NameDecision } from '../core/policy.ts';
import type { Principal, Session } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import { parseHostPort, parseName } from './address.ts';
import { nearest, suggest } from './diagnostic.ts';
import { NAME_TYPES, OTHER_TYPES } from './names.ts';
import type { CompiledPolicy } from './policy.ts';
import { socketFault } from './sockets.ts';

/** What a client does on a connection before anything of it passes. */
export interface Said {
  /** It begins with TLS. */
  readonly tls: boolean;
  /** The server name that it asks for (SNI). Null: none. */
  readonly servername: string | null;
}

/** Makes the operation of a connection to a resource that passes unread, as its protocol does when one comes. */
export type Connector = (resource: Resource, said: Said) => Promise<Connecting>;

export interface Connecting {
  readonly operation: Operation;
  /** Why the protocol refuses it, whatever the rules say. Null: it does not. */
  readonly refused: string | null;
}

export const nameAsked = z
  .strictObject({
    name: z.string().min(1).max(254).describe('The name, in full.'),
    type: z.string().default('A').describe('Type of the records, as A, AAAA, TXT, or TYPE43. Absent: A.'),
    answers: z
      .enum(['outward', 'any'])
      .optional()
      .describe('Addresses that the answer may hold, if it is let. Absent: not looked at.'),
  })
  .describe('A question for a name, as a client asks it by DNS.');

export const connection = z
  .strictObject({
    to: z.string().describe('`host:port`: the name that the session was given an address for, or an address.'),
    tls: z.boolean().default(true).describe('Does the client begin with TLS? Absent: it does.'),
    servername: z
      .string()
      .nullable()
      .optional()
      .describe('Server name that a TLS client asks for; null: none. Absent: the name that it connects to.'),
  })
  .describe('A connection to a resource that passes unread.');

export type NameAsked = z.output<typeof nameAsked>;
export type Connection = z.output<typeof connection>;

export interface Fault {
  /** Key below the thing asked. Absent: itself. */
  readonly key?: string;
  readonly message: string;
  readonly suggestion?: string;
}

const TYPES: readonly string[] = [...NAME_TYPES, ...OTHER_TYPES];
const DNS_PORT = 53;

export function nameFaults({ name, type }: NameAsked): Fault[] {
  const faults: Fault[] = [];
  const parsed = name === '.' ? null : parseName(name);
  if (typeof parsed === 'string') faults.push({ key: 'name', message: parsed });
  else if (parsed?.below === true)
    faults.push({ key: 'name', message: `${name} is a pattern`, suggestion: `ask for one, as www.${parsed.host}` });
  if (!TYPES.includes(type) && !/^TYPE\d{1,5}$/.test(type))
    faults.push({ key: 'type', message: `there is no type ${JSON.stringify(type)}`, ...suggest(type, TYPES) });
  return faults;
}

export function socketFaults(name: string): Fault[] {
  const fault = socketFault(name);
  return fault === null ? [] : [fault];
}

export function connectionFaults({ to, tls, servername }: Connection): Fault[] {
  const faults: Fault[] = [];
  const parsed = parseHostPort(to);
  if (typeof parsed === 'string') faults.push({ key: 'to', message: parsed });
  else if (parsed.below)
    faults.push({ key: 'to', message: `${to} is a pattern`, suggestion: `name one, as www.${parsed.host}` });
  else if (parsed.port === DNS_PORT)
    faults.push({
      key: 'to',
      message: `port ${DNS_PORT} is answered by sluice itself, whatever the address`,
      suggestion: 'ask for names by dns:',
    });
  if (!tls && servername !== undefined)
    faults.push({ key: 'servername', message: 'a server name is asked for by TLS, and tls is false' });
  return faults;
}

export function sessionOf(principal: Principal, now: number): Session {
  return { id: '0'.repeat(32), principal, cgroupId: 0n, uid: 0, command: [], startedAt: now };
}

/** As questions have it: lower case, no last dot. */
export const plainName = (name: string): string => name.toLowerCase().replace(/\.$/, '');

export function decideName(policy: CompiledPolicy, principal: Principal, asked: NameAsked): NameDecision {
  return policy.resolve({ session: sessionOf(principal, 0), name: plainName(asked.name), type: asked.type });
}

/** The resource that a connection meets, as a flow finds it; null: none, so that it is refused. */
export function resourceMet(policy: CompiledPolicy, to: string): Resource | null {
  const at = parseHostPort(to);
  if (typeof at === 'string') return null;
  return isIP(at.host) === 0 ? policy.resourceAt('', at.port, [at.host]) : policy.resourceAt(at.host, at.port);
}

/** What a client says of itself where a case does not. */
export function saidOf({ to, tls, servername }: Connection): Said {
  const at = parseHostPort(to);
  const host = typeof at === 'string' || isIP(at.host) !== 0 ? null : at.host;
  return { tls, servername: tls ? (servername === undefined ? host : servername) : null };
}

export function nothingThere(policy: CompiledPolicy, to: string): Decision {
  const known = [...policy.resources.values()].flatMap(({ host, port, also }) => [`${host}:${port}`, ...also]);
  return {
    outcome: 'deny',
    rule: null,
    reason: `${to} is the address of no resource${didYouMean(to, known)}`,
    hint: 'ask for the address to be added to the policy as a resource',
  };
}

/** What is declared and near to a word that is not: a refusal is often a slip of the pen. */
export function nearestOf(word: string, known: Iterable<string>): string | undefined {
  const words = new Set(known);
  return words.has(word) ? undefined : nearest(word, words);
}

export function didYouMean(word: string, known: Iterable<string>): string {
  const near = nearestOf(word, known);
  return near === undefined ? '' : ` (did you mean ${JSON.stringify(near)}?)`;
}

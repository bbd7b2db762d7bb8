/** Recorded operations decided anew by a candidate policy: which decisions would change? */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Decision } from '../core/decision.ts';
import { SluiceError } from '../core/errors.ts';
import type { EventInput } from '../core/event.ts';
import { EFFECTS, type Operation } from '../core/operation.ts';
import type { Principal } from '../core/principal.ts';
import { question } from './cases.ts';
import type { CompiledPolicy } from './policy.ts';
import { decideName } from './reach.ts';

export type Outcome = 'allow' | 'deny' | 'approve';

/** What the stored audit gives of an operation; further fields are not looked at. */
export type Recorded = EventInput & { readonly time?: number };

export interface Change {
  readonly from: Outcome;
  readonly to: Outcome;
  readonly fromRule: string | null;
  readonly toRule: string | null;
  readonly resource: string;
  readonly subject: string;
  count: number;
  /** Of the first one. */
  readonly verb: string;
  readonly text: string;
  readonly reason: string;
}

export interface Replay {
  readonly operations: number;
  readonly unchanged: number;
  /** Most frequent first. */
  readonly changes: readonly Change[];
  /** Decided, but on less than what was known then: text was cut and a condition looks at it. */
  readonly uncertain: number;
  /** Why some could not be decided, with how many. */
  readonly skipped: ReadonlyMap<string, number>;
}

/** Bytes of one line of recorded events. */
const MAX_LINE = 4 << 20;

/** @throws SluiceError AUDIT_QUERY for a line that is not a JSON object, POLICY_UNREADABLE. */
export async function* eventsIn(file: string): AsyncGenerator<Recorded> {
  const input = createReadStream(file, 'utf8');
  let n = 0;
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      n++;
      if (line.trim() === '') continue;
      if (line.length > MAX_LINE) throw new SluiceError('AUDIT_QUERY', `${file}:${n}: longer than ${MAX_LINE} bytes`);
      yield parse(line, `${file}:${n}`);
    }
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause;
    throw new SluiceError('POLICY_UNREADABLE', `could not read ${file}: ${(cause as Error).message}`, { cause });
  }
}

function parse(line: string, where: string): Recorded {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new SluiceError('AUDIT_QUERY', `${where}: not JSON: one event a line is expected (sluice audit -o json)`, {
      cause,
    });
  }
  if (typeof value !== 'object' || value === null || !('type' in value))
    throw new SluiceError('AUDIT_QUERY', `${where}: not an event`);
  return value as Recorded;
}

export async function replay(
  candidate: CompiledPolicy,
  events: AsyncIterable<Recorded>,
  now: () => number,
): Promise<Replay> {
  const changes = new Map<string, Change>();
  const skipped = new Map<string, number>();
  let operations = 0;
  let unchanged = 0;
  let uncertain = 0;
  const skip = (why: string): void => void skipped.set(why, (skipped.get(why) ?? 0) + 1);
  for await (const event of events) {
    if (event.type !== 'operation' || event.decision === undefined) continue;
    operations++;
    const resource = event.resource === undefined ? undefined : candidate.resources.get(event.resource);
    const from = event.observed ?? event.decision;
    const principal = { subject: event.subject ?? '', groups: event.groups ?? [] };
    const operation = operationOf(event);
    if (event.accesses === undefined) {
      skip('recorded without accesses');
      continue;
    }
    const refusedByMore = event.decision === 'deny' && event.error !== undefined && !OF_POLICY.has(event.error);
    const reached = event.resource === undefined ? reachedBy(event, candidate, principal) : null;
    if (reached !== null && refusedByMore) {
      skip('refused for what is not of the policy');
      continue;
    }
    const cut = event.textBytes !== undefined && event.textBytes > Buffer.byteLength(operation.text);
    if (cut && candidate.volatile) uncertain++;
    // Without the resource the flow would have been refused before any operation.
    const decision: Decision =
      reached ??
      (resource === undefined
        ? { outcome: 'deny', rule: null, reason: `the candidate has no resource ${event.resource ?? ''}` }
        : candidate.decide(question(principal, resource, operation, event.time ?? now())));
    const to = decision.observed ?? decision.outcome;
    if (from === to) {
      unchanged++;
      continue;
    }
    const fromRule = event.rule ?? null;
    // Of names and sockets each by itself: there is no resource that they have in common.
    const [{ object = '' } = {}] = operation.accesses;
    const key = JSON.stringify([from, to, fromRule, decision.rule, event.resource ?? object, event.subject]);
    const known = changes.get(key);
    if (known !== undefined) known.count++;
    else
      changes.set(key, {
        from,
        to,
        fromRule,
        toRule: decision.rule,
        resource: event.resource ?? event.protocol ?? '',
        subject: principal.subject,
        count: 1,
        verb: operation.verb,
        text: operation.text,
        reason: decision.reason,
      });
  }
  const sorted = [...changes.values()].sort((a, b) => b.count - a.count);
  return { operations, unchanged, changes: sorted, uncertain, skipped };
}

/** Errors with which a name or a socket was refused by what policy says of it, and not by a bound or a fault. */
const OF_POLICY: ReadonlySet<string> = new Set(['NAME_UNKNOWN', 'NAME_TYPE', 'SOCKET_REFUSED']);

/** What the candidate says of a name or a socket, which are on no resource: by the sections of the policy about them. */
function reachedBy(event: Recorded, candidate: CompiledPolicy, principal: Principal): Decision | null {
  const object = event.accesses?.[0]?.object;
  if (object === undefined) return null;
  if (event.protocol === 'dns')
    return decideName(candidate, principal, { name: object === '.' ? '' : object, type: event.verb ?? '' });
  return event.protocol === 'unix' ? candidate.unixSocket(principal, object) : null;
}

/** Events say of what could not be classified only that it carried every effect. */
function operationOf(event: Recorded): Operation {
  const accesses = event.accesses ?? [];
  const bare = new Set(accesses.flatMap((access) => (access.object === undefined ? [access.effect] : [])));
  const all = EFFECTS.every((effect) => bare.has(effect));
  return {
    protocol: event.protocol ?? '',
    verb: event.verb ?? '',
    text: event.text ?? '',
    fingerprint: event.fingerprint ?? '',
    accesses,
    functions: [],
    ...(all ? { unclassified: 'as recorded' } : {}),
  };
}

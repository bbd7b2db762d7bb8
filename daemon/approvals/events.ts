/** Audit events of approvals. */
import type { EventInput, EventType } from '../core/event.ts';
import type { Approval, Ask, Asker } from './approval.ts';
import type { Review } from './review.ts';

/** Characters of the text that an event holds; the operation's own event has more of it. */
const EVENT_TEXT = 4096;

/** The process behind an ask. */
export function askerOf({ session, origin }: Ask): Asker {
  const { pid, uid, exe, cgroupId } = origin;
  const { issuer } = session.principal;
  return { pid, uid, exe, cgroup: String(cgroupId), ...(issuer !== undefined && { issuer }) };
}

function about(type: EventType, approval: Approval): EventInput {
  return {
    type,
    approval: approval.id,
    session: approval.session,
    subject: approval.subject,
    groups: approval.groups,
    flow: approval.flow,
    ...approval.asker,
    protocol: approval.protocol,
    resource: approval.resource,
    ...(approval.account !== undefined && { account: approval.account }),
    ...(approval.database !== undefined && { database: approval.database }),
    verb: approval.verb,
    text: approval.text.slice(0, EVENT_TEXT),
    textBytes: Buffer.byteLength(approval.text),
    fingerprint: approval.fingerprint,
    ...(approval.rule !== null && { rule: approval.rule }),
  };
}

export function requestedEvent(approval: Approval): EventInput {
  return {
    ...about('approval.requested', approval),
    accesses: approval.accesses,
    decision: 'approve',
    reason: approval.reason,
  };
}

export function decidedEvent(approval: Approval, review: Review): EventInput {
  return {
    ...about('approval.decided', approval),
    decision: review.verdict === 'approve' ? 'allow' : 'deny',
    reviewer: review.reviewer.subject,
    ...(review.reason !== undefined && { reason: review.reason }),
  };
}

export function expiredEvent(approval: Approval, reason: string): EventInput {
  return { ...about('approval.expired', approval), reason };
}

/** Of the ask that used it, which may be another session or flow than the one that asked first. */
export function usedEvent(approval: Approval, ask: Ask): EventInput {
  return {
    ...about('approval.used', approval),
    session: ask.session.id,
    subject: ask.session.principal.subject,
    groups: ask.session.principal.groups,
    flow: ask.flowId,
    ...askerOf(ask),
    text: ask.operation.text.slice(0, EVENT_TEXT),
    textBytes: Buffer.byteLength(ask.operation.text),
    decision: 'allow',
  };
}

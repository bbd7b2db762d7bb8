/** What events say of whose flow it is, and where it goes. */
import type { EventFields } from '../core/event.ts';
import type { Flow } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import type { Opened } from '../protocols/protocol.ts';

export function flowFields(flow: Flow, resource: Resource | null, opened: Opened | null): EventFields {
  return {
    session: flow.session.id,
    subject: flow.session.principal.subject,
    groups: flow.session.principal.groups,
    ...(flow.session.principal.issuer === undefined ? {} : { issuer: flow.session.principal.issuer }),
    flow: flow.id,
    pid: flow.origin.pid,
    uid: flow.origin.uid,
    exe: flow.origin.exe,
    cgroup: String(flow.origin.cgroupId),
    address: flow.origin.address,
    port: flow.origin.port,
    ...(resource === null ? {} : { resource: resource.name, protocol: resource.protocol }),
    ...(opened?.account === undefined ? {} : { account: opened.account }),
    ...(opened?.database === undefined ? {} : { database: opened.database }),
  };
}

/** What a result says of its session and process; what it is the result of stands with its operation. */
const WHOSE = new Set(['session', 'subject', 'flow', 'pid', 'uid', 'exe', 'cgroup']);

export function whose(fields: EventFields): EventFields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => WHOSE.has(name)));
}

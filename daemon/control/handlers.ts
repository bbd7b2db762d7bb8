/**
 * What the control socket answers. The stages behind it come as interfaces from the entry of the daemon; here stands who
 * may call what, and that what they send has the right shape.
 */
import { z } from 'zod';
import { SluiceError } from '../core/errors.ts';
import type { Principal, Session, TokenIdentity } from '../core/principal.ts';
import { type IdentityDesk, identityHandlers, TOKEN } from './identity.ts';
import { mayManage, read } from './params.ts';
import type { Call, Handler, Handlers } from './server.ts';

/** The part of `Approvals` that people use. */
export interface ApprovalDesk {
  list(filter: { session?: string; all?: boolean }): readonly unknown[];
  show(id: string): unknown;
  decide(review: {
    id: string;
    reviewer: Principal;
    uids: readonly number[];
    verdict: 'approve' | 'deny';
    reason?: string;
  }): Promise<unknown>;
  watch(signal: AbortSignal): AsyncIterable<unknown>;
}

/** The part of `Sessions` that people use. */
export interface SessionDesk {
  open(opening: {
    principal: Principal;
    identity?: TokenIdentity;
    uid: number;
    ownUid: boolean;
    command: readonly string[];
    exe?: string;
    pid: number;
  }): Promise<{
    readonly session: Session;
    readonly token: string;
    readonly path: string;
    readonly home?: string;
  }>;
  get(id: string): Session | null;
  list(): readonly Session[];
  /** The session's cgroup, as in /proc/PID/cgroup; null when it has ended. */
  cgroupOf(session: Session): string | null;
  /** Why the session's token could not be renewed, for whoever looks. */
  note(session: Session, problem: string): void;
  end(id: string, reason: string): Promise<void>;
}

export interface AuditDesk {
  query(params: unknown, signal: AbortSignal): AsyncIterable<unknown>;
  sessions(): Promise<unknown>;
  verify(): Promise<unknown>;
}

export interface Desks {
  readonly approvals: ApprovalDesk;
  readonly sessions: SessionDesk;
  readonly identities: IdentityDesk;
  readonly audit: AuditDesk;
  /** Principal of a local uid, in a systemd unit, under the policy in force; null where it maps to nobody. */
  principalOf(uid: number, unit: string | null): Promise<Principal | null>;
  /** The host's name for a uid; its digits where it has none. */
  userOf(uid: number): Promise<string>;
  /** Environment that clients in this session need, e.g. its token under the names that they look for. */
  environment(session: Session, token: string): Readonly<Record<string, string>>;
  /** File with the certificate of the host's CA, readable by everyone. */
  readonly ca: string;
  /** Loads the policy anew. @throws SluiceError POLICY_INVALID: the old one stays in force. */
  reloadPolicy(): Promise<unknown>;
  /** The level of the daemon's log; sets it where one is given, until the daemon ends. */
  logLevel(level?: LogLevel): unknown;
  status(): Promise<unknown> | unknown;
}

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
const LEVEL = z.strictObject({ level: z.enum(LOG_LEVELS).optional() });
const OPEN = z.strictObject({
  command: z.array(z.string()).min(1),
  /** The command's program as the caller found it. Absent: as the command line names it. */
  exe: z.string().min(1).max(4096).optional(),
  /** Absent: the caller's own. */
  uid: z.number().int().min(1).max(0xffff_fffe).optional(),
  /** Absent: the login of the session's user, or else the local mapping. */
  identity: TOKEN.optional(),
  /** The agent runs under a uid of the session's own. Absent: under the one above. */
  ownUid: z.boolean().default(false),
});
const ID = z.strictObject({ id: z.string().max(64) });
const LIST = z.strictObject({ session: z.string().max(64).optional(), all: z.boolean().optional() });
const DECIDE = z.strictObject({
  id: z.string().max(64),
  verdict: z.enum(['approve', 'deny']),
  reason: z.string().max(1_000).optional(),
});
const NONE = z.strictObject({});

export function handlers(desks: Desks): Handlers {
  const { approvals, sessions, audit } = desks;
  return {
    'session.open': {
      access: 'anyone',
      async answer(params, { caller }) {
        const { command, exe, uid = caller.uid, ownUid, identity } = read(OPEN, params);
        if (uid === 0) {
          throw new SluiceError('NOT_ALLOWED', 'an agent does not run as root', { hint: 'name a user: --user NAME' });
        }
        if (uid !== caller.uid && caller.uid !== 0) {
          throw new SluiceError('NOT_ALLOWED', `uid ${caller.uid} may not start a session for uid ${uid}`);
        }
        const asked = { uid, pid: caller.pid, command, ...(exe !== undefined && { exe }) };
        const basis = await desks.identities.basisFor(asked, identity);
        const principal = basis === null ? await desks.principalOf(uid, caller.unit) : basis.principal;
        if (principal === null) {
          throw new SluiceError('NOT_ALLOWED', `the policy maps uid ${uid} to nobody, so no session can be theirs`, {
            hint: 'add the user or a group of theirs to identities',
          });
        }
        const opened = await sessions.open({ ...basis, ...asked, principal, ownUid });
        return { ...opened, ca: desks.ca, environment: desks.environment(opened.session, opened.token) };
      },
    },
    'session.end': {
      access: 'mapped',
      async answer(params, call) {
        const { id } = read(ID, params);
        const session = sessions.get(id);
        // That a session exists is nobody's business but its owner's and root's.
        if (session === null || !mayManage(call, session)) {
          throw new SluiceError('SESSION_UNKNOWN', `there is no running session ${id} of yours`);
        }
        await sessions.end(id, `ended by ${call.principal!.subject}`);
      },
    },
    'sessions.list': {
      access: 'mapped',
      async answer(params, call) {
        read(NONE, params);
        const shown: unknown[] = [];
        // One by one: for each name that is not remembered a process is started.
        for (const session of sessions.list().filter((each) => mayManage(call, each))) {
          const uid = session.agentUid ?? session.uid;
          const cgroup = sessions.cgroupOf(session);
          const agent = { uid, user: await desks.userOf(uid) };
          if (cgroup !== null) shown.push({ ...session, agent, cgroup });
        }
        return shown;
      },
    },
    ...identityHandlers(desks.identities, sessions),
    'approvals.list': mapped(LIST, (filter) =>
      approvals.list({
        ...(filter.session !== undefined && { session: filter.session }),
        ...(filter.all !== undefined && { all: filter.all }),
      }),
    ),
    'approvals.show': mapped(ID, ({ id }) => approvals.show(id)),
    'approvals.decide': mapped(DECIDE, ({ id, verdict, reason }, { caller, principal }) => {
      const uids = caller.loginUid === null ? [caller.uid] : [caller.uid, caller.loginUid];
      return approvals.decide({ id, verdict, ...(reason !== undefined && { reason }), reviewer: principal!, uids });
    }),
    'approvals.watch': mapped(NONE, (_, { signal }) => approvals.watch(signal)),
    'audit.query': { access: 'auditor', answer: (params, { signal }) => audit.query(params, signal) },
    'audit.sessions': { access: 'auditor', answer: () => audit.sessions() },
    'audit.verify': { access: 'auditor', answer: () => audit.verify() },
    'policy.reload': { access: 'root', answer: () => desks.reloadPolicy() },
    ping: { access: 'anyone', answer: () => ({}) },
    'log.level': { access: 'root', answer: (params) => desks.logLevel(read(LEVEL, params).level) },
    status: { access: 'anyone', answer: () => desks.status() },
  };
}

function mapped<T>(schema: z.ZodType<T>, answer: (params: T, call: Call) => unknown): Handler {
  return { access: 'mapped', answer: (params, call) => answer(read(schema, params), call) };
}

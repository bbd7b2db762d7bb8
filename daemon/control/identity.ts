/** What the control socket answers about identities: who may log in where, and how a session's token is renewed. */
import { z } from 'zod';
import { SluiceError } from '../core/errors.ts';
import type { Principal, Session, TokenIdentity } from '../core/principal.ts';
import type { SessionDesk } from './handlers.ts';
import { mayManage, read } from './params.ts';
import type { Handlers } from './server.ts';

/** The part of `Identities` that people use. */
export interface IdentityDesk {
  describe(): unknown;
  basisFor(
    wanted: {
      readonly uid: number;
      readonly pid: number;
      readonly command: readonly string[];
      readonly exe?: string;
    },
    token: string | undefined,
  ): Promise<{ readonly principal: Principal; readonly identity: TokenIdentity } | null>;
  renew(session: Session, token: string): Promise<number>;
  login(uid: number, provider: string | undefined, signal: AbortSignal): AsyncIterable<unknown>;
  logout(uid: number): string;
}

/** A token; never in an error, an event or the log. */
export const TOKEN = z.string().min(1).max(65_536);
const LOGIN = z.strictObject({ provider: z.string().max(64).optional() });
/** `problem`: instead of a token, why there is none. */
const RENEW = z.union([
  z.strictObject({ id: z.string().max(64), token: TOKEN }),
  z.strictObject({ id: z.string().max(64), problem: z.string().max(300).optional() }),
]);
const NONE = z.strictObject({});

export function identityHandlers(identities: IdentityDesk, sessions: Pick<SessionDesk, 'get' | 'note'>): Handlers {
  return {
    'identity.providers': {
      access: 'anyone',
      answer: (params) => {
        read(NONE, params);
        return identities.describe();
      },
    },
    'login.begin': {
      access: 'anyone',
      answer: (params, { caller, signal }) => identities.login(caller.uid, read(LOGIN, params).provider, signal),
    },
    'login.end': {
      access: 'anyone',
      answer: (params, { caller }) => {
        read(NONE, params);
        return { subject: identities.logout(caller.uid) };
      },
    },
    'session.renew': {
      access: 'anyone',
      async answer(params, call) {
        const asked = read(RENEW, params);
        const session = sessions.get(asked.id);
        if (session === null || !mayManage(call, session)) {
          throw new SluiceError('SESSION_UNKNOWN', `there is no running session ${asked.id} of yours`);
        }
        if ('token' in asked) return { until: await identities.renew(session, asked.token) };
        if (asked.problem !== undefined) sessions.note(session, asked.problem);
        return { until: session.identity?.until ?? null };
      },
    },
  };
}

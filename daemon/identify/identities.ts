/**
 * Whom a session is for, by a token: one that `sluice run` presents, or that of its user's login. A session that rests on a
 * token ends to be anybody's when the token does and nobody has renewed it.
 *
 * A token or a login decides alone: when it is refused there is no falling back on the local mapping.
 */
import { SluiceError } from '../core/errors.ts';
import type { EventInput, Recorder } from '../core/event.ts';
import type { Policy } from '../core/policy.ts';
import type { Principal, Session, TokenIdentity, VerifiedToken } from '../core/principal.ts';
import { type Login, Logins } from './logins.ts';
import type { Invitation, Provider } from './oidc/provider.ts';
import { openToken } from './oidc/verify.ts';
import { aboutSession, type Sessions, withoutPassword } from './sessions.ts';

export interface IdentitiesOptions {
  readonly providers: readonly Provider[];
  /** Whether a session may be of a local identity. */
  readonly localSessions: boolean;
  readonly policy: () => Policy;
  readonly sessions: Sessions;
  readonly recorder: Recorder;
  /** The identity of a session has ended: its flows are cut, what it waits for is withdrawn. Must not throw. */
  readonly onExpire: (session: Session, error: SluiceError) => void;
  /** Somebody has logged in, whose login is to be renewed. */
  readonly onLogin?: () => void;
  readonly onFault: (error: unknown) => void;
  readonly clock?: () => number;
}

export interface Basis {
  readonly principal: Principal;
  readonly identity: TokenIdentity;
}

/** A session that is asked for: what is recorded when it is refused. */
export interface Wanted {
  /** Whose it would be. */
  readonly uid: number;
  /** Of the process that asks. */
  readonly pid: number;
  readonly command: readonly string[];
  /** The command's program, as that process found it. Absent: as the command line names it. */
  readonly exe?: string;
}

export type LoginStep = { readonly invitation: Invitation } | { readonly done: Principal; readonly until: number };

export class Identities {
  readonly #options: IdentitiesOptions;
  readonly #clock: () => number;
  readonly #logins: Logins;
  /** What principals were made of, to make them anew under another policy. */
  readonly #tokens = new WeakMap<Principal, VerifiedToken>();

  constructor(options: IdentitiesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? Date.now;
    this.#logins = new Logins(
      {
        renewed: (uid, login) => this.#loginRenewed(uid, login),
        failed: (uid, login, error, final) => this.#loginFailed(uid, login, error, final),
      },
      this.#clock,
    );
  }

  /** For `sluice run` and `sluice login`, to know what is wanted. */
  describe() {
    const { providers, localSessions } = this.#options;
    return {
      localSessions,
      providers: providers.map(({ settings: { name, issuer, audience, clientId } }) => ({
        ...{ name, issuer, login: clientId !== undefined },
        audience: audience ?? [clientId!],
      })),
    };
  }

  /**
   * What a new session of this user rests on; null: on the local mapping, which is allowed.
   * @throws SluiceError IDENTITY_REFUSED, IDENTITY_UNAVAILABLE, IDENTITY_REQUIRED, NOT_ALLOWED.
   */
  async basisFor(wanted: Wanted, token: string | undefined): Promise<Basis | null> {
    const { uid, pid, command, exe = command[0] } = wanted;
    try {
      if (token !== undefined) return this.#basis(await this.#verify(token), 'presented');
      const login = this.#logins.get(uid);
      if (login !== null) return this.#basis(this.#whole(login.token), 'login');
      if (this.#options.localSessions) return null;
      throw new SluiceError('IDENTITY_REQUIRED', 'this host asks for a verified identity, and none was given', {
        hint: this.#options.providers.some(({ settings }) => settings.clientId !== undefined)
          ? 'run sluice login, or give a token: --token-file FILE, or SLUICE_ID_TOKEN'
          : 'give a token: --token-file FILE, or SLUICE_ID_TOKEN',
      });
    } catch (error) {
      if (error instanceof SluiceError)
        this.#record({
          ...{
            type: 'session.refused',
            pid,
            uid, // none of its own is given to a session that does not begin
            owner: uid,
            text: command.map(withoutPassword).join(' '),
            ...saying(error),
          },
          ...(exe !== undefined && { exe }),
        });
      throw error;
    }
  }

  /**
   * Another token for a session that rests on a presented one. It has to be of the same person.
   * @returns when it ends, milliseconds since the epoch. @throws SluiceError IDENTITY_REFUSED, IDENTITY_UNAVAILABLE,
   *   NOT_ALLOWED, AUDIT_FULL, AUDIT_FAILED, STATE_FAILED.
   */
  async renew(session: Session, token: string): Promise<number> {
    try {
      if (session.identity?.source !== 'presented')
        throw new SluiceError('NOT_ALLOWED', 'the session does not rest on a token that was presented');
      const verified = await this.#verify(token);
      const { subject, issuer } = session.principal;
      if (verified.issuer !== issuer || `${verified.provider}:${verified.subject}` !== subject)
        throw new SluiceError('IDENTITY_REFUSED', `the token is refused: it is not of ${subject}, whose session it is`);
      await this.#apply(session, verified, 'presented');
      return verified.until;
    } catch (error) {
      if (error instanceof SluiceError) {
        this.#options.sessions.note(session, error.message);
        if (error.code === 'IDENTITY_REFUSED')
          this.#record({ ...aboutSession(session), type: 'session.refused', ...saying(error) });
      }
      throw error;
    }
  }

  /** Logs a user in by the device flow; a login before it is replaced when this one is done. @throws SluiceError LOGIN_FAILED and others. */
  async *login(uid: number, name: string | undefined, signal: AbortSignal): AsyncGenerator<LoginStep> {
    const provider = this.#providerOf(name);
    const { settings } = provider;
    const invited = await provider.invite();
    const { uri, code, complete, until } = invited;
    yield { invitation: { uri, code, until, ...(complete !== undefined && { complete }) } };
    const { token, refreshToken } = await provider.await(invited, signal).catch((error) => {
      throw signal.aborted ? new SluiceError('LOGIN_FAILED', 'the login was given up') : error;
    });
    const { principal } = this.#basis(token, 'login');
    const about = { uid, subject: principal.subject, groups: principal.groups, issuer: settings.issuer };
    await this.#options.recorder.record({ type: 'login.start', ...about }).durable();
    this.#logins.put(uid, { provider, token }, refreshToken);
    this.#options.onLogin?.();
    await this.#loginRenewed(uid, { provider, token });
    yield { done: principal, until: token.until };
  }

  /** Sessions that rest on the login end to be anybody's. @throws SluiceError LOGIN_FAILED when there is none. */
  logout(uid: number): string {
    const login = this.#logins.delete(uid);
    if (login === null) throw new SluiceError('LOGIN_FAILED', `uid ${uid} has not logged in`, { hint: '' });
    const subject = subjectOf(login);
    this.#record({ type: 'login.end', uid, subject, issuer: login.token.issuer });
    for (const session of this.#sessionsOf(uid, login)) this.#expire(session, 'its owner logged out');
    return subject;
  }

  /** Why the session may do nothing any more; null: it may. */
  expired(session: Session): SluiceError | null {
    const { identity, principal } = session;
    if (identity === undefined || (identity.expiredAt === undefined && identity.until > this.#clock())) return null;
    const why = identity.problem === undefined ? '' : `: ${identity.problem}`;
    return new SluiceError(
      'IDENTITY_EXPIRED',
      `sluice: the identity ${principal.subject} of this session has ended${why}`,
      {
        hint:
          identity.source === 'login'
            ? 'have its user run sluice login outside of the session, then connect again'
            : 'put a new token where the session got its own, or start a new session; then connect again',
      },
    );
  }

  /**
   * Another policy is in force, and may know the holders of tokens as others. Sessions whose token was seen before the
   * daemon started again follow with their next renewal.
   */
  async remap(): Promise<void> {
    const map = async (session: Session) => {
      const { identity, principal } = session;
      const token = this.#tokens.get(principal);
      if (token === undefined || identity === undefined || identity.expiredAt !== undefined) return;
      const mapped = this.#options.policy().principalOfToken(token);
      if (mapped !== null && sameGroups(mapped, principal)) return;
      await this.#apply(session, token, identity.source).catch(this.#options.onFault);
    };
    await Promise.all(this.#options.sessions.list().map(map));
  }

  /** When sweep() has something to do next, if none begins and none is renewed before; milliseconds since the epoch. */
  get next(): number {
    let next = this.#logins.next;
    for (const { identity } of this.#options.sessions.list())
      if (identity !== undefined && identity.expiredAt === undefined) next = Math.min(next, identity.until);
    return next;
  }

  /** To be called every second or so when there is something to do. */
  sweep(): void {
    for (const session of this.#options.sessions.list()) {
      const { identity } = session;
      if (identity === undefined || identity.expiredAt !== undefined || identity.until > this.#clock()) continue;
      this.#expire(session, identity.problem);
    }
    this.#logins.sweep();
  }

  async #verify(token: string): Promise<VerifiedToken> {
    const { issuer } = openToken(token);
    const { providers } = this.#options;
    const provider = providers.find(({ settings }) => settings.issuer === issuer);
    if (provider !== undefined) return provider.verify(token);
    const known = providers.map(({ settings }) => settings.issuer).join(', ');
    throw new SluiceError(
      'IDENTITY_REFUSED',
      `the token is refused: its issuer is ${JSON.stringify(issuer.slice(0, 200))}, and this host takes ${known === '' ? 'no tokens' : `only those of ${known}`}`,
    );
  }

  /** @throws SluiceError IDENTITY_EXPIRED: the login could not be renewed. */
  #whole(token: VerifiedToken): VerifiedToken {
    if (token.until > this.#clock()) return token;
    throw new SluiceError('IDENTITY_EXPIRED', 'your login has ended and could not be renewed', {
      hint: 'run sluice login again',
    });
  }

  #basis(token: VerifiedToken, source: TokenIdentity['source']): Basis {
    const principal = this.#options.policy().principalOfToken(token);
    if (principal === null)
      throw new SluiceError('NOT_ALLOWED', `the policy gives ${token.provider}:${token.subject} no identity`, {
        hint: `add an entry with issuer ${token.issuer} to identities that matches its groups and claims`,
      });
    this.#tokens.set(principal, token);
    return { principal, identity: { provider: token.provider, source, until: token.until } };
  }

  /** A token whose holder the policy does not know any more ends the session's identity. */
  async #apply(session: Session, token: VerifiedToken, source: TokenIdentity['source']): Promise<void> {
    let basis: Basis;
    try {
      basis = this.#basis(token, source);
    } catch (error) {
      this.#expire(session, (error as SluiceError).message);
      throw error;
    }
    await this.#options.sessions.renew(session, basis.principal, basis.identity);
    // Where nothing has changed the session keeps the principal that it had.
    this.#tokens.set(session.principal, token);
  }

  async #loginRenewed(uid: number, login: Login): Promise<void> {
    const renew = async (session: Session) => {
      try {
        await this.#apply(session, login.token, 'login');
      } catch (error) {
        if (!(error instanceof SluiceError)) throw error;
        this.#options.sessions.note(session, error.message);
        this.#options.onFault(error);
      }
    };
    await Promise.all(this.#sessionsOf(uid, login).map(renew));
  }

  #loginFailed(uid: number, login: Login, error: SluiceError, final: boolean): void {
    if (error.code === 'INTERNAL') this.#options.onFault(error.cause);
    if (final) {
      const { issuer } = login.token;
      this.#record({ type: 'login.end', uid, subject: subjectOf(login), issuer, reason: error.message });
    }
    for (const session of this.#sessionsOf(uid, login)) {
      // The provider has said no: that is news about the person, and does not wait for the token's end.
      if (final) this.#expire(session, error.message);
      else this.#options.sessions.note(session, error.message);
    }
  }

  #expire(session: Session, problem: string | undefined): void {
    if (problem !== undefined) this.#options.sessions.note(session, problem);
    if (session.identity?.expiredAt !== undefined) return;
    this.#options.sessions.expire(session, this.#clock());
    const error = this.expired(session);
    if (error !== null) this.#options.onExpire(session, error);
  }

  #sessionsOf(uid: number, login: Login): Session[] {
    const subject = subjectOf(login);
    return this.#options.sessions
      .list()
      .filter(
        ({ uid: owner, principal, identity }) =>
          owner === uid &&
          identity?.source === 'login' &&
          principal.subject === subject &&
          principal.issuer === login.token.issuer,
      );
  }

  #providerOf(name: string | undefined): Provider {
    const able = this.#options.providers.filter(({ settings }) => settings.clientId !== undefined);
    const names = able.map(({ settings }) => settings.name).join(', ');
    const [first, second] = name === undefined ? able : able.filter(({ settings }) => settings.name === name);
    if (first !== undefined && second === undefined) return first;
    const what =
      able.length === 0
        ? 'this host has no provider to log in at'
        : name === undefined
          ? `this host has several providers: ${names}`
          : `this host has no provider ${name} to log in at`;
    throw new SluiceError('LOGIN_FAILED', what, {
      hint: able.length === 0 ? 'present a token, or have a clientId added in sluiced.json' : `name one of ${names}`,
    });
  }

  /** What can't be recorded here lets nothing through. */
  #record(event: EventInput): void {
    try {
      this.#options.recorder.record(event).committed().catch(this.#options.onFault);
    } catch (error) {
      this.#options.onFault(error);
    }
  }
}

const subjectOf = ({ token }: Login): string => `${token.provider}:${token.subject}`;

const saying = ({ code, message }: SluiceError): Pick<EventInput, 'error' | 'message' | 'decision'> => ({
  decision: 'deny',
  error: code,
  message,
});

/** Both are sorted. */
const sameGroups = (a: Principal, b: Principal): boolean => JSON.stringify(a.groups) === JSON.stringify(b.groups);

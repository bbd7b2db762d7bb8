/**
 * Who has logged in: for each local user at most one login, renewed while the daemon runs. Its refresh token is in this
 * memory and nowhere else: what a user may read, an agent under the same uid may read as well.
 */
import { SluiceError } from '../core/errors.ts';
import type { VerifiedToken } from '../core/principal.ts';
import type { Provider } from './oidc/provider.ts';

export interface Login {
  readonly provider: Provider;
  readonly token: VerifiedToken;
}

interface Kept {
  readonly provider: Provider;
  token: VerifiedToken;
  refreshToken: string | undefined;
  /** When to renew it, milliseconds since the epoch. */
  due: number;
  renewing: boolean;
}

/** Of a token's life that may pass before it is renewed: the rest is for a provider that is down for a while. */
const BEFORE_RENEWAL = 0.75;
/** Between two attempts, milliseconds. */
const SOONEST = 1_000;
const LATEST = 30_000;

export interface Outcome {
  renewed(uid: number, login: Login): Promise<void>;
  /** `final`: the provider has refused, and there will be no other token. */
  failed(uid: number, login: Login, error: SluiceError, final: boolean): void;
}

export class Logins {
  readonly #byUid = new Map<number, Kept>();
  readonly #outcome: Outcome;
  readonly #clock: () => number;

  constructor(outcome: Outcome, clock: () => number) {
    this.#outcome = outcome;
    this.#clock = clock;
  }

  get(uid: number): Login | null {
    return this.#byUid.get(uid) ?? null;
  }

  /** Takes the place of the one before. */
  put(uid: number, { provider, token }: Login, refreshToken: string | undefined): void {
    this.#byUid.set(uid, { provider, token, refreshToken, due: this.#dueOf(token), renewing: false });
  }

  delete(uid: number): Login | null {
    const login = this.get(uid);
    this.#byUid.delete(uid);
    return login;
  }

  /** When the next is due, milliseconds since the epoch. */
  get next(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { due } of this.#byUid.values()) next = Math.min(next, due);
    return next;
  }

  /** Renews those that are due; to be called every second or so. */
  sweep(): void {
    const now = this.#clock();
    for (const [uid, login] of this.#byUid) {
      if (login.renewing || login.due > now) continue;
      login.renewing = true;
      void this.#renew(uid, login).finally(() => {
        login.renewing = false;
      });
    }
  }

  async #renew(uid: number, login: Kept): Promise<void> {
    try {
      if (login.refreshToken === undefined)
        throw new SluiceError('IDENTITY_REFUSED', `${login.provider.settings.issuer} gave no refresh token`, {
          hint: 'run sluice login again; scope has to have offline_access for longer ones',
        });
      const { token, refreshToken } = await login.provider.renew(login.refreshToken);
      // OpenID Connect Core 1.0, 12.2: it has to be of the same person.
      if (token.subject !== login.token.subject)
        throw new SluiceError('IDENTITY_REFUSED', `${token.issuer} renewed the login as somebody else`);
      login.token = token;
      login.refreshToken = refreshToken;
      login.due = this.#dueOf(token);
      if (this.#byUid.get(uid) === login) await this.#outcome.renewed(uid, login);
    } catch (cause) {
      const error =
        cause instanceof SluiceError
          ? cause
          : new SluiceError('INTERNAL', 'renewing a login met a fault of sluice itself', { cause });
      // One without a refresh token lives as long as its token.
      const final = error.code === 'IDENTITY_REFUSED' && (login.refreshToken !== undefined || this.#over(login));
      login.due = this.#clock() + Math.min(LATEST, Math.max(SOONEST, (login.token.until - this.#clock()) / 4));
      if (this.#byUid.get(uid) !== login) return;
      if (final) this.#byUid.delete(uid);
      this.#outcome.failed(uid, login, error, final);
    }
  }

  #over({ token }: Kept): boolean {
    return token.until <= this.#clock();
  }

  #dueOf(token: VerifiedToken): number {
    const now = this.#clock();
    const { exp } = token.claims as { exp: number };
    return now + Math.max(SOONEST, (exp * 1000 - now) * BEFORE_RENEWAL);
  }
}

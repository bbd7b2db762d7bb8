/** One provider: tokens verified, people logged in by the device flow (RFC 8628), tokens renewed (RFC 6749, 6). */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { SluiceError } from '../../core/errors.ts';
import type { VerifiedToken } from '../../core/principal.ts';
import { ProviderKeys } from './keys.ts';
import { type Answer, type Line, requestJson } from './request.ts';
import type { ProviderSettings } from './settings.ts';
import { verifyToken } from './verify.ts';

/** Milliseconds that a person has where the provider names no time. */
const CODE_LIFETIME = 10 * 60_000;
const LONGEST_CODE = 60 * 60_000;
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

/** What a person has to do. */
export interface Invitation {
  readonly uri: string;
  readonly code: string;
  /** With the code in it. Absent: the provider has none. */
  readonly complete?: string;
  /** When the code ends, milliseconds since the epoch. */
  readonly until: number;
}

export interface Invited extends Invitation {
  /** Never told to anybody. */
  readonly deviceCode: string;
  readonly interval: number;
}

export interface Granted {
  readonly token: VerifiedToken;
  /** Absent: it can't be renewed. */
  readonly refreshToken?: string;
}

export class Provider {
  readonly settings: ProviderSettings;
  readonly #line: Line;
  readonly #keys: ProviderKeys;
  readonly #clock: () => number;

  constructor(settings: ProviderSettings, clock: () => number = Date.now) {
    this.settings = settings;
    this.#clock = clock;
    this.#line = { timeout: settings.timeoutSeconds * 1000, ...(settings.ca !== undefined && { ca: settings.ca }) };
    this.#keys = new ProviderKeys(settings.issuer, this.#line);
  }

  /** @throws SluiceError IDENTITY_REFUSED, IDENTITY_UNAVAILABLE. */
  verify(token: string): Promise<VerifiedToken> {
    return verifyToken(token, this.settings, this.#keys, this.#clock());
  }

  /** RFC 8628, 3.1 and 3.2. @throws SluiceError LOGIN_FAILED, IDENTITY_UNAVAILABLE. */
  async invite(): Promise<Invited> {
    const { deviceEndpoint } = await this.#keys.metadata();
    const { issuer, scope, clientId } = this.settings;
    if (deviceEndpoint === undefined || clientId === undefined) throw loginFailed(`${issuer} offers no device flow`);
    const { status, body } = await this.#post(deviceEndpoint, { scope });
    const { device_code: deviceCode, user_code: code, verification_uri: uri, expires_in: lifetime, interval } = body;
    if (status !== 200) throw loginFailed(`${issuer} refused to begin one (${errorOf(body) ?? status})`);
    const complete = body.verification_uri_complete;
    if (typeof deviceCode !== 'string' || !isShort(code) || !isWeb(uri))
      throw loginFailed(`the answer of ${issuer} is not one of the device flow`);
    const ms = typeof lifetime === 'number' && lifetime > 0 ? Math.min(lifetime * 1000, LONGEST_CODE) : CODE_LIFETIME;
    return {
      ...{ deviceCode, code, uri, until: this.#clock() + ms },
      ...(isWeb(complete) && { complete }),
      interval: typeof interval === 'number' && interval > 0 && interval < 60 ? interval * 1000 : 5_000,
    };
  }

  /**
   * Asks until the person has decided (RFC 8628, 3.4 and 3.5). A request that fails is made again.
   * @throws SluiceError LOGIN_FAILED, IDENTITY_REFUSED; AbortError.
   */
  async await(invited: Invited, signal: AbortSignal): Promise<Granted> {
    const { tokenEndpoint } = await this.#keys.metadata();
    if (tokenEndpoint === undefined) throw loginFailed(`${this.settings.issuer} names no token endpoint`);
    let { interval } = invited;
    for (;;) {
      await sleep(interval, undefined, { signal });
      if (this.#clock() >= invited.until) throw loginFailed('the code ended before anybody entered it');
      let answer: Answer;
      try {
        answer = await this.#post(tokenEndpoint, { grant_type: DEVICE_GRANT, device_code: invited.deviceCode });
      } catch (error) {
        if (error instanceof SluiceError && error.code === 'IDENTITY_UNAVAILABLE') continue;
        throw error;
      }
      if (answer.status === 200) return this.#granted(answer.body);
      switch (errorOf(answer.body)) {
        case 'authorization_pending':
          break;
        case 'slow_down':
          interval += 5_000;
          break;
        case 'access_denied':
          throw loginFailed('it was refused in the browser');
        case 'expired_token':
          throw loginFailed('the code ended before anybody entered it');
        default:
          throw loginFailed(`${this.settings.issuer} refused it (${errorOf(answer.body) ?? answer.status})`);
      }
    }
  }

  /** @throws SluiceError IDENTITY_REFUSED: there will be no other; IDENTITY_UNAVAILABLE: to be tried again. */
  async renew(refreshToken: string): Promise<Granted> {
    const { tokenEndpoint } = await this.#keys.metadata();
    const { issuer } = this.settings;
    if (tokenEndpoint === undefined)
      throw new SluiceError('IDENTITY_UNAVAILABLE', `asking ${issuer}: it names no token endpoint`);
    const { status, body } = await this.#post(tokenEndpoint, {
      grant_type: 'refresh_token',
      refresh_token: refreshToken,
    });
    const error = errorOf(body);
    if (status >= 500 || status === 429 || error === 'temporarily_unavailable')
      throw new SluiceError('IDENTITY_UNAVAILABLE', `asking ${issuer}: it answered with status ${status}`);
    if (status !== 200)
      throw new SluiceError('IDENTITY_REFUSED', `${issuer} does not renew the login (${error ?? status})`, {
        hint: 'run sluice login again',
      });
    return { refreshToken, ...(await this.#granted(body)) };
  }

  async #granted(body: Answer['body']): Promise<Granted> {
    const { id_token: token, refresh_token: refreshToken } = body;
    if (typeof token !== 'string')
      throw new SluiceError('IDENTITY_REFUSED', `${this.settings.issuer} gave no ID token: does scope have openid?`);
    return { token: await this.verify(token), ...(typeof refreshToken === 'string' && { refreshToken }) };
  }

  #post(url: string, form: Readonly<Record<string, string>>): Promise<Answer> {
    const { clientId, clientSecretFile } = this.settings;
    let secret = {};
    if (clientSecretFile !== undefined) {
      try {
        secret = { client_secret: readFileSync(clientSecretFile, 'utf8').trim() };
      } catch (cause) {
        throw new SluiceError('IDENTITY_UNAVAILABLE', `reading ${clientSecretFile}: ${(cause as Error).message}`, {
          cause,
        });
      }
    }
    return requestJson(url, this.#line, { ...form, client_id: clientId!, ...secret });
  }
}

/** RFC 6749, 5.2: a word, not prose of the provider's. */
function errorOf(body: Answer['body']): string | null {
  return typeof body.error === 'string' && /^[a-z_]{1,64}$/.test(body.error) ? body.error : null;
}

const isShort = (value: unknown): value is string => typeof value === 'string' && value !== '' && value.length <= 64;

const isWeb = (value: unknown): value is string =>
  typeof value === 'string' && value.length <= 1000 && URL.canParse(value) && /^https?:$/.test(new URL(value).protocol);

function loginFailed(what: string): SluiceError {
  return new SluiceError('LOGIN_FAILED', `the login was not completed: ${what}`);
}

/**
 * A provider's own word: its discovery document (OpenID Connect Discovery 1.0) and its keys (RFC 7517), fetched when they
 * are needed and kept. A key that is not among them makes them fetched anew, so that a rotation is followed at once; but
 * not more often than once in COOLDOWN, and whoever comes sooner waits.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createLocalJWKSet, errors, type JWTVerifyGetKey } from 'jose';
import { SluiceError } from '../../core/errors.ts';
import { type Line, requestJson } from './request.ts';

/** Milliseconds. */
const FRESH = 10 * 60_000;
/** How long keys still count that could not be fetched anew: a provider that is down must not end what runs. */
const STALE = 60 * 60_000;
const COOLDOWN = 5_000;
const MOST_KEYS = 100;

export interface Metadata {
  readonly jwksUri: string;
  /** Absent: the provider has none. */
  readonly tokenEndpoint?: string;
  readonly deviceEndpoint?: string;
}

interface Known {
  readonly metadata: Metadata;
  readonly find: JWTVerifyGetKey;
  /** Of the monotonic clock. */
  readonly at: number;
}

export class ProviderKeys {
  readonly #issuer: string;
  readonly #line: Line;
  #known: Known | null = null;
  #fetching: Promise<Known> | null = null;
  #tried = Number.NEGATIVE_INFINITY;

  constructor(issuer: string, line: Line) {
    this.#issuer = issuer;
    this.#line = line;
  }

  /** @throws SluiceError IDENTITY_UNAVAILABLE. */
  async metadata(): Promise<Metadata> {
    return (await this.#get()).metadata;
  }

  /** The key that signed a token, for jose. @throws JOSEError where there is none; SluiceError IDENTITY_UNAVAILABLE. */
  readonly find = async (
    ...[header, token]: Parameters<JWTVerifyGetKey>
  ): Promise<Awaited<ReturnType<JWTVerifyGetKey>>> => {
    const known = await this.#get();
    try {
      return await known.find(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      const now = this.#known === known ? await this.#fetch() : this.#known!;
      return now.find(header, token);
    }
  };

  async #get(): Promise<Known> {
    const known = this.#known;
    const age = known === null ? Number.POSITIVE_INFINITY : performance.now() - known.at;
    if (known !== null && age < FRESH) return known;
    try {
      return await this.#fetch();
    } catch (error) {
      if (known !== null && age < STALE) return known;
      throw error;
    }
  }

  /** One at a time, for all that ask. */
  #fetch(): Promise<Known> {
    this.#fetching ??= this.#load().finally(() => {
      this.#fetching = null;
    });
    return this.#fetching;
  }

  async #load(): Promise<Known> {
    const wait = this.#tried + COOLDOWN - performance.now();
    if (wait > 0) await sleep(wait);
    this.#tried = performance.now();
    const metadata = await this.#discover();
    const { status, body } = await requestJson(metadata.jwksUri, this.#line);
    if (status !== 200 || !Array.isArray(body.keys)) throw this.#wrong(`its keys came with status ${status}`);
    if (body.keys.length > MOST_KEYS) throw this.#wrong(`it has ${body.keys.length} keys, more than ${MOST_KEYS}`);
    try {
      // Shared secrets among them could only mislead.
      const keys = body.keys.filter((key) => (key as { kty?: unknown } | null)?.kty !== 'oct');
      this.#known = { metadata, find: createLocalJWKSet({ keys }), at: performance.now() };
    } catch (cause) {
      throw this.#wrong('its keys are not a JSON Web Key Set', cause);
    }
    return this.#known;
  }

  /** OpenID Connect Discovery 1.0, 4: the document has to name the issuer that it was asked for, to the letter. */
  async #discover(): Promise<Metadata> {
    const { status, body } = await requestJson(
      `${this.#issuer.replace(/\/$/, '')}/.well-known/openid-configuration`,
      this.#line,
    );
    if (status !== 200) throw this.#wrong(`its discovery document came with status ${status}`);
    if (body.issuer !== this.#issuer) {
      const claimed = JSON.stringify(String(body.issuer).slice(0, 200));
      throw this.#wrong(`its discovery document says that its issuer is ${claimed}`);
    }
    const tokenEndpoint = this.#endpoint(body, 'token_endpoint');
    const deviceEndpoint = this.#endpoint(body, 'device_authorization_endpoint');
    const jwksUri = this.#endpoint(body, 'jwks_uri');
    if (jwksUri === undefined) throw this.#wrong('its discovery document names no jwks_uri');
    return {
      jwksUri,
      ...(tokenEndpoint !== undefined && { tokenEndpoint }),
      ...(deviceEndpoint !== undefined && { deviceEndpoint }),
    };
  }

  #endpoint(body: Readonly<Record<string, unknown>>, name: string): string | undefined {
    const value = body[name];
    if (value === undefined) return undefined;
    if (typeof value === 'string' && URL.canParse(value) && new URL(value).protocol === 'https:') return value;
    throw this.#wrong(`its discovery document names a ${name} that is not https`);
  }

  #wrong(what: string, cause?: unknown): SluiceError {
    return new SluiceError('IDENTITY_UNAVAILABLE', `asking ${this.#issuer}: ${what}`, {
      hint: 'check the issuer in sluiced.json and the provider',
      cause,
    });
  }
}

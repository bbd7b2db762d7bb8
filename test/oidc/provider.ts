/**
 * A real OpenID provider (oidc-provider) over HTTPS on loopback, with keys that can be rotated, answers that can be put in
 * the place of its own, and a person who approves device logins as a browser would.
 */
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type CryptoKey,
  exportJWK,
  exportSPKI,
  generateKeyPair,
  importJWK,
  type JWK,
  type JWTPayload,
  SignJWT,
} from 'jose';
import OpenIdProvider from 'oidc-provider';
import { CertificateAuthority } from '../../daemon/intake/certificates.ts';
import { browse } from './browser.ts';

/** undefined: the token has no such claim. */
export type Claims = { readonly [K in keyof JWTPayload]?: JWTPayload[K] | undefined };

interface Key {
  readonly kid: string;
  readonly key: CryptoKey;
  readonly jwk: JWK;
}

export interface TestProvider {
  readonly issuer: string;
  /** File with the certificate of its CA. */
  readonly ca: string;
  /** Groups that tokens of everybody have from now on; null: none at all. */
  groups: readonly string[] | null;
  /** Seconds that ID tokens live. */
  lifetime: number;
  /** Paths asked for since the last look. */
  asked: string[];
  /** Answers in its place, by path. */
  readonly instead: Map<string, (request: IncomingMessage, response: ServerResponse) => void>;
  /** A token signed with its present key. `claims` over sound ones; undefined takes one away. */
  sign(claims?: Claims, header?: Readonly<Record<string, unknown>>): Promise<string>;
  /** Public half of its present key, as PEM: what an attacker has. */
  publicKey(): Promise<string>;
  /** Signs with a new key from here on; `forget`: publishes that one alone. */
  rotate(forget?: boolean): Promise<void>;
  /** What a person does with an invitation: opens it, enters the code, logs in as `login`, agrees; or refuses. */
  decide(uri: string, login: string, answer?: 'agree' | 'refuse'): Promise<void>;
  /** Stops listening; start() listens on the same port again. */
  stop(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

export const CLIENT = 'sluice';
export const AUDIENCE = 'https://sluice.example';

export async function startProvider(): Promise<TestProvider> {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-oidc-'));
  // Daemons of other accounts read the certificate.
  chmodSync(dir, 0o755);
  const authority = await CertificateAuthority.open(join(dir, 'ca'));
  const ca = join(dir, 'ca.pem');
  writeFileSync(ca, authority.pem, { mode: 0o644 });
  const { context } = await authority.leafFor(['localhost']);
  const options = {
    SNICallback: (_: string, done: (error: null, made: typeof context) => void) => done(null, context),
  };

  let keys = [await makeKey(0)];
  let handle: RequestListener = () => {};
  let server = https.createServer(options, route);
  server.listen(0, 'localhost');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const issuer = `https://localhost:${port}`;

  function route(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url!.split('?')[0]!;
    made.asked.push(path);
    (made.instead.get(path) ?? handle)(request, response as never);
  }

  const made: TestProvider = {
    ...{ issuer, ca, groups: ['ai-agents'], lifetime: 600, asked: [], instead: new Map() },
    sign(claims = {}, header = {}) {
      const { kid, key } = keys[0]!;
      const now = Math.floor(Date.now() / 1000);
      const sound = { iss: issuer, sub: 'ada', aud: AUDIENCE, iat: now, exp: now + 600, groups: ['ai-agents'] };
      return new SignJWT({ ...sound, ...claims } as JWTPayload)
        .setProtectedHeader({ alg: 'RS256', kid, ...header })
        .sign(key);
    },
    async publicKey() {
      const { n, e, kty } = keys[0]!.jwk;
      return exportSPKI((await importJWK({ n, e, kty } as JWK, 'RS256', { extractable: true })) as CryptoKey);
    },
    async rotate(forget = false) {
      const key = await makeKey(Number(keys[0]!.kid) + 1);
      keys = forget ? [key] : [key, ...keys];
      configure();
    },
    decide: (uri, login, answer = 'agree') => browse({ uri, login, answer, ca: authority.pem }),
    async stop() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
    async start() {
      server = https.createServer(options, route);
      server.listen(port, 'localhost');
      await once(server, 'listening');
    },
    async close() {
      if (server.listening) await made.stop();
      rmSync(dir, { recursive: true });
    },
  };

  function configure(): void {
    const client = {
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
      token_endpoint_auth_method: 'none',
      ...{ response_types: [], redirect_uris: [] },
    };
    const provider = new OpenIdProvider(issuer, {
      jwks: { keys: keys.map(({ jwk }) => jwk) },
      clients: [
        { client_id: CLIENT, ...client },
        { client_id: 'other', ...client },
      ],
      features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
      cookies: { keys: ['of a test'] },
      // A token of its own has the groups, as people ask for who have no other way to tell them.
      conformIdTokenClaims: false,
      claims: { openid: ['sub', 'groups'] },
      findAccount: (_: unknown, id: string) => ({
        accountId: id,
        claims: () => ({ sub: id, ...(made.groups !== null && { groups: made.groups }) }),
      }),
      ttl: {
        IdToken: () => made.lifetime,
        Grant: 3600,
        Session: 3600,
        RefreshToken: 3600,
        AccessToken: 60,
        DeviceCode: 120,
        Interaction: 120,
      },
      rotateRefreshToken: true,
    });
    provider.use(async (context, next) => {
      await next();
      // RFC 8628, 3.2: the provider may say so; without it clients wait for 5 s.
      if (context.path === '/device/auth' && context.body?.device_code !== undefined) context.body.interval = 1;
    });
    handle = provider.callback();
  }
  configure();
  return made;
}

async function makeKey(n: number): Promise<Key> {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  const kid = String(n);
  return { kid, key: privateKey, jwk: { ...(await exportJWK(privateKey)), kid, alg: 'RS256', use: 'sig' } };
}

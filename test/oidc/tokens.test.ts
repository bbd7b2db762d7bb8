/** Tokens of a real provider and forged ones, each as it should be: taken with what it says, or refused with a reason. */
import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { after, before, suite, type TestContext, test } from 'node:test';
import { generateKeyPair, SignJWT } from 'jose';
import type { ErrorCode, SluiceError } from '../../daemon/core/errors.ts';
import { Provider } from '../../daemon/identify/oidc/provider.ts';
import { providerSettings } from '../../daemon/identify/oidc/settings.ts';
import { openToken } from '../../daemon/identify/oidc/verify.ts';
import { AUDIENCE, CLIENT, type Claims, startProvider, type TestProvider } from './provider.ts';

const now = (): number => Math.floor(Date.now() / 1000);
const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

suite('tokens', () => {
  let provider: TestProvider;

  before(async () => {
    provider = await startProvider();
  });
  after(() => provider.close());

  function client(change: object = {}, clock?: () => number): Provider {
    const { issuer, ca } = provider;
    const base = { name: 'corp', issuer, ca, audience: AUDIENCE, groupsClaim: 'groups' };
    return new Provider(providerSettings.parse({ ...base, ...change }), clock);
  }

  async function refuses(
    asked: Promise<unknown>,
    reason: RegExp,
    { code = 'IDENTITY_REFUSED', token = '' }: { code?: ErrorCode; token?: string } = {},
  ): Promise<void> {
    await assert.rejects(asked, (error: SluiceError) => {
      assert.equal(error.code, code, error.message);
      assert.match(error.message, reason);
      for (const piece of token.split('.').filter((each) => each.length > 10)) {
        assert.ok(!error.message.includes(piece) && !error.hint.includes(piece), 'the error quotes the token');
      }
      return true;
    });
  }

  test('a right one', async () => {
    const { subject, groups, issuer, until } = await client().verify(await provider.sign());
    assert.deepEqual({ subject, groups, issuer }, { subject: 'ada', groups: ['ai-agents'], issuer: provider.issuer });
    assert.ok(until > Date.now() + 600_000 && until <= Date.now() + 661_000, 'its end, and 60 s for clocks');
  });

  const wrong: readonly (readonly [name: string, claims: () => Claims, reason: RegExp, header?: object])[] = [
    ['of another issuer', () => ({ iss: 'https://evil.example' }), /claim iss is not right/],
    [
      'for another audience',
      () => ({ aud: 'https://other.example' }),
      /meant for "https:\/\/other\.example", and not for/,
    ],
    ['of another client', () => ({ aud: 'other', azp: 'other' }), /meant for "other"/],
    ['of another client and for us too', () => ({ aud: ['other', AUDIENCE], azp: 'other' }), /issued to "other"/],
    ['without audience', () => ({ aud: undefined }), /no claim aud/],
    ['expired', () => ({ exp: now() - 61, iat: now() - 600 }), /it ended 6\d s ago/],
    ['without end', () => ({ exp: undefined }), /no claim exp/],
    ['not yet valid', () => ({ nbf: now() + 70 }), /not valid yet: it begins in (69|70) s/],
    ['of the future', () => ({ iat: now() + 70 }), /issued in the future/],
    ['without time', () => ({ iat: undefined }), /no claim iat/],
    ['too old', () => ({ iat: now() - 90_000 }), /issued 9000\d s ago, more than 86400 s/],
    ['an access token', () => ({}), /of the type "at\+jwt"/, { typ: 'at+jwt' }],
    ['a logout token', () => ({}), /of the type "logout\+jwt"/, { typ: 'logout+jwt' }],
    ['without groups', () => ({ groups: undefined }), /no claim groups, so its groups are not known/],
    ['with groups elsewhere', () => ({ groups: undefined, _claim_names: { groups: 'src1' } }), /too many to be in it/],
    ['with hasgroups', () => ({ hasgroups: true }), /too many to be in it/],
    ['with groups of numbers', () => ({ groups: [1, 2] }), /more than names of groups/],
    ['with a group of objects', () => ({ groups: { admin: true } }), /more than names of groups/],
    ['in 257 groups', () => ({ groups: Array.from({ length: 257 }, (_, i) => `g${i}`) }), /names 257 groups/],
    ['without subject', () => ({ sub: undefined }), /claim sub is no text/],
    ['with a subject of lines', () => ({ sub: 'ada\nlocal:root' }), /claim sub is no text/],
    ['with crit', () => ({}), /not well formed/, { crit: ['x'], x: 1 }],
  ];
  for (const [name, claims, reason, header] of wrong) {
    test(name, async () => {
      const token = await provider.sign(claims(), { ...header }).catch(async () => {
        // jose signs nothing critical that it does not know.
        const [, payload, signature] = (await provider.sign(claims())).split('.');
        return [part({ alg: 'RS256', kid: '0', ...header }), payload, signature].join('.');
      });
      await refuses(client().verify(token), reason, { token });
    });
  }

  test('within the clock skew, on either side', async () => {
    for (const claims of [{ exp: now() - 50, iat: now() - 600 }, { nbf: now() + 50 }, { iat: now() + 50 }]) {
      assert.equal((await client().verify(await provider.sign(claims))).subject, 'ada');
      await refuses(client({ clockSkewSeconds: 0 }).verify(await provider.sign(claims)), /./);
    }
    const token = await provider.sign();
    for (const [hours, reason] of [
      [1, /it ended/],
      [-1, /issued in the future/],
    ] as const) {
      await refuses(client({}, () => Date.now() + hours * 3_600_000).verify(token), reason);
    }
  });

  test('typ as providers write it', async () => {
    for (const typ of ['JWT', 'jwt', 'application/jwt']) {
      assert.equal((await client().verify(await provider.sign({}, { typ }))).subject, 'ada');
    }
  });

  test('alg none, whatever its capitals', async () => {
    const [, payload] = (await provider.sign()).split('.');
    for (const alg of ['none', 'None', 'nOnE', '']) {
      for (const signature of ['', 'AAAA']) {
        await refuses(client().verify([part({ alg }), payload, signature].join('.')), /signed by ".*", and only/);
      }
    }
  });

  test('HS256 with the public key as its secret', async () => {
    const pem = await provider.publicKey();
    for (const secret of [pem, pem.trim()]) {
      const token = await new SignJWT({ groups: ['ai-agents'] })
        .setProtectedHeader({ alg: 'HS256', kid: '0' })
        .setIssuer(provider.issuer)
        .setAudience(AUDIENCE)
        .setIssuedAt()
        .setExpirationTime('1h')
        .setSubject('ada')
        .sign(createSecretKey(Buffer.from(secret)));
      await refuses(client().verify(token), /signed by "HS256", and only/, { token });
    }
  });

  test('shared secrets can not be configured', () => {
    for (const algorithms of [['none'], ['HS256'], ['RS256', 'HS512'], []]) {
      assert.throws(() => client({ algorithms }), /algorithms/);
    }
  });

  test('signed by a key that says it is the right one', async () => {
    const { privateKey } = await generateKeyPair('RS256');
    const forged = new SignJWT({ groups: ['dba'], aud: AUDIENCE, iss: provider.issuer, sub: 'ada' }).setIssuedAt();
    const token = await forged.setExpirationTime('1h').setProtectedHeader({ alg: 'RS256', kid: '0' }).sign(privateKey);
    await refuses(client().verify(token), /its signature is wrong/, { token });
  });

  test('a key in the header is nobody asked for', async () => {
    const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
    const { exportJWK } = await import('jose');
    const jwk = await exportJWK(publicKey);
    const forged = new SignJWT({ groups: ['dba'], aud: AUDIENCE, iss: provider.issuer, sub: 'ada' }).setIssuedAt();
    const header = { alg: 'RS256', jwk, jku: 'https://localhost:1/keys' };
    const token = await forged.setExpirationTime('1h').setProtectedHeader(header).sign(privateKey);
    await refuses(client().verify(token), /its signature is wrong/, { token });
  });

  test('changed in any part', async () => {
    const [header, payload, signature] = (await provider.sign()).split('.');
    const claims = JSON.parse(Buffer.from(payload!, 'base64url').toString());
    const raised = part({ ...claims, groups: ['dba'] });
    await refuses(client().verify([header, raised, signature].join('.')), /its signature is wrong/);
    const other = `${signature!.startsWith('A') ? 'B' : 'A'}${signature!.slice(1)}`;
    await refuses(client().verify([header, payload, other].join('.')), /its signature is wrong/);
  });

  test('what is no token at all', () => {
    for (const text of [
      '',
      '.',
      '..',
      'a.b.c',
      'a.b.c.d.e',
      '{}',
      `${part({ alg: 'RS256' })}.${part({})}.`,
      'x'.repeat(40_000),
    ])
      assert.throws(() => openToken(text), { code: 'IDENTITY_REFUSED' });
  });

  test('a key that nobody knows, and then a rotated one: fetched anew, but not for each', async () => {
    const verifier = client();
    await verifier.verify(await provider.sign());
    provider.asked = [];
    const stray = await provider.sign({}, { kid: 'stray' });
    await refuses(verifier.verify(stray), /no key that could have signed it/);
    await provider.rotate();
    const tokens = await Promise.all(Array.from({ length: 20 }, () => provider.sign()));
    const verified = await Promise.all(tokens.map((token) => verifier.verify(token)));
    assert.ok(verified.every(({ subject }) => subject === 'ada'));
    const fetched = provider.asked.filter((path) => path === '/jwks').length;
    assert.equal(fetched, 2, 'once for the stray key, once for all that came with the new one');
  });

  test('a key taken back counts no more once the keys are fetched', async () => {
    const verifier = client();
    const old = await provider.sign();
    await verifier.verify(old);
    await provider.rotate(true);
    await verifier.verify(await provider.sign());
    await refuses(verifier.verify(old), /no key that could have signed it/);
  });

  test('groups: a text, a path, and none where they are not required', async () => {
    const groups = async (change: object, claims: Claims) =>
      (await client(change).verify(await provider.sign(claims))).groups;
    assert.deepEqual(await groups({}, { groups: 'dba' }), ['dba']);
    assert.deepEqual(await groups({ groupsClaim: ['realm_access', 'roles'] }, { realm_access: { roles: ['a'] } }), [
      'a',
    ]);
    assert.deepEqual(await groups({ groupsClaim: 'https://x.example/groups' }, { 'https://x.example/groups': ['b'] }), [
      'b',
    ]);
    assert.deepEqual(await groups({ groupsRequired: false }, { groups: undefined }), []);
    assert.deepEqual(await groups({}, { groups: [] }), []);
    assert.deepEqual(await groups({ groupsClaim: undefined }, {}), []);
    await refuses(groups({ groupsClaim: ['groups', 'length'] }, {}), /no claim groups\.length/);
    await refuses(groups({ groupsRequired: false }, { groups: undefined, _claim_names: { groups: 's' } }), /too many/);
  });

  test('an email counts where it is verified', async () => {
    const change = { subjectClaim: 'email' };
    const email = 'ada@shop.example';
    const { subject } = await client(change).verify(await provider.sign({ email, email_verified: true }));
    assert.equal(subject, email);
    for (const claims of [{ email }, { email, email_verified: false }, { email, email_verified: 'true' }])
      await refuses(client(change).verify(await provider.sign(claims)), /email is not verified/);
  });

  async function unavailable(
    t: TestContext,
    path: string,
    answer: Parameters<typeof provider.instead.set>[1],
    reason: RegExp,
    timeoutSeconds = 10,
  ) {
    provider.instead.set(path, answer);
    t.after(() => provider.instead.delete(path));
    await refuses(client({ timeoutSeconds }).verify(await provider.sign()), reason, {
      code: 'IDENTITY_UNAVAILABLE',
    });
  }
  const DISCOVERY = '/.well-known/openid-configuration';
  const json = (value: object) => (_: unknown, response: { end(text: string): void }) =>
    response.end(JSON.stringify(value));

  test('a discovery document that lies about its issuer', (t) =>
    unavailable(
      t,
      DISCOVERY,
      json({ issuer: `${provider.issuer}/`, jwks_uri: `${provider.issuer}/jwks` }),
      /says that its issuer is/,
    ));
  test('keys over plain http', (t) =>
    unavailable(
      t,
      DISCOVERY,
      json({ issuer: provider.issuer, jwks_uri: 'http://localhost/jwks' }),
      /jwks_uri that is not https/,
    ));
  test('a redirect', (t) =>
    unavailable(
      t,
      '/jwks',
      (_, response) => response.writeHead(302, { location: '/elsewhere' }).end(),
      /redirect \(302\)/,
    ));
  test('10 MB of keys', (t) =>
    unavailable(
      t,
      '/jwks',
      (_, response) => response.end(JSON.stringify({ keys: [{ kty: 'x'.repeat(10_000_000) }] })),
      /longer than 512 KiB/,
    ));
  test('keys that come slowly, byte for byte', (t) => {
    const drip = (response: { write(text: string): void; on(name: 'close', done: () => void): void }) => {
      const timer = setInterval(() => response.write(' '), 50);
      response.on('close', () => clearInterval(timer));
    };
    return unavailable(t, '/jwks', (_, response) => drip(response), /did not answer within 0\.5 s/, 0.5);
  });
  test('keys that are none', (t) => unavailable(t, '/jwks', json({ keys: ['x'] }), /not a JSON Web Key Set/));
  test('a page in place of keys', (t) =>
    unavailable(t, '/jwks', (_, response) => response.end('<html>'), /no JSON object/));

  test('a provider whose certificate nobody vouches for', async () => {
    const { issuer } = provider;
    const settings = providerSettings.parse({ name: 'corp', issuer, clientId: CLIENT });
    await refuses(new Provider(settings).verify(await provider.sign({ aud: CLIENT })), /certificate/, {
      code: 'IDENTITY_UNAVAILABLE',
    });
  });

  test('a provider that is down, and one that goes down later', async () => {
    const token = await provider.sign();
    const running = client();
    await running.verify(token);
    await provider.stop();
    try {
      await refuses(client().verify(token), /nothing listens there/, { code: 'IDENTITY_UNAVAILABLE' });
      assert.equal((await running.verify(token)).subject, 'ada', 'known keys count on');
    } finally {
      await provider.start();
    }
  });
});

/**
 * A token verified: signature by a key of its issuer, issuer, audience, times, kind; then who it is of and in which groups.
 * OpenID Connect Core 1.0, 3.1.3.7; RFC 8725 (best current practices for JWT). Errors never quote the token.
 */
import { decodeJwt, decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from 'jose';
import { SluiceError } from '../../core/errors.ts';
import type { VerifiedToken } from '../../core/principal.ts';
import type { ProviderKeys } from './keys.ts';
import type { ProviderSettings } from './settings.ts';

/** Characters; a token with the groups of a large directory has some thousands. */
const TOKEN_LENGTH = 32 * 1024;
/** As many and as long as an event can hold: what is recorded is what was decided by. */
const MOST_GROUPS = 256;
const GROUP_BYTES = 256;
const SUBJECT_LENGTH = 255;

export interface Opened {
  readonly issuer: string;
  readonly algorithm: string;
}

/** What an unverified token says of itself, to find who can verify it. @throws SluiceError IDENTITY_REFUSED. */
export function openToken(token: string): Opened {
  if (token.length > TOKEN_LENGTH) throw refused(`it has more than ${TOKEN_LENGTH / 1024} KiB`);
  try {
    const { alg } = decodeProtectedHeader(token);
    const { iss } = decodeJwt(token);
    if (typeof alg !== 'string' || typeof iss !== 'string') throw new Error('it names no algorithm or no issuer');
    return { issuer: iss, algorithm: alg };
  } catch {
    throw refused('it is no JSON Web Token with an algorithm and an issuer');
  }
}

/** @param now milliseconds since the epoch. @throws SluiceError IDENTITY_REFUSED, IDENTITY_UNAVAILABLE. */
export async function verifyToken(
  token: string,
  settings: ProviderSettings,
  keys: ProviderKeys,
  now: number,
): Promise<VerifiedToken> {
  const { algorithm } = openToken(token);
  const allowed: readonly string[] = settings.algorithms;
  // Before the provider is asked for anything.
  if (!allowed.includes(algorithm))
    throw refused(`it is signed by ${quoted(algorithm)}, and only ${allowed.join(', ')} are taken`);
  const audience = [...(settings.audience ?? []), ...(settings.clientId === undefined ? [] : [settings.clientId])];
  const { clockSkewSeconds: skew, maxAgeSeconds: maxAge } = settings;
  let claims: JWTPayload;
  let type: string | undefined;
  try {
    const verified = await jwtVerify(token, keys.find, {
      algorithms: [...allowed],
      issuer: settings.issuer,
      audience,
      clockTolerance: skew,
      maxTokenAge: maxAge,
      currentDate: new Date(now),
      requiredClaims: ['exp', 'iat', 'iss', 'aud'],
    });
    claims = verified.payload;
    type = verified.protectedHeader.typ;
  } catch (error) {
    throw error instanceof SluiceError ? error : refused(reason(error, token, settings, audience, now), error);
  }
  const kind = type?.toLowerCase().replace(/^application\//, '');
  if (kind !== undefined && !settings.types.some((each) => each.toLowerCase() === kind))
    throw refused(`it is of the type ${quoted(type!)}, and only ${settings.types.join(', ')} is taken`);
  const { azp } = claims;
  // Several audiences: whoever it was issued to has to be one that we know.
  if (Array.isArray(claims.aud) && claims.aud.length > 1 && azp !== undefined && !audience.includes(String(azp)))
    throw refused(`it was issued to ${quoted(String(azp))} and is only meant for sluice among others`);
  return {
    provider: settings.name,
    issuer: settings.issuer,
    subject: subjectOf(claims, settings),
    groups: groupsOf(claims, settings),
    claims,
    until: (Math.min(claims.exp!, claims.iat! + maxAge) + skew) * 1000,
  };
}

function subjectOf(claims: JWTPayload, { subjectClaim }: ProviderSettings): string {
  const name = subjectClaim.join('.');
  const value = at(claims, subjectClaim);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (typeof value !== 'string' || value === '' || value.length > SUBJECT_LENGTH || /[\x00-\x1f\x7f]/.test(value))
    throw refused(`its claim ${name} is no text of up to ${SUBJECT_LENGTH} characters`);
  if (name === 'email' && claims.email_verified !== true) throw refused('its email is not verified');
  return value;
}

function groupsOf(claims: JWTPayload, { groupsClaim, groupsRequired }: ProviderSettings): readonly string[] {
  if (groupsClaim === undefined) return [];
  const name = groupsClaim.join('.');
  // Who is in too many groups gets a token that says where to ask for them (OpenID Connect Core, 5.6.2; Entra ID: overage).
  const elsewhere = at(claims, ['_claim_names', groupsClaim[0]!]) !== undefined;
  if (elsewhere || claims.hasgroups === true || claims.hasgroups === 'true')
    throw refused(`its groups are too many to be in it: have the provider send only those that matter here`);
  const value = at(claims, groupsClaim);
  if (value === undefined && !groupsRequired) return [];
  if (value === undefined) throw refused(`it has no claim ${name}, so its groups are not known`);
  const groups: unknown[] = Array.isArray(value) ? value : [value];
  if (groups.length > MOST_GROUPS) throw refused(`it names ${groups.length} groups, more than ${MOST_GROUPS}`);
  if (!groups.every(isGroup)) throw refused(`its claim ${name} holds more than names of groups`);
  return groups;
}

function isGroup(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && Buffer.byteLength(value) <= GROUP_BYTES;
}

function at(value: unknown, path: readonly string[]): unknown {
  let found = value;
  for (const name of path) {
    if (typeof found !== 'object' || found === null || Array.isArray(found) || !Object.hasOwn(found, name))
      return undefined;
    found = (found as Record<string, unknown>)[name];
  }
  return found;
}

function reason(
  error: unknown,
  token: string,
  settings: ProviderSettings,
  audience: readonly string[],
  now: number,
): string {
  const { exp, nbf, iat, aud } = decodeJwt(token);
  if (error instanceof errors.JWTExpired) {
    const late = error.claim === 'iat';
    return late
      ? `it was issued ${ago(iat!, now)}, more than ${settings.maxAgeSeconds} s`
      : `it ended ${ago(exp!, now)}`;
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.reason === 'missing') return `it has no claim ${error.claim}`;
    if (error.claim === 'aud')
      return `it is meant for ${[aud].flat().map(quoted).join(', ')}, and not for ${audience.map(quoted).join(' or ')}`;
    if (error.claim === 'nbf') return `it is not valid yet: it begins in ${Math.ceil(nbf! - now / 1000)} s`;
    if (error.claim === 'iat')
      return `it was issued in the future, by ${Math.ceil(Number(iat) - now / 1000)} s: is the clock right?`;
    return `its claim ${error.claim} is not right`;
  }
  if (error instanceof errors.JWKSNoMatchingKey) return `${settings.issuer} has no key that could have signed it`;
  if (error instanceof errors.JWKSMultipleMatchingKeys) return `it does not say by which key it is signed (kid)`;
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature is wrong';
  return 'it is not well formed, or its key is not usable';
}

const ago = (seconds: number, now: number): string => `${Math.round(now / 1000 - seconds)} s ago`;

const quoted = (value: unknown): string => JSON.stringify(String(value).slice(0, 200));

function refused(what: string, cause?: unknown): SluiceError {
  return new SluiceError('IDENTITY_REFUSED', `the token is refused: ${what}`, cause === undefined ? {} : { cause });
}

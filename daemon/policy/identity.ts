/** Whom the policy takes local users and the holders of tokens for. The two are never mixed: a principal is of one or the other. */
import type { LocalIdentity } from '../core/policy.ts';
import type { Principal, VerifiedToken } from '../core/principal.ts';
import type { IdentityEntry } from './schema.ts';

/**
 * Groups of all entries that match add up; the entry `default` counts only where no other matches. Null: no entry
 * matches, or entries that match name different subjects.
 */
export function principalFrom(entries: readonly IdentityEntry[], local: LocalIdentity): Principal | null {
  const locals = entries.filter((entry) => entry.issuer === undefined);
  const named = locals.filter(
    (entry) =>
      entry.user === local.user ||
      entry.uid === local.uid ||
      (entry.group !== undefined && local.groups.includes(entry.group)) ||
      (entry.unit !== undefined && entry.unit === local.unit),
  );
  const matching = named.length > 0 ? named : locals.filter((entry) => entry.default === true);
  if (matching.length === 0) return null;
  const subjects = new Set(matching.flatMap((entry) => entry.subject ?? []));
  if (subjects.size > 1) return null;
  const [subject = `local:${local.user}`] = subjects;
  return Object.freeze({ subject, groups: union(matching.map((entry) => entry.groups)) });
}

/** Groups of all entries that match add up. Null: no entry matches, so that a token of this issuer is worth nothing here. */
export function principalFromToken(entries: readonly IdentityEntry[], token: VerifiedToken): Principal | null {
  const { provider, issuer, subject, groups, claims } = token;
  const matching = entries.filter(
    (entry) =>
      entry.issuer === issuer &&
      (entry.group === undefined || groups.includes(entry.group)) &&
      Object.entries(entry.claims ?? {}).every(([name, wanted]) => hasClaim(claims, name, wanted)),
  );
  if (matching.length === 0) return null;
  const counted = matching.map(({ groups: given, tokenGroups = [] }) => [
    ...given,
    ...(tokenGroups === 'all' ? groups : groups.filter((group) => tokenGroups.includes(group))),
  ]);
  return Object.freeze({ subject: `${provider}:${subject}`, groups: union(counted), issuer });
}

/** Text as it is, true and false in words; a list has what is in it. Anything else matches nothing. */
function hasClaim(claims: VerifiedToken['claims'], name: string, wanted: string | readonly string[]): boolean {
  if (!Object.hasOwn(claims, name)) return false;
  const value = claims[name];
  const words = (Array.isArray(value) ? value : [value]).filter((each) => ['string', 'boolean'].includes(typeof each));
  return words.some((word) => (typeof wanted === 'string' ? [wanted] : wanted).includes(String(word)));
}

function union(lists: readonly (readonly string[])[]): readonly string[] {
  return Object.freeze([...new Set(lists.flat())].sort());
}

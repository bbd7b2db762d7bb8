/** Whom the policy takes local users for, where no token says it. */
import type { Principal } from '../core/principal.ts';
import type { IdentityEntry } from './schema.ts';

export interface LocalUser {
  readonly uid: number;
  readonly user: string;
  readonly groups: readonly string[];
}

/**
 * Groups of all entries that match add up; the entry `default` counts only where no other matches. Null: no entry
 * matches, or entries that match name different subjects.
 */
export function principalFrom(entries: readonly IdentityEntry[], local: LocalUser): Principal | null {
  const named = entries.filter(
    (entry) =>
      entry.user === local.user ||
      entry.uid === local.uid ||
      (entry.group !== undefined && local.groups.includes(entry.group)),
  );
  const matching = named.length > 0 ? named : entries.filter((entry) => entry.default === true);
  if (matching.length === 0) return null;
  const subjects = new Set(matching.flatMap((entry) => entry.subject ?? []));
  if (subjects.size > 1) return null;
  const [subject = `local:${local.user}`] = subjects;
  return Object.freeze({
    subject,
    groups: Object.freeze([...new Set(matching.flatMap((entry) => entry.groups))].sort()),
  });
}

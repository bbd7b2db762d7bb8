/**
 * What an approval binds, as one digest. Two asks with the same key are one request, and an approval is used only by an
 * operation with its key.
 *
 * Bound always: the subject, the resource, account and database, the verb, the objects that the operation was found to
 * touch (so that another search_path is another operation) and the terms (so that an approval given under weaker terms
 * is worth nothing after the policy asks for more). Then the text and its parameters (`exact`) or the fingerprint; and
 * the session, where the approval is remembered for it.
 */
import { createHash } from 'node:crypto';
import type { Ask } from './approval.ts';

export function bindingKey(ask: Ask): string {
  const { operation, approval: terms, session } = ask;
  const what =
    terms.match === 'exact'
      ? ['exact', operation.text, ask.parameters ?? null]
      : ['fingerprint', operation.fingerprint];
  return createHash('sha256')
    .update(
      // JSON keeps the borders between fields: no two different lists have the same text.
      JSON.stringify([
        session.principal.subject,
        terms.remember === 'session' ? session.id : null,
        ask.resource,
        ask.account ?? null,
        ask.database ?? null,
        operation.protocol,
        operation.verb,
        operation.accesses.map((access) => [access.effect, access.object ?? null]),
        ask.rule,
        [...terms.reviewers].sort(),
        terms.quorum,
        what,
      ]),
    )
    .digest('base64url');
}

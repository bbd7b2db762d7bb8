/** Who may decide an approval. Pure: says why not, or nothing. */
import { SluiceError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import type { Approval } from './approval.ts';

export interface Review {
  readonly id: string;
  readonly reviewer: Principal;
  /**
   * uids behind the reviewer's process as the kernel gives them: its own, and the login uid that sudo does not change.
   * Empty: the reviewer is not a local user.
   */
  readonly uids: readonly number[];
  readonly verdict: 'approve' | 'deny';
  /** For the requester and the audit. */
  readonly reason?: string;
}

/** @throws SluiceError APPROVAL_FORBIDDEN, APPROVAL_DECIDED. */
export function checkReview(approval: Approval, review: Review): void {
  const { id, terms } = approval;
  const { subject, groups } = review.reviewer;
  // One person may have two subjects (a token's and a local one) and still one uid; and sudo changes the uid but not
  // who logged in.
  if (subject === approval.subject || review.uids.includes(approval.uid)) {
    throw new SluiceError('APPROVAL_FORBIDDEN', `${subject} asked for approval ${id} and can't decide it`, {
      hint: terms.reviewers.length > 0 ? `ask a member of ${terms.reviewers.join(', ')}` : 'ask another person',
    });
  }
  if (terms.reviewers.length > 0 && !terms.reviewers.some((group) => groups.includes(group))) {
    throw new SluiceError('APPROVAL_FORBIDDEN', `${subject} is in none of the groups that decide approval ${id}`, {
      hint: `ask a member of ${terms.reviewers.join(', ')}`,
    });
  }
  if (review.verdict === 'approve' && approval.votes.some((vote) => vote.subject === subject)) {
    throw new SluiceError('APPROVAL_DECIDED', `${subject} has approved ${id} already`, {
      hint: `${terms.quorum} different people have to approve it`,
    });
  }
}

/** What the client is told when its operation does not pass for want of an approval. */
import { SluiceError } from '../core/errors.ts';
import type { Approval, WaitResult } from './approval.ts';

export function deniedError(approval: Approval): SluiceError {
  const vote = approval.votes.find((each) => each.verdict === 'deny');
  const by = vote === undefined ? 'a reviewer' : vote.subject;
  const why = vote?.reason === undefined ? '' : `: ${oneLine(vote.reason)}`;
  const anew = approval.expiresAt === null ? '' : ` or ask anew after ${new Date(approval.expiresAt).toISOString()}`;
  return new SluiceError('APPROVAL_DENIED', `approval ${approval.id} was denied by ${by}${why}`, {
    hint: `talk to ${by}${anew}`,
  });
}

export function waitError(approval: Approval, result: Exclude<WaitResult, 'approved'>): SluiceError {
  const { id, terms } = approval;
  const whom = terms.reviewers.length > 0 ? ` by a member of ${terms.reviewers.join(', ')}` : '';
  switch (result) {
    case 'denied':
      return deniedError(approval);
    case 'expired':
      return new SluiceError('APPROVAL_EXPIRED', `approval ${id} was not decided in time`);
    case 'used':
      return new SluiceError(
        'APPROVAL_PENDING',
        `approval ${id} was given for one use, which another connection with the same operation made`,
        { hint: 'send the operation again only if it is to be carried out once more: it asks anew' },
      );
    case 'timeout':
      return new SluiceError('APPROVAL_PENDING', `approval ${id} is needed${whom} and not yet given`, {
        hint: `the same operation passes once sluice approvals approve ${id} is done`,
      });
  }
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}

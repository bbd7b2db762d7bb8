/** How approvals look. Whatever came from an agent stands in a margin of its own or is cut and escaped. */

import type { ApprovalTerms } from '../core/decision.ts';
import type { Access } from '../core/operation.ts';
import { clip, columns, fields, moment, quoted, span, table, visible } from './screen.ts';

/** An approval as the daemon shows it; daemon/approvals has the meaning of each field. */
export interface Shown {
  readonly id: string;
  readonly state: string;
  readonly subject: string;
  readonly groups: readonly string[];
  readonly session: string;
  readonly command: readonly string[];
  readonly resource: string;
  readonly account?: string;
  readonly database?: string;
  readonly verb: string;
  readonly text: string;
  readonly parameters?: readonly (string | null)[];
  readonly accesses: readonly Access[];
  readonly rule: string | null;
  readonly reason: string;
  readonly terms: ApprovalTerms;
  readonly votes: readonly { subject: string; verdict: 'approve' | 'deny'; reason?: string; at: number }[];
  readonly requestedAt: number;
  readonly expiresAt: number | null;
  readonly closedAt: number | null;
}

/** Below this width a row would have no room for the statement, which gets a line of its own. */
const NARROW = 90;

export function approvalsTable(approvals: readonly Shown[], width: number, now: number): string {
  const row = (each: Shown) => [
    each.id,
    stateOf(each),
    visible(each.subject),
    visible(each.resource),
    each.closedAt !== null
      ? moment(each.closedAt)
      : each.expiresAt === null
        ? 'with session'
        : left(each.expiresAt, now),
  ];
  const head = ['ID', 'STATE', 'WHO', 'ON', 'ENDS'];
  if (width >= NARROW) {
    return table(
      [...head, 'STATEMENT'],
      approvals.map((each) => [...row(each), visible(each.text)]),
      width,
    );
  }
  const lines = table(head, approvals.map(row), width).split('\n');
  const statements = approvals.map((each) => `  ${clip(visible(each.text), width - 2)}\n`);
  return lines
    .slice(0, -1)
    .map((line, i) => `${line}\n${i === 0 ? '' : statements[i - 1]}`)
    .join('');
}

export function approvalBlock(approval: Shown, width: number, now: number): string {
  const { terms, parameters } = approval;
  const where = [
    approval.resource,
    approval.database === undefined ? '' : `database ${approval.database}`,
    approval.account === undefined ? '' : `as ${approval.account}`,
  ];
  const does = approval.accesses.map(({ effect, object }) => (object === undefined ? effect : `${effect} ${object}`));
  const asked = `${moment(approval.requestedAt)} (${span(now - approval.requestedAt)} ago)`;
  const above: [string, string][] = [
    ['approval', `${approval.id}, ${stateOf(approval)}`],
    ['who', approval.groups.length > 0 ? `${approval.subject} (${approval.groups.join(', ')})` : approval.subject],
    ['session', `${approval.session.slice(0, 8)}: ${approval.command.join(' ')}`],
    ['on', where.filter((each) => each !== '').join(', ')],
    ['does', [...new Set(does)].join(', ') || approval.verb],
    ['rule', approval.rule === null ? approval.reason : `${approval.rule} (${approval.reason})`],
    ['good for', goodFor(terms)],
    ['asked', asked],
  ];
  if (terms.reviewers.length > 0 || terms.quorum > 1) above.push(['decided by', deciders(terms)]);
  for (const vote of approval.votes) {
    const verdict = vote.verdict === 'approve' ? 'approved' : 'denied';
    above.push([
      verdict,
      `by ${vote.subject} at ${moment(vote.at)}${vote.reason === undefined ? '' : `: ${vote.reason}`}`,
    ]);
  }
  if (approval.closedAt !== null) above.push(['over since', moment(approval.closedAt)]);
  else above.push(['ends', approval.expiresAt === null ? 'with the session' : left(approval.expiresAt, now)]);
  const values = (parameters ?? []).map((value, i) => `${`$${i + 1}`.padEnd(4)} ${value === null ? 'NULL' : value}`);
  return `${fields(above, width)}\n${quoted(approval.text, '|', width)}${values.map((each) => quoted(visible(each), '=', width)).join('')}\n`;
}

export function changeLine({ type, approval }: { type: string; approval: Shown }, width: number, now: number): string {
  const vote = approval.votes.at(-1);
  const by = vote !== undefined && ['granted', 'denied', 'voted'].includes(type) ? ` by ${visible(vote.subject)}` : '';
  const line = `${moment(now).slice(11)}  ${approval.id}  ${type}${by}  ${visible(approval.subject)} on ${visible(approval.resource)}: `;
  const room = width - columns(line);
  // With no room worth having, the statement gets a line of its own.
  if (room >= 20) return `${line}${clip(visible(approval.text), room)}\n`;
  return `${clip(line.slice(0, -2), width)}\n  ${clip(visible(approval.text), width - 2)}\n`;
}

export function verdictLine(approval: Shown, verdict: 'approve' | 'deny'): string {
  const what = `${approval.id}: ${visible(approval.verb)} on ${visible(approval.resource)} for ${visible(approval.subject)}`;
  if (verdict === 'deny') return `denied ${what}\n`;
  if (approval.state !== 'pending') return `approved ${what}\n`;
  const agreed = approval.votes.filter((vote) => vote.verdict === 'approve').length;
  return `counted ${what}; ${agreed} of ${approval.terms.quorum} approvals\n`;
}

function stateOf({ state, terms, votes }: Shown): string {
  if (state !== 'pending' || terms.quorum < 2) return state;
  return `pending ${votes.filter((vote) => vote.verdict === 'approve').length}/${terms.quorum}`;
}

function goodFor({ match, remember }: ApprovalTerms): string {
  const what = match === 'exact' ? 'this very text' : 'texts like it that differ in constants';
  return remember === 'once' ? `one use of ${what}` : `${what}, until the session ends`;
}

function deciders({ reviewers, quorum }: ApprovalTerms): string {
  const whom = reviewers.length > 0 ? `members of ${reviewers.join(', ')}` : 'people other than the requester';
  return quorum > 1 ? `${quorum} ${whom}` : `a ${whom.replace(/^members/, 'member')}`;
}

function left(at: number, now: number): string {
  return at <= now ? 'now' : `in ${span(at - now)}`;
}

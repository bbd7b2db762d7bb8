/** Reasons and hints: one line each, bounded, in words that help an agent on. */
import type { Access, Operation } from '../core/operation.ts';
import { EFFECTS } from '../core/operation.ts';
import type { Principal } from '../core/principal.ts';
import type { Rule } from './rule.ts';

const MAX_TEXT = 600;
const MAX_NAME = 120;

/** One line, no control characters, cut with an ellipsis. */
export function plain(text: string, most = MAX_TEXT): string {
  if (text.length <= most && isPlain(text)) return text;
  const line = text
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, ' ')
    .replace(/\p{Cf}/gu, '')
    .trim();
  return line.length <= most ? line : `${line.slice(0, most - 1)}…`;
}

/** Printable ASCII with single blanks within: nearly every text, found without a regular expression. */
function isPlain(text: string): boolean {
  let before = 32;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 32 || c > 126 || (c === 32 && before === 32)) return false;
    before = c;
  }
  return before !== 32;
}

export function accessText(access: Access | null, operation: Operation): string {
  if (access === null) return plain(operation.verb, MAX_NAME);
  return access.object === undefined ? access.effect : `${access.effect} on ${plain(access.object, MAX_NAME)}`;
}

const because = (rule: Rule): string => (rule.reason === null ? '' : `: ${rule.reason}`);

/** Said first of what could not be classified, so that the reader knows why so much was asked of it. */
const unclassified = (operation: Operation): string =>
  operation.unclassified === undefined
    ? ''
    : `could not be classified (${plain(operation.unclassified, MAX_NAME)}) and so counts as everything: `;

export function denyReason(rule: Rule, access: Access | null, operation: Operation, note: string): string {
  return plain(
    `${unclassified(operation)}rule "${rule.name}" forbids ${accessText(access, operation)}${because(rule)}${note}`,
  );
}

export function approveReason(
  rules: readonly Rule[],
  reviewers: string,
  access: Access | null,
  operation: Operation,
  note: string,
): string {
  const [first] = rules;
  const names = rules.map((rule) => `"${rule.name}"`).join(' and ');
  return plain(
    `${unclassified(operation)}${rules.length > 1 ? 'rules' : 'rule'} ${names} ${rules.length > 1 ? 'want' : 'wants'} approval by ${reviewers} for ${accessText(access, operation)}${because(first!)}${note}`,
  );
}

export function defaultReason(
  principal: Principal,
  resource: string,
  access: Access | null,
  operation: Operation,
  note: string,
): string {
  const what = access === null ? 'anything' : accessText(access, operation);
  return plain(
    `${unclassified(operation)}no rule allows ${what} for ${plain(principal.subject, MAX_NAME)} on ${resource}${note}`,
  );
}

export function reviewersText(groups: readonly string[], quorum: number): string {
  const who = groups.length === 0 ? 'a reviewer' : groups.join(' or ');
  return quorum > 1 ? `${quorum} of ${who}` : who;
}

/** What a rule allows to be touched: `public.orders, public.people`, or '' for anything. */
function objectsText(rule: Rule): string {
  if (rule.tables === null || rule.tables.any) return '';
  const names = rule.tables.patterns.map((pattern) => pattern.text);
  return names.length <= 6 ? names.join(', ') : `${names.slice(0, 6).join(', ')} and ${names.length - 6} more`;
}

function limitsText(rule: Rule): string {
  const limits: string[] = [];
  if (rule.verbs !== null) limits.push(`by ${rule.verbs.map((verb) => verb.trim()).join(', ')}`);
  if (rule.functions !== null) limits.push(`with ${rule.functions.patterns.map((pattern) => pattern.text).join(', ')}`);
  if (rule.when !== null) limits.push('under a condition');
  return limits.length === 0 ? '' : ` ${plain(limits.join(', '), 80)}`;
}

function effectsText(rule: Rule, forbidden: ReadonlySet<string>): string {
  const left = EFFECTS.filter((effect) => rule.effects.has(effect) && !forbidden.has(effect));
  return left.length === EFFECTS.length ? 'everything' : left.join(', ');
}

/** What is allowed and what needs whose approval, for those rules that are about this principal and resource. */
export function hintText(rules: readonly Rule[], forbidden: ReadonlySet<string>): string {
  const parts = (kind: 'allow' | 'approve'): Map<string, string[]> => {
    const by = new Map<string, string[]>();
    for (const rule of rules) {
      if (rule.kind !== kind) continue;
      const effects = effectsText(rule, forbidden);
      if (effects === '') continue;
      const objects = objectsText(rule);
      const what = `${effects}${objects === '' ? '' : ` on ${objects}`}${limitsText(rule)}`;
      const head =
        kind === 'allow'
          ? 'allowed here'
          : `needs approval by ${reviewersText(rule.terms!.reviewers, rule.terms!.quorum)}`;
      const list = by.get(head) ?? [];
      if (!list.includes(what)) list.push(what);
      by.set(head, list);
    }
    return by;
  };
  const clauses = [...parts('allow'), ...parts('approve')].map(([head, list]) => `${head}: ${list.join('; ')}`);
  if (clauses.length === 0) return 'no rule allows you anything here: ask those who keep the policy for one';
  return plain(clauses.join('; '), 400);
}

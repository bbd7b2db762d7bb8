/** Why a decision is what it is: every rule, and what it made of every access. The decision itself is `decide`'s. */
import type { Decision } from '../core/decision.ts';
import type { Access } from '../core/operation.ts';
import type { Question } from '../core/policy.ts';
import { accessesOf, Conditions } from './decide.ts';
import type { CompiledPolicy } from './policy.ts';
import { isWho, mismatch, type Rule } from './rule.ts';
import { accessText } from './text.ts';

export interface RuleNote {
  readonly rule: Rule;
  /** Accesses that the rule matches, as text. Empty: none. */
  readonly matches: readonly string[];
  /** Why it does not match, where `matches` is empty. */
  readonly why: string;
  /** Decides, or is among those that do. */
  readonly decides: boolean;
}

export interface Explanation {
  readonly decision: Decision;
  readonly notes: readonly RuleNote[];
}

export function explain(policy: CompiledPolicy, question: Question): Explanation {
  const decision = policy.decide(question);
  const { rules, names } = policy.benches(question.session.principal, question.resource.name);
  const conditions = new Conditions(question);
  const deciding = new Set(decision.rule?.split(' + ') ?? []);
  const accesses: readonly (Access | null)[] =
    question.operation.accesses.length + (question.operation.unclassified === undefined ? 0 : 1) === 0
      ? [null]
      : accessesOf(question.operation);
  const notes = rules.map((rule): RuleNote => {
    const { matches, why } = note(rule);
    return { rule, matches, why, decides: deciding.has(rule.name) || decision.rule === rule.name };
  });
  return { decision, notes };

  function note(rule: Rule): { matches: string[]; why: string } {
    const { session, resource, operation } = question;
    if (rule.on !== null && !rule.on.has(resource.name))
      return { matches: [], why: `is about ${[...rule.on].join(', ')}` };
    if (!isWho(rule.who, session.principal))
      return { matches: [], why: `is about ${[...rule.who!.groups, ...rule.who!.users].join(', ')}` };
    const misses = new Set<string>();
    const matches = new Set<string>();
    for (const access of accesses) {
      const miss = mismatch(rule, access, operation, names);
      if (miss === null) matches.add(accessText(access, operation));
      else misses.add(miss);
    }
    if (matches.size === 0) return { matches: [], why: [...misses].slice(0, 3).join('; ') };
    if (rule.when !== null && !conditions.holds(rule)) {
      const failed = conditions.failed?.get(rule);
      return {
        matches: [],
        why:
          failed === undefined
            ? `its condition does not hold: ${rule.when.source}`
            : `its condition could not be evaluated: ${failed}`,
      };
    }
    return { matches: [...matches], why: '' };
  }
}

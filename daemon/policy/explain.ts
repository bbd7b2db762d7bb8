/**
 * Why a decision is what it is: every rule, and what it made of every access; of names and sockets every entry. The
 * decision itself is the policy's.
 */
import type { Decision } from '../core/decision.ts';
import type { Access } from '../core/operation.ts';
import type { Question } from '../core/policy.ts';
import type { Principal } from '../core/principal.ts';
import { accessesOf, Conditions } from './decide.ts';
import type { CompiledPolicy } from './policy.ts';
import { decideName, type NameAsked, nearestOf, plainName, sessionOf } from './reach.ts';
import { isWho, mismatch, type Rule, type Who } from './rule.ts';
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

/** An entry of the policy, or a resource, that is about a name or a socket. */
export interface EntryNote {
  readonly name: string;
  readonly place: string;
  /** Why it does not let this. Null: it does. */
  readonly why: string | null;
  readonly decides: boolean;
}

export interface EntriesExplained {
  readonly decision: Decision;
  /** What the decision does not say of itself. Empty: nothing. */
  readonly further: readonly string[];
  readonly notes: readonly EntryNote[];
}

const others = (who: Who | null): string => `is about ${[...(who?.groups ?? []), ...(who?.users ?? [])].join(', ')}`;

/** Which entries take the name in, and why one that does lets it not be asked for. */
export function explainName(policy: CompiledPolicy, principal: Principal, asked: NameAsked): EntriesExplained {
  const name = plainName(asked.name);
  const decision = decideName(policy, principal, asked);
  const found = policy.nameNotes({ session: sessionOf(principal, 0), name, type: asked.type });
  const notes = found.map(({ grant, miss }): EntryNote => {
    const why = {
      who: () => others(grant.who),
      resource: () => `nothing is allowed to ${principal.subject} on ${grant.resource}`,
      type: () => `is about ${[...grant.types].join(', ')}, not ${asked.type}`,
    };
    const { rule, place } = grant;
    return { name: rule, place, why: miss === null ? null : why[miss](), decides: decision.rule === rule };
  });
  const below =
    decision.zone === null
      ? []
      : [`below ${decision.zone} the agent chooses the labels: their length and number are bounded`];
  const answers = decision.inward ? 'may be any' : 'must not be of the host itself, its link or a metadata service';
  return {
    decision,
    further:
      decision.outcome === 'allow' ? [`addresses in the answer ${answers}`, ...below] : nearNote(name, policy.names),
    notes,
  };
}

export function explainSocket(policy: CompiledPolicy, principal: Principal, name: string): EntriesExplained {
  const decision = policy.unixSocket(principal, name);
  const found = policy.socketNotes(principal, name).filter(({ miss }) => miss !== 'name');
  const notes = found.map(
    ({ grant, miss }): EntryNote => ({
      name: grant.rule,
      place: grant.place,
      why: miss === null ? null : others(grant.who),
      decides: decision.rule === grant.rule,
    }),
  );
  return {
    decision,
    further: decision.outcome === 'allow' ? [] : nearNote(name, policy.socketNames),
    notes,
  };
}

function nearNote(word: string, known: Iterable<string>): string[] {
  const near = nearestOf(word, known);
  return near === undefined ? [] : [`did you mean ${JSON.stringify(near)}?`];
}

/**
 * Deciding. For each principal and resource a `Bench` is made once: the rules that are about them, by effect, in order of
 * name, so that the order of files and rules has no say. Any deny wins, then approve, then allow, for each access by
 * itself; the worst outcome of all accesses is the operation's.
 */
import type { ApprovalTerms, Decision } from '../core/decision.ts';
import { type Access, EFFECTS, type Effect, type Operation } from '../core/operation.ts';
import type { Question } from '../core/policy.ts';
import { type Facts, facts } from './condition.ts';
import type { NameTable } from './pattern.ts';
import { isSweeping, mismatch, type Rule } from './rule.ts';
import { approveReason, defaultReason, denyReason, hintText, plain, reviewersText } from './text.ts';

type ByEffect = Readonly<Record<Effect, readonly Rule[]>>;

/** Answers of one decision to each `when:`, kept so that each is evaluated once; made when the first rule asks. */
export class Conditions {
  readonly #question: Question;
  #facts: Facts | null = null;
  #answers: Map<Rule, boolean> | null = null;
  /** Rules whose condition could not be evaluated, and why. */
  failed: Map<Rule, string> | null = null;

  constructor(question: Question) {
    this.#question = question;
  }

  /** A condition that can't be evaluated holds for a rule that forbids or holds, and doesn't for one that grants. */
  holds(rule: Rule): boolean {
    this.#answers ??= new Map();
    let answer = this.#answers.get(rule);
    if (answer === undefined) {
      try {
        this.#facts ??= facts(this.#question);
        answer = rule.when!.holds(this.#facts);
      } catch (error) {
        answer = rule.kind !== 'allow';
        this.failed ??= new Map();
        this.failed.set(rule, plain((error as Error).message.split('\n')[0] ?? '', 120));
      }
      this.#answers.set(rule, answer);
    }
    return answer;
  }

  note(rules: readonly Rule[]): string {
    const why = this.failed;
    if (why === null) return '';
    const failed = rules.filter((rule) => why.has(rule));
    if (failed.length === 0) return '';
    return `; ${failed.map((rule) => `the condition of "${rule.name}" could not be evaluated (${why.get(rule)}), so it ${rule.kind === 'allow' ? 'does not apply' : 'applies'}`).join('; ')}`;
  }
}

/** What a classified operation touches; of an unclassified one every effect, on nothing that it names. */
export function accessesOf(operation: Operation): readonly Access[] {
  if (operation.unclassified === undefined) return operation.accesses;
  const bare = new Set(operation.accesses.flatMap((access) => (access.object === undefined ? [access.effect] : [])));
  return [...operation.accesses, ...EFFECTS.filter((effect) => !bare.has(effect)).map((effect) => ({ effect }))];
}

/** What applies to one principal on one resource. Immutable but for what it remembers of its own texts. */
export class Bench {
  readonly rules: readonly Rule[];
  readonly #names: NameTable;
  readonly #lenient: boolean;
  readonly #deny: ByEffect;
  readonly #approve: ByEffect;
  readonly #allow: ByEffect;
  readonly #resource: string;
  /** Effects that a deny rule forbids outright. */
  readonly forbidden: ReadonlySet<Effect>;
  /** Some effect is allowed or can be approved. */
  readonly anything: boolean;
  readonly #allowed = new Map<Rule, Decision>();
  #hint: string | null = null;

  /** `lenient`: what no rule matches is allowed (a resource in observe mode). `rules` in order of name. */
  constructor(rules: readonly Rule[], resource: string, names: NameTable, lenient: boolean) {
    this.rules = rules;
    this.#names = names;
    this.#lenient = lenient;
    this.#resource = resource;
    const by = (kind: Rule['kind']): ByEffect =>
      Object.fromEntries(
        EFFECTS.map((effect) => [effect, rules.filter((rule) => rule.kind === kind && rule.effects.has(effect))]),
      ) as unknown as ByEffect;
    this.#deny = by('deny');
    this.#approve = by('approve');
    this.#allow = by('allow');
    this.forbidden = new Set(EFFECTS.filter((effect) => this.#deny[effect].some(isSweeping)));
    this.anything = lenient || this.possible.size > 0;
  }

  /** Effects that some rule can allow, at once or by approval, conditions aside. */
  get possible(): ReadonlySet<Effect> {
    return new Set(
      EFFECTS.filter(
        (effect) => !this.forbidden.has(effect) && (this.#allow[effect].length > 0 || this.#approve[effect].length > 0),
      ),
    );
  }

  decide(question: Question): Decision {
    const { operation } = question;
    const conditions = new Conditions(question);
    const accesses = accessesOf(operation);
    if (accesses.length === 0) return this.#bare(question, conditions);
    let allow: Rule | null = null;
    let unmatched: Access | null = null;
    let held: { rules: Set<Rule>; access: Access } | null = null;
    for (const access of accesses) {
      const deny = this.#first(this.#deny[access.effect] ?? NO_RULES, access, operation, conditions);
      if (deny !== null) return this.#denied(deny, access, question, conditions);
      if (unmatched !== null) continue;
      const approve = this.#all(this.#approve[access.effect] ?? NO_RULES, access, operation, conditions);
      if (approve.length > 0) {
        held ??= { rules: new Set(), access };
        for (const rule of approve) held.rules.add(rule);
        continue;
      }
      const rule = this.#first(this.#allow[access.effect] ?? NO_RULES, access, operation, conditions);
      if (rule === null) {
        if (!this.#lenient) unmatched = access;
      } else allow ??= rule;
    }
    if (unmatched !== null) return this.#unmatched(unmatched, question, conditions);
    if (held !== null) return this.#approval([...held.rules], held.access, question, conditions);
    return this.#allowance(allow);
  }

  /** An operation that touches nothing passes where anything is allowed, unless a rule forbids or holds it by its name. */
  #bare(question: Question, conditions: Conditions): Decision {
    const { operation } = question;
    const held: Rule[] = [];
    for (const rule of this.rules) {
      if (rule.kind === 'allow' || mismatch(rule, null, operation, this.#names) !== null) continue;
      if (rule.when !== null && !conditions.holds(rule)) continue;
      if (rule.kind === 'deny') return this.#denied(rule, null, question, conditions);
      held.push(rule);
    }
    if (!this.anything) return this.#unmatched(null, question, conditions);
    return held.length > 0 ? this.#approval(held, null, question, conditions) : this.#allowance(null);
  }

  #first(rules: readonly Rule[], access: Access, operation: Operation, conditions: Conditions): Rule | null {
    for (const rule of rules) {
      if (mismatch(rule, access, operation, this.#names) === null && (rule.when === null || conditions.holds(rule)))
        return rule;
    }
    return null;
  }

  #all(rules: readonly Rule[], access: Access, operation: Operation, conditions: Conditions): readonly Rule[] {
    if (rules.length === 0) return rules;
    return rules.filter(
      (rule) =>
        mismatch(rule, access, operation, this.#names) === null && (rule.when === null || conditions.holds(rule)),
    );
  }

  get hint(): string {
    this.#hint ??= hintText(this.rules, this.forbidden);
    return this.#hint;
  }

  #allowance(rule: Rule | null): Decision {
    if (rule === null) return this.#lenient ? OBSERVED : NOTHING_TOUCHED;
    let decision = this.#allowed.get(rule);
    if (decision === undefined) {
      decision = Object.freeze({
        outcome: 'allow',
        rule: rule.name,
        reason: plain(`rule "${rule.name}" allows it${rule.reason === null ? '' : `: ${rule.reason}`}`),
      });
      this.#allowed.set(rule, decision);
    }
    return decision;
  }

  #denied(rule: Rule, access: Access | null, { operation }: Question, conditions: Conditions): Decision {
    return {
      outcome: 'deny',
      rule: rule.name,
      reason: denyReason(rule, access, operation, conditions.note([rule])),
      hint: rule.hint ?? this.hint,
    };
  }

  #unmatched(access: Access | null, question: Question, conditions: Conditions): Decision {
    const note = conditions.failed === null ? '' : conditions.note(this.rules.filter((rule) => rule.kind === 'allow'));
    return {
      outcome: 'deny',
      rule: null,
      reason: defaultReason(question.session.principal, this.#resource, access, question.operation, note),
      hint: this.hint,
    };
  }

  #approval(rules: readonly Rule[], access: Access | null, { operation }: Question, conditions: Conditions): Decision {
    const sorted = [...rules].sort(byName);
    const approval = joined(sorted);
    const names = plain(sorted.map((rule) => rule.name).join(' + '), 240);
    if (approval === null) {
      const reason = plain(
        `rules ${sorted.map((rule) => `"${rule.name}"`).join(' and ')} want approval by different reviewers, which one approval can't give`,
      );
      return {
        outcome: 'deny',
        rule: names,
        reason,
        hint: 'send the parts as statements of their own, each is then held by its rule',
      };
    }
    const reason = approveReason(
      sorted,
      reviewersText(approval.reviewers, approval.quorum),
      access,
      operation,
      conditions.note(sorted),
    );
    const hint = sorted.find((rule) => rule.hint !== null)?.hint ?? this.hint;
    return { outcome: 'approve', rule: names, reason, hint, approval };
  }
}

/** Of an effect that is not in the table: nothing allows it. */
const NO_RULES: readonly Rule[] = Object.freeze([]);

const OBSERVED: Decision = Object.freeze({ outcome: 'allow', rule: null, reason: 'the resource is in observe mode' });
const NOTHING_TOUCHED: Decision = Object.freeze({
  outcome: 'allow',
  rule: null,
  reason: 'the operation touches nothing, and other operations are allowed here',
});

/** By code unit, the same everywhere. */
export const byName = (a: { name: string }, b: { name: string }): number =>
  a.name < b.name ? -1 : a.name > b.name ? 1 : 0;

/** The terms that satisfy every rule at once: the strictest of each. Null when no reviewer could. */
function joined(rules: readonly Rule[]): ApprovalTerms | null {
  if (rules.length === 1) return rules[0]!.terms!;
  const terms = rules.map((rule) => rule.terms!);
  let reviewers: readonly string[] = [];
  for (const { reviewers: groups } of terms) {
    if (groups.length === 0) continue;
    reviewers = reviewers.length === 0 ? groups : reviewers.filter((group) => groups.includes(group));
    if (reviewers.length === 0) return null;
  }
  const remember = terms.every((t) => t.remember === 'session') ? 'session' : 'once';
  return {
    reviewers,
    quorum: Math.max(...terms.map((t) => t.quorum)),
    within: Math.min(...terms.map((t) => t.within)),
    hold: Math.min(...terms.map((t) => t.hold)),
    remember,
    match: terms.every((t) => t.match === 'fingerprint') ? 'fingerprint' : 'exact',
  };
}

/** What is enforced, and beside it what the rules in observe mode would have made of it. */
export function withObserved(enforced: Decision, all: Decision): Decision {
  if (enforced.outcome !== 'allow') return enforced;
  if (all.outcome === 'allow') return all.rule === null ? enforced : all;
  const { outcome, rule, reason, hint } = all;
  return {
    outcome: 'allow',
    rule,
    reason: plain(`observed only: ${reason}`),
    ...(hint === undefined ? {} : { hint }),
    observed: outcome,
  };
}

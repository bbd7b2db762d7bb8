/** Warnings about what is valid and can't be meant: rules that never decide, resources that nothing is allowed on. */
import type { Checked } from './compile.ts';
import type { Diagnostic } from './diagnostic.ts';
import { isOn, type Parts } from './policy.ts';
import { isSweeping, type Rule, type Who } from './rule.ts';
import { reporter } from './source.ts';

export function lint(parts: Omit<Parts, 'warnings'>, files: readonly Checked[], into: Diagnostic[]): void {
  const byName = new Map(parts.rules.map((rule) => [rule.name, rule]));
  for (const { source, policy } of files) {
    const report = reporter(source, into);
    if (policy.mode === 'observe' && (policy.masks.length > 0 || policy.detect.length > 0))
      report([policy.masks.length > 0 ? 'masks' : 'detect'], 'masks are carried out in observe mode too', {
        warning: true,
        key: true,
      });
    policy.rules.forEach((entry, i) => {
      const rule = byName.get(entry.name);
      const over = rule === undefined ? undefined : parts.rules.find((other) => overrules(other, rule));
      if (over !== undefined)
        report(
          ['rules', i, 'name'],
          `never decides: "${over.name}" (${over.place}) ${over.kind === rule!.kind ? 'says the same' : over.kind === 'deny' ? 'forbids all of it' : 'wants approval for all of it'}`,
          { warning: true },
        );
    });
    for (const name of Object.keys(policy.resources)) {
      if (
        policy.mode === 'enforce' &&
        !parts.rules.some((rule) => rule.kind !== 'deny' && isOn(rule, name, parts.unread))
      )
        report(['resources', name], 'no rule allows anything on it', { warning: true, key: true });
    }
  }
}

const RANK = { deny: 2, approve: 1, allow: 0 };

/** `over` decides wherever `rule` would. Rules of the same kind: the one that comes first by name stands. */
function overrules(over: Rule, rule: Rule): boolean {
  if (over === rule || (over.observe && !rule.observe)) return false;
  if (RANK[over.kind] < RANK[rule.kind]) return false;
  if (over.kind === rule.kind && (over.kind === 'approve' || !(over.name < rule.name) || !covers(rule, over)))
    return false;
  return covers(over, rule);
}

function covers(over: Rule, rule: Rule): boolean {
  if (over.when !== null && over.when.source !== rule.when?.source) return false;
  if (!coversWho(over.who, rule.who) || !coversSet(over.on, rule.on)) return false;
  if (![...rule.effects].every((effect) => over.effects.has(effect))) return false;
  if (isSweeping(over)) return true;
  if (over.tables !== null && (rule.tables === null || !over.tables.covers(rule.tables))) return false;
  if (over.functions !== null && (rule.functions === null || !over.functions.covers(rule.functions))) return false;
  return (
    coversSet(over.columns, rule.columns) &&
    coversSet(over.verbs === null ? null : new Set(over.verbs), rule.verbs === null ? null : new Set(rule.verbs))
  );
}

function coversSet(over: ReadonlySet<string> | null, set: ReadonlySet<string> | null): boolean {
  return over === null || (set !== null && [...set].every((item) => over.has(item)));
}

function coversWho(over: Who | null, who: Who | null): boolean {
  if (over === null) return true;
  if (who === null) return false;
  return (
    [...who.groups].every((group) => over.groups.has(group)) && [...who.users].every((user) => over.users.has(user))
  );
}

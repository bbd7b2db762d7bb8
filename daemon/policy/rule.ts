/** A rule as it is decided by, and the two ways in which it can match an access. */
import type { ApprovalTerms } from '../core/decision.ts';
import type { Access, Effect, Operation } from '../core/operation.ts';
import type { Principal } from '../core/principal.ts';
import type { Condition } from './condition.ts';
import type { NameSet, NameTable } from './pattern.ts';

export type Kind = 'allow' | 'deny' | 'approve';

/** Groups and subjects; null: everyone. */
export interface Who {
  readonly groups: ReadonlySet<string>;
  readonly users: ReadonlySet<string>;
}

export interface Rule {
  readonly name: string;
  readonly kind: Kind;
  /** Every effect when `everything` was written. */
  readonly effects: ReadonlySet<Effect>;
  readonly everything: boolean;
  readonly who: Who | null;
  /** Null: every resource. */
  readonly on: ReadonlySet<string> | null;
  readonly tables: NameSet | null;
  readonly columns: ReadonlySet<string> | null;
  readonly functions: NameSet | null;
  /** Upper case; a prefix ends in a blank (from `DROP *`). */
  readonly verbs: readonly string[] | null;
  readonly when: Condition | null;
  readonly reason: string | null;
  readonly hint: string | null;
  /** Of an approve rule. */
  readonly terms: ApprovalTerms | null;
  /** The rule's file is in observe mode. */
  readonly observe: boolean;
  /** `file:line`, for explain and check. */
  readonly place: string;
}

export function isWho(who: Who | null, principal: Principal): boolean {
  if (who === null) return true;
  return who.users.has(principal.subject) || principal.groups.some((group) => who.groups.has(group));
}

/** Nothing but who, where and which effect decides: no object, verb, function or condition. */
export function isSweeping(rule: Rule): boolean {
  return (
    rule.tables === null &&
    rule.columns === null &&
    rule.functions === null &&
    rule.verbs === null &&
    rule.when === null
  );
}

/**
 * Why a rule does not match an access, or null when it does (its condition aside). `access` null: the operation has no
 * access. A rule that grants has to be sure, one that forbids or holds applies to what could be meant; so to an operation
 * that could not be classified it applies whatever objects, functions or verbs it names.
 */
export function mismatch(rule: Rule, access: Access | null, operation: Operation, names: NameTable): string | null {
  const grants = rule.kind === 'allow';
  const blind = !grants && operation.unclassified !== undefined;
  if (access === null) {
    if (grants) return 'nothing is touched, so nothing has to be allowed';
    if (
      rule.verbs === null &&
      rule.functions === null &&
      !(rule.everything && rule.tables === null && rule.columns === null)
    )
      return 'the operation touches nothing';
  } else {
    if (!rule.effects.has(access.effect)) return `is not about ${access.effect}`;
    if (rule.tables !== null && !blind) {
      const miss = objectMismatch(rule.tables, access, grants, names);
      if (miss !== null) return miss;
    }
    if (rule.columns !== null && !blind && !mayUseColumn(rule.columns, rule.tables, access, names))
      return `uses none of the columns ${[...rule.columns].join(', ')}`;
  }
  if (rule.verbs !== null && !blind && !rule.verbs.some((verb) => isVerb(verb, operation.verb)))
    return `is about ${rule.verbs.map((verb) => (verb.endsWith(' ') ? `${verb}*` : verb)).join(', ')}, not ${operation.verb}`;
  if (rule.functions !== null && !blind) {
    const { functions } = rule;
    const called = operation.functions;
    if (grants) {
      if (called.length === 0) return 'calls none of its functions';
      const other = called.find((name) => !functions.has(names.get(name)));
      if (other !== undefined) return `${other} is called too`;
    } else if (!called.some((name) => functions.mayHave(names.get(name)))) return 'calls none of its functions';
  }
  return null;
}

function objectMismatch(tables: NameSet, access: Access, grants: boolean, names: NameTable): string | null {
  const { object, behind } = access;
  if (object === undefined) return `names objects, and this ${access.effect} is on none`;
  const name = names.get(object);
  if (grants) {
    if (tables.has(name)) return null;
    if (behind !== undefined && behind.length > 0) {
      const other = behind.find((base) => !tables.has(names.get(base)));
      if (other === undefined) return null;
      return `names neither ${object} nor all that lies behind it (${other})`;
    }
    return `does not name ${object}`;
  }
  if (tables.mayHave(name)) return null;
  if (behind?.some((base) => tables.mayHave(names.get(base)))) return null;
  return `does not name ${object}`;
}

/** Columns are those of the object itself; where the rule means what lies behind it, which ones are used is not known. */
function mayUseColumn(columns: ReadonlySet<string>, tables: NameSet | null, access: Access, names: NameTable): boolean {
  if (access.columns === undefined || access.object === undefined) return true;
  if (access.columns.some((column) => columns.has(column) || column === '*')) return true;
  if (access.behind === undefined || access.behind.length === 0) return false;
  return tables === null || access.behind.some((base) => tables.mayHave(names.get(base)));
}

function isVerb(pattern: string, verb: string): boolean {
  const upper = verb.toUpperCase();
  if (!pattern.endsWith(' ')) return upper === pattern;
  return upper.startsWith(pattern) || (upper.length === pattern.length - 1 && pattern.startsWith(upper));
}

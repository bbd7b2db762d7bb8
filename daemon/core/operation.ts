/**
 * An operation is one protocol-level act (an SQL statement, an HTTP request). A protocol folder makes it, policy
 * decides it, audit records it; none of the latter two knows the wire it came from.
 */

/**
 * What an act can do. Order is danger, least first. `code` is anything that runs statements that can't be seen
 * beforehand; what can't be classified carries every effect.
 */
export const EFFECTS = ['read', 'session', 'write', 'ddl', 'code', 'privilege', 'file', 'network', 'program'] as const;
export type Effect = (typeof EFFECTS)[number];

/**
 * One effect on one object. Policy decides each access by itself: an operation passes only when each of its accesses
 * does. An operation without any access (BEGIN, an empty statement) passes where anything at all is allowed to this
 * principal on this resource.
 */
export interface Access {
  readonly effect: Effect;
  /** Qualified name, e.g. `public.orders`. Absent: the effect is not on a named object, only rules without an object list match. */
  readonly object?: string;
  /**
   * Objects that lie behind `object` (base tables of a view). A deny or approve rule that names one of them applies; an
   * allow rule must name `object` itself or every one of them.
   */
  readonly behind?: readonly string[];
  /** Column names used of `object`, where the protocol knows them. */
  readonly columns?: readonly string[];
}

export interface Operation {
  readonly protocol: string;
  /** What a person would call it: `SELECT`, `DROP TABLE`, `COPY`, `FunctionCall`. */
  readonly verb: string;
  /** The act as text, for rules, reviewers and audit. No credential ever. */
  readonly text: string;
  /** Same for acts that differ only in constants. Lower-case hex. */
  readonly fingerprint: string;
  readonly accesses: readonly Access[];
  /** Names of functions called, qualified; builtins of the server are left out. */
  readonly functions: readonly string[];
  /** Set when the act could not be classified: why. Its accesses then hold every effect. */
  readonly unclassified?: string;
}

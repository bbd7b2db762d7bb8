/** Mask obligations as policy states them and masking carries them out. */

/** redact: a fixed text or the type's zero value. null: SQL NULL. partial: last characters kept. hash: keyed digest. tokenize: keyed, same shape. */
export const MASK_KINDS = ['redact', 'null', 'partial', 'hash', 'tokenize'] as const;
export type MaskKind = (typeof MASK_KINDS)[number];

export interface ColumnMask {
  /** Name of the mask in policy, for audit and errors. */
  readonly name: string;
  /** Patterns: `schema.table.column`, `table.column` or `*.column`. */
  readonly columns: readonly string[];
  readonly with: MaskKind;
  /** May protected columns appear in WHERE, ORDER BY and the like? `deny` closes inference. */
  readonly conditions: 'allow' | 'deny';
}

/** What holds for one principal on one resource under one policy version. Same object for the same answer: use it as a cache key. */
export interface Obligations {
  readonly masks: readonly ColumnMask[];
  /** Names of content detectors to run over everything that comes back. Empty: none. */
  readonly detect: readonly string[];
  /** How a detected value is replaced. */
  readonly detectWith: MaskKind;
}

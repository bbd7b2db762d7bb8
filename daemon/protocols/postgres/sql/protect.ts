/**
 * Holds an analysis against the masks that apply: which outputs are masked, and what can't be let through because a
 * protected value would go where masking does not reach. See README.md for the invariant that this keeps.
 */
import type { ColumnMask, Obligations } from '../../../core/mask.ts';
import { objectName } from './analyze-run.ts';
import { EXTENSION_STAND_INS, STAND_INS } from './builtins.ts';
import type { Analysis, Catalog, ColumnRef, Names, Origin, OutputMask, Protection, Relation, Use } from './model.ts';
import { family } from './scope-relations.ts';

const NOTHING: Protection = { outputs: [], withholdErrors: false, masks: [] };

/** Pure; the same for the same analysis and obligations under one catalog. */
export function protect(analysis: Analysis, obligations: Obligations, names: Pick<Names, 'catalog'>): Protection {
  const [first] = obligations.masks;
  if (first === undefined) {
    return analysis.outputs === null ? NOTHING : { ...NOTHING, outputs: analysis.outputs.map(() => null) };
  }
  const masks = new Masks(obligations.masks, names.catalog);
  const refuse = refusal(analysis, masks);
  const outputs = analysis.outputs?.map((origin) => outputMask(origin, masks)) ?? 'all';
  const applied = new Set<string>();
  if (outputs === 'all') applied.add(first.name);
  else for (const output of outputs) if (output !== null) applied.add(output.mask.name);
  for (const ref of analysis.columns) {
    const mask = masks.of(ref);
    if (mask !== null) applied.add(mask.name);
  }
  return {
    ...(refuse === null ? {} : { refuse }),
    outputs,
    withholdErrors: withholds(analysis, masks),
    masks: [...applied],
  };
}

/** The mask on a column of a table, by its number. */
export function columnMask(
  catalog: Catalog,
  relation: Relation,
  attnum: number,
  obligations: Obligations,
): ColumnMask | null {
  const column = relation.columns.find((candidate) => candidate.attnum === attnum);
  if (obligations.masks.length === 0 || column === undefined) return null;
  return new Masks(obligations.masks, catalog).of({ relation, column });
}

function outputMask(origin: Origin, masks: Masks): OutputMask | null {
  for (const ref of origin.columns) {
    const mask = masks.of(ref);
    // A server's own column of other columns' values is never a plain value of the mask's kind.
    if (mask !== null) return { mask, plain: origin.plain && origin.untraced === undefined && !masks.standsIn(ref) };
  }
  return origin.untraced === undefined ? null : { mask: masks.first, plain: false };
}

// ---------------------------------------------------------------- refusing

type Refusal = NonNullable<Protection['refuse']>;

const untraced = (
  reason: string,
  hint = 'write the statement so that protected columns are plain outputs',
): Refusal => ({
  code: 'MASK_UNTRACED',
  reason,
  hint,
});

function refusal(analysis: Analysis, masks: Masks): Refusal | null {
  if (analysis.opaque !== undefined) {
    return untraced(
      `masks apply, and what it reads can't be followed: ${analysis.opaque}`,
      'use statements that read tables and views directly',
    );
  }
  for (const relation of analysis.defines) {
    const column = masks.columnIn(relation);
    if (column === null) continue;
    return untraced(
      `${objectName(relation)} holds the protected column ${column} and may not be altered while masks apply`,
      'ask for a change by someone who may read it',
    );
  }
  for (const schema of analysis.renamedSchemas) {
    if (masks.nameSchema(schema)) return untraced(`schema ${schema} holds protected columns and may not be renamed`);
  }
  for (const use of analysis.uses) {
    const found = useRefusal(use, analysis, masks);
    if (found !== null) return found;
  }
  return null;
}

function useRefusal(use: Use, analysis: Analysis, masks: Masks): Refusal | null {
  const found = masks.among(use.origin.columns);
  const what =
    found === null
      ? `a value that can't be traced (${use.origin.untraced})`
      : `the protected column ${columnName(found.ref)}`;
  if (found === null && use.origin.untraced === undefined) return null;
  switch (use.how) {
    case 'store':
      if (use.into !== undefined && keeps(use, masks)) return null;
      return untraced(`${what} would be stored in ${use.where}, where it is not masked`);
    case 'call':
      return untraced(`${what} is ${use.where}, which may keep it or pass it on`);
    case 'define':
      return untraced(`${use.where} would make ${what} readable by another way`);
  }
  if (use.how === 'risk') {
    if (found === null || found.mask.conditions === 'allow') return null;
    return condition(`${what} is computed with in a way that may fail for some values, which would tell of them`);
  }
  // What can't be traced holds nothing that the session could not put there itself, or it is opaque and refused above.
  if (found === null) return null;
  if (analysis.explain) return condition(`EXPLAIN shows what the server knows of ${what}, used in ${use.where}`);
  if (use.how === 'compute') {
    return condition(`${what} is used in ${use.where} in a way that carries its value over to something else`);
  }
  if (masks.all(use.origin.columns).some((mask) => mask.conditions === 'deny')) {
    return condition(`${what} is used in ${use.where}`);
  }
  return null;
}

/**
 * Into a protected column a value may go where its mask shows nothing of it. Other masks show the end of a value or which
 * values are equal: through them only what was in that column already.
 */
function keeps(use: Use, masks: Masks): boolean {
  const mask = masks.of(use.into!);
  if (mask === null) return false;
  if (mask.with === 'redact' || mask.with === 'null') return true;
  return use.origin.plain && use.origin.columns[0] === use.into;
}

function condition(reason: string): Refusal {
  return { code: 'MASK_CONDITION', reason, hint: 'leave the column out of conditions, joins, grouping and ordering' };
}

function columnName(ref: ColumnRef): string {
  return `${objectName(ref.relation)}.${ref.column.name}`;
}

// ---------------------------------------------------------------- errors

/** Messages of the server quote values that it meets, wherever in the statement. */
function withholds(analysis: Analysis, masks: Masks): boolean {
  if (analysis.opaque !== undefined || analysis.outputs === null) return true;
  if (analysis.columns.some((ref) => masks.of(ref) !== null)) return true;
  if (analysis.outputs.some((origin) => origin.untraced !== undefined)) return true;
  if (analysis.uses.some((use) => use.origin.untraced !== undefined)) return true;
  // Constraints and triggers look at the whole row that is written.
  if (analysis.operation.accesses.every((access) => access.effect === 'read')) return false;
  return analysis.relations.some((relation) => masks.columnIn(relation) !== null);
}

// ---------------------------------------------------------------- which columns

interface Pattern {
  readonly schema: string | null;
  readonly table: string | null;
  readonly column: string;
  readonly mask: ColumnMask;
}

/** The masks that apply to columns of one catalog. */
class Masks {
  readonly first: ColumnMask;
  readonly #catalog: Catalog;
  readonly #patterns: readonly Pattern[];
  readonly #known = new Map<ColumnRef, ColumnMask | null>();

  constructor(masks: readonly ColumnMask[], catalog: Catalog) {
    this.first = masks[0]!;
    this.#catalog = catalog;
    this.#patterns = masks.flatMap((mask) => mask.columns.map((text) => pattern(text, mask)));
  }

  of(ref: ColumnRef): ColumnMask | null {
    let mask = this.#known.get(ref);
    if (mask === undefined) {
      mask = this.standsIn(ref) ? this.first : this.#find(ref.relation, ref.column.name);
      this.#known.set(ref, mask);
    }
    return mask;
  }

  /** A column of the server's own that is made of users' values. */
  standsIn({ relation, column }: ColumnRef): boolean {
    if (relation.kind === 't') return true;
    if (EXTENSION_STAND_INS.get(relation.name)?.includes(column.name)) return true;
    return relation.schema === 'pg_catalog' && (STAND_INS.get(relation.name)?.includes(column.name) ?? false);
  }

  /** A column is protected as what its table inherits from, and what inherits from it. */
  #find(relation: Relation, column: string): ColumnMask | null {
    for (const kin of [relation, ...family(this.#catalog, relation)]) {
      for (const candidate of this.#patterns) if (matches(candidate, kin, column)) return candidate.mask;
    }
    return null;
  }

  among(refs: readonly ColumnRef[]): { readonly ref: ColumnRef; readonly mask: ColumnMask } | null {
    for (const ref of refs) {
      const mask = this.of(ref);
      if (mask !== null) return { ref, mask };
    }
    return null;
  }

  all(refs: readonly ColumnRef[]): ColumnMask[] {
    return refs.flatMap((ref) => this.of(ref) ?? []);
  }

  /** Name of a protected column that a relation has itself. */
  columnIn(relation: Relation): string | null {
    return (
      relation.columns.find((column) => column.attnum > 0 && this.#find(relation, column.name) !== null)?.name ?? null
    );
  }

  /** A mask names this schema: under another name its columns would be bare. */
  nameSchema(schema: string): boolean {
    return this.#patterns.some((candidate) => candidate.schema === schema);
  }
}

function matches({ schema, table, column }: Pattern, relation: Relation, name: string): boolean {
  if (column !== name || (table !== null && table !== relation.name)) return false;
  // `*.name` means tables of users, not the server's catalogs.
  return schema === null ? !relation.system : schema === relation.schema;
}

/** `schema.table.column`, `table.column`, `*.column`; parts may be quoted, `*` stands for any. */
function pattern(text: string, mask: ColumnMask): Pattern {
  const parts = [...text.matchAll(/"((?:[^"]|"")*)"|([^."]+)/g)].map(
    (found) => found[1]?.replaceAll('""', '"') ?? found[2]!,
  );
  const any = (part: string | undefined): string | null => (part === undefined || part === '*' ? null : part);
  return { schema: any(parts.at(-3)), table: any(parts.at(-2)), column: parts.at(-1) ?? '', mask };
}

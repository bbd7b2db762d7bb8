/** What an expression's value derives from, and what names mean at a place of a statement. */
import type { Column, ColumnRef, Relation } from './model.ts';

/** Where a value comes from. Lists are small; they are never changed once made. */
export interface Value {
  /** Base column first where `plain`; columns of views that it came through follow. */
  readonly columns: readonly ColumnRef[];
  /** The unchanged value of columns[0]. */
  readonly plain: boolean;
  readonly untraced?: string;
  /** Bit n: derives from argument n+1 of the function whose body is being read. Bit 31 stands for all from the 32nd on. */
  readonly args: number;
  /** The same for every row: made of constants and parameters alone. */
  readonly fixed: boolean;
  /** Of a row value: its columns. */
  readonly fields?: readonly Field[];
  /** The value of columns[0] but for conversions of its type. */
  readonly same?: boolean;
  /** Whether the one column is NULL, and no more. */
  readonly nullness?: boolean;
  /** Making it may fail, by the values of this or of what it stands beside. */
  readonly risky?: boolean;
  /** Text of a string constant, for functions whose meaning hangs on it. */
  readonly text?: string;
}

export interface Field {
  readonly name: string;
  readonly value: Value;
}

export const FIXED: Value = { columns: [], plain: false, args: 0, fixed: true };
/** Differs from row to row, but holds nothing of a column (count, row numbers, system columns). */
export const LOOSE: Value = { columns: [], plain: false, args: 0, fixed: false };

export function untraced(reason: string): Value {
  return { columns: [], plain: false, untraced: reason, args: 0, fixed: false };
}

/** From how many columns on a set is faster than looking through a list. */
const MANY = 32;

/** A value made from others in any way. */
export function derive(values: readonly Value[], fixed?: boolean): Value {
  if (values.length === 0) return fixed === false ? LOOSE : FIXED;
  let columns: ColumnRef[] | readonly ColumnRef[] = values[0]!.columns;
  let own = false;
  let reason: string | undefined;
  let args = 0;
  let all = fixed ?? true;
  let risky = false;
  const total = values.reduce((sum, value) => sum + value.columns.length, 0);
  const set = total > MANY ? new Set(columns) : null;
  for (const value of values) {
    if (value.risky) risky = true;
    reason ??= value.untraced;
    args |= value.args;
    all &&= value.fixed;
    for (const ref of value.columns) {
      if (set !== null) {
        set.add(ref);
        continue;
      }
      if (columns.includes(ref)) continue;
      if (!own) {
        columns = [...columns];
        own = true;
      }
      (columns as ColumnRef[]).push(ref);
    }
  }
  if (set !== null) columns = [...set];
  const base = { columns, plain: false, args, fixed: all, ...(risky ? { risky } : undefined) };
  return reason === undefined ? base : { ...base, untraced: reason };
}

/** A value that is one of several (arms of a UNION, candidates of a name): plain only where all are the same column. */
export function either(values: readonly Value[]): Value {
  const [first] = values;
  if (first === undefined) return LOOSE;
  if (values.length === 1) return first;
  const joined = derive(values);
  const plain = values.every((value) => value.plain && value.columns[0] === first.columns[0]);
  const fields = first.fields;
  if (fields === undefined || !values.every((value) => value.fields?.length === fields.length)) {
    return { ...joined, plain };
  }
  return {
    ...joined,
    plain,
    fields: fields.map((field, i) => ({ name: field.name, value: either(values.map((v) => v.fields![i]!.value)) })),
  };
}

/** A row of these fields. */
export function row(fields: readonly Field[]): Value {
  return { ...derive(fields.map((field) => field.value)), fields };
}

/** One column that an item of FROM shows, and the relations whose column is read with it. */
export interface Cell {
  readonly name: string;
  readonly value: Value;
  readonly marks: readonly Mark[];
}

export interface Mark {
  readonly source: Source;
  readonly column: string;
}

/** One named thing of FROM. */
export interface Source {
  /** Alias or name; null: has none. */
  readonly name: string | null;
  /** Schema and relation for `schema.table.column`; only where there is no alias. */
  readonly qualified?: { readonly schema: string; readonly name: string };
  readonly cells: readonly Cell[];
  /** Row of a single scalar function: the name alone is the value itself. */
  readonly scalar?: boolean;
  /** Why its columns aren't known: any name may be one of them. */
  readonly open?: string;
  readonly relation?: Relation;
  /** Names of columns read, filled as names are looked up. */
  readonly used: Set<string>;
}

/** What one place of FROM adds: names for `a.b`, and columns for `*` and bare names, in order. */
export interface Item {
  readonly sources: readonly Source[];
  readonly cells: readonly Cell[];
  /** Names under USING of a join: `*` shows them once and bare names mean them. */
  readonly open?: string;
}

export interface Cte {
  readonly name: string;
  /** Columns; null while it can't be known. */
  cells(): readonly Field[] | null;
}

/** What holds for a whole body: arguments of the function being read. */
export interface Frame {
  /** Arguments by position. */
  readonly positions: readonly Value[];
  /** Arguments by name, and whole rows such as NEW and OLD. */
  readonly named: ReadonlyMap<string, Value>;
  /** In procedural code: what a name that is no column may hold. */
  readonly pool?: Value;
}

export const NO_FRAME: Frame = { positions: [], named: new Map() };

export class Scope {
  readonly parent: Scope | null;
  readonly frame: Frame;
  readonly items: Item[] = [];
  readonly ctes = new Map<string, Cte>();
  readonly windows = new Map<string, Value>();

  constructor(parent: Scope | null, frame?: Frame) {
    this.parent = parent;
    this.frame = frame ?? parent?.frame ?? NO_FRAME;
  }

  cte(name: string): Cte | undefined {
    for (let scope: Scope | null = this; scope !== null; scope = scope.parent) {
      const found = scope.ctes.get(name);
      if (found) return found;
    }
    return undefined;
  }

  /** The window of this name in this query. */
  window(name: string): Value | undefined {
    for (let scope: Scope | null = this; scope !== null; scope = scope.parent) {
      const found = scope.windows.get(name);
      if (found) return found;
    }
    return undefined;
  }

  /** Cells that a bare name means: those of the nearest query that has any. */
  cellsNamed(name: string): { readonly cells: readonly Cell[]; readonly open?: string } {
    for (let scope: Scope | null = this; scope !== null; scope = scope.parent) {
      const cells = scope.items.flatMap((item) => item.cells.filter((cell) => cell.name === name));
      if (cells.length > 0) return { cells };
      const open = scope.items.find((item) => item.open !== undefined)?.open;
      if (open !== undefined) return { cells: [], open };
    }
    return { cells: [] };
  }

  /** The source that a qualifier means. */
  sourceNamed(name: string, schema?: string): Source | undefined {
    for (let scope: Scope | null = this; scope !== null; scope = scope.parent) {
      for (const item of scope.items) {
        for (const source of item.sources) {
          if (schema === undefined ? source.name === name : isQualified(source, schema, name)) return source;
        }
      }
    }
    return undefined;
  }
}

function isQualified(source: Source, schema: string, name: string): boolean {
  return source.qualified?.schema === schema && source.qualified.name === name;
}

/** One ColumnRef per column of a catalog, so that they compare by identity. */
export class ColumnRefs {
  readonly #refs = new Map<Column, ColumnRef>();

  of(relation: Relation, column: Column): ColumnRef {
    let ref = this.#refs.get(column);
    if (ref === undefined) {
      ref = { relation, column };
      this.#refs.set(column, ref);
    }
    return ref;
  }
}

/** Columns that every table has beside its own; they hold nothing of its rows. */
export const SYSTEM_COLUMNS: ReadonlySet<string> = new Set(['ctid', 'xmin', 'xmax', 'cmin', 'cmax', 'tableoid']);

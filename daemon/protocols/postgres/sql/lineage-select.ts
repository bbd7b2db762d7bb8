/** Queries: WITH, SELECT, VALUES, set operations. Each gives its columns in order, by name. */
import type { Run } from './analyze-run.ts';
import { objectName } from './analyze-run.ts';
import { dataStatement } from './analyze-writes.ts';
import { createdFrom } from './effects-create.ts';
import { windowValue } from './lineage-calls.ts';
import { condition, ordering } from './lineage-conditions.ts';
import { expression, fieldOf, read, sourceOf } from './lineage-expressions.ts';
import { fromList } from './lineage-from.ts';
import { type Cte, derive, either, type Field, LOOSE, Scope, untraced, type Value } from './scope.ts';
import { outputName } from './scope-output.ts';
import { behind } from './scope-relations.ts';
import { type Body, type Node, open, strings, tagOf } from './scope-tree.ts';

/** Rounds after which a recursive query that still finds new columns is given up. */
const MAX_ROUNDS = 12;

/** Columns of a query, or null when they can't be known. `parent`: what is visible around it. */
export function queryOf(run: Run, parent: Scope | null, select: Body): readonly Field[] | null {
  if (!run.step()) return null;
  const around = new Scope(parent);
  const outer = withClause(run, around, select.withClause);
  const outputs = select.valuesLists
    ? values(run, outer, select)
    : select.op !== undefined && select.op !== 'SETOP_NONE'
      ? combined(run, outer, select)
      : plain(run, outer, select);
  if (select.intoClause) createdFrom(run, select.intoClause, outputs, 'SELECT INTO');
  return outputs;
}

// ---------------------------------------------------------------- WITH

/** Scope in which the queries of a WITH are visible. */
export function withClause(run: Run, scope: Scope, clause: Body | undefined): Scope {
  if (clause === undefined) return scope;
  let inner = scope;
  const ctes = ((clause.ctes ?? []) as Node[]).map((node) => node.CommonTableExpr as Body);
  if (clause.recursive) {
    inner = new Scope(scope);
    const made = ctes.map((body) => new Recursive(run, inner, body));
    for (const cte of made) inner.ctes.set(cte.name, cte);
    for (const cte of made) cte.cells();
    return inner;
  }
  for (const body of ctes) {
    const cells = commonTable(run, inner, body);
    const next = new Scope(inner);
    next.ctes.set(body.ctename, { name: body.ctename, cells: () => cells });
    inner = next;
  }
  return inner;
}

function commonTable(run: Run, scope: Scope, body: Body): readonly Field[] | null {
  const outputs = body.ctequery?.SelectStmt
    ? queryOf(run, scope, body.ctequery.SelectStmt)
    : dataStatement(run, scope, body.ctequery ?? {});
  if (outputs === null) return null;
  const names = strings(body.aliascolnames);
  const fields = outputs.map((field, i) => ({ name: names[i] ?? field.name, value: moved(field.value) }));
  const extra = derive(
    fields.map((field) => field.value),
    false,
  );
  const { search_clause: search, cycle_clause: cycle } = body;
  if (search) fields.push({ name: search.search_seq_column, value: extra });
  if (cycle)
    fields.push({ name: cycle.cycle_mark_column, value: extra }, { name: cycle.cycle_path_column, value: extra });
  return fields;
}

const moved = (value: Value): Value => (value.fixed ? { ...value, fixed: false } : value);

/** A query that may refer to itself: read again until its columns derive from nothing new. */
class Recursive implements Cte {
  readonly name: string;
  readonly #run: Run;
  readonly #scope: Scope;
  readonly #body: Body;
  #cells: readonly Field[] | null = null;
  #state: 'new' | 'running' | 'known' = 'new';
  #asked = false;

  constructor(run: Run, scope: Scope, body: Body) {
    this.name = body.ctename;
    this.#run = run;
    this.#scope = scope;
    this.#body = body;
  }

  cells(): readonly Field[] | null {
    if (this.#state === 'new') this.#follow();
    else if (this.#state === 'running') this.#asked = true;
    return this.#cells;
  }

  #follow(): void {
    const run = this.#run;
    this.#state = 'running';
    this.#cells = this.#seed();
    for (let round = 0; ; round++) {
      const before = run.seen.length;
      this.#asked = false;
      const found = commonTable(run, this.#scope, this.#body);
      const settled = !this.#asked || same(found, this.#cells);
      this.#cells = found;
      if (settled) break;
      if (round === MAX_ROUNDS) {
        this.#cells = null;
        break;
      }
      run.seen.length = before;
    }
    this.#state = 'known';
  }

  /** Columns of nothing yet, under the names that the first arm gives. */
  #seed(): readonly Field[] | null {
    const run = this.#run;
    let select = this.#body.ctequery?.SelectStmt as Body | undefined;
    while (select?.larg && select.op !== 'SETOP_NONE') select = select.larg;
    if (select === undefined) return null;
    const before = run.seen.length;
    const fields = commonTable(run, this.#scope, { ...this.#body, ctequery: { SelectStmt: select } });
    run.seen.length = before;
    return fields;
  }
}

function same(a: readonly Field[] | null, b: readonly Field[] | null): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.length === b.length &&
    a.every(({ name, value }, i) => {
      const other = b[i]!;
      return (
        name === other.name &&
        value.plain === other.value.plain &&
        value.untraced === other.value.untraced &&
        value.args === other.value.args &&
        value.columns.length === other.value.columns.length
      );
    })
  );
}

// ---------------------------------------------------------------- SELECT

function plain(run: Run, outer: Scope, select: Body): readonly Field[] | null {
  const scope = new Scope(outer);
  fromList(run, scope, outer, select.fromClause);
  if (select.whereClause) condition(run, scope, select.whereClause, 'WHERE');
  for (const window of (select.windowClause ?? []) as Node[]) {
    const body = window.WindowDef as Body;
    scope.windows.set(body.name, windowValue(run, scope, { ...body, name: undefined }));
  }
  const outputs = targets(run, scope, select.targetList);
  for (const node of (select.groupClause ?? []) as Node[]) grouping(run, scope, node, outputs);
  if (select.havingClause) condition(run, scope, select.havingClause, 'HAVING');
  distinct(run, scope, select.distinctClause, outputs);
  for (const sort of (select.sortClause ?? []) as Node[]) sorting(run, scope, sort.SortBy ?? {}, outputs, true);
  limits(run, scope, select);
  for (const node of (select.lockingClause ?? []) as Node[]) locking(run, scope, node.LockingClause ?? {});
  return outputs;
}

/** A target list or RETURNING; null when a `*` can't be expanded. */
export function targets(run: Run, scope: Scope, list: readonly Node[] | undefined): Field[] | null {
  const outputs: Field[] = [];
  for (const node of list ?? []) {
    const target = node.ResTarget as Body;
    const val = target.val as Node;
    const star = starOf(run, scope, val);
    if (star === null) return null;
    if (star !== undefined) outputs.push(...star);
    else outputs.push({ name: target.name ?? outputName(val), value: computed(run, expression(run, scope, val)) });
  }
  return outputs;
}

/** Notes an output that may fail to be made. */
export function computed(run: Run, value: Value): Value {
  if (value.risky) run.use('risk', value, 'an output');
  return value;
}

/** Columns of `*`, `t.*` and `(row).*`; undefined: it is none of these. */
function starOf(run: Run, scope: Scope, node: Node): readonly Field[] | null | undefined {
  const [tag, body] = open(node);
  if (tag === 'ColumnRef') {
    const fields = body.fields as Node[];
    if (tagOf(fields.at(-1)) !== 'A_Star') return undefined;
    const qualifier = strings(fields).slice(0, -1);
    if (qualifier.length > 0) {
      const source = sourceOf(run, scope, qualifier);
      if (source === undefined) return rowFields(scope.frame.named.get(qualifier[0]!));
      if (source.open !== undefined) return null;
      run.touched.add(source);
      return source.cells.map((cell) => ({ name: cell.name, value: read(run, cell) }));
    }
    if (scope.items.some((item) => item.open !== undefined)) return null;
    return scope.items.flatMap((item) => item.cells.map((cell) => ({ name: cell.name, value: read(run, cell) })));
  }
  if (tag === 'A_Indirection' && tagOf((body.indirection as Node[]).at(-1)) === 'A_Star') {
    let value = expression(run, scope, body.arg);
    for (const step of (body.indirection as Node[]).slice(0, -1)) {
      value = step.String ? fieldOf(run, value, step.String.sval ?? '') : derive([value], false);
    }
    return rowFields(value);
  }
  return undefined;
}

function rowFields(value: Value | undefined): readonly Field[] | null {
  return value?.fields ?? null;
}

/** GROUP BY: a number, a name (a column first, then an output), an expression, or sets of these. */
function grouping(run: Run, scope: Scope, node: Node, outputs: readonly Field[] | null): void {
  const [tag, body] = open(node);
  if (tag === 'GroupingSet') {
    for (const part of (body.content ?? []) as Node[]) grouping(run, scope, part, outputs);
    return;
  }
  if (tag === 'RowExpr') {
    for (const part of (body.args ?? []) as Node[]) grouping(run, scope, part, outputs);
    return;
  }
  const output = ordinal(node, outputs);
  if (output !== undefined) {
    ordering(run, output, 'GROUP BY');
    return;
  }
  const name = bareNameOf(node);
  if (name !== undefined && scope.cellsNamed(name).cells.length === 0) {
    const named = outputs?.filter((field) => field.name === name) ?? [];
    if (named.length > 0) {
      ordering(run, either(named.map((field) => field.value)), 'GROUP BY');
      return;
    }
  }
  ordering(run, expression(run, scope, node), 'GROUP BY');
}

/** ORDER BY: a number, the name of an output, or an expression. */
function sorting(run: Run, scope: Scope, sort: Body, outputs: readonly Field[] | null, expressions: boolean): void {
  const node = (sort.node ?? {}) as Node;
  const output = ordinal(node, outputs);
  if (output !== undefined) {
    ordering(run, output, 'ORDER BY');
    return;
  }
  const name = bareNameOf(node);
  const named = name === undefined ? [] : (outputs?.filter((field) => field.name === name) ?? []);
  if (named.length > 0) {
    ordering(run, either(named.map((field) => field.value)), 'ORDER BY');
    return;
  }
  if (outputs === null && !expressions) {
    run.use('compute', untraced('a column is not known'), 'ORDER BY');
    return;
  }
  ordering(run, expression(run, scope, node), 'ORDER BY');
}

function ordinal(node: Node, outputs: readonly Field[] | null): Value | undefined {
  const number = node.A_Const?.ival?.ival as number | undefined;
  if (node.A_Const?.ival === undefined) return undefined;
  return outputs === null ? untraced('a column is not known') : (outputs[(number ?? 0) - 1]?.value ?? LOOSE);
}

function bareNameOf(node: Node): string | undefined {
  const fields = node.ColumnRef?.fields as Node[] | undefined;
  return fields?.length === 1 ? fields[0]!.String?.sval : undefined;
}

function distinct(run: Run, scope: Scope, clause: readonly Node[] | undefined, outputs: readonly Field[] | null): void {
  if (clause === undefined) return;
  const on = clause.filter((node) => Object.keys(node).length > 0);
  for (const node of on) sorting(run, scope, { node }, outputs, true);
  if (on.length > 0) return;
  if (outputs === null) {
    run.use('compute', untraced('a column is not known'), 'DISTINCT');
    return;
  }
  for (const { value } of outputs) ordering(run, value, 'DISTINCT');
}

function limits(run: Run, scope: Scope, select: Body): void {
  for (const node of [select.limitCount, select.limitOffset] as (Node | undefined)[]) {
    if (node === undefined) continue;
    const value = expression(run, scope, node);
    if (value.columns.length > 0 || value.untraced !== undefined || value.args !== 0)
      run.use('compute', value, 'LIMIT');
  }
}

/** FOR UPDATE and its kin lock rows: who may only read may not. */
function locking(run: Run, scope: Scope, clause: Body): void {
  const named = ((clause.lockedRels ?? []) as Node[]).map((node) => node.RangeVar?.relname as string);
  let found = false;
  for (const item of scope.items) {
    for (const { relation, name } of item.sources) {
      if (relation === undefined || (named.length > 0 && !named.includes(name ?? ''))) continue;
      run.reach('write', objectName(relation), behind(run, relation));
      found = true;
    }
  }
  if (!found) run.reach('write');
}

// ---------------------------------------------------------------- VALUES, UNION

function values(run: Run, outer: Scope, select: Body): readonly Field[] | null {
  const scope = new Scope(outer);
  const rows = ((select.valuesLists ?? []) as Node[]).map((list) =>
    ((list.List?.items ?? []) as Node[]).map((node) => computed(run, expression(run, scope, node))),
  );
  const width = Math.max(0, ...rows.map((cells) => cells.length));
  const outputs = Array.from({ length: width }, (_, i) => {
    const value = either(rows.map((cells) => cells[i] ?? LOOSE));
    return { name: `column${i + 1}`, value: rows.length > 1 ? moved(value) : value };
  });
  for (const sort of (select.sortClause ?? []) as Node[]) sorting(run, scope, sort.SortBy ?? {}, outputs, true);
  limits(run, scope, select);
  return outputs;
}

function combined(run: Run, outer: Scope, select: Body): readonly Field[] | null {
  const left = queryOf(run, outer, select.larg ?? {});
  const right = queryOf(run, outer, select.rarg ?? {});
  if (left === null || right === null || left.length !== right.length) {
    run.use('compute', untraced('the columns of a query are not known'), setName(select));
    return null;
  }
  const outputs = left.map(({ name, value }, i) => ({ name, value: moved(either([value, right[i]!.value])) }));
  // Rows that are the same come together: how many are left tells which were.
  if (!select.all || select.op !== 'SETOP_UNION') {
    for (const { value } of outputs) ordering(run, value, setName(select));
  }
  const scope = new Scope(outer);
  for (const sort of (select.sortClause ?? []) as Node[]) sorting(run, scope, sort.SortBy ?? {}, outputs, false);
  limits(run, scope, select);
  if (select.lockingClause) run.reach('write');
  return outputs;
}

function setName(select: Body): string {
  return String(select.op ?? '').replace('SETOP_', '');
}

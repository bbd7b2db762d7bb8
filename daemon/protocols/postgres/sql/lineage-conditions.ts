/**
 * Conditions, ordering and grouping. A condition tells something of the values it looks at; how much, hangs on what they
 * are compared with. Compared with constants a value answers one question at a time (filter). Compared with another
 * column, or within an expression, the other side can take on the value (compute).
 */
import type { Run } from './analyze-run.ts';
import { COMPARISONS } from './builtins.ts';
import { expression, operator, operatorValues } from './lineage-expressions.ts';
import { queryOf } from './lineage-select.ts';
import { derive, type Scope, type Source, untraced, type Value } from './scope.ts';
import { type Body, items, type Node, open, strings } from './scope-tree.ts';

/** Notes what a condition looks at. Its parts joined by AND are looked at one by one. */
export function condition(run: Run, scope: Scope, node: Node, where: string): void {
  const before = run.calls;
  const first = run.seen.length;
  parts(run, scope, node, where);
  if (run.effectful > before.effectful) run.guard(before, derive(run.seen.slice(first).map((use) => use.value)), where);
}

function parts(run: Run, scope: Scope, node: Node, where: string): void {
  const [tag, body] = open(node);
  if (tag === 'BoolExpr' && body.boolop === 'AND_EXPR') {
    for (const part of (body.args ?? []) as Node[]) condition(run, scope, part, where);
    return;
  }
  const outer = run.touched;
  run.touched = new Set<Source>();
  const before = run.seen.length;
  leaves(run, scope, node, where);
  // `(a.x = 1 AND b.y LIKE …) OR (a.x = 2 AND …)` carries b.y over into a.x, although each part looks harmless.
  const own = run.seen.slice(before);
  if (isEither(tag, body) && own.length > 0 && run.touched.size > 1) {
    run.use('compute', derive(own.map((use) => use.value)), where);
  }
  for (const source of run.touched) outer.add(source);
  run.touched = outer;
}

/** OR, and NOT of several parts. */
function isEither(tag: string, body: Body): boolean {
  if (tag !== 'BoolExpr') return false;
  return body.boolop !== 'NOT_EXPR' || (body.args ?? []).some((part: Node) => part.BoolExpr !== undefined);
}

function leaves(run: Run, scope: Scope, node: Node, where: string): void {
  const [tag, body] = open(node);
  if (tag === 'BoolExpr') {
    for (const part of (body.args ?? []) as Node[]) leaves(run, scope, part, where);
    return;
  }
  if (tag === 'A_Expr') {
    comparison(run, scope, body, where);
    return;
  }
  if (tag === 'NullTest' || tag === 'BooleanTest') {
    const value = expression(run, scope, body.arg);
    run.use(isBare(body.arg, value) ? 'filter' : 'compute', value, where);
    return;
  }
  if (tag === 'SubLink' && body.subLinkType === 'EXISTS_SUBLINK') {
    // What the query looks at has been noted within it; being there or not is that and no more.
    expression(run, scope, node);
    return;
  }
  if (tag === 'SubLink' && body.subLinkType === 'ANY_SUBLINK') {
    membership(run, scope, body, where);
    return;
  }
  const value = expression(run, scope, node);
  if (value.fixed) {
    noteFixed(run, value, where);
    return;
  }
  run.use(isBare(node, value) ? 'filter' : 'compute', value, where);
}

/** A condition without any column decides nothing row by row; arguments of a function's body still count. */
function noteFixed(run: Run, value: Value, where: string): void {
  if (value.args !== 0) run.use('filter', value, where);
}

function comparison(run: Run, scope: Scope, body: Body, where: string): void {
  const right = items(body.rexpr);
  const left = body.lexpr as Node | undefined;
  const nodes = left === undefined ? right : [left, ...right];
  const values = nodes.map((node) => expression(run, scope, node));
  const own = operatorValues(run, body, values);
  const value = derive([...values, ...own]);
  if (value.fixed) {
    noteFixed(run, value, where);
    return;
  }
  const name = strings(body.name).at(-1) ?? '';
  const simple = own.every((v) => v.untraced === undefined) && (COMPARISONS.has(name) || !/^AEXPR_OP/.test(body.kind));
  run.use(simple && isFilter(nodes, values) ? 'filter' : 'compute', value, where);
}

/** Columns bare, all the same one, and beside them constants only. Rows of columns count item by item. */
function isFilter(nodes: readonly Node[], values: readonly Value[]): boolean {
  const moving = nodes.flatMap((node, i) => {
    const value = values[i]!;
    if (value.fixed) return [];
    const row = node.RowExpr ? (value.fields ?? []) : [];
    if (row.length === 0) return [{ node, value }];
    return row
      .map((field, j) => ({ node: node.RowExpr.args[j] as Node, value: field.value }))
      .filter((p) => !p.value.fixed);
  });
  if (moving.some(({ node, value }) => !isBare(node, value))) return false;
  const rows = nodes.filter((node, i) => node.RowExpr && !values[i]!.fixed);
  if (rows.length > 0) return rows.length === 1 && moving.length === (rows[0]!.RowExpr.args ?? []).length;
  return new Set(moving.map(({ value }) => value.columns[0])).size === 1;
}

/** `x IN (SELECT y …)`: a filter only where both are the same column. */
function membership(run: Run, scope: Scope, body: Body, where: string): void {
  const outputs = queryOf(run, scope, body.subselect?.SelectStmt ?? {});
  const test = expression(run, scope, body.testexpr ?? {});
  const values = outputs?.map((output) => output.value) ?? [untraced('the columns of a query are not known')];
  const own = operator(run, body.operName ? strings(body.operName) : ['='], [test, ...values]);
  const [first] = values;
  const same =
    values.length === 1 && own.length === 0 && test.plain && first!.plain && test.columns[0] === first!.columns[0];
  run.use(same ? 'filter' : 'compute', derive([test, ...values, ...own], false), where);
}

/** A column itself, cast or not, and not a row of them. */
export function isBare(node: Node, value: Value): boolean {
  const [tag, body] = open(node);
  if (tag === 'TypeCast' || tag === 'CollateClause') return value.same === true && isName(body.arg);
  return tag === 'ColumnRef' && (value.plain || (value.columns.length === 0 && value.untraced === undefined));
}

function isName(node: Node | undefined): boolean {
  if (node === undefined) return false;
  const [tag, body] = open(node);
  return tag === 'TypeCast' || tag === 'CollateClause' ? isName(body.arg) : tag === 'ColumnRef';
}

/** Something that rows are ordered, grouped or told apart by. */
export function ordering(run: Run, value: Value, where: string): void {
  if (value.fixed && value.args === 0) return;
  run.use(value.plain || value.nullness ? 'order' : 'compute', value, where);
}

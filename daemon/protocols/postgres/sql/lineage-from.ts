/** FROM: each item becomes the names and columns that it shows. */
import type { Run } from './analyze-run.ts';
import { SAMPLING_METHODS } from './builtins.ts';
import { call } from './lineage-calls.ts';
import { condition } from './lineage-conditions.ts';
import { all, cast, expression, operator, within } from './lineage-expressions.ts';
import { queryOf } from './lineage-select.ts';
import {
  type Cell,
  derive,
  either,
  FIXED,
  type Field,
  type Item,
  LOOSE,
  type Scope,
  type Source,
  untraced,
  type Value,
} from './scope.ts';
import { relationItem, resolveRelation, unknownItem } from './scope-relations.ts';
import { type Body, type Node, open, strings } from './scope-tree.ts';

/** Adds the items of a FROM list to the scope, left to right. `outside`: what a query without LATERAL sees. */
export function fromList(run: Run, scope: Scope, outside: Scope, list: readonly Node[] | undefined): void {
  for (const node of list ?? []) scope.items.push(fromItem(run, scope, outside, node));
}

export function fromItem(run: Run, scope: Scope, outside: Scope, node: Node): Item {
  if (!run.step()) return closed('the statement is too complex');
  const [tag, body] = open(node);
  switch (tag) {
    case 'RangeVar':
      return rangeVar(run, scope, body);
    case 'RangeSubselect':
      return subselect(run, body.lateral ? scope : outside, body);
    case 'RangeFunction':
      return rangeFunction(run, scope, body);
    case 'RangeTableSample':
      return sample(run, scope, outside, body);
    case 'RangeTableFunc':
      return tableFunction(run, scope, body, tableColumns(body.columns, 'RangeTableFuncCol', 'colname'));
    case 'JsonTable':
      return tableFunction(run, scope, body, jsonColumns(body.columns));
    case 'JoinExpr':
      return join(run, scope, outside, body);
  }
  run.unknown(`unknown item of FROM ${tag}`);
  return closed(`unknown item of FROM ${tag}`);
}

function closed(reason: string): Item {
  return { sources: [{ name: null, cells: [], open: reason, used: new Set() }], cells: [], open: reason };
}

function rangeVar(run: Run, scope: Scope, body: Body): Item {
  const name = body.relname as string;
  const alias = body.alias?.aliasname as string | undefined;
  const columns = strings(body.alias?.colnames);
  if (body.schemaname === undefined) {
    const cte = scope.cte(name);
    if (cte !== undefined) {
      const cells = cte.cells();
      if (cells === null) return renamed(closed(`${name} could not be followed`), alias ?? name);
      return fieldsItem(alias ?? name, cells, columns);
    }
  }
  const found = resolveRelation(run, body.schemaname, name);
  if (found.length === 0) return unknownItem(run, name, alias, body.schemaname);
  return relationItem(run, found, { alias, columns });
}

function renamed(item: Item, name: string): Item {
  return { ...item, sources: item.sources.map((source) => ({ ...source, name })) };
}

/** Columns under one name. `columns`: new names of the first of them. */
export function fieldsItem(
  name: string | null,
  fields: readonly Field[],
  columns: readonly string[],
  scalar = false,
): Item {
  const source: Source = { name, cells: [], used: new Set(), scalar };
  const cells: Cell[] = fields.map((field, i) => ({
    name: columns[i] ?? field.name,
    value: field.value,
    marks: [{ source, column: field.name }],
  }));
  (source as { cells: readonly Cell[] }).cells = cells;
  return { sources: [source], cells };
}

function subselect(run: Run, scope: Scope, body: Body): Item {
  const outputs = body.subquery?.SelectStmt ? queryOf(run, scope, body.subquery.SelectStmt) : null;
  const alias = (body.alias?.aliasname as string | undefined) ?? null;
  if (outputs === null) return renamed(closed('the columns of a query are not known'), alias ?? '');
  return fieldsItem(alias, outputs, strings(body.alias?.colnames));
}

function rangeFunction(run: Run, scope: Scope, body: Body): Item {
  const alias = body.alias?.aliasname as string | undefined;
  const fields: Field[] = [];
  let first: string | undefined;
  let single = false;
  for (const list of (body.functions ?? []) as Node[]) {
    const [node, definition] = (list.List?.items ?? []) as Node[];
    const { value, columns, name } = isUnnestOfMany(node) ? unnested(run, scope, node) : rowsOf(run, scope, node ?? {});
    first ??= name;
    const defined = definition?.List?.items ?? (body.functions.length === 1 ? body.coldeflist : undefined);
    if (defined !== undefined) {
      for (const { ColumnDef: column } of defined as Node[]) {
        fields.push({ name: column?.colname ?? '', value: cast(run, stripped(value), column?.typeName) });
      }
    } else {
      single = columns.length === 1 && body.functions.length === 1;
      // A function of one column takes the alias as the column's name.
      fields.push(
        ...(columns.length === 1 && alias !== undefined ? [{ name: alias, value: columns[0]!.value }] : columns),
      );
    }
  }
  if (body.ordinality) fields.push({ name: 'ordinality', value: LOOSE });
  const whole = single && body.coldeflist === undefined && !body.ordinality;
  return fieldsItem(alias ?? first ?? '', fields.map(moving), strings(body.alias?.colnames), whole);
}

/** `unnest(a, b)` in FROM alone: each of its arguments unnested beside the others, as transformRangeFunction has it. */
function isUnnestOfMany(node: Node | undefined): node is Node {
  const call = node?.FuncCall as Body | undefined;
  const names = strings(call?.funcname);
  return names.length === 1 && names[0] === 'unnest' && (call?.args ?? []).length > 1;
}

function unnested(run: Run, scope: Scope, node: Node): ReturnType<typeof rowsOf> {
  const name = { String: { sval: 'unnest' } };
  const parts = (node.FuncCall.args as Node[]).map((arg) =>
    rowsOf(run, scope, { FuncCall: { funcname: [{ String: { sval: 'pg_catalog' } }, name], args: [arg] } }),
  );
  return {
    value: derive(parts.map(({ value }) => value)),
    columns: parts.flatMap(({ columns }) => columns),
    name: 'unnest',
  };
}

/** Rows differ even where what they are made of does not. */
const moving = ({ name, value }: Field): Field => ({ name, value: value.fixed ? { ...value, fixed: false } : value });

function stripped({ fields: _, ...value }: Value): Value {
  return { ...value, plain: false };
}

function rowsOf(run: Run, scope: Scope, node: Node): { value: Value; columns: readonly Field[]; name: string } {
  const [tag, body] = open(node);
  if (tag === 'FuncCall') {
    const { value, fields } = call(run, scope, body);
    const name = strings(body.funcname).at(-1) ?? '';
    const args = derive((body.args ?? []).map((arg: Node) => expression(run, scope, arg)));
    run.use('compute', args, `argument of ${name}() in FROM`);
    return { value, columns: value.fields ?? fields, name };
  }
  const value = expression(run, scope, node);
  run.use('compute', value, 'FROM');
  return { value, columns: [{ name: tag.toLowerCase(), value }], name: tag.toLowerCase() };
}

function sample(run: Run, scope: Scope, outside: Scope, body: Body): Item {
  const item = fromItem(run, scope, outside, body.relation);
  const method = strings(body.method);
  if (!SAMPLING_METHODS.has(method.at(-1) ?? '') || method.length > 2) run.blind(`sampling method ${method.join('.')}`);
  const values = all(run, scope, [...(body.args ?? []), ...(body.repeatable ? [body.repeatable] : [])]);
  for (const value of values) if (!value.fixed) run.use('compute', value, 'TABLESAMPLE');
  return item;
}

/** XMLTABLE and JSON_TABLE: each column may hold anything of the document. */
function tableFunction(run: Run, scope: Scope, body: Body, names: readonly string[]): Item {
  const parts = { ...body, alias: undefined, columns: undefined };
  const value = { ...derive(tableValues(run, scope, parts, body.columns), false) };
  run.use('compute', value, 'a table made in FROM');
  const fields = names.map((name) => ({ name, value }));
  return fieldsItem(body.alias?.aliasname ?? 'xmltable', fields, strings(body.alias?.colnames));
}

function tableValues(run: Run, scope: Scope, parts: Body, columns: readonly Node[] | undefined): Value[] {
  const values: Value[] = [];
  for (const node of [parts.docexpr, parts.rowexpr] as (Node | undefined)[])
    if (node) values.push(expression(run, scope, node));
  for (const item of (parts.namespaces ?? []) as Node[])
    values.push(expression(run, scope, item.ResTarget?.val ?? item));
  if (parts.context_item)
    values.push(...within(run, scope, { context_item: parts.context_item, passing: parts.passing ?? [] }));
  for (const column of columns ?? []) {
    const [, body] = open(column);
    for (const node of [body.colexpr, body.coldefexpr] as (Node | undefined)[]) {
      if (node) values.push(expression(run, scope, node));
    }
    for (const behaviour of [body.on_empty, body.on_error] as (Body | undefined)[]) {
      if (behaviour?.expr) values.push(expression(run, scope, behaviour.expr));
    }
    if (body.typeName) values.push(cast(run, FIXED, body.typeName));
    if (body.columns) values.push(...tableValues(run, scope, {}, body.columns));
  }
  return values;
}

function tableColumns(columns: readonly Node[] | undefined, tag: string, key: string): string[] {
  return (columns ?? []).map((column) => column[tag]?.[key] ?? '');
}

function jsonColumns(columns: readonly Node[] | undefined): string[] {
  return (columns ?? []).flatMap((column) => {
    const body = column.JsonTableColumn as Body | undefined;
    return body?.columns ? jsonColumns(body.columns) : [body?.name ?? ''];
  });
}

// ---------------------------------------------------------------- joins

function join(run: Run, scope: Scope, outside: Scope, body: Body): Item {
  const left = fromItem(run, scope, outside, body.larg);
  scope.items.push(left);
  const right = fromItem(run, scope, outside, body.rarg);
  scope.items.pop();
  const shared = sharedColumns(left, right, body);
  const merged: Cell[] = shared.map((name) => mergeCells(run, name, left, right));
  const rest = [...left.cells, ...right.cells].filter((cell) => !shared.includes(cell.name));
  const cells = [...merged, ...rest];
  const reason = left.open ?? right.open;
  const both: Item = {
    sources: [...left.sources, ...right.sources],
    cells,
    ...(reason === undefined ? {} : { open: reason }),
  };
  if (body.quals) {
    scope.items.push(both);
    condition(run, scope, body.quals, 'ON');
    scope.items.pop();
  }
  const using = body.join_using_alias?.aliasname as string | undefined;
  const extra: Source[] = using === undefined ? [] : [{ name: using, cells: merged, used: new Set() }];
  if (body.alias === undefined) return { ...both, sources: [...both.sources, ...extra] };
  const columns = strings(body.alias.colnames);
  const named: Cell[] = cells.map((cell, i) => ({ ...cell, name: columns[i] ?? cell.name }));
  const source: Source = {
    name: body.alias.aliasname,
    cells: named,
    used: new Set(),
    ...(reason === undefined ? {} : { open: reason }),
  };
  return { sources: [source], cells: named, ...(reason === undefined ? {} : { open: reason }) };
}

function sharedColumns(left: Item, right: Item, body: Body): string[] {
  if (body.usingClause) return strings(body.usingClause);
  if (!body.isNatural) return [];
  const there = new Set(right.cells.map((cell) => cell.name));
  return [...new Set(left.cells.map((cell) => cell.name))].filter((name) => there.has(name));
}

/** A column that two sides are joined by: comparing is a condition, and the one column shows what both hold. */
function mergeCells(run: Run, name: string, left: Item, right: Item): Cell {
  const cells = [...left.cells, ...right.cells].filter((cell) => cell.name === name);
  const reason = left.open ?? right.open;
  const values = cells.map((cell) => cell.value);
  if (reason !== undefined) values.push(untraced(reason));
  for (const { marks } of cells) for (const mark of marks) mark.source.used.add(mark.column);
  const own = operator(run, ['='], values);
  const value = either([...values, ...own]);
  run.use(value.plain ? 'filter' : 'compute', value, 'USING');
  return { name, value: value.plain ? value : { ...value, fixed: false }, marks: cells.flatMap((cell) => cell.marks) };
}

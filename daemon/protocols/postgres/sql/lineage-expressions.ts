/** Where the value of an expression comes from. Any value made with a column derives from it, whatever the making. */
import type { Run } from './analyze-run.ts';
import { COMPARISONS, OPERATORS } from './builtins.ts';
import { callUser, candidates, constantExpression } from './functions.ts';
import { call, callFunction } from './lineage-calls.ts';
import { condition } from './lineage-conditions.ts';
import { queryOf } from './lineage-select.ts';
import type { Func } from './model.ts';
import {
  type Cell,
  derive,
  either,
  FIXED,
  LOOSE,
  row,
  Scope,
  type Source,
  SYSTEM_COLUMNS,
  untraced,
  type Value,
} from './scope.ts';
import { columnsOf, noSuchColumn, noteColumn, resolveRelation } from './scope-relations.ts';
import { type Body, constantText, type Node, open, strings, tagOf } from './scope-tree.ts';

export function expression(run: Run, scope: Scope, node: Node): Value {
  if (!run.step()) return untraced('the statement is too complex');
  const [tag, body] = open(node);
  switch (tag) {
    case 'ColumnRef':
      return column(run, scope, body);
    case 'A_Const': {
      const text = body.sval ? constantText(body) : undefined;
      return text === undefined ? FIXED : { ...FIXED, text };
    }
    case 'ParamRef':
      return scope.frame.positions[(body.number ?? 0) - 1] ?? scope.frame.pool ?? FIXED;
    case 'SQLValueFunction':
      return FIXED;
    case 'SetToDefault':
    case 'GroupingFunc':
      return LOOSE;
    case 'CurrentOfExpr':
      run.transient = true;
      return LOOSE;
    case 'A_Expr':
      return operation(run, scope, body);
    case 'FuncCall':
      return call(run, scope, body).value;
    case 'TypeCast':
      return failing(cast(run, expression(run, scope, body.arg), body.typeName), body.typeName);
    case 'CollateClause':
      return converted(expression(run, scope, body.arg));
    case 'A_Indirection':
      return indirection(run, scope, body);
    case 'SubLink':
      return sublink(run, scope, body);
    case 'RowExpr':
      return rowExpression(run, scope, body);
    case 'BoolExpr':
    case 'CoalesceExpr': {
      const before = run.calls;
      return run.guard(before, derive(all(run, scope, body.args)), 'an expression');
    }
    case 'MinMaxExpr':
      return derive(all(run, scope, body.args));
    case 'A_ArrayExpr':
      return derive(all(run, scope, body.elements));
    case 'List':
      return derive(all(run, scope, body.items));
    case 'CaseExpr':
      return caseExpression(run, scope, body);
    case 'NullTest': {
      const value = expression(run, scope, body.arg);
      return value.plain ? { ...derive([value]), nullness: true } : derive([value]);
    }
    case 'BooleanTest':
    case 'NamedArgExpr':
      return derive([expression(run, scope, body.arg)]);
    case 'MultiAssignRef':
      return derive([expression(run, scope, body.source)]);
    case 'XmlExpr':
      return derive([...all(run, scope, body.args), ...all(run, scope, (body.named_args ?? []).map(resultValue))]);
    case 'XmlSerialize':
      return cast(run, expression(run, scope, body.expr), body.typeName);
  }
  const own = functionBefore(run, tag, body);
  if (own !== undefined) return calledBefore(run, own, within(run, scope, body));
  if (/^Json[A-Z]/.test(tag) || tag === 'MergeSupportFunc') return derive([LOOSE, ...within(run, scope, body)]);
  run.unknown(`unknown expression ${tag}`);
  return untraced(`unknown expression ${tag}`);
}

/** What the parser here takes for syntax, by the server's version that does so first; before, it was a function's name. */
const SYNTAX_SINCE: Readonly<Record<string, readonly [number, string]>> = {
  JsonObjectConstructor: [160_000, 'json_object'],
  JsonArrayConstructor: [160_000, 'json_array'],
  JsonArrayQueryConstructor: [160_000, 'json_array'],
  JsonObjectAgg: [160_000, 'json_objectagg'],
  JsonArrayAgg: [160_000, 'json_arrayagg'],
  JsonParseExpr: [170_000, 'json'],
  JsonScalarExpr: [170_000, 'json_scalar'],
  JsonSerializeExpr: [170_000, 'json_serialize'],
  JSON_EXISTS_OP: [170_000, 'json_exists'],
  JSON_VALUE_OP: [170_000, 'json_value'],
  JSON_QUERY_OP: [170_000, 'json_query'],
  MergeSupportFunc: [170_000, 'merge_action'],
};

/** Name of the function that this server takes it for. */
function functionBefore(run: Run, tag: string, body: Body): string | undefined {
  const [since, name] = SYNTAX_SINCE[tag === 'JsonFuncExpr' ? body.op : tag] ?? [0, ''];
  return run.catalog.server < since ? name : undefined;
}

function calledBefore(run: Run, name: string, values: readonly Value[]): Value {
  const fns = candidates(run, undefined, name, null).filter((fn) => !fn.system);
  if (fns.length === 0) run.unknown(`function ${name} is not known`);
  return derive([...values, ...fns.map((fn) => callUser(run, fn, values, true).value)], false);
}

const resultValue = (node: Node): Node => (node.ResTarget ? node.ResTarget.val : node);

export function all(run: Run, scope: Scope, nodes: readonly Node[] | undefined): Value[] {
  return (nodes ?? []).map((node) => expression(run, scope, node));
}

/** Values of every expression within the SQL/JSON constructors, whose parts are bodies of fixed types and nodes mixed. */
export function within(run: Run, scope: Scope, body: Body): Value[] {
  const values: Value[] = [];
  for (const [key, part] of Object.entries(body)) {
    if (part === null || typeof part !== 'object' || key === 'format' || key === 'typeName') continue;
    if (key === 'output') {
      // RETURNING: only what the conversion runs adds to the values.
      if (part.typeName) values.push(cast(run, FIXED, part.typeName));
    } else if (key === 'agg_filter') {
      const before = run.seen.length;
      condition(run, scope, part, 'FILTER');
      values.push(...run.seen.slice(before).map((use) => use.value));
    } else if (key === 'query') {
      values.push(
        ...(queryOf(run, scope, part.SelectStmt ?? {}) ?? [{ value: untraced('a query is not known') }]).map(
          (f) => f.value,
        ),
      );
    } else if (Array.isArray(part)) {
      for (const item of part) values.push(...partOf(run, scope, item));
    } else values.push(...partOf(run, scope, part));
  }
  return values;
}

const MESSAGE = /^(Json|DefElem|WindowDef|SortBy)/;

function partOf(run: Run, scope: Scope, part: Body): Value[] {
  const tag = tagOf(part);
  if (/^[A-Z]/.test(tag)) return MESSAGE.test(tag) ? within(run, scope, part[tag]) : [expression(run, scope, part)];
  return within(run, scope, part);
}

// ---------------------------------------------------------------- names

function column(run: Run, scope: Scope, ref: Body): Value {
  const fields = (ref.fields ?? []) as Node[];
  const names = strings(fields);
  if (tagOf(fields.at(-1)) === 'A_Star') return qualifierRow(run, scope, names.slice(0, -1));
  if (names.length === 1) return bareName(run, scope, names[0]!);
  const name = names.at(-1)!;
  const qualifier = names.slice(0, -1);
  const source = sourceOf(run, scope, qualifier);
  if (source !== undefined) return memberOf(run, source, name);
  const argument =
    qualifier.length === 1 ? (scope.frame.named.get(qualifier[0]!) ?? bareArgument(scope, names)) : undefined;
  if (argument !== undefined) return fieldOf(run, argument, name);
  if (scope.frame.pool !== undefined) return scope.frame.pool;
  return noSuchColumn(names.join('.'));
}

/** `ownname.argument`. */
function bareArgument(scope: Scope, names: readonly string[]): Value | undefined {
  const value = scope.frame.named.get(names[1]!);
  return value === undefined ? undefined : { ...FIXED, args: value.args };
}

export function sourceOf(run: Run, scope: Scope, qualifier: readonly string[]): Source | undefined {
  if (qualifier.length === 1) return scope.sourceNamed(qualifier[0]!);
  if (qualifier.length === 2) return scope.sourceNamed(qualifier[1]!, qualifier[0]!);
  if (qualifier.length === 3 && qualifier[0] === run.catalog.database) {
    return scope.sourceNamed(qualifier[2]!, qualifier[1]!);
  }
  return undefined;
}

function bareName(run: Run, scope: Scope, name: string): Value {
  const { cells, open: reason } = scope.cellsNamed(name);
  if (cells.length > 0) return either(cells.map((cell) => read(run, cell)));
  const source = scope.sourceNamed(name);
  if (source !== undefined) return wholeRow(run, source);
  if (reason !== undefined) return untraced(reason);
  const argument = scope.frame.named.get(name);
  if (argument !== undefined) return argument;
  if (SYSTEM_COLUMNS.has(name)) return LOOSE;
  return scope.frame.pool ?? noSuchColumn(name);
}

/** The value of a cell, noting that its columns are read. */
export function read(run: Run, cell: Cell): Value {
  for (const mark of cell.marks) noteColumn(run, mark.source, mark.column);
  for (const ref of cell.value.columns) run.columns.add(ref);
  return cell.value;
}

function memberOf(run: Run, source: Source, name: string): Value {
  run.touched.add(source);
  const cells = source.cells.filter((cell) => cell.name === name);
  if (cells.length > 0) return either(cells.map((cell) => read(run, cell)));
  if (source.open !== undefined) return untraced(source.open);
  if (SYSTEM_COLUMNS.has(name)) return LOOSE;
  return functional(run, wholeRow(run, source), name);
}

export function wholeRow(run: Run, source: Source): Value {
  run.touched.add(source);
  if (source.open !== undefined) return untraced(source.open);
  const fields = source.cells.map((cell) => ({ name: cell.name, value: read(run, cell) }));
  if (source.scalar && fields.length === 1) return fields[0]!.value;
  return { ...row(fields), fixed: false };
}

function qualifierRow(run: Run, scope: Scope, qualifier: readonly string[]): Value {
  if (qualifier.length === 0) {
    // count(*) and the like never get here; `row(*)` does.
    const cells = scope.items.flatMap((item) => item.cells);
    const reason = scope.items.find((item) => item.open !== undefined)?.open;
    return reason === undefined
      ? row(cells.map((cell) => ({ name: cell.name, value: read(run, cell) })))
      : untraced(reason);
  }
  const source = sourceOf(run, scope, qualifier);
  if (source !== undefined) return wholeRow(run, source);
  return scope.frame.named.get(qualifier[0]!) ?? scope.frame.pool ?? noSuchColumn(`${qualifier.join('.')}.*`);
}

/** A field of a row value; `row.f` may also mean `f(row)`. */
export function fieldOf(run: Run, value: Value, name: string): Value {
  const field = value.fields?.filter((candidate) => candidate.name === name) ?? [];
  if (field.length > 0) {
    for (const { value: part } of field) for (const ref of part.columns) run.columns.add(ref);
    return either(field.map((candidate) => candidate.value));
  }
  return functional(run, value, name);
}

function functional(run: Run, value: Value, name: string): Value {
  const fns = candidates(run, undefined, name, 1).filter((fn) => !fn.system);
  return derive([value, ...fns.map((fn) => callUser(run, fn, [value]).value)], false);
}

function indirection(run: Run, scope: Scope, body: Body): Value {
  let value = expression(run, scope, body.arg);
  for (const step of (body.indirection ?? []) as Node[]) {
    const [tag, part] = open(step);
    if (tag === 'String') value = fieldOf(run, value, part.sval ?? '');
    else if (tag === 'A_Indices') {
      const bounds = [part.lidx, part.uidx].filter((bound) => bound !== undefined);
      value = derive([value, ...all(run, scope, bounds)]);
    } else if (tag !== 'A_Star') value = derive([value, untraced(`unknown step ${tag}`)]);
  }
  return value;
}

// ---------------------------------------------------------------- operators, casts, constructors

const IMPLIED: Readonly<Record<string, readonly string[]>> = {
  AEXPR_BETWEEN: ['>=', '<='],
  AEXPR_NOT_BETWEEN: ['<', '>'],
  AEXPR_BETWEEN_SYM: ['>=', '<='],
  AEXPR_NOT_BETWEEN_SYM: ['<', '>'],
};

function operation(run: Run, scope: Scope, body: Body): Value {
  const sides = [body.lexpr, body.rexpr].filter((side): side is Node => side !== undefined);
  const values = all(run, scope, sides);
  const value = derive([...values, ...operatorValues(run, body, values)]);
  return mayFail(body) ? { ...value, risky: true } : value;
}

/** Comparing and joining texts never fails; arithmetic and whatever else may. */
function mayFail(body: Body): boolean {
  if (body.kind !== 'AEXPR_OP' && body.kind !== 'AEXPR_OP_ANY' && body.kind !== 'AEXPR_OP_ALL') return false;
  const name = strings(body.name).at(-1) ?? '';
  return !COMPARISONS.has(name) && name !== '||';
}

/** What user-made functions behind an operator add. */
export function operatorValues(run: Run, body: Body, values: readonly Value[]): Value[] {
  const names = strings(body.name);
  const own = IMPLIED[body.kind as string];
  if (own !== undefined) return own.flatMap((name) => operator(run, [name], values));
  return operator(run, names, values);
}

export function operator(run: Run, names: readonly string[], values: readonly Value[]): Value[] {
  const name = names.at(-1) ?? '';
  const schema = names.length > 1 ? names.at(-2) : undefined;
  if (schema === 'pg_catalog' && OPERATORS.has(name)) return [];
  const fns = run.catalog.operatorFunctions(name);
  if (fns.length === 0 && !OPERATORS.has(name)) {
    run.unknown(`operator ${name} is not known`);
    return [untraced(`operator ${name} is not known`)];
  }
  return fns.map((fn) => callOperator(run, fn, values));
}

function callOperator(run: Run, fn: Func, values: readonly Value[]): Value {
  return callFunction(run, fn, values);
}

/** Every type has a text; another type may not take what it is given. */
function failing(value: Value, typeName: Body): Value {
  const safe = /^(text|varchar|bpchar|json|jsonb)$/.test(strings(typeName.names).at(-1) ?? '');
  return safe || value.fixed ? value : { ...value, risky: true };
}

/** Without its fields. */
function derive1({ fields: _, ...value }: Value): Value {
  return value;
}

/** The same value in another type or collation: masked whole, but in a condition as good as the column. */
function converted(value: Value): Value {
  return { ...value, plain: false, same: value.plain || value.same === true };
}

/** An extension's own reading and writing of its types; the server calls these with a type's text or bytes alone. */
function isInput(fn: Func): boolean {
  return !fn.system && (fn.language === 'c' || fn.language === 'internal') && fn.volatility !== 'v';
}

/** Whether a text is still the same after it; `bpchar(4)` makes it shorter. */
function keepsText(name: string, typeName: Body | undefined): boolean {
  return (
    /^(text|varchar|regclass)$/.test(name) && typeName?.typmods === undefined && typeName?.arrayBounds === undefined
  );
}

/** The functions that a conversion to this type may run. */
export function cast(run: Run, value: Value, typeName: Body | undefined): Value {
  const names = strings(typeName?.names);
  const name = names.at(-1) ?? '';
  const schema = names.length > 1 ? names.at(-2) : undefined;
  const code = run.catalog.typeCode(name);
  const values = code.functions.filter((fn) => !isInput(fn)).map((fn) => callOperator(run, fn, [value]));
  for (const check of code.checks) {
    const scope = new Scope(null, { positions: [], named: new Map([['value', value]]) });
    constantExpression(run, scope, check);
  }
  const whole = values.length === 0 ? converted(derive1(value)) : derive([value, ...values]);
  if (value.fields === undefined || typeName?.arrayBounds) {
    const { text, ...rest } = whole;
    return value.text === undefined || !keepsText(name, typeName) ? rest : { ...rest, text: value.text };
  }
  const [target] = resolveRelation(run, schema, name);
  if (target === undefined) return whole;
  // A record is converted column by column, a row of a child by the columns' names: which of both is not told apart here.
  const fields = columnsOf(run, target).map(({ name: column }, i) => {
    const found = value.fields!.filter((candidate) => candidate.name === column);
    const named = found.length === 1 ? found[0]!.value : whole;
    const placed = value.fields![i]?.value ?? whole;
    return { name: column, value: named === placed ? named : derive([named, placed]) };
  });
  return { ...whole, fields };
}

function rowExpression(run: Run, scope: Scope, body: Body): Value {
  const values = all(run, scope, body.args);
  return { ...derive(values), fields: values.map((value, i) => ({ name: `f${i + 1}`, value })) };
}

function caseExpression(run: Run, scope: Scope, body: Body): Value {
  const parts: Node[] = [];
  if (body.arg) parts.push(body.arg);
  for (const when of (body.args ?? []) as Node[]) {
    if (when.CaseWhen) parts.push(when.CaseWhen.expr, when.CaseWhen.result);
  }
  if (body.defresult) parts.push(body.defresult);
  const before = run.calls;
  const values = all(run, scope, parts);
  const implied = body.arg ? operator(run, ['='], values) : [];
  return run.guard(before, derive([...values, ...implied]), 'CASE');
}

/** A query as a value: what comes out of it hangs on its conditions too. */
function sublink(run: Run, scope: Scope, body: Body): Value {
  run.counted++;
  const before = run.seen.length;
  const select = body.subselect?.SelectStmt as Body | undefined;
  const outputs = select === undefined ? null : queryOf(run, scope, select);
  const uses = run.seen.slice(before).map((use) => use.value);
  const values = outputs === null ? [untraced('the columns of a query are not known')] : outputs.map((o) => o.value);
  if (body.subLinkType === 'EXISTS_SUBLINK') return derive([...uses, ...values.filter((v) => v.untraced)], false);
  if (body.testexpr) {
    const test = expression(run, scope, body.testexpr);
    values.push(test, ...operator(run, body.operName ? strings(body.operName) : ['='], [test, ...values]));
  }
  // More rows than one are an error.
  const risky = body.subLinkType === 'EXPR_SUBLINK' && select?.limitCount === undefined ? { risky: true } : undefined;
  const whole = { ...derive([...values, ...uses], false), ...risky };
  // Fields of `(SELECT p FROM …)` and `(SELECT q FROM …).x` stay apart only where no condition joins in.
  const fields = outputs?.length === 1 && uses.length === 0 ? outputs[0]!.value.fields : undefined;
  return fields === undefined ? whole : { ...whole, fields };
}

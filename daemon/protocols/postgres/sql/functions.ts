/**
 * What a function of the user's own does: its body is read like any statement, with its arguments as unknowns that are
 * filled in at each call. Bodies in SQL and PL/pgSQL can be followed; a function in C is trusted only when declared
 * immutable (extensions are made of those, and only a superuser can add one); everything else may do anything.
 */

import { objectName, type Run, type Seen, type Summary } from './analyze-run.ts';
import { statementOutputs } from './analyze-statement.ts';
import { EXTENSION_STAND_INS } from './builtins.ts';
import { pathOf } from './effects-settings.ts';
import { callFunction } from './lineage-calls.ts';
import { expression } from './lineage-expressions.ts';
import type { Func, Relation } from './model.ts';
import { derive, FIXED, type Field, type Frame, LOOSE, row, Scope, untraced, type Value } from './scope.ts';
import { columnsOf } from './scope-relations.ts';
import type { Body, Node } from './scope-tree.ts';

/** What PL/pgSQL tells a trigger about its event: names and the constants of CREATE TRIGGER. */
const TRIGGER_VARIABLES = `tg_name tg_when tg_level tg_op tg_relid tg_relname tg_table_name tg_table_schema tg_nargs
  tg_argv found`.split(/\s+/);

/** Bodies nested deeper than this are not followed. */
const MAX_DEPTH = 32;

export function bodyRun(run: Run): Run {
  return run.body([run.catalog.searchPath]);
}

/** Analyses an expression given as text (a default, a policy, a check) in a scope. */
export function constantExpression(run: Run, scope: Scope, text: string): Value {
  const parsed = run.parsed(`SELECT ${text}`);
  const target = (parsed?.statements[0]?.tree as Body | undefined)?.SelectStmt?.targetList?.[0]?.ResTarget?.val as Node;
  if (parsed === null || parsed.statements.length !== 1 || target === undefined) {
    return untraced('an expression of the catalog could not be parsed');
  }
  return expression(run, scope, target);
}

/** Functions that a call may mean. */
export function candidates(run: Run, schema: string | undefined, name: string, count: number | null): readonly Func[] {
  return run.catalog.functionsNamed(name).filter((fn) => visible(run, fn.schema, schema) && takes(fn, count));
}

export function visible(run: Run, place: string, schema: string | undefined): boolean {
  if (schema === 'pg_temp') return place.startsWith('pg_temp');
  if (schema !== undefined) return place === schema;
  return place === 'pg_catalog' || run.names.paths.some((path) => path.includes(place));
}

function takes(fn: Func, count: number | null): boolean {
  if (count === null) return true;
  const most = fn.argTypes.length;
  return count >= most - fn.defaults - (fn.variadic ? 1 : 0) && (count <= most || fn.variadic);
}

/** Its body's findings, with arguments unknown. `table`: the relation whose trigger it is. */
export function functionSummary(run: Run, fn: Func, table?: Relation): Summary {
  const key = `function ${fn.oid} ${table?.oid ?? ''} ${JSON.stringify([run.names.paths, run.names.stale, run.explaining])}`;
  const { busy } = run.snapshot;
  const known = run.known(key);
  if (known !== undefined) return known;
  const body = run.body(ownPaths(run, fn));
  if (busy.has(key) || run.depth > MAX_DEPTH) {
    if (run.depth > MAX_DEPTH) run.budget.cut = true;
    body.blind(`${objectName(fn)} calls itself, or too many others`);
    return body.summary(null);
  }
  busy.add(key);
  let summary: Summary;
  try {
    summary = body.summary(follow(body, fn, table));
    const paths = pathsWithin(body);
    if (paths !== null) {
      const wider = run.body(paths);
      summary = wider.summary(follow(wider, fn, table));
    }
  } finally {
    busy.delete(key);
  }
  run.keep(key, summary);
  return summary;
}

/** Paths that names of a body may be looked up in where it sets search_path itself; null: it does not. */
function pathsWithin(body: Run): Run['names']['paths'] | null {
  const { catalog, paths } = body.names;
  const set = body.changes.flatMap((change) => (change.kind === 'search-path' ? [change.path] : []));
  if (set.length === 0) return null;
  const schemas = { default: catalog.searchPath, unknown: [...catalog.schemas] };
  return [...paths, ...set.map((path) => (typeof path === 'string' ? schemas[path] : path))];
}

/** Paths that the names of its body are looked up in. */
function ownPaths(run: Run, fn: Func): Run['names']['paths'] {
  const setting = fn.config.find((entry) => entry.toLowerCase().startsWith('search_path='));
  if (setting === undefined) return run.names.paths;
  const path = pathOf(setting.slice('search_path='.length), run.catalog.user);
  return path === null ? run.names.paths : [path];
}

function follow(body: Run, fn: Func, table: Relation | undefined): Summary['outputs'] {
  for (const type of [...fn.argTypes, fn.returnType]) domainChecks(body, type);
  if (fn.kind === 'w') {
    body.blind(`${objectName(fn)} is a window function of the user's own`);
    return null;
  }
  if (fn.kind === 'a') return followAggregate(body, fn);
  if (fn.language === 'sql') return followSql(body, fn);
  if (fn.language === 'plpgsql') return followProcedure(body, fn, table);
  const shown = fn.language === 'c' ? EXTENSION_STAND_INS.get(fn.name) : undefined;
  if (shown !== undefined)
    return fn.outNames.map((name) => ({
      name,
      value: shown.includes(name) ? untraced(`statements of others`) : LOOSE,
    }));
  if ((fn.language !== 'c' && fn.language !== 'internal') || fn.volatility !== 'i') {
    body.blind(`${objectName(fn)} is written in ${fn.language} and can't be followed`);
    return null;
  }
  return [{ name: fn.name, value: derive(unknownArguments(fn)) }];
}

/** What is given to a domain is checked, in arguments and results without any cast that the text shows. */
export function domainChecks(run: Run, typeOid: number): void {
  const code = run.catalog.typeCodeOf(typeOid);
  if (code === undefined) {
    run.missing(`the type with oid ${typeOid} is not known`);
    return;
  }
  for (const check of code.checks) {
    constantExpression(run, new Scope(null, { positions: [], named: new Map([['value', FIXED]]) }), check);
  }
}

/** Its transition, final and other functions see every argument, one after the other. */
function followAggregate(body: Run, fn: Func): Summary['outputs'] {
  const state = derive(unknownArguments(fn), false);
  const values = fn.support.map((oid) => {
    const part = body.catalog.functionByOid(oid);
    if (part !== undefined)
      return callFunction(
        body,
        part,
        part.argTypes.map(() => state),
      );
    body.unknown(`a function of the aggregate ${objectName(fn)} is not known`);
    return untraced(`a function of the aggregate ${objectName(fn)} is not known`);
  });
  return [{ name: fn.name, value: derive([state, ...values], false) }];
}

/**
 * Code that any query may run without a name for it in the text. Only what does more than reading is joined: the rest
 * would put functions into every statement that policies and people look for in vain.
 */
export function joinUnnamed(run: Run): void {
  for (const fn of run.catalog.unnamed) {
    const summary = functionSummary(run, fn);
    if (summary.opaque === undefined && summary.reaches.every(({ effect }) => effect === 'read')) continue;
    run.functions.add(objectName(fn));
    run.join(summary, true);
  }
}

function unknownArguments(fn: { readonly argTypes: readonly number[] }): Value[] {
  return fn.argTypes.map((_, i) => ({ ...FIXED, args: 1 << Math.min(i, 31) }));
}

function frameOf(fn: Func, pool?: Value): Frame {
  const positions = unknownArguments(fn);
  const named = new Map<string, Value>();
  if (pool === undefined)
    for (const [i, name] of fn.argNames.entries()) if (name !== '') named.set(name, positions[i]!);
  return { positions, named, ...(pool === undefined ? {} : { pool }) };
}

function followSql(body: Run, fn: Func): Summary['outputs'] {
  const statements = sqlStatements(body, fn.source);
  if (statements === null) {
    body.unknown(`the body of ${objectName(fn)} could not be parsed`);
    return null;
  }
  let outputs: Summary['outputs'] = [];
  for (const tree of statements) outputs = statementOutputs(body, new Scope(null, frameOf(fn)), tree);
  return outputs;
}

/** Statements of a body as prosrc or pg_get_function_sqlbody gives it. */
function sqlStatements(body: Run, source: string): readonly Body[] | null {
  if (!/^\s*(begin\s+atomic|return)\b/i.test(source)) {
    return body.parsed(source)?.statements.map(({ tree }) => tree as Body) ?? null;
  }
  const tree = body.parsed(`CREATE FUNCTION f() RETURNS int LANGUAGE sql ${source}`)?.statements[0]?.tree as Body;
  return tree === undefined ? null : atomicStatements(tree.CreateFunctionStmt?.sql_body);
}

/** Statements of a body written into CREATE FUNCTION itself. */
export function atomicStatements(sqlBody: Node | undefined): readonly Body[] | null {
  if (sqlBody?.ReturnStmt) return [returned(sqlBody.ReturnStmt)];
  if (!sqlBody?.List) return null;
  const lists = (sqlBody.List.items ?? []) as Node[];
  return lists
    .flatMap((list) => (list.List ? (list.List.items ?? []) : [list]))
    .filter((item: Node) => Object.keys(item).length > 0)
    .map((item: Node) => (item.ReturnStmt ? returned(item.ReturnStmt) : item));
}

function returned(statement: Body): Body {
  return { SelectStmt: { targetList: [{ ResTarget: { val: statement.returnval } }], op: 'SETOP_NONE' } };
}

const VOID = 2278;
const TRIGGER = 2279;
const EVENT_TRIGGER = 3838;

/**
 * CREATE FUNCTION text for PL/pgSQL's parser. It looks at names, at what RETURN may be given, and takes fields only of
 * records, so every argument is written as one.
 */
export function procedureText(
  fn: Pick<Func, 'kind' | 'argTypes' | 'argNames' | 'outNames' | 'returnType' | 'returnsSet' | 'source'>,
): string {
  const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
  const ins = fn.argTypes.map((_, i) => `${fn.argNames[i] ? quoted(fn.argNames[i]!) : ''} record`);
  const outs = fn.outNames
    .filter((name) => name !== '' && !fn.argNames.includes(name))
    .map((name) => `OUT ${quoted(name)} record`);
  const head = `(${[...ins, ...outs].join(', ')})`;
  const tail = `LANGUAGE plpgsql AS '${fn.source.replaceAll("'", "''")}'`;
  if (fn.kind === 'p') return `CREATE PROCEDURE f${head} ${tail}`;
  return `CREATE FUNCTION f${head} ${returnsOf(fn, outs.length > 0)} ${tail}`;
}

function returnsOf(fn: Pick<Func, 'outNames' | 'returnType' | 'returnsSet'>, outs: boolean): string {
  if (fn.returnType === TRIGGER) return 'RETURNS trigger';
  if (fn.returnType === EVENT_TRIGGER) return 'RETURNS event_trigger';
  if (fn.returnsSet) return 'RETURNS SETOF record';
  if (outs || fn.outNames.length > 0) return outs ? '' : 'RETURNS record';
  return fn.returnType === VOID ? 'RETURNS void' : 'RETURNS record';
}

function followProcedure(body: Run, fn: Func, table: Relation | undefined): Summary['outputs'] {
  const parsed = body.parsedPlpgsql(procedureText(fn));
  if (parsed === null) {
    body.unknown(`the body of ${objectName(fn)} could not be parsed`);
    return null;
  }
  if (parsed.dynamic) body.blind(`${objectName(fn)} runs SQL that it makes up`);
  // A cursor of any name may be another one from here on, filled from what it was given.
  if (parsed.opens) body.changes.push({ kind: 'close', name: null });
  for (const type of parsed.types) constantExpression(body, new Scope(null), `CAST(NULL AS ${type})`);
  // Variables are not followed one by one: each may hold whatever came in or was read anywhere in the body.
  const rows = new Map<string, Value>();
  if (table !== undefined) {
    const whole = row(columnsOf(body, table));
    rows.set('new', whole).set('old', whole);
    for (const name of TRIGGER_VARIABLES) rows.set(name, LOOSE);
  }
  const start = derive(unknownArguments(fn), false);
  const scout = body.inner();
  let pool = start;
  for (const run of [scout, body]) {
    const frame = { ...frameOf(fn, pool), named: rows };
    const values: Value[] = [start];
    for (const text of parsed.queries) {
      const statements = run.parsed(text)?.statements;
      if (statements === undefined) {
        run.unknown(`the body of ${objectName(fn)} could not be parsed`);
        continue;
      }
      for (const { tree } of statements) {
        const outputs = statementOutputs(run, new Scope(null, frame), tree as Body);
        if (outputs === null) values.push(untraced(`a result within ${objectName(fn)} could not be followed`));
        else values.push(...outputs.map((output) => output.value));
      }
    }
    const read: Value = { columns: [...run.columns], plain: false, args: 0, fixed: false };
    pool = derive([...values, read], false);
  }
  if (/#\s*variable_conflict/i.test(fn.source)) pool = { ...pool, untraced: 'its variables may hide columns' };
  return [{ name: fn.name, value: pool }];
}

/** Fills arguments in. */
function filled(value: Value, args: readonly Value[]): Value {
  if (value.args === 0 && value.fields === undefined) return value;
  const parts: Value[] = [{ ...value, args: 0 }];
  for (let i = 0; i < args.length; i++) if (value.args & (1 << Math.min(i, 31))) parts.push(args[i]!);
  const joined = parts.length === 1 ? parts[0]! : derive(parts);
  if (value.fields === undefined) return joined;
  return { ...joined, fields: value.fields.map(({ name, value: v }) => ({ name, value: filled(v, args) })) };
}

/** The arguments of a call as the function numbers them. */
function numbered(fn: Func, args: readonly Value[], named: boolean): Value[] {
  const all = derive(args);
  return fn.argTypes.map((_, i) => {
    if (named) return all;
    if (fn.variadic && i === fn.argTypes.length - 1) return derive(args.slice(i));
    return args[i] ?? FIXED;
  });
}

/** Values of the arguments that a call may leave out. */
function defaultsOf(run: Run, fn: Func): Value[] {
  if (fn.defaultTexts === '') return [];
  const parsed = run.parsed(`SELECT ${fn.defaultTexts}`);
  const targets = (parsed?.statements[0]?.tree as Body | undefined)?.SelectStmt?.targetList as Node[] | undefined;
  if (targets === undefined) {
    run.unknown(`the defaults of ${objectName(fn)} could not be parsed`);
    return [];
  }
  return targets.map((target) => expression(run, new Scope(null), target.ResTarget?.val ?? {}));
}

export interface Result {
  /** As a value in an expression. */
  readonly value: Value;
  /** As columns in FROM. */
  readonly fields: readonly Field[];
}

/** Joins what a call does to the run, and gives what comes of it. */
export function callUser(run: Run, fn: Func, args: readonly Value[], named = false): Result {
  if (!run.step()) return { value: untraced('the statement is too complex'), fields: [] };
  if (!fn.system) run.functions.add(objectName(fn));
  run.counted++;
  const actual = numbered(fn, args, named);
  if (named || args.length < fn.argTypes.length) {
    const defaults = defaultsOf(run, fn);
    if (defaults.length > 0)
      for (let i = named ? 0 : args.length; i < actual.length; i++) actual[i] = derive([actual[i]!, ...defaults]);
  }
  const summary = functionSummary(run, fn);
  run.join(summary, true);
  for (const ref of summary.columns) run.columns.add(ref);
  const seen = joinUses(run, summary.seen, actual);
  if (run.explaining && summary.columns.size > 0) {
    run.use('compute', { ...LOOSE, columns: [...summary.columns] }, `${objectName(fn)}() within EXPLAIN`);
  }
  const reason = summary.opaque ?? (summary.outputs === null ? `${objectName(fn)} can't be followed` : undefined);
  const outputs = (summary.outputs ?? []).map(({ name, value }) => ({ name, value: filled(value, actual) }));
  if (reason !== undefined) {
    run.effectful++;
    run.use('call', derive(args), `argument of ${objectName(fn)}()`);
    const value = { ...derive([...args, ...outputs.map((o) => o.value), ...seen]), untraced: reason, fixed: false };
    return { value, fields: fieldsOf(run, fn, [], value) };
  }
  const whole = derive([...outputs.map((output) => output.value), ...seen], fixedResult(fn, args) && seen.length === 0);
  const fields = fieldsOf(run, fn, outputs, whole);
  if (summary.reaches.some((reach) => reach.effect !== 'read')) run.effectful++;
  return { value: fields.length > 1 || isRow(run, fn) ? { ...whole, fields } : whole, fields };
}

function fixedResult(fn: Func, args: readonly Value[]): boolean {
  return fn.kind === 'f' && fn.volatility !== 'v' && !fn.returnsSet && args.every((arg) => arg.fixed);
}

/** Uses of a body with arguments filled in: what was compared with an argument is compared with what was given. */
function joinUses(run: Run, seen: readonly Seen[], args: readonly Value[]): Value[] {
  const values: Value[] = [];
  for (const use of seen) {
    const value = filled(use.value, args);
    const given = args.some((arg, i) => use.value.args & (1 << Math.min(i, 31)) && !arg.fixed);
    const how = given && (use.how === 'filter' || use.how === 'order') ? 'compute' : use.how;
    run.use(how, value, use.where, use.into);
    values.push(value);
  }
  return values;
}

function isRow(run: Run, fn: Func): boolean {
  return fn.outNames.length > 1 || run.catalog.relationOfType(fn.returnType) !== undefined;
}

/** Columns of a call in FROM. */
function fieldsOf(run: Run, fn: Func, outputs: readonly Field[], whole: Value): Field[] {
  const names =
    fn.outNames.length > 0
      ? fn.outNames
      : run.catalog
          .relationOfType(fn.returnType)
          ?.columns.filter((column) => column.attnum > 0)
          .map((column) => column.name);
  if (names === undefined) return outputs.length > 1 ? [...outputs] : [{ name: fn.name, value: whole }];
  if (outputs.length === names.length && outputs.length > 1) {
    return names.map((name, i) => ({ name, value: outputs[i]!.value }));
  }
  const only = outputs.length === 1 ? outputs[0]!.value.fields : undefined;
  if (only?.length === names.length) return names.map((name, i) => ({ name, value: only[i]!.value }));
  return names.map((name) => ({ name, value: whole }));
}

/** Runs a trigger's function for what it does. */
export function fire(run: Run, fn: Func, table: Relation): void {
  const summary = functionSummary(run, fn, table);
  if (!fn.system) run.functions.add(objectName(fn));
  run.join(summary, true);
  for (const ref of summary.columns) run.columns.add(ref);
  // What it compares and computes is its author's; only where values go concerns the statement.
  for (const use of summary.seen) {
    if (use.how === 'store' || use.how === 'call') run.use(use.how, { ...use.value, args: 0 }, use.where, use.into);
  }
}

/** Calls of functions, the server's own and the user's, as values and as rows of FROM. */
import { objectName, type Run } from './analyze-run.ts';
import { FUNCTION_EFFECTS, FUNCTION_STAND_INS, SAFE_FUNCTIONS, SQL_BY_COUNT } from './builtins.ts';
import { setParameter } from './effects-set.ts';
import { isDangerousValue } from './effects-settings.ts';
import { callUser, candidates, type Result } from './functions.ts';
import { condition, ordering } from './lineage-conditions.ts';
import { expression, fieldOf } from './lineage-expressions.ts';
import type { Func } from './model.ts';
import { derive, LOOSE, type Scope, untraced, type Value } from './scope.ts';
import { resolveRelation } from './scope-relations.ts';
import { type Body, type Node, strings } from './scope-tree.ts';

/** `given`: values of the arguments where they don't stand in the call itself. */
export function call(run: Run, scope: Scope, body: Body, given?: readonly Value[]): Result {
  const names = strings(body.funcname);
  const name = names.at(-1) ?? '';
  const schema = names.length > 1 ? names.at(-2) : undefined;
  const nodes = (body.args ?? []) as Node[];
  const before = run.calls;
  const args = given ?? nodes.map((node) => expression(run, scope, node));
  const named = nodes.some((node) => node.NamedArgExpr !== undefined);
  const around = surroundings(run, scope, body);
  if (around.length > 0) run.guard(before, derive(around), `${name}()`);
  const count =
    body.func_variadic || named ? null : args.length + (body.agg_within_group ? (body.agg_order ?? []).length : 0);
  const fns = candidates(run, schema, name, count);
  // `email(people)` is people.email where no function fits.
  const row = args.length === 1 && schema === undefined ? args[0]!.fields : undefined;
  if (fns.length === 0) {
    if (row?.some((field) => field.name === name)) {
      const value = fieldOf(run, args[0]!, name);
      return { value, fields: [{ name, value }] };
    }
    const reason = `function ${names.join('.')} is not known`;
    run.missing(reason);
    if (run.catalog.functionsNamed(name).length > 0) run.unknown(reason);
    const value = { ...derive([...args, ...around], false), untraced: reason };
    run.use('call', derive([...args, ...around]), `argument of ${name}()`);
    return { value, fields: [{ name, value }] };
  }
  const inputs = body.agg_within_group ? [...args, ...around] : args;
  const system = fns.filter((fn) => fn.system);
  const results: Result[] = [];
  if (system.length > 0) results.push(callSystem(run, name, system, inputs, body));
  for (const fn of fns) if (!fn.system) results.push(callUser(run, fn, inputs, named));
  if (row?.some((field) => field.name === name)) {
    const value = fieldOf(run, args[0]!, name);
    results.push({ value, fields: [{ name, value }] });
  }
  if (fns.some((fn) => fn.returnsSet)) {
    // How many rows come tells of what it was given.
    run.use('compute', derive(inputs), `argument of ${name}(), which gives rows`);
  }
  const result = joined(results, around);
  if (SAFE_FUNCTIONS.has(name) && system.length === fns.length) return result;
  return { ...result, value: { ...result.value, risky: true } };
}

/** Exactly this function, with these arguments. */
export function callFunction(run: Run, fn: Func, args: readonly Value[]): Value {
  return fn.system ? callSystem(run, fn.name, [fn], args, {}).value : callUser(run, fn, args).value;
}

function joined(results: readonly Result[], around: readonly Value[]): Result {
  const first = results[0]!;
  if (results.length === 1 && around.length === 0) return first;
  const values = [...results.map((result) => result.value), ...around];
  const whole = derive(values);
  const fields = first.fields;
  if (results.some((result) => result.fields.length !== fields.length)) {
    return { value: whole, fields: fields.map(({ name }) => ({ name, value: whole })) };
  }
  return {
    value: whole,
    fields: fields.map(({ name }, i) => ({
      name,
      value: derive([...results.map((result) => result.fields[i]!.value), ...around]),
    })),
  };
}

/** ORDER BY, FILTER and OVER of a call: the value hangs on them. */
function surroundings(run: Run, scope: Scope, body: Body): Value[] {
  const values: Value[] = [];
  for (const sort of (body.agg_order ?? []) as Node[]) {
    const value = expression(run, scope, sort.SortBy?.node ?? {});
    if (!body.agg_within_group) ordering(run, value, 'ORDER BY within an aggregate');
    values.push(value);
  }
  if (body.agg_filter) {
    const before = run.seen.length;
    condition(run, scope, body.agg_filter, 'FILTER');
    values.push(...run.seen.slice(before).map((use) => use.value));
  }
  if (body.agg_distinct)
    for (const arg of (body.args ?? []) as Node[]) ordering(run, expression(run, scope, arg), 'DISTINCT');
  if (body.over) values.push(windowValue(run, scope, body.over));
  else if (body.agg_filter || body.agg_star) values.push(LOOSE);
  return values;
}

/** What a window's rows and their order hang on. */
export function windowValue(run: Run, scope: Scope, window: Body): Value {
  const values: Value[] = [LOOSE];
  const base = window.name ?? window.refname;
  if (base !== undefined) values.push(scope.window(base) ?? untraced(`window ${base} is not known`));
  for (const part of (window.partitionClause ?? []) as Node[]) {
    const value = expression(run, scope, part);
    ordering(run, value, 'PARTITION BY');
    values.push(value);
  }
  for (const sort of (window.orderClause ?? []) as Node[]) {
    const value = expression(run, scope, sort.SortBy?.node ?? {});
    ordering(run, value, 'ORDER BY of a window');
    values.push(value);
  }
  for (const offset of [window.startOffset, window.endOffset] as (Node | undefined)[]) {
    if (offset === undefined) continue;
    const value = expression(run, scope, offset);
    if (!value.fixed) run.use('compute', value, 'frame of a window');
    values.push(value);
  }
  return derive(values);
}

// ---------------------------------------------------------------- the server's own

function callSystem(run: Run, name: string, fns: readonly Func[], args: readonly Value[], body: Body): Result {
  const known = FUNCTION_EFFECTS.get(name);
  const volatile = fns.some((fn) => fn.volatility === 'v');
  const whole = derive(args, fixedResult(fns, args, volatile, body));
  if (SQL_BY_COUNT.get(name) === args.length) {
    run.blind(`${name}() runs SQL that it is given as text`);
    return blind(run, name, args, 'it runs SQL that it is given as text');
  }
  if (known === undefined && volatile && SQL_BY_COUNT.get(name) === undefined) {
    run.unknown(`function ${name} is not known`);
    return blind(run, name, args, 'it is not known');
  }
  if (known !== undefined && known.effects[0] !== 'read') run.effectful++;
  if (volatile || (known !== undefined && known.effects[0] !== 'read')) {
    run.use('call', derive(args), `argument of ${name}()`);
  }
  if (name === 'set_config') return configure(run, args, whole);
  if (name === 'pg_notify' && args[1]?.text !== undefined) run.changes.push({ kind: 'notify', payload: args[1].text });
  if (known !== undefined) {
    if (known.opaque !== undefined) {
      run.reachAll(known.effects);
      if (known.effects.includes('code')) run.blind(`${name}(): ${known.opaque}`);
      return blind(run, name, args, known.opaque);
    }
    const object = known.effects[0] === 'write' ? sequence(run, args[0]) : undefined;
    run.reachAll(known.effects, object);
  } else run.reach('read');
  return systemResult(run, name, outsOf(run, name, fns, args, body), whole);
}

function fixedResult(fns: readonly Func[], args: readonly Value[], volatile: boolean, body: Body): boolean {
  return (
    !volatile &&
    !body.over &&
    !body.agg_star &&
    fns.every((fn) => fn.kind === 'f' && !fn.returnsSet) &&
    args.every((arg) => arg.fixed)
  );
}

function blind(run: Run, name: string, args: readonly Value[], reason: string): Result {
  run.opaque ??= `${name}(): ${reason}`;
  const value = { ...derive(args, false), untraced: `${name}(): ${reason}` };
  return { value, fields: [{ name, value }] };
}

/** nextval('name') and setval: the sequence that they change. */
function sequence(run: Run, arg: Value | undefined): string | undefined {
  if (arg?.text === undefined) return undefined;
  const parts = /^\s*(?:("(?:[^"]|"")+"|[^".\s]+)\.)?("(?:[^"]|"")+"|[^".\s]+)\s*$/.exec(arg.text);
  if (parts === null) return undefined;
  const plain = (part: string) => (part.startsWith('"') ? part.slice(1, -1).replaceAll('""', '"') : part.toLowerCase());
  const [relation] = resolveRelation(run, parts[1] === undefined ? undefined : plain(parts[1]), plain(parts[2]!));
  return relation === undefined ? undefined : objectName(relation);
}

function configure(run: Run, args: readonly Value[], whole: Value): Result {
  const [name, value] = args;
  if (name?.text === undefined) {
    run.reachAll(['privilege', 'session']);
    if (isDangerousValue(value?.text)) {
      run.forbidden ??= 'set_config() with a name that is not a constant may change how later statements are read';
    }
    run.changes.push({ kind: 'search-path', path: 'unknown', local: false });
  } else setParameter(run, name.text, value?.text, false);
  return { value: { ...whole, fixed: false }, fields: [{ name: 'set_config', value: whole }] };
}

/** anyelement and anycompatible of pg_type.dat: the result is of the type of an argument. */
const POLYMORPHIC: ReadonlySet<number> = new Set([2283, 5077]);
const TSVECTOR = 3614;

/** Names of the columns that a call gives where it gives a row, else none. */
function outsOf(run: Run, name: string, fns: readonly Func[], args: readonly Value[], body: Body): readonly string[] {
  // Arrays give elements; only a tsvector gives three columns.
  if (name === 'unnest' && !isTsvector(run, args[0], body.args?.[0])) return [];
  const outs = fns.find((fn) => fn.outNames.length > 0)?.outNames ?? [];
  if (outs.length > 0 || !fns.some((fn) => POLYMORPHIC.has(fn.returnType))) return outs;
  const fields = args.find((arg) => arg.fields !== undefined)?.fields;
  return fields?.map((field) => field.name) ?? rowOf(run, body.args?.[0]?.TypeCast?.typeName);
}

/** Columns of the row that `NULL::people` is. */
function rowOf(run: Run, typeName: Body | undefined): readonly string[] {
  const names = strings(typeName?.names);
  const [relation] = resolveRelation(run, names.length > 1 ? names.at(-2) : undefined, names.at(-1) ?? '');
  return relation?.columns.filter((column) => column.attnum > 0).map((column) => column.name) ?? [];
}

function isTsvector(run: Run, value: Value | undefined, node: Node | undefined): boolean {
  if (value?.plain) return value.columns[0]?.column.typeOid === TSVECTOR;
  if (node?.TypeCast) return strings(node.TypeCast.typeName?.names).at(-1) === 'tsvector';
  const called = run.catalog.functionsNamed(strings(node?.FuncCall?.funcname).at(-1) ?? '');
  return called.length > 0 && called.every((fn) => fn.returnType === TSVECTOR);
}

/** Values and columns of a call of the server's own. */
function systemResult(run: Run, name: string, outs: readonly string[], whole: Value): Result {
  const stand = FUNCTION_STAND_INS.get(name);
  if (stand === undefined) {
    const fields = (outs.length > 0 ? outs : [name]).map((out) => ({ name: out, value: whole }));
    return { value: outs.length > 1 ? { ...whole, fields } : whole, fields };
  }
  const relation = run.catalog.relation('pg_catalog', stand[0]);
  const column = relation?.columns.find((candidate) => candidate.name === stand[1]);
  const value: Value =
    relation === undefined || column === undefined
      ? untraced(`${name}() shows statements or values of others`)
      : { ...derive([whole, { ...LOOSE, columns: [run.snapshot.refs.of(relation, column)] }], false) };
  for (const ref of value.columns) run.columns.add(ref);
  run.reach('read', `pg_catalog.${stand[0]}`);
  const fields = (outs.length > 0 ? outs : [name]).map((out) => ({
    name: out,
    value: outs.length === 0 || out === stand[1] ? value : whole,
  }));
  return { value: outs.length > 1 ? { ...value, fields } : value, fields };
}

/**
 * Statements that define something. What a definition looks at is noted as `define`: were a view, function, rule, trigger,
 * index or default allowed to touch a protected column, it would be a new way to its values under a name that no mask has.
 */
import { EFFECTS } from '../../../core/operation.ts';
import { objectName, type Run } from './analyze-run.ts';
import { statementOutputs } from './analyze-statement.ts';
import { atomicStatements, candidates, functionSummary } from './functions.ts';
import { expression } from './lineage-expressions.ts';
import { queryOf } from './lineage-select.ts';
import type { Func, Relation } from './model.ts';
import { derive, FIXED, type Field, LOOSE, row, Scope, untraced, type Value } from './scope.ts';
import { columnsOf, resolveRelation, touch } from './scope-relations.ts';
import { type Body, type Node, open, optionText, optionTrue, strings, tagOf } from './scope-tree.ts';

/** The name that a new relation gets. */
export function newName(run: Run, rangeVar: Body): string {
  if (rangeVar.relpersistence === 't') return `pg_temp.${rangeVar.relname}`;
  const place =
    rangeVar.schemaname ?? run.names.paths[0]?.find((schema) => run.catalog.schemas.has(schema)) ?? 'public';
  return `${place}.${rangeVar.relname}`;
}

/** A relation filled from a query: SELECT INTO, CREATE TABLE AS, CREATE MATERIALIZED VIEW. */
export function createdFrom(run: Run, into: Body, outputs: readonly Field[] | null, where: string): void {
  const name = newName(run, into.rel ?? {});
  run.reachAll(['ddl', 'write'], name);
  run.changes.push({ kind: 'catalog' });
  if (outputs === null) run.use('store', untraced('the columns of a query are not known'), where);
  for (const { value } of outputs ?? []) run.use('store', value, where);
}

/** Analyses what a definition holds, and notes everything that it touches. */
export function defined(run: Run, where: string, analyse: (body: Run) => readonly Value[]): void {
  const body = run.inner();
  const values = analyse(body);
  const summary = body.summary([]);
  for (const { effect, object, behind, columns } of summary.reaches) {
    if (effect !== 'read') continue;
    const reach = run.reach(effect, object, behind);
    for (const column of columns) reach.columns.add(column);
  }
  for (const relation of summary.relations) run.relations.add(relation);
  for (const name of summary.functions) run.functions.add(name);
  run.opaque ??= summary.opaque;
  run.forbidden ??= summary.forbidden;
  const all: Value = { columns: [...summary.columns], plain: false, args: 0, fixed: false };
  const touched = derive([all, ...values, ...summary.seen.map((use) => use.value)], false);
  run.use('define', touched, where);
}

/** Notes a relation that is defined anew, altered, or gets something attached. */
export function altered(
  run: Run,
  rangeVar: Body | undefined,
  effects: readonly ('ddl' | 'privilege' | 'code')[] = ['ddl'],
): readonly Relation[] {
  if (rangeVar?.relname === undefined) {
    run.reachAll(effects);
    return [];
  }
  const found = resolveRelation(run, rangeVar.schemaname, rangeVar.relname);
  for (const relation of found) {
    touch(run, relation);
    run.defines.add(relation);
    run.reachAll(effects, objectName(relation));
  }
  if (found.length === 0) run.reachAll(effects, `${rangeVar.schemaname ?? 'pg_temp'}.${rangeVar.relname}`);
  return found;
}

function catalogChanges(run: Run): void {
  run.changes.push({ kind: 'catalog' });
}

// ---------------------------------------------------------------- expressions within definitions

const EXPRESSION =
  /^(ColumnRef|FuncCall|A_Expr|TypeCast|SubLink|BoolExpr|CaseExpr|CoalesceExpr|MinMaxExpr|A_Indirection|NullTest|BooleanTest|RowExpr|A_ArrayExpr|XmlExpr|XmlSerialize|CollateClause|Json[A-Z]\w*)$/;
/** Bodies whose parts are no expressions, or are looked at by themselves. */
const ELSEWHERE = new Set([
  'typeName',
  'TypeName',
  'relation',
  'pktable',
  'partbound',
  'sql_body',
  'options',
  'collClause',
]);

/** Every expression that a definition holds, wherever in it. */
function expressionsIn(node: unknown, found: Node[] = []): Node[] {
  if (Array.isArray(node)) for (const part of node) expressionsIn(part, found);
  else if (node !== null && typeof node === 'object') {
    const tag = tagOf(node as Node);
    if (EXPRESSION.test(tag)) found.push(node as Node);
    else for (const [key, part] of Object.entries(node)) if (!ELSEWHERE.has(key)) expressionsIn(part, found);
  }
  return found;
}

/** Notes the expressions of a definition on these relations; other names are columns of the thing being made. */
export function definedExpressions(run: Run, body: unknown, relations: readonly Relation[], where: string): void {
  const nodes = expressionsIn(body);
  if (nodes.length === 0) return;
  defined(run, where, (inner) => {
    const rows: [string, Value][] = relations.length === 0 ? [] : [['new', row(columnsOf(inner, relations[0]!))]];
    if (rows.length > 0) rows.push(['old', rows[0]![1]]);
    const scope = new Scope(null, { positions: [], named: new Map(rows), pool: LOOSE });
    for (const relation of relations) {
      const cells = columnsOf(inner, relation).map((field) => ({ ...field, marks: [] }));
      scope.items.push({ sources: [{ name: relation.name, cells, used: new Set() }], cells });
    }
    return nodes.map((node) => expression(inner, scope, node));
  });
}

// ---------------------------------------------------------------- relations

export function createView(run: Run, body: Body): void {
  run.reach('ddl', newName(run, body.view ?? {}));
  catalogChanges(run);
  definedQuery(run, body.query, 'CREATE VIEW');
}

function definedQuery(run: Run, query: Node | undefined, where: string): void {
  defined(run, where, (inner) => {
    const outputs = query?.SelectStmt ? queryOf(inner, null, query.SelectStmt) : null;
    return outputs?.map((output) => output.value) ?? [untraced('the columns of a query are not known')];
  });
}

export function createTableAs(run: Run, body: Body): readonly Field[] {
  const where = body.objtype === 'OBJECT_MATVIEW' ? 'CREATE MATERIALIZED VIEW' : 'CREATE TABLE AS';
  const outputs = statementOutputs(run, new Scope(null), body.query ?? {});
  createdFrom(run, body.into ?? {}, outputs, where);
  if (body.objtype === 'OBJECT_MATVIEW') definedQuery(run, body.query, where);
  return [];
}

export function createTable(run: Run, body: Body): void {
  run.reach('ddl', newName(run, body.relation ?? {}));
  catalogChanges(run);
  for (const node of (body.inhRelations ?? []) as Node[]) altered(run, node.RangeVar);
  foreignKeys(run, body);
  definedExpressions(run, [body.tableElts, body.constraints, body.partspec], [], 'CREATE TABLE');
}

/** ON UPDATE CASCADE carries a column's values into another table; a reference alone asks whether they are there. */
function foreignKeys(run: Run, node: unknown): void {
  if (Array.isArray(node)) for (const part of node) foreignKeys(run, part);
  else if (node !== null && typeof node === 'object') {
    const constraint = (node as Body).Constraint as Body | undefined;
    if (constraint?.pktable) referenced(run, constraint);
    else for (const part of Object.values(node)) foreignKeys(run, part);
  }
}

function referenced(run: Run, constraint: Body): void {
  const { pktable, pk_attrs: attributes, fk_upd_action: onUpdate } = constraint;
  for (const relation of resolveRelation(run, pktable.schemaname, pktable.relname)) {
    run.relations.add(relation);
    run.reach('read', objectName(relation));
    const names = strings(attributes);
    const fields = columnsOf(run, relation).filter(
      (field) => names.includes(field.name) || (names.length === 0 && onUpdate !== 'a'),
    );
    run.use(
      'define',
      derive(
        fields.map((field) => field.value),
        false,
      ),
      'FOREIGN KEY',
    );
  }
}

/** Subcommands of ALTER TABLE that change who may do what. */
const PRIVILEGED = /^AT_(ChangeOwner|EnableRowSecurity|DisableRowSecurity|ForceRowSecurity|NoForceRowSecurity)$/;

export function alterTable(run: Run, body: Body): void {
  const relations = altered(run, body.relation);
  catalogChanges(run);
  for (const node of (body.cmds ?? []) as Node[]) {
    const command = node.AlterTableCmd as Body;
    if (PRIVILEGED.test(command.subtype)) run.reachAll(['privilege'], relations[0] && objectName(relations[0]));
    const def = (command.def ?? {}) as Node;
    if (def.RangeVar) altered(run, def.RangeVar);
    if (def.PartitionCmd?.name) altered(run, def.PartitionCmd.name);
    foreignKeys(run, def);
    definedExpressions(run, def, relations, 'ALTER TABLE');
  }
}

export function createIndex(run: Run, body: Body): void {
  const relations = resolveRelation(run, body.relation?.schemaname, body.relation?.relname ?? '');
  for (const relation of relations) {
    touch(run, relation);
    run.reach('ddl', objectName(relation));
  }
  if (relations.length === 0) run.reach('ddl', newName(run, body.relation ?? {}));
  catalogChanges(run);
  // An index may give rows in its order, and whether it can be unique tells of values.
  const named = [...(body.indexParams ?? []), ...(body.indexIncludingParams ?? [])].map(
    (node: Node) => node.IndexElem?.name,
  );
  for (const relation of relations) {
    for (const { name, value } of columnsOf(run, relation))
      if (named.includes(name)) run.use('order', value, 'CREATE INDEX');
  }
  definedExpressions(run, [body.indexParams, body.whereClause], relations, 'CREATE INDEX');
}

export function createStatistics(run: Run, body: Body): void {
  const relations = ((body.relations ?? []) as Node[]).flatMap((node) =>
    node.RangeVar ? resolveRelation(run, node.RangeVar.schemaname, node.RangeVar.relname) : [],
  );
  for (const relation of relations) run.reach('ddl', objectName(relation));
  if (relations.length === 0) run.reach('ddl');
  definedExpressions(run, body.exprs, relations, 'CREATE STATISTICS');
}

export function createPolicy(run: Run, body: Body): void {
  const relations = altered(run, body.table, ['ddl', 'privilege']);
  catalogChanges(run);
  definedExpressions(run, [body.qual, body.with_check], relations, 'CREATE POLICY');
}

export function createTrigger(run: Run, body: Body): void {
  const relations = altered(run, body.relation, ['ddl', 'code']);
  catalogChanges(run);
  definedExpressions(run, body.whenClause, relations, 'CREATE TRIGGER');
  const names = strings(body.funcname);
  for (const fn of candidates(run, names.length > 1 ? names.at(-2) : undefined, names.at(-1) ?? '', 0)) {
    definedFunction(run, fn, 'CREATE TRIGGER', relations[0]);
  }
}

/** Something new that will run this function. */
function definedFunction(run: Run, fn: Func, where: string, table?: Relation): void {
  if (fn.system) return;
  run.functions.add(objectName(fn));
  const summary = functionSummary(run, fn, table);
  run.opaque ??= summary.opaque;
  const values = summary.seen.map((use) => ({ ...use.value, args: 0 }));
  run.use('define', derive([{ ...LOOSE, columns: [...summary.columns] }, ...values], false), where);
}

export function createRule(run: Run, body: Body): void {
  const relations = altered(run, body.relation);
  catalogChanges(run);
  defined(run, 'CREATE RULE', (inner) => {
    const whole = relations.map((relation) => row(columnsOf(inner, relation)))[0] ?? LOOSE;
    const scope = new Scope(null, {
      positions: [],
      named: new Map([
        ['new', whole],
        ['old', whole],
      ]),
    });
    const values: Value[] = [];
    if (body.whereClause) values.push(expression(inner, scope, body.whereClause));
    for (const action of (body.actions ?? []) as Node[]) {
      const outputs = statementOutputs(inner, scope, action);
      if (outputs === null) values.push(untraced('the columns of a query are not known'));
      else values.push(...outputs.map((output) => output.value));
    }
    return values;
  });
}

// ---------------------------------------------------------------- functions

export function createFunction(run: Run, body: Body, text: string): void {
  catalogChanges(run);
  const name = strings(body.funcname);
  run.reachAll(['ddl', 'code']);
  const options = new Map(
    ((body.options ?? []) as Node[]).map((node) => [node.DefElem?.defname as string, node.DefElem as Body]),
  );
  functionOptions(run, (body.options ?? []) as Node[]);
  definedExpressions(
    run,
    ((body.parameters ?? []) as Node[]).map((node) => node.FunctionParameter?.defexpr),
    [],
    'CREATE FUNCTION',
  );
  const language = optionText(options.get('language')?.arg)?.toLowerCase() ?? (body.sql_body ? 'sql' : '');
  const source = strings(options.get('as')?.arg?.List?.items)[0];
  const parameters = ((body.parameters ?? []) as Node[]).map((node) => node.FunctionParameter as Body);
  const inputs = parameters.filter((parameter) => !/_(OUT|TABLE)$/.test(parameter.mode));
  const positions: Value[] = inputs.map(() => FIXED);
  const named = new Map(inputs.map((parameter) => [String(parameter.name ?? ''), FIXED]));
  if (language === 'sql') {
    defined(run, 'CREATE FUNCTION', (inner) => {
      const statements = body.sql_body
        ? atomicStatements(body.sql_body)
        : inner.parsed(source ?? '')?.statements.map(({ tree }) => tree as Body);
      if (!statements) {
        inner.opaque ??= 'the body of a function could not be parsed';
        return [];
      }
      return bodyValues(inner, statements, new Scope(null, { positions, named }));
    });
  } else if (language === 'plpgsql') {
    defined(run, 'CREATE FUNCTION', (inner) => {
      const found = inner.parsedPlpgsql(text);
      if (found === null || found.dynamic) inner.opaque ??= `function ${name.join('.')} runs SQL that it makes up`;
      const statements = (found?.queries ?? []).flatMap(
        (query) => inner.parsed(query)?.statements.map(({ tree }) => tree as Body) ?? [{}],
      );
      // What its variables and NEW and OLD hold is known only where it is called from.
      return bodyValues(inner, statements, new Scope(null, { positions, named, pool: LOOSE }));
    });
  } else {
    run.opaque ??= `a function in ${language} can't be followed`;
    run.reachAll(EFFECTS);
  }
}

function bodyValues(run: Run, statements: readonly Body[], scope: Scope): Value[] {
  return statements.flatMap((tree) => {
    const outputs = statementOutputs(run, new Scope(null, scope.frame), tree);
    return outputs?.map((output) => output.value) ?? [untraced('the columns of a query are not known')];
  });
}

/** SECURITY DEFINER, LEAKPROOF and settings that the function runs under. */
function functionOptions(run: Run, options: readonly Node[]): void {
  for (const node of options) {
    const option = node.DefElem as Body;
    if ((option.defname === 'security' || option.defname === 'leakproof') && optionTrue(option)) run.reach('privilege');
    if (option.defname === 'set') run.reach('session');
    if (option.defname === 'support' || option.defname === 'transform')
      run.opaque ??= "a function with a part that can't be followed";
  }
}

export function alterFunction(run: Run, body: Body): void {
  catalogChanges(run);
  run.reachAll(['ddl', 'code']);
  functionOptions(run, (body.actions ?? []) as Node[]);
  const names = strings(body.func?.objname);
  for (const fn of candidates(run, names.length > 1 ? names.at(-2) : undefined, names.at(-1) ?? '', null)) {
    run.functions.add(objectName(fn));
    if (fn.language !== 'sql' && fn.language !== 'plpgsql') run.opaque ??= `${objectName(fn)} can't be followed`;
  }
}

export function createSchema(run: Run, body: Body): void {
  run.reach('ddl');
  catalogChanges(run);
  for (const element of (body.schemaElts ?? []) as Node[]) {
    const [tag, inner] = open(element);
    // Names within are of the new schema, which the catalog does not have yet.
    statementOutputs(run, new Scope(null), { [tag]: inner });
  }
}

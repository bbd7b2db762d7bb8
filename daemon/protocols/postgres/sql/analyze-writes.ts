/** INSERT, UPDATE, DELETE, MERGE: what is written, where the values come from, what else is run by it. */
import { objectName, type Run } from './analyze-run.ts';
import { statementOutputs } from './analyze-statement.ts';
import { fire } from './functions.ts';
import { condition } from './lineage-conditions.ts';
import { expression } from './lineage-expressions.ts';
import { fieldsItem, fromItem, fromList } from './lineage-from.ts';
import { computed, queryOf, targets, withClause } from './lineage-select.ts';
import type { ColumnRef, Relation } from './model.ts';
import { derive, type Field, type Item, LOOSE, row, Scope, untraced, type Value } from './scope.ts';
import { behind, columnsOf, family, relationItem, resolveRelation, touch, unknownItem } from './scope-relations.ts';
import { type Body, type Node, open, strings } from './scope-tree.ts';

type Event = 'CMD_INSERT' | 'CMD_UPDATE' | 'CMD_DELETE';

interface Target {
  readonly item: Item;
  readonly relations: readonly Relation[];
  readonly name: string;
  /** Written as schema.name: a table made in this session can't stand in its place. */
  readonly qualified: boolean;
  /** A rule gives rows of its own instead. */
  replaced: boolean;
}

/** Columns of RETURNING, empty where there is none, null when they can't be known. */
export function dataStatement(run: Run, parent: Scope | null, tree: Node): readonly Field[] | null {
  const [tag, body] = open(tree);
  const scope = withClause(run, new Scope(parent), body.withClause);
  switch (tag) {
    case 'InsertStmt':
      return insert(run, scope, body);
    case 'UpdateStmt':
      return update(run, scope, body);
    case 'DeleteStmt':
      return remove(run, scope, body);
    case 'MergeStmt':
      return merge(run, scope, body);
  }
  run.unknown(`unknown statement ${tag}`);
  return null;
}

function target(run: Run, relation: Body, events: readonly Event[]): Target {
  const name = relation.relname as string;
  const alias = relation.alias?.aliasname as string | undefined;
  const relations = resolveRelation(run, relation.schemaname, name);
  const qualified = relation.schemaname !== undefined && relation.schemaname !== 'pg_temp';
  if (relations.length === 0) {
    const item = unknownItem(run, name, alias, relation.schemaname);
    run.reach('write', `${relation.schemaname ?? 'pg_temp'}.${name}`);
    return { item, relations, name, qualified, replaced: false };
  }
  // What stands in RETURNING and conditions is read; the access is there only once a column is.
  const item = relationItem(run, relations, { alias, written: true });
  const made: Target = { item, relations, name, qualified, replaced: false };
  for (const found of relations) written(run, found, events, made);
  return made;
}

/** Notes a relation as written, with what its triggers and rules do. */
export function written(run: Run, relation: Relation, events: readonly Event[], into?: Target): void {
  touch(run, relation);
  run.reach('write', objectName(relation), behind(run, relation));
  const all = new Set([relation, ...family(run.catalog, relation)]);
  if (relation.kind === 'v') {
    for (const name of behind(run, relation)) {
      const dot = name.indexOf('.');
      const base = run.catalog.relation(name.slice(0, dot), name.slice(dot + 1));
      if (base !== undefined) for (const kin of [base, ...family(run.catalog, base)]) all.add(kin);
    }
  }
  for (const one of all) {
    for (const oid of one.triggers) {
      const fn = run.catalog.functionByOid(oid);
      if (fn === undefined) run.unknown(`a trigger of ${objectName(one)} is not known`);
      else fire(run, fn, one);
    }
    for (const rule of one.rules) applyRule(run, one, rule, events, into);
  }
}

function applyRule(
  run: Run,
  relation: Relation,
  text: string,
  events: readonly Event[],
  into: Target | undefined,
): void {
  const rule = (run.parsed(text)?.statements[0]?.tree as Body | undefined)?.RuleStmt as Body | undefined;
  if (rule === undefined) {
    run.unknown(`a rule of ${objectName(relation)} could not be parsed`);
    return;
  }
  if (!events.includes(rule.event)) return;
  const body = run.body([run.catalog.searchPath]);
  const whole = row(columnsOf(body, relation));
  const frame = {
    positions: [],
    named: new Map([
      ['new', whole],
      ['old', whole],
    ]),
  };
  for (const action of (rule.actions ?? []) as Node[]) {
    statementOutputs(body, new Scope(null, frame), action);
    if (action.SelectStmt && into !== undefined) into.replaced = true;
  }
  run.join(body.summary([]), true);
  for (const ref of body.columns) run.columns.add(ref);
  for (const use of body.seen)
    if (use.how === 'store' || use.how === 'call') run.use(use.how, use.value, use.where, use.into);
}

/** A value goes into a column. `certain`: it is sure to be the column that the catalog knows by this name. */
function store(run: Run, to: Target, column: string, value: Value, certain: boolean): void {
  for (const relation of to.relations) run.reach('write', objectName(relation)).columns.add(column);
  const cell = to.item.cells.find((candidate) => candidate.name === column);
  // A constraint that fails tells that the value is there.
  if (cell !== undefined) run.use('filter', cell.value, `constraints on ${column}`);
  const into = certain && to.relations.length === 1 ? columnNamed(to, column) : undefined;
  run.use('store', value, `${column} of ${to.name}`, into);
}

function columnNamed(to: Target, column: string): ColumnRef | undefined {
  const value = to.item.cells.find((cell) => cell.name === column)?.value;
  return value?.plain ? value.columns[0] : undefined;
}

/** The target is the only relation that values can come from: then it does not matter which relation it is. */
function alone(run: Run): boolean {
  return run.sources.length === 1 && run.functions.size === 0;
}

function insert(run: Run, outer: Scope, body: Body): readonly Field[] | null {
  const to = target(run, body.relation ?? {}, [
    'CMD_INSERT',
    ...(body.onConflictClause?.targetList ? (['CMD_UPDATE'] as const) : []),
  ]);
  const named = strings(((body.cols ?? []) as Node[]).map((node) => ({ String: { sval: node.ResTarget?.name } })));
  const columns = named.length > 0 ? named : to.item.cells.map((cell) => cell.name);
  const values = body.selectStmt?.SelectStmt ? queryOf(run, outer, body.selectStmt.SelectStmt) : [];
  if (values === null) run.use('store', untraced('the columns of a query are not known'), to.name);
  for (const [i, field] of (values ?? []).entries()) {
    store(run, to, columns[i] ?? '', field.value, to.qualified && named.length > 0);
  }
  if (body.onConflictClause) conflict(run, outer, to, columns, values, body.onConflictClause);
  return returning(run, outer, to, body.returningClause);
}

/** What conflicts with rows that are there tells of them, so inserted columns count as compared. */
function conflict(
  run: Run,
  outer: Scope,
  to: Target,
  columns: readonly string[],
  values: readonly Field[] | null,
  clause: Body,
): void {
  for (const [i, column] of columns.entries()) {
    const cell = to.item.cells.find((candidate) => candidate.name === column);
    const value = values === null ? untraced('not known') : values[i]?.value;
    if (cell === undefined || value === undefined) continue;
    run.use(value.fixed ? 'filter' : 'compute', cell.value, 'ON CONFLICT');
  }
  const scope = new Scope(outer);
  scope.items.push(to.item);
  if (clause.infer?.whereClause) condition(run, scope, clause.infer.whereClause, 'ON CONFLICT');
  for (const element of (clause.infer?.indexElems ?? []) as Node[]) {
    if (element.IndexElem?.expr) run.use('compute', expression(run, scope, element.IndexElem.expr), 'ON CONFLICT');
  }
  const excluded = to.item.cells.map((cell) => {
    const i = columns.indexOf(cell.name);
    const given = values === null ? untraced('the columns of a query are not known') : (values[i]?.value ?? LOOSE);
    return { name: cell.name, value: derive([given], false) };
  });
  scope.items.push({ sources: fieldsItem('excluded', excluded, []).sources, cells: [] });
  assignments(run, scope, to, clause.targetList, to.qualified);
  if (clause.whereClause) condition(run, scope, clause.whereClause, 'WHERE of ON CONFLICT');
}

/** SET a = …, (b, c) = …. */
function assignments(run: Run, scope: Scope, to: Target, list: readonly Node[] | undefined, certain: boolean): void {
  const sets = (list ?? []).map((node) => node.ResTarget as Body);
  const values = sets.map((set) => computed(run, expression(run, scope, set.val ?? {})));
  for (const [i, set] of sets.entries()) store(run, to, set.name, values[i]!, certain || alone(run));
}

function update(run: Run, outer: Scope, body: Body): readonly Field[] | null {
  const to = target(run, body.relation ?? {}, ['CMD_UPDATE']);
  const scope = new Scope(outer);
  scope.items.push(to.item);
  fromList(run, scope, outer, body.fromClause);
  if (body.whereClause) condition(run, scope, body.whereClause, 'WHERE');
  assignments(run, scope, to, body.targetList, to.qualified);
  return returning(run, scope, to, body.returningClause);
}

function remove(run: Run, outer: Scope, body: Body): readonly Field[] | null {
  const to = target(run, body.relation ?? {}, ['CMD_DELETE']);
  const scope = new Scope(outer);
  scope.items.push(to.item);
  fromList(run, scope, outer, body.usingClause);
  if (body.whereClause) condition(run, scope, body.whereClause, 'WHERE');
  return returning(run, scope, to, body.returningClause);
}

function merge(run: Run, outer: Scope, body: Body): readonly Field[] | null {
  const to = target(run, body.relation ?? {}, ['CMD_INSERT', 'CMD_UPDATE', 'CMD_DELETE']);
  const scope = new Scope(outer);
  scope.items.push(to.item);
  scope.items.push(fromItem(run, scope, outer, body.sourceRelation ?? {}));
  if (body.joinCondition) condition(run, scope, body.joinCondition, 'ON of MERGE');
  for (const node of (body.mergeWhenClauses ?? []) as Node[]) {
    const clause = node.MergeWhenClause as Body;
    if (clause.condition) condition(run, scope, clause.condition, 'WHEN of MERGE');
    if (clause.commandType !== 'CMD_INSERT') {
      assignments(run, scope, to, clause.targetList, to.qualified);
      continue;
    }
    const named = ((clause.targetList ?? []) as Node[]).map((item) => item.ResTarget?.name as string);
    const columns = named.length > 0 ? named : to.item.cells.map((cell) => cell.name);
    for (const [i, item] of ((clause.values ?? []) as Node[]).entries()) {
      store(run, to, columns[i] ?? '', expression(run, scope, item), to.qualified && named.length > 0);
    }
  }
  return returning(run, scope, to, body.returningClause);
}

function returning(run: Run, outer: Scope, to: Target, clause: Body | undefined): readonly Field[] | null {
  if (to.replaced) return null;
  if (clause === undefined) return [];
  const scope = outer.items.includes(to.item) ? outer : new Scope(outer);
  if (scope !== outer) scope.items.push(to.item);
  const names = new Set(['old', 'new']);
  for (const node of (clause.options ?? []) as Node[])
    if (node.ReturningOption?.value) names.add(node.ReturningOption.value);
  for (const name of names) {
    if (scope.sourceNamed(name) !== undefined) continue;
    const sources = to.item.sources.map((source) => ({ ...source, name }));
    scope.items.push({ sources, cells: [] });
  }
  return targets(run, scope, clause.exprs);
}

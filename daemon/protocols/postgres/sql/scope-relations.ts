/** What a relation's name means, what lies behind it, and the columns that it shows. */

import { objectName, type Reach, type Run, type Summary } from './analyze-run.ts';
import { FILE_RELATIONS, SECRET_COLUMNS, STAND_INS } from './builtins.ts';
import { bodyRun, constantExpression } from './functions.ts';
import { queryOf } from './lineage-select.ts';
import type { Catalog, Column, Relation } from './model.ts';
import { type Cell, derive, either, type Item, Scope, type Source, untraced, type Value } from './scope.ts';
import type { Body } from './scope-tree.ts';

/** Relations that a name may mean, most likely first. Empty: none that the catalog knows. */
export function resolveRelation(run: Run, schema: string | undefined, name: string): readonly Relation[] {
  const { catalog, names } = run;
  if (schema === 'pg_temp') return catalog.relationsNamed(name).filter(isTemporary);
  if (schema !== undefined) {
    const found = catalog.relation(schema, name);
    return found === undefined ? [] : [found];
  }
  const found = new Set<Relation>();
  for (const path of names.paths) {
    for (const place of path.includes('pg_catalog') ? path : ['pg_catalog', ...path]) {
      const relation = catalog.relation(place, name);
      if (relation === undefined) continue;
      found.add(relation);
      if (!names.stale) break;
    }
  }
  return found.size > 0 ? [...found] : catalog.relationsNamed(name).filter(isTemporary);
}

function isTemporary(relation: Relation): boolean {
  return relation.schema.startsWith('pg_temp');
}

/** Every relation that inherits from it or that it inherits from, however far. */
export function family(catalog: Catalog, relation: Relation): Relation[] {
  const found = new Set<Relation>([relation]);
  const follow = (oids: (of: Relation) => readonly number[]): void => {
    const pending = [relation];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      for (const oid of oids(next)) {
        const kin = catalog.relationByOid(oid);
        if (kin !== undefined && !found.has(kin)) {
          found.add(kin);
          pending.push(kin);
        }
      }
    }
  };
  follow((of) => of.children);
  follow((of) => of.parents);
  found.delete(relation);
  return [...found];
}

/** Names of what lies behind a relation: what a view reads, parents and children of a table. */
export function behind(run: Run, relation: Relation): string[] {
  const names = new Set<string>();
  for (const kin of family(run.catalog, relation)) names.add(objectName(kin));
  if (isView(relation)) {
    for (const base of viewSummary(run, relation).relations) {
      if (base.system) continue;
      names.add(objectName(base));
      for (const kin of family(run.catalog, base)) names.add(objectName(kin));
    }
  }
  names.delete(objectName(relation));
  return [...names];
}

/** Views of the server are taken as they are: what they show is known by their columns. */
function isView(relation: Relation): boolean {
  return !relation.system && (relation.kind === 'v' || relation.kind === 'm');
}

/** What a view's query gives and does. */
export function viewSummary(run: Run, view: Relation): Summary {
  const key = `view ${view.oid}`;
  const { busy } = run.snapshot;
  const known = run.known(key);
  if (known !== undefined) return known;
  const body = run.body([run.catalog.searchPath]);
  let outputs: Summary['outputs'] = null;
  if (busy.has(key) || view.definition === undefined) {
    body.unknown(`the definition of ${objectName(view)} is not known`);
  } else {
    busy.add(key);
    try {
      outputs = definitionOutputs(body, view, view.definition);
    } finally {
      busy.delete(key);
    }
  }
  const summary = body.summary(outputs);
  run.keep(key, summary);
  return summary;
}

function definitionOutputs(body: Run, view: Relation, definition: string): Summary['outputs'] {
  const tree = body.parsed(definition)?.statements[0]?.tree as Body | undefined;
  if (tree?.SelectStmt) return queryOf(body, null, tree.SelectStmt);
  body.unknown(`the definition of ${objectName(view)} could not be parsed`);
  return null;
}

/** Value of each column of a relation, in order, dropped ones left out. */
export function columnsOf(run: Run, relation: Relation): { readonly name: string; readonly value: Value }[] {
  const columns = relation.columns.filter((column) => column.attnum > 0);
  const outputs = isView(relation) ? viewSummary(run, relation).outputs : undefined;
  return columns.map((column, i) => ({
    name: column.name,
    value: columnValue(run, relation, column, outputs, i, columns),
  }));
}

function columnValue(
  run: Run,
  relation: Relation,
  column: Column,
  outputs: Summary['outputs'] | undefined,
  i: number,
  columns: readonly Column[],
): Value {
  const ref = run.snapshot.refs.of(relation, column);
  const own: Value = { columns: [ref], plain: true, args: 0, fixed: false };
  if (outputs === undefined) {
    if (column.generated === undefined) return own;
    return { ...derive([own, generatedValue(run, relation, column.generated)]), plain: false };
  }
  if (outputs === null || outputs.length !== columns.length) {
    return { ...own, plain: false, untraced: `the definition of ${objectName(relation)} could not be followed` };
  }
  const value = outputs[i]!.value;
  // A column of constants has no base: then the view's own column is one.
  if (value.columns.length === 0) return { ...derive([value, own]), plain: value.untraced === undefined, fixed: false };
  return { ...value, columns: [...value.columns.filter((c) => c !== ref), ref], fixed: false };
}

function generatedValue(run: Run, relation: Relation, expression: string): Value {
  const cells = relation.columns
    .filter((column) => column.attnum > 0 && column.generated === undefined)
    .map((column) => ({
      name: column.name,
      value: { columns: [run.snapshot.refs.of(relation, column)], plain: true, args: 0, fixed: false },
      marks: [],
    }));
  const scope = new Scope(null);
  scope.items.push({ sources: [{ name: relation.name, cells, used: new Set() }], cells });
  return constantExpression(bodyRun(run), scope, expression);
}

/** Columns of the server's own relations that a read of a row by `*` shows, as every table has them. */
export function relationItem(
  run: Run,
  candidates: readonly Relation[],
  options: { readonly alias?: string | undefined; readonly columns?: readonly string[]; readonly written?: boolean },
): Item {
  const lists = candidates.map((relation) => {
    touch(run, relation);
    const late = options.written === true;
    const reach = late ? () => readReach(run, relation) : constant(readReach(run, relation));
    const source: Source = {
      name: options.alias ?? relation.name,
      ...(options.alias === undefined ? { qualified: { schema: relation.schema, name: relation.name } } : {}),
      cells: [],
      relation,
      used: new Set(),
    };
    const cells: Cell[] = columnsOf(run, relation).map(({ name, value }, i) => ({
      name: options.columns?.[i] ?? name,
      value,
      marks: [{ source, column: name }],
    }));
    (source as { cells: readonly Cell[] }).cells = cells;
    run.sources.push({ source, reach, late });
    return source;
  });
  if (lists.length === 1) return { sources: lists, cells: lists[0]!.cells };
  return mergeCandidates(lists);
}

/** One source that stands for several of the same name. */
function mergeCandidates(sources: readonly Source[]): Item {
  const first = sources[0]!;
  const same = sources.every(
    (s) => s.cells.length === first.cells.length && s.cells.every((cell, i) => cell.name === first.cells[i]!.name),
  );
  const names = [...new Set(sources.flatMap((s) => s.cells.map((cell) => cell.name)))];
  const cells = names.map((name) => {
    const found = sources.flatMap((s) => s.cells.filter((cell) => cell.name === name));
    return { name, value: either(found.map((cell) => cell.value)), marks: found.flatMap((cell) => cell.marks) };
  });
  const reason = `${first.name} may mean several relations`;
  const merged: Source = { name: first.name, cells, used: new Set(), ...(same ? {} : { open: reason }) };
  return { sources: [merged], cells, ...(same ? {} : { open: reason }) };
}

/** A relation that the catalog does not know: made in this session, or not there at all. */
export function unknownItem(run: Run, name: string, alias: string | undefined, schema: string | undefined): Item {
  const object = schema === undefined ? `pg_temp.${name}` : `${schema}.${name}`;
  run.budget.unresolved = true;
  run.reach('read', object);
  const reason = `relation ${name} is not known`;
  const source: Source = {
    name: alias ?? name,
    ...(alias === undefined && schema !== undefined ? { qualified: { schema, name } } : {}),
    cells: [],
    open: reason,
    used: new Set(),
  };
  return { sources: [source], cells: [], open: reason };
}

/** Notes a relation, what lies behind it, and what is run by reading it. */
export function touch(run: Run, relation: Relation): void {
  if (run.relations.has(relation)) return;
  run.relations.add(relation);
  if (isView(relation)) {
    const summary = viewSummary(run, relation);
    for (const base of summary.relations) run.relations.add(base);
    for (const name of summary.functions) run.functions.add(name);
    for (const { effect, object, behind: under } of summary.reaches) {
      if (effect !== 'read') run.reach(effect, object, under, true);
    }
    run.opaque ??= summary.opaque;
    run.changes.push(...summary.changes);
    if (summary.unclassified !== undefined) run.unknown(summary.unclassified);
  }
  for (const policy of relation.policies) {
    const scope = new Scope(null);
    const cells = columnsOf(run, relation).map((field) => ({ ...field, marks: [] }));
    scope.items.push({ sources: [{ name: relation.name, cells, used: new Set() }], cells });
    const body = bodyRun(run);
    constantExpression(body, scope, policy);
    run.join(body.summary([]), true);
  }
}

const constant =
  <T>(value: T) =>
  (): T =>
    value;

function readReach(run: Run, relation: Relation): Reach {
  if (!relation.system) {
    if (relation.kind === 'f') run.reach('network', objectName(relation));
    return run.reach('read', objectName(relation), behind(run, relation));
  }
  if (relation.schema !== 'pg_catalog') return run.reach('read');
  if (FILE_RELATIONS.has(relation.name)) run.reach('file');
  return run.reach('read');
}

/** Reading a column of passwords is more than reading. */
export function noteColumn(run: Run, source: Source, column: string): void {
  source.used.add(column);
  run.touched.add(source);
  const { relation } = source;
  if (relation === undefined || !relation.system) return;
  if (SECRET_COLUMNS.get(relation.name) === column) run.reachAll(['read', 'privilege'], objectName(relation));
  if (STAND_INS.get(relation.name)?.includes(column)) run.reach('read', objectName(relation));
}

export function noSuchColumn(name: string): Value {
  return untraced(`column ${name} is not known`);
}

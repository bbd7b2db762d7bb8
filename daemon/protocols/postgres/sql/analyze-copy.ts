/** COPY in all directions. */
import type { Run } from './analyze-run.ts';
import { statementOutputs } from './analyze-statement.ts';
import { written } from './analyze-writes.ts';
import { condition } from './lineage-conditions.ts';
import { read } from './lineage-expressions.ts';
import type { CopyOut } from './model.ts';
import { type Field, Scope, untraced } from './scope.ts';
import { columnsOf, relationItem, resolveRelation, unknownItem } from './scope-relations.ts';
import { type Body, type Node, optionText, optionTrue, strings } from './scope-tree.ts';

export interface Copied {
  readonly outputs: readonly Field[] | null;
  readonly copyOut?: CopyOut;
  readonly copyIn?: boolean;
}

export function copyStatement(run: Run, body: Body): Copied {
  const outside = body.is_program ? 'program' : body.filename === undefined ? null : 'file';
  if (outside !== null) {
    run.reach(outside);
    run.opaque ??= body.is_program ? 'COPY runs a program' : 'COPY reads or writes a file of the server';
  }
  return body.is_from ? copyIn(run, body, outside === null) : copyOut(run, body, outside === null);
}

function copyIn(run: Run, body: Body, stdin: boolean): Copied {
  const { relname, schemaname } = body.relation as Body;
  const found = resolveRelation(run, schemaname, relname);
  if (found.length === 0) run.reach('write', `${schemaname ?? 'pg_temp'}.${relname}`);
  for (const relation of found) written(run, relation, ['CMD_INSERT']);
  const named = strings(body.attlist);
  for (const { name, value } of found.flatMap((relation) => columnsOf(run, relation))) {
    // A constraint that fails tells that the value is there.
    if (named.length === 0 || named.includes(name)) run.use('filter', value, `constraints on ${name}`);
  }
  if (body.whereClause) {
    const scope = new Scope(null);
    scope.items.push(
      found.length === 0 ? unknownItem(run, relname, undefined, schemaname) : relationItem(run, found, {}),
    );
    condition(run, scope, body.whereClause, 'WHERE of COPY');
  }
  return { outputs: [], copyIn: stdin };
}

function copyOut(run: Run, body: Body, stdout: boolean): Copied {
  const outputs = body.query ? statementOutputs(run, new Scope(null), body.query) : tableColumns(run, body);
  if (stdout) return { outputs, copyOut: formatOf(body.options) };
  if (outputs === null) run.use('store', untraced('the columns of a query are not known'), 'COPY TO');
  for (const { value } of outputs ?? []) run.use('store', value, 'COPY TO');
  return { outputs: [] };
}

function tableColumns(run: Run, body: Body): readonly Field[] | null {
  const { relname, schemaname } = body.relation as Body;
  const found = resolveRelation(run, schemaname, relname);
  const item = found.length === 0 ? unknownItem(run, relname, undefined, schemaname) : relationItem(run, found, {});
  if (item.open !== undefined) return null;
  const named = strings(body.attlist);
  if (named.length === 0) {
    // COPY leaves generated columns out.
    const generated = new Set(
      found[0]!.columns.filter((column) => column.generated !== undefined).map((column) => column.name),
    );
    return item.cells
      .filter((cell) => !generated.has(cell.name))
      .map((cell) => ({ name: cell.name, value: read(run, cell) }));
  }
  return named.map((name) => {
    const cell = item.cells.find((candidate) => candidate.name === name);
    return { name, value: cell === undefined ? untraced(`column ${name} is not known`) : read(run, cell) };
  });
}

function formatOf(options: readonly Node[] | undefined): CopyOut {
  const given = new Map(
    (options ?? []).map((node) => [String(node.DefElem?.defname).toLowerCase(), node.DefElem as Body]),
  );
  const text = (name: string): string | undefined => optionText(given.get(name)?.arg);
  const named = text('format')?.toLowerCase();
  const format = named === 'csv' || named === 'binary' ? named : 'text';
  const csv = format === 'csv';
  const quote = text('quote') ?? '"';
  const header = given.get('header');
  const encoding = text('encoding');
  return {
    format,
    delimiter: text('delimiter') ?? (csv ? ',' : '\t'),
    null: text('null') ?? (csv ? '' : '\\N'),
    quote,
    escape: text('escape') ?? quote,
    header: header !== undefined && optionTrue(header),
    ...(encoding === undefined ? {} : { encoding }),
  };
}

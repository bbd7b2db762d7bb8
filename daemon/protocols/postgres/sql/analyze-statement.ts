/** One statement of any kind: what it does, and the columns that come of it. */
import { copyStatement } from './analyze-copy.ts';
import { type Act, analysisOf, originOf, planned, type Traits } from './analyze-result.ts';
import type { Run } from './analyze-run.ts';
import { dataStatement } from './analyze-writes.ts';
import { createTableAs } from './effects-create.ts';
import { showStatement } from './effects-set.ts';
import { utility } from './effects-utility.ts';
import { verbOf } from './effects-verb.ts';
import { candidates, joinUnnamed } from './functions.ts';
import { call } from './lineage-calls.ts';
import { cast, expression } from './lineage-expressions.ts';
import { queryOf } from './lineage-select.ts';
import type { Analysis, Origin } from './model.ts';
import { derive, either, FIXED, type Field, LOOSE, Scope, type Value } from './scope.ts';
import { type Body, type Node, open, optionText, strings } from './scope-tree.ts';

/** A statement that stands within another. */
const UNNAMED: Act = { verb: '', text: '', fingerprint: '' };

/** Statements in which values are converted and compared. */
const COMPUTING = new Set(
  `SelectStmt InsertStmt UpdateStmt DeleteStmt MergeStmt CreateTableAsStmt CopyStmt CallStmt ExecuteStmt FetchStmt
   ReturnStmt`.split(/\s+/),
);

/** Columns of a statement: empty where no rows come, null when not known. */
export function statementOutputs(run: Run, scope: Scope, tree: Node): readonly Field[] | null {
  return statement(run, scope, tree, UNNAMED, {});
}

/** As statementOutputs, with the statement's own text and its traits filled in. */
export function statement(run: Run, scope: Scope, tree: Node, act: Act, traits: Traits): readonly Field[] | null {
  if (!run.step()) return null;
  const [tag, body] = open(tree);
  if (COMPUTING.has(tag) && !run.ofBody) joinUnnamed(run);
  switch (tag) {
    case 'SelectStmt': {
      run.reach('read');
      const outputs = queryOf(run, scope, body);
      return body.intoClause ? [] : outputs;
    }
    case 'InsertStmt':
    case 'UpdateStmt':
    case 'DeleteStmt':
    case 'MergeStmt':
      return dataStatement(run, scope, tree);
    case 'CreateTableAsStmt':
      return createTableAs(run, body);
    case 'CopyStmt': {
      const { outputs, copyOut, copyIn } = copyStatement(run, body);
      if (copyOut !== undefined) traits.copyOut = copyOut;
      if (copyIn) traits.copyIn = true;
      return outputs;
    }
    case 'ExplainStmt':
      return explain(run, scope, body, traits);
    case 'VariableShowStmt':
      return showStatement(run, body);
    case 'CallStmt':
      return callStatement(run, scope, body);
    case 'PrepareStmt':
      return prepare(run, body, act);
    case 'ExecuteStmt':
      return execute(run, scope, body, traits);
    case 'DeclareCursorStmt':
      return declare(run, scope, body);
    case 'FetchStmt':
      return fetch(run, body, traits);
    case 'ReturnStmt':
      return [{ name: 'return', value: expression(run, scope, body.returnval ?? {}) }];
  }
  if (utility(run, tag, body, act.text)) return [];
  run.unknown(`unknown statement ${tag}`);
  return null;
}

// ---------------------------------------------------------------- EXPLAIN

/** The plan is shown, not the rows; but the planner runs functions, and with ANALYZE the statement is run. */
function explain(run: Run, scope: Scope, body: Body, traits: Traits): readonly Field[] {
  traits.explain = true;
  run.explaining = true;
  const analyse = ((body.options ?? []) as Node[]).some(({ DefElem: option }) => isAnalyze(option ?? {}));
  if (analyse) {
    const before = run.changes.length;
    statement(run, scope, body.query ?? {}, UNNAMED, {});
    // A cursor's query is run, but no cursor is made.
    run.changes.push(...run.changes.splice(before).filter((change) => change.kind !== 'declare'));
  } else {
    const inner = run.inner();
    statement(inner, scope, body.query ?? {}, UNNAMED, {});
    const summary = inner.summary([]);
    run.join({ ...summary, reaches: summary.reaches.flatMap(planned), changes: [] }, false);
    for (const ref of summary.columns) run.columns.add(ref);
    for (const use of summary.seen) run.use(use.how, use.value, use.where, use.into);
    run.transient ||= inner.transient;
    for (const relation of inner.defines) run.defines.add(relation);
  }
  // Changes of names come only with rows.
  return [{ name: 'QUERY PLAN', value: LOOSE }];
}

/** Any spelling; a value that is not known counts as on. */
function isAnalyze(option: Body): boolean {
  const name = String(option.defname ?? '').toLowerCase();
  if (name !== 'analyze' && name !== 'analyse') return false;
  const value = optionText(option.arg)?.toLowerCase();
  return !(value === 'false' || value === 'off' || value === '0');
}

// ---------------------------------------------------------------- CALL, PREPARE, cursors

function callStatement(run: Run, scope: Scope, body: Body): readonly Field[] | null {
  const names = strings(body.funccall?.funcname);
  const { fields } = call(run, scope, body.funccall ?? {});
  const found = candidates(run, names.length > 1 ? names.at(-2) : undefined, names.at(-1) ?? '', null);
  if (found.length === 0) return null;
  // A procedure without OUT arguments gives no row.
  if (found.every((fn) => fn.outNames.length === 0)) return [];
  return found.every((fn) => fn.outNames.length === fields.length) ? fields : null;
}

/** Its query is judged now, and again under the names of the moment when it runs. */
function prepare(run: Run, body: Body, act: Act): readonly Field[] {
  // Were it not run after all, the name would still mean what it meant.
  if (run.depth > 0) run.blind('a function that prepares statements is not followed');
  const inner = run.inner();
  const traits: Traits = {};
  const tree = (body.query ?? {}) as Node;
  const text = preparedText(act.text) ?? act.text;
  for (const type of (body.argtypes ?? []) as Node[]) cast(inner, FIXED, type.TypeName);
  const outputs = statement(inner, new Scope(null), tree, UNNAMED, traits);
  const analysis = analysisOf(inner, outputs, { verb: verbOf(tree), text, fingerprint: act.fingerprint }, traits);
  joinAnalysis(run, analysis);
  run.changes.push({ kind: 'prepare', name: String(body.name ?? ''), text, whole: act.text, analyses: [analysis] });
  return [];
}

/** The text behind AS of PREPARE name [(types)] AS …; null: not found. */
export function preparedText(text: string): string | null {
  const token = /\s+|--[^\n\r]*|"(?:[^"]|"")*"|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*|./gsy;
  let depth = 0;
  let comment = 0;
  let words = 0;
  for (let found = token.exec(text); found !== null; found = token.exec(text)) {
    const [part] = found;
    const two = text.slice(found.index, found.index + 2);
    if (two === '/*') {
      comment++;
      token.lastIndex = found.index + 2;
    } else if (comment > 0) {
      if (two === '*/') {
        comment--;
        token.lastIndex = found.index + 2;
      } else token.lastIndex = found.index + 1;
    } else if (part === '(') depth++;
    else if (part === ')') depth--;
    else if (depth === 0 && /^["\w\u0080-\uffff]/.test(part)) {
      if (words >= 2 && part.toLowerCase() === 'as') return text.slice(token.lastIndex).trim();
      words++;
    }
  }
  return null;
}

function execute(run: Run, scope: Scope, body: Body, traits: Traits): readonly Field[] | null {
  run.transient = true;
  const name = String(body.name ?? '');
  traits.runs = { kind: 'prepared', name };
  const args = ((body.params ?? []) as Node[]).map((node) => expression(run, scope, node));
  const argument = derive(args);
  run.use('call', argument, `argument of EXECUTE ${name}`);
  const known = run.names.prepared.get(name) ?? [];
  if (known.length === 0) {
    run.unknown(`prepared statement ${name} is not known`);
    return null;
  }
  const lists: (readonly Field[] | null)[] = [];
  for (const analysis of known) {
    joinAnalysis(run, analysis);
    lists.push(analysis.outputs?.map((origin) => ({ name: '', value: valueFrom(origin) })) ?? null);
    // Names are looked up anew when it runs.
    const parsed = run.parsed(analysis.operation.text);
    for (const { tree } of parsed?.statements ?? [])
      lists.push(statement(run, new Scope(null), tree as Node, UNNAMED, {}));
  }
  return eitherOf(lists);
}

function joinAnalysis(run: Run, analysis: Analysis): void {
  for (const { effect, object, behind, columns } of analysis.operation.accesses) {
    const reach = run.reach(effect, object, behind);
    for (const column of columns ?? []) reach.columns.add(column);
  }
  for (const name of analysis.operation.functions) run.functions.add(name);
  for (const relation of analysis.relations) run.relations.add(relation);
  for (const relation of analysis.defines) run.defines.add(relation);
  for (const ref of analysis.columns) run.columns.add(ref);
  for (const use of analysis.uses) run.use(use.how, valueFrom(use.origin), use.where, use.into);
  run.changes.push(...analysis.changes);
  run.opaque ??= analysis.opaque;
  run.forbidden ??= analysis.forbidden;
  if (analysis.operation.unclassified !== undefined) run.unknown(analysis.operation.unclassified);
}

function valueFrom(origin: Origin): Value {
  const value = { columns: origin.columns, plain: origin.plain, args: 0, fixed: false };
  return origin.untraced === undefined ? value : { ...value, untraced: origin.untraced };
}

/** Columns that are one of several lists; null when they don't agree in number. */
function eitherOf(lists: readonly (readonly Field[] | null)[]): readonly Field[] | null {
  const [first] = lists;
  if (first === null || first === undefined) return null;
  if (lists.some((list) => list === null || list.length !== first.length)) return null;
  return first.map((field, i) => ({ name: field.name, value: either(lists.map((list) => list![i]!.value)) }));
}

function declare(run: Run, scope: Scope, body: Body): readonly Field[] {
  const outputs = statement(run, scope, body.query ?? {}, UNNAMED, {});
  // Within a function it holds what that was given, and whether it is run at all is not known.
  const known = outputs !== null && run.depth === 0;
  run.changes.push({
    kind: 'declare',
    name: String(body.portalname ?? ''),
    outputs: known ? outputs.map((field) => originOf(field.value)) : null,
  });
  return [];
}

/** What a cursor's query does was decided when it was declared. */
function fetch(run: Run, body: Body, traits: Traits): readonly Field[] | null {
  run.transient = true;
  run.reach('read');
  const name = String(body.portalname ?? '');
  traits.runs = { kind: 'cursor', name };
  if (body.ismove) return [];
  const lists = (run.names.cursors.get(name) ?? []).map(
    (outputs) => outputs?.map((origin) => ({ name: '', value: valueFrom(origin) })) ?? null,
  );
  return eitherOf(lists);
}

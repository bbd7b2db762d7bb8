/** Effects of the statements that neither read nor write rows of tables, one entry per node of the parser. */
import { EFFECTS, type Effect } from '../../../core/operation.ts';
import { objectName, type Run } from './analyze-run.ts';
import { written } from './analyze-writes.ts';
import {
  altered,
  alterFunction,
  alterTable,
  createFunction,
  createIndex,
  createPolicy,
  createRule,
  createSchema,
  createStatistics,
  createTable,
  createTrigger,
  createView,
  definedExpressions,
} from './effects-create.ts';
import { setStatement, transactionOptions } from './effects-set.ts';
import { settingEffect } from './effects-settings.ts';
import { behind, columnsOf, resolveRelation, touch, viewSummary } from './scope-relations.ts';
import { type Body, type Node, optionText, strings } from './scope-tree.ts';

interface Plain {
  readonly effects: readonly Effect[];
  /** Why it can't be let through where masks apply. */
  readonly opaque?: string;
  /** Makes, changes or drops something of the catalog. */
  readonly catalog?: boolean;
}

const CODE = "it makes something that runs code which can't be followed";
const REMOTE = 'it reaches another server';
const DDL: Plain = { effects: ['ddl'], catalog: true };
const ROLE: Plain = { effects: ['privilege'], catalog: true };
const OWNER: Plain = { effects: ['privilege', 'ddl'], catalog: true };
const CODED: Plain = { effects: ['ddl', 'code'], opaque: CODE, catalog: true };
const FOREIGN: Plain = { effects: ['ddl', 'privilege', 'network', 'code'], opaque: REMOTE, catalog: true };
const SUBSCRIBED: Plain = { effects: ['ddl', 'privilege', 'network'], opaque: REMOTE, catalog: true };

/** Statements whose effects don't hang on their parts. */
const PLAIN: Readonly<Record<string, Plain>> = {
  GrantRoleStmt: ROLE,
  AlterDefaultPrivilegesStmt: ROLE,
  CreateRoleStmt: ROLE,
  AlterRoleStmt: ROLE,
  DropRoleStmt: ROLE,
  ReassignOwnedStmt: OWNER,
  DropOwnedStmt: OWNER,
  AlterOwnerStmt: OWNER,
  SecLabelStmt: ROLE,
  CheckPointStmt: { effects: ['privilege'] },
  CreatedbStmt: OWNER,
  DropdbStmt: OWNER,
  AlterDatabaseStmt: OWNER,
  AlterDatabaseRefreshCollStmt: OWNER,
  CreateTableSpaceStmt: { effects: ['privilege', 'ddl', 'file'], catalog: true },
  DropTableSpaceStmt: { effects: ['privilege', 'ddl', 'file'], catalog: true },
  AlterTableSpaceOptionsStmt: OWNER,
  AlterTableMoveAllStmt: OWNER,
  CreateExtensionStmt: { effects: ['ddl', 'code', 'privilege', 'file'], opaque: CODE, catalog: true },
  AlterExtensionStmt: { effects: ['ddl', 'code', 'privilege', 'file'], opaque: CODE, catalog: true },
  AlterExtensionContentsStmt: OWNER,
  CreateFdwStmt: FOREIGN,
  AlterFdwStmt: FOREIGN,
  CreateForeignServerStmt: FOREIGN,
  AlterForeignServerStmt: FOREIGN,
  CreateForeignTableStmt: FOREIGN,
  CreateUserMappingStmt: FOREIGN,
  AlterUserMappingStmt: FOREIGN,
  DropUserMappingStmt: FOREIGN,
  ImportForeignSchemaStmt: FOREIGN,
  CreatePublicationStmt: SUBSCRIBED,
  AlterPublicationStmt: SUBSCRIBED,
  CreateSubscriptionStmt: SUBSCRIBED,
  AlterSubscriptionStmt: SUBSCRIBED,
  DropSubscriptionStmt: SUBSCRIBED,
  CreateAmStmt: CODED,
  CreatePLangStmt: { effects: ['ddl', 'code', 'privilege'], opaque: CODE, catalog: true },
  CreateEventTrigStmt: { effects: ['ddl', 'code', 'privilege'], opaque: CODE, catalog: true },
  AlterEventTrigStmt: { effects: ['ddl', 'code', 'privilege'], opaque: CODE, catalog: true },
  CreateOpClassStmt: CODED,
  CreateOpFamilyStmt: CODED,
  AlterOpFamilyStmt: CODED,
  AlterOperatorStmt: CODED,
  CreateCastStmt: CODED,
  CreateTransformStmt: CODED,
  CreateConversionStmt: CODED,
  AlterTypeStmt: CODED,
  CreateEnumStmt: DDL,
  AlterEnumStmt: DDL,
  CompositeTypeStmt: DDL,
  CreateRangeStmt: CODED,
  CreateSeqStmt: DDL,
  AlterStatsStmt: DDL,
  AlterCollationStmt: DDL,
  AlterTSDictionaryStmt: DDL,
  AlterTSConfigurationStmt: DDL,
  AlterObjectDependsStmt: DDL,
  ConstraintsSetStmt: { effects: ['session'] },
  ListenStmt: { effects: ['session'] },
  UnlistenStmt: { effects: [] },
};

/** Notes what the statement does; false: it is not one of these. */
export function utility(run: Run, tag: string, body: Body, text: string): boolean {
  const plain = PLAIN[tag];
  if (plain !== undefined) {
    run.reachAll(plain.effects);
    run.opaque ??= plain.opaque;
    if (plain.catalog) run.changes.push({ kind: 'catalog' });
    return true;
  }
  const handle = HANDLERS[tag];
  if (handle === undefined) return false;
  handle(run, body, text);
  return true;
}

const HANDLERS: Readonly<Record<string, (run: Run, body: Body, text: string) => void>> = {
  TransactionStmt: transaction,
  VariableSetStmt: setStatement,
  ViewStmt: createView,
  CreateStmt: createTable,
  AlterTableStmt: alterTable,
  IndexStmt: createIndex,
  CreateStatsStmt: createStatistics,
  CreatePolicyStmt: createPolicy,
  AlterPolicyStmt: createPolicy,
  CreateTrigStmt: createTrigger,
  RuleStmt: createRule,
  CreateFunctionStmt: createFunction,
  AlterFunctionStmt: alterFunction,
  CreateSchemaStmt: createSchema,
  DefineStmt: define,
  CreateDomainStmt: domain,
  AlterDomainStmt: domain,
  AlterSeqStmt: (run, body) => void altered(run, body.sequence),
  DropStmt: drop,
  RenameStmt: rename,
  AlterObjectSchemaStmt: (run, body) => {
    altered(run, body.relation);
    changed(run);
  },
  TruncateStmt: (run, body) => {
    for (const node of (body.relations ?? []) as Node[]) writeOf(run, node.RangeVar);
  },
  LockStmt: (run, body) => {
    const effect = body.mode === ACCESS_SHARE ? 'read' : 'write';
    for (const node of (body.relations ?? []) as Node[]) lockOf(run, node.RangeVar, effect);
  },
  VacuumStmt: (run, body) =>
    maintain(
      run,
      ((body.rels ?? []) as Node[]).map((node) => node.VacuumRelation?.relation),
    ),
  ClusterStmt: (run, body) => {
    maintain(run, body.relation ? [body.relation] : []);
    // Rows come in the order of the index from then on.
    for (const relation of relationsOf(run, body.relation).found) {
      for (const { value } of columnsOf(run, relation)) run.use('order', value, 'CLUSTER');
    }
  },
  ReindexStmt: (run, body) => maintain(run, body.relation ? [body.relation] : []),
  RefreshMatViewStmt: refresh,
  GrantStmt: grant,
  AlterSystemStmt: (run, body) => settingOf(run, body.setstmt, 'privilege'),
  AlterDatabaseSetStmt: (run, body) => settingOf(run, body.setstmt, 'privilege'),
  AlterRoleSetStmt: (run, body) => settingOf(run, body.setstmt, 'privilege'),
  CommentStmt: comment,
  NotifyStmt: (run, body) => {
    run.reachAll(['session', 'network']);
    run.changes.push({ kind: 'notify', payload: body.payload ?? '' });
  },
  DiscardStmt: (run, body) => {
    run.reach('session');
    if (body.target === 'DISCARD_ALL')
      run.changes.push({ kind: 'discard' }, { kind: 'search-path', path: 'default', local: false });
    if (body.target === 'DISCARD_ALL' || body.target === 'DISCARD_TEMP') changed(run);
  },
  ClosePortalStmt: (run, body) => void run.changes.push({ kind: 'close', name: body.portalname ?? null }),
  DeallocateStmt: (run, body) =>
    void run.changes.push({ kind: 'deallocate', name: body.isall ? null : (body.name ?? null) }),
  DoStmt: (run) => run.blind('DO runs code that is not followed'),
  LoadStmt: (run) => run.blind('LOAD runs a library'),
};

function changed(run: Run): void {
  run.changes.push({ kind: 'catalog' });
}

function transaction(run: Run, body: Body): void {
  switch (body.kind ?? 'TRANS_STMT_BEGIN') {
    case 'TRANS_STMT_BEGIN':
    case 'TRANS_STMT_START':
      transactionOptions(run, body.options);
      run.changes.push({ kind: 'begin' });
      return;
    case 'TRANS_STMT_COMMIT':
      run.changes.push({ kind: 'commit' });
      if (body.chain) run.changes.push({ kind: 'begin' });
      return;
    case 'TRANS_STMT_ROLLBACK':
      run.changes.push({ kind: 'rollback' });
      if (body.chain) run.changes.push({ kind: 'begin' });
      return;
    case 'TRANS_STMT_ROLLBACK_TO':
      run.changes.push({ kind: 'rollback-to' });
      return;
    case 'TRANS_STMT_SAVEPOINT':
    case 'TRANS_STMT_RELEASE':
      return;
    case 'TRANS_STMT_PREPARE':
      run.changes.push({ kind: 'commit' });
      run.reach('write');
      return;
    case 'TRANS_STMT_COMMIT_PREPARED':
    case 'TRANS_STMT_ROLLBACK_PREPARED':
      run.reach('write');
      changed(run);
      return;
  }
  run.unknown(`unknown statement of transactions ${String(body.kind)}`);
}

function relationsOf(run: Run, rangeVar: Body | undefined) {
  const found = rangeVar?.relname === undefined ? [] : resolveRelation(run, rangeVar.schemaname, rangeVar.relname);
  return {
    found,
    name: rangeVar?.relname === undefined ? undefined : `${rangeVar.schemaname ?? 'pg_temp'}.${rangeVar.relname}`,
  };
}

function writeOf(run: Run, rangeVar: Body | undefined): void {
  const { found, name } = relationsOf(run, rangeVar);
  for (const relation of found) written(run, relation, []);
  if (found.length === 0) run.reach('write', name);
}

/** The mode of LOCK that reading takes anyway (AccessShareLock of lockdefs.h). */
const ACCESS_SHARE = 1;

function lockOf(run: Run, rangeVar: Body | undefined, effect: Effect): void {
  const { found, name } = relationsOf(run, rangeVar);
  for (const relation of found) {
    touch(run, relation);
    run.reach(effect, objectName(relation), behind(run, relation));
  }
  if (found.length === 0) run.reach(effect, name);
}

/** VACUUM, ANALYZE, CLUSTER, REINDEX: of the whole database where nothing is named. */
function maintain(run: Run, rangeVars: readonly (Body | undefined)[]): void {
  if (rangeVars.length === 0) run.reach('ddl');
  for (const rangeVar of rangeVars) {
    const { found, name } = relationsOf(run, rangeVar);
    for (const relation of found) {
      touch(run, relation);
      run.reach('ddl', objectName(relation), behind(run, relation));
    }
    if (found.length === 0) run.reach('ddl', name);
  }
}

function refresh(run: Run, body: Body): void {
  const { found, name } = relationsOf(run, body.relation);
  for (const relation of found) {
    touch(run, relation);
    run.reachAll(['ddl', 'write'], objectName(relation));
    for (const ref of viewSummary(run, relation).columns) run.columns.add(ref);
  }
  if (found.length === 0) run.reachAll(['ddl', 'write'], name);
}

function grant(run: Run, body: Body): void {
  changed(run);
  const relations = ((body.objects ?? []) as Node[]).filter((node) => node.RangeVar);
  for (const node of relations) {
    const { found, name } = relationsOf(run, node.RangeVar);
    for (const relation of found) run.reach('privilege', objectName(relation));
    if (found.length === 0) run.reach('privilege', name);
  }
  if (relations.length === 0) run.reach('privilege');
}

/** ALTER ROLE | DATABASE | SYSTEM … SET: holds for sessions to come, and must not change how they are read. */
function settingOf(run: Run, statement: Body | undefined, effect: Effect): void {
  run.reach(effect);
  if (statement?.kind !== 'VAR_SET_VALUE') return;
  const value = ((statement.args ?? []) as Node[]).map((arg) => optionText(arg) ?? '').join(', ');
  run.forbidden ??= settingEffect(statement.name ?? '', value).forbidden;
}

const OF_ROLES = new Set([
  'OBJECT_ROLE',
  'OBJECT_DATABASE',
  'OBJECT_TABLESPACE',
  'OBJECT_SUBSCRIPTION',
  'OBJECT_PUBLICATION',
]);

function comment(run: Run, body: Body): void {
  if (OF_ROLES.has(body.objtype)) run.reach('privilege');
  const names = strings(body.object?.List?.items);
  const relation = /^OBJECT_(TABLE|VIEW|MATVIEW|SEQUENCE|FOREIGN_TABLE|INDEX|COLUMN)$/.test(body.objtype);
  const parts = body.objtype === 'OBJECT_COLUMN' ? names.slice(0, -1) : names;
  run.reach('ddl', relation ? objectOf(run, parts) : undefined);
}

/** Qualified name of a relation given as a list of names. */
function objectOf(run: Run, parts: readonly string[]): string | undefined {
  const name = parts.at(-1);
  if (name === undefined || name === '') return undefined;
  const schema = parts.length > 1 ? parts.at(-2) : undefined;
  const [found] = resolveRelation(run, schema, name);
  return found === undefined ? `${schema ?? 'pg_temp'}.${name}` : objectName(found);
}

const RELATIONS = new Set([
  'OBJECT_TABLE',
  'OBJECT_VIEW',
  'OBJECT_MATVIEW',
  'OBJECT_SEQUENCE',
  'OBJECT_FOREIGN_TABLE',
  'OBJECT_INDEX',
]);
const ON_RELATIONS = new Set(['OBJECT_TRIGGER', 'OBJECT_RULE', 'OBJECT_POLICY']);

function drop(run: Run, body: Body): void {
  changed(run);
  if (body.removeType === 'OBJECT_POLICY') run.reach('privilege');
  for (const node of (body.objects ?? []) as Node[]) {
    const parts = strings(node.List?.items);
    if (RELATIONS.has(body.removeType)) run.reach('ddl', objectOf(run, parts));
    else if (ON_RELATIONS.has(body.removeType)) run.reach('ddl', objectOf(run, parts.slice(0, -1)));
    else run.reach('ddl');
  }
}

function rename(run: Run, body: Body): void {
  changed(run);
  if (body.renameType === 'OBJECT_SCHEMA') run.renamedSchemas.add(body.subname ?? '');
  if (OF_ROLES.has(body.renameType)) run.reachAll(['privilege', 'ddl']);
  altered(run, body.relation);
}

/** CREATE OPERATOR, AGGREGATE, TYPE run functions; COLLATION and TEXT SEARCH parts only name things. */
function define(run: Run, body: Body): void {
  changed(run);
  if (/^OBJECT_(OPERATOR|AGGREGATE|TYPE|TSPARSER|TSTEMPLATE)$/.test(body.kind) && (body.definition ?? []).length > 0) {
    run.reachAll(['ddl', 'code']);
    run.opaque ??= CODE;
  } else if (/^OBJECT_(COLLATION|TSDICTIONARY|TSCONFIGURATION|TYPE)$/.test(body.kind)) run.reach('ddl');
  else run.reachAll(EFFECTS);
}

/** Subcommands of ALTER DOMAIN that don't look at what is stored: DEFAULT, DROP NOT NULL, DROP CONSTRAINT. */
const BLIND_TO_ROWS = /^[TNX]$/;

function domain(run: Run, body: Body): void {
  run.reach('ddl');
  changed(run);
  definedExpressions(run, [body.constraints, body.def], [], 'domain');
  // Wherever a value is converted, also where no cast is written.
  if (run.functions.size > 0) run.opaque ??= 'a domain that runs a function is not followed';
  if (body.subtype === undefined || BLIND_TO_ROWS.test(body.subtype)) return;
  for (const { relation, columns } of run.catalog.columnsOfDomain(strings(body.typeName).at(-1) ?? '')) {
    run.relations.add(relation);
    run.reach('read', objectName(relation));
    for (const { name, value } of columnsOf(run, relation))
      if (columns.includes(name)) run.use('define', value, 'ALTER DOMAIN');
  }
}

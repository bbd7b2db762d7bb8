/** What a person would call a statement. */
import { type Body, type Node, open } from './scope-tree.ts';

const VERBS: Readonly<Record<string, string>> = {
  SelectStmt: 'SELECT',
  InsertStmt: 'INSERT',
  UpdateStmt: 'UPDATE',
  DeleteStmt: 'DELETE',
  MergeStmt: 'MERGE',
  CopyStmt: 'COPY',
  ExplainStmt: 'EXPLAIN',
  VariableShowStmt: 'SHOW',
  CallStmt: 'CALL',
  PrepareStmt: 'PREPARE',
  ExecuteStmt: 'EXECUTE',
  DeallocateStmt: 'DEALLOCATE',
  DeclareCursorStmt: 'DECLARE',
  ClosePortalStmt: 'CLOSE',
  CreateStmt: 'CREATE TABLE',
  ViewStmt: 'CREATE VIEW',
  IndexStmt: 'CREATE INDEX',
  RuleStmt: 'CREATE RULE',
  CreateTrigStmt: 'CREATE TRIGGER',
  CreatePLangStmt: 'CREATE LANGUAGE',
  CreateSeqStmt: 'CREATE SEQUENCE',
  CreateEnumStmt: 'CREATE TYPE',
  CreateRangeStmt: 'CREATE TYPE',
  CompositeTypeStmt: 'CREATE TYPE',
  CreatedbStmt: 'CREATE DATABASE',
  DropdbStmt: 'DROP DATABASE',
  CreateAmStmt: 'CREATE ACCESS METHOD',
  CreateFdwStmt: 'CREATE FOREIGN DATA WRAPPER',
  CreateEventTrigStmt: 'CREATE EVENT TRIGGER',
  CreateOpClassStmt: 'CREATE OPERATOR CLASS',
  CreateOpFamilyStmt: 'CREATE OPERATOR FAMILY',
  AlterSeqStmt: 'ALTER SEQUENCE',
  AlterEnumStmt: 'ALTER TYPE',
  CheckPointStmt: 'CHECKPOINT',
  ConstraintsSetStmt: 'SET CONSTRAINTS',
  RefreshMatViewStmt: 'REFRESH MATERIALIZED VIEW',
  SecLabelStmt: 'SECURITY LABEL',
  GrantRoleStmt: 'GRANT',
  DoStmt: 'DO',
};

const words = (object: unknown): string =>
  String(object ?? '')
    .replace('OBJECT_', '')
    .replace('MATVIEW', 'MATERIALIZED VIEW')
    .replaceAll('_', ' ');

export function verbOf(tree: Node): string {
  const [tag, body] = open(tree);
  return specific(tag, body) ?? VERBS[tag] ?? spelled(tag);
}

function specific(tag: string, body: Body): string | undefined {
  switch (tag) {
    case 'SelectStmt':
      return body.intoClause ? 'SELECT INTO' : undefined;
    case 'DropStmt':
      return `DROP ${words(body.removeType)}`;
    case 'RenameStmt':
      return `ALTER ${words(body.relation ? body.relationType : body.renameType)}`;
    case 'AlterTableStmt':
      return `ALTER ${words(body.objtype)}`;
    case 'AlterObjectSchemaStmt':
    case 'AlterOwnerStmt':
      return `ALTER ${words(body.objectType)}`;
    case 'DefineStmt':
      return `CREATE ${words(body.kind)}`;
    case 'CreateTableAsStmt':
      return body.objtype === 'OBJECT_MATVIEW' ? 'CREATE MATERIALIZED VIEW' : 'CREATE TABLE AS';
    case 'CreateFunctionStmt':
      return body.is_procedure ? 'CREATE PROCEDURE' : 'CREATE FUNCTION';
    case 'VariableSetStmt':
      return /^VAR_RESET/.test(body.kind) ? 'RESET' : 'SET';
    case 'VacuumStmt':
      return body.is_vacuumcmd ? 'VACUUM' : 'ANALYZE';
    case 'FetchStmt':
      return body.ismove ? 'MOVE' : 'FETCH';
    case 'GrantStmt':
      return body.is_grant ? 'GRANT' : 'REVOKE';
    case 'CreateRoleStmt':
      return 'CREATE ROLE';
    case 'TransactionStmt':
      return String(body.kind ?? 'TRANS_STMT_BEGIN')
        .replace('TRANS_STMT_', '')
        .replaceAll('_', ' ');
  }
  return undefined;
}

/** `AlterDefaultPrivilegesStmt` is ALTER DEFAULT PRIVILEGES. */
function spelled(tag: string): string {
  return tag
    .replace(/Stmt$/, '')
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .toUpperCase();
}

/**
 * The words shared by catalog, analysis and protection. Analysis says what a statement does and where each output value
 * comes from, without any policy; protection holds that against the masks that apply and says what to do.
 */
import type { ColumnMask } from '../../../core/mask.ts';
import type { Operation } from '../../../core/operation.ts';

// ---------------------------------------------------------------- catalog

export interface Column {
  /** pg_attribute.attnum, from 1; system columns are negative. */
  readonly attnum: number;
  readonly name: string;
  readonly typeOid: number;
  /** Expression of a generated column, as SQL text. */
  readonly generated?: string;
}

export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** pg_class.relkind: r table, p partitioned, v view, m materialized view, f foreign, S sequence, c composite, i index, t toast. */
  readonly kind: string;
  readonly columns: readonly Column[];
  /** pg_inherits, both directions, nearest only. */
  readonly parents: readonly number[];
  readonly children: readonly number[];
  /** pg_get_viewdef of a view or materialized view. */
  readonly definition?: string;
  /** pg_rewrite rules other than a view's own _RETURN, as text of pg_get_ruledef. */
  readonly rules: readonly string[];
  /** Oids of functions of enabled, user-made triggers. */
  readonly triggers: readonly number[];
  /** USING and WITH CHECK expressions of row security policies, as SQL text. Empty when row security is off. */
  readonly policies: readonly string[];
  /** Owned by the server (oid < 16384 in pg_catalog or information_schema). */
  readonly system: boolean;
}

export interface Func {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** pg_proc.prokind: f function, p procedure, a aggregate, w window. */
  readonly kind: string;
  /** pg_language.lanname: internal, c, sql, plpgsql, … */
  readonly language: string;
  /** pg_proc.provolatile: i, s, v. */
  readonly volatility: string;
  readonly securityDefiner: boolean;
  /** Input arguments only. */
  readonly argTypes: readonly number[];
  readonly argNames: readonly string[];
  readonly defaults: number;
  /** Default expressions as one list of SQL text, empty where there are none. */
  readonly defaultTexts: string;
  readonly variadic: boolean;
  readonly returnType: number;
  readonly returnsSet: boolean;
  /** Names of OUT and TABLE columns, empty where there are none. */
  readonly outNames: readonly string[];
  /** prosrc, or the text of pg_get_function_sqlbody. Empty for internal and c. */
  readonly source: string;
  /** Of an aggregate: oids of its transition, final and other functions. */
  readonly support: readonly number[];
  /** proconfig entries, e.g. `search_path=public`. */
  readonly config: readonly string[];
  /** oid < 16384. */
  readonly system: boolean;
}

/** What a conversion to a type may run. */
export interface TypeCode {
  readonly functions: readonly Func[];
  /** Of domains, as SQL text. */
  readonly checks: readonly string[];
}

/** One immutable snapshot of a database's catalog. Lookups are by exact, already folded name. */
export interface Catalog {
  /** Rises with each snapshot that differs from the one before. */
  readonly version: number;
  /** server_version_num. */
  readonly server: number;
  /** The account the snapshot was read as. */
  readonly user: string;
  readonly database: string;
  /** search_path of a fresh session of this account, "$user" resolved, schemas that don't exist left out; without pg_catalog and pg_temp, which come first implicitly. */
  readonly searchPath: readonly string[];
  readonly schemas: ReadonlySet<string>;
  relation(schema: string, name: string): Relation | undefined;
  relationByOid(oid: number): Relation | undefined;
  /** In every schema. */
  relationsNamed(name: string): readonly Relation[];
  functionsNamed(name: string): readonly Func[];
  functionByOid(oid: number): Func | undefined;
  /** Functions behind operators of this name that are not the server's own. */
  operatorFunctions(operator: string): readonly Func[];
  /** Functions behind casts, type input and output, and domain checks that are not the server's own, for a type of this name; expressions of domain checks as SQL text. */
  typeCode(typeName: string): TypeCode;
  /** The same for the type with this oid; undefined: there is none, as far as the catalog was read. */
  typeCodeOf(typeOid: number): TypeCode | undefined;
  /**
   * Functions that the server may run for any query without their being named in it, the server's own and those in C left
   * out: casts that it makes by itself, and the comparisons behind ORDER BY, GROUP BY, DISTINCT and indexes.
   */
  readonly unnamed: readonly Func[];
  /** Tables and materialized views with columns of the domain of this name, or of a domain over it, and those columns' names. */
  columnsOfDomain(typeName: string): readonly { readonly relation: Relation; readonly columns: readonly string[] }[];
  /** Relation whose row type has this oid. */
  relationOfType(typeOid: number): Relation | undefined;
}

// ---------------------------------------------------------------- analysis

/** A column of a base relation, or of a system view whose content can't be traced further. */
export interface ColumnRef {
  readonly relation: Relation;
  readonly column: Column;
}

/** Where the value of one output comes from. */
export interface Origin {
  /** Every column whose value can take part in it. */
  readonly columns: readonly ColumnRef[];
  /** The value is that of the single column unchanged (also through views and subqueries): a mask kind can be applied to it as to the column. */
  readonly plain: boolean;
  /** Why the origin could not be traced; such an output may hold anything. */
  readonly untraced?: string;
}

/** A place where values decide something or go somewhere other than the result. */
export interface Use {
  readonly origin: Origin;
  /**
   * filter: compared with constants or parameters, or protected with itself, in WHERE, ON, HAVING.
   * order: a bare column in ORDER BY, GROUP BY, DISTINCT, PARTITION BY.
   * compute: any other use in a condition, in a function of FROM, in LIMIT, in a condition against other columns.
   * store: written to `into`, or to a new object when absent.
   * call: argument of a function that may keep or send it (volatile, or of the user's own that can't be followed).
   * define: part of the definition of a view, function, rule, index expression, default, policy.
   * risk: computed with in a way that may fail for some values, so that failing or not tells of them.
   */
  readonly how: 'filter' | 'order' | 'compute' | 'store' | 'call' | 'define' | 'risk';
  readonly into?: ColumnRef;
  /** For people: `WHERE`, `argument of lo_from_bytea()`. */
  readonly where: string;
}

/** What a statement changes in the session, applied once the server acknowledges it. */
export type SessionChange =
  | { readonly kind: 'search-path'; readonly path: readonly string[] | 'default' | 'unknown'; readonly local: boolean }
  /** `text`: what is prepared; `whole`: the PREPARE itself, which alone says of what types the parameters are. */
  | {
      readonly kind: 'prepare';
      readonly name: string;
      readonly text: string;
      readonly whole: string;
      readonly analyses: readonly Analysis[];
    }
  | { readonly kind: 'deallocate'; readonly name: string | null }
  | { readonly kind: 'declare'; readonly name: string; readonly outputs: readonly Origin[] | null }
  | { readonly kind: 'close'; readonly name: string | null }
  | { readonly kind: 'notify'; readonly payload: string }
  | { readonly kind: 'discard' }
  /** rollback-to: to a savepoint; a setting made since may be undone. */
  | { readonly kind: 'begin' | 'commit' | 'rollback' | 'rollback-to' }
  | { readonly kind: 'catalog' };

export interface CopyOut {
  readonly format: 'text' | 'csv' | 'binary';
  readonly delimiter: string;
  readonly null: string;
  readonly quote: string;
  readonly escape: string;
  readonly header: boolean;
  /** Of the rows; absent: the client's. */
  readonly encoding?: string;
}

export interface Analysis {
  readonly operation: Operation;
  /** Origins of the result's columns in order; empty: no rows come; null: not known. */
  readonly outputs: readonly Origin[] | null;
  readonly uses: readonly Use[];
  /** Set for COPY … TO STDOUT. */
  readonly copyOut?: CopyOut;
  /** Set for COPY … FROM STDIN. */
  readonly copyIn?: boolean;
  /** Relations touched in any way (views and what lies behind them), for what errors may quote. */
  readonly relations: readonly Relation[];
  /** Relations that the statement defines anew, alters or renames. */
  readonly defines: readonly Relation[];
  /** Every column that the statement refers to anywhere, whatever becomes of it. */
  readonly columns: readonly ColumnRef[];
  /** Schemas that it renames. */
  readonly renamedSchemas: readonly string[];
  /** Why it can be let through under no policy: it changes how later statements are read. */
  readonly forbidden?: string;
  /**
   * The analysis of the same text with other numbers, where this one was copied from it; the two differ in operation.text
   * alone. One object for all such texts: a cache key.
   */
  readonly template?: Analysis;
  /** Why the statement may do or read things that analysis can't see (DO, dynamic SQL, foreign servers, files). */
  readonly opaque?: string;
  /** EXPLAIN of something. */
  readonly explain?: boolean;
  /** It names something that the catalog does not have. */
  readonly unresolved?: boolean;
  /** Planning it, as Bind does, may already do more than read: it runs functions whose arguments are constant. */
  readonly plans?: boolean;
  readonly changes: readonly SessionChange[];
  /** Name of the prepared statement that EXECUTE runs, or of the cursor that FETCH reads: their own analysis applies to the rows. */
  readonly runs?: { readonly kind: 'prepared' | 'cursor'; readonly name: string };
}

/** What a session can mean by names at this moment. More than one path when a rollback may have restored an older one. */
export interface Names {
  readonly catalog: Catalog;
  readonly paths: readonly (readonly string[])[];
  /** True while the catalog may lack changes of this session (DDL not committed, or not read again yet): a bare name may then mean any relation along the path. */
  readonly stale?: boolean;
  readonly prepared: ReadonlyMap<string, readonly Analysis[]>;
  readonly cursors: ReadonlyMap<string, readonly (readonly Origin[] | null)[]>;
}

// ---------------------------------------------------------------- protection

export interface Protection {
  /** Set when the statement can't be let through under the masks. */
  readonly refuse?: {
    readonly code: 'MASK_UNTRACED' | 'MASK_CONDITION';
    readonly reason: string;
    readonly hint: string;
  };
  /** One entry per output: null passes unchanged. 'all': every output is masked whole, whatever comes. */
  readonly outputs: readonly (OutputMask | null)[] | 'all';
  /** Texts of errors and notices may quote protected values: keep code and severity, withhold the rest. */
  readonly withholdErrors: boolean;
  /** Names of the masks that apply, for audit. */
  readonly masks: readonly string[];
}

export interface OutputMask {
  readonly mask: ColumnMask;
  /** False: the value is derived and is masked whole (redact) whatever the mask's kind. */
  readonly plain: boolean;
}

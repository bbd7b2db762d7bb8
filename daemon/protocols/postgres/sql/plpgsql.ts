/**
 * The SQL within a PL/pgSQL function: every expression and statement that its tree holds, and whether it runs text that
 * it makes up at run time. Reads the tree by an allow-list of node names: one that is not known counts as dynamic, so
 * that a construct of a later PostgreSQL is never taken for harmless.
 */
import type { PgQuery, SyntaxFault } from './pg-query.ts';

export interface EmbeddedQueries {
  /** Each parses as a statement of its own: an expression `x` is given as `SELECT x`, an assignment as both its sides. */
  readonly queries: readonly string[];
  /** Types of its variables, as CAST takes them: what is put into one is converted to it, and a domain checks it. */
  readonly types: readonly string[];
  /** EXECUTE in any form, or something that is not known. */
  readonly dynamic: boolean;
  /** OPEN: a cursor of whatever name stays behind, maybe in the place of one that was closed. */
  readonly opens: boolean;
}

/** Node names of libpg_query's pg_query_json_plpgsql.c that hold nothing but expressions, names and further nodes. */
const STATIC = new Set(
  `function var type row rec recfield expr stmt_block stmt_assign stmt_execsql stmt_perform stmt_if if_elsif stmt_case
   case_when stmt_loop stmt_exit stmt_while stmt_fori stmt_fors stmt_forc stmt_foreach_a stmt_open stmt_fetch stmt_close
   stmt_raise raise_option stmt_assert stmt_call exception_block exception condition stmt_getdiag diag_item stmt_commit
   stmt_rollback stmt_return stmt_return_next stmt_return_query`
    .split(/\s+/)
    .map((name) => `PLpgSQL_${name}`),
);

/** RawParseMode of PostgreSQL's parser/parser.h: how PLpgSQL_expr.query is to be read. */
const MODE_DEFAULT = 0;
const MODE_EXPRESSION = 2;
const MODE_ASSIGN_FIRST = 3;
const MODE_ASSIGN_LAST = 5;

/** How many places an assignment's text is tried to be parted at. */
const MAX_ASSIGN_TRIES = 64;

/** Throws what PgQuery throws. */
export function embeddedQueries(pg: PgQuery, text: string): EmbeddedQueries | { readonly syntax: SyntaxFault } {
  const json = pg.plpgsql(text);
  if (typeof json !== 'string') return { syntax: json };
  const tree = JSON.parse(json) as { plpgsql_funcs?: unknown[] };
  const queries: string[] = [];
  const types = new Set<string>();
  let dynamic = tree.plpgsql_funcs?.length !== 1;
  let opens = false;
  const pending: unknown[] = [tree.plpgsql_funcs];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (node === null || typeof node !== 'object') continue;
    for (const [key, value] of Object.entries(node)) {
      if (key.startsWith('PLpgSQL_')) {
        if (!STATIC.has(key)) dynamic = true;
        if (key === 'PLpgSQL_stmt_open') opens = true;
        if (key === 'PLpgSQL_type') types.add(castable(String((value as { typname?: unknown }).typname)));
        if (key === 'PLpgSQL_expr') {
          const found = readable(pg, value as { query?: unknown; parseMode?: unknown });
          if (found === null) dynamic = true;
          else queries.push(...found);
        }
      }
      if (key === 'dynquery') dynamic = true;
      if (value !== null && value !== undefined) pending.push(value);
    }
  }
  return { queries, dynamic, opens, types: [...types].filter((type) => type !== 'record') };
}

/** `t%rowtype` is the row of t, and a column's `t.c%type` one of its parts; another variable's type is listed by itself. */
function castable(type: string): string {
  if (!/%(?:row)?type$/i.test(type)) return type;
  const parts = type.replace(/%(?:row)?type$/i, '');
  if (/%rowtype$/i.test(type)) return parts;
  const table = /^(.+)\.(?:"(?:[^"]|"")*"|[^."]+)$/.exec(parts);
  return table === null ? 'record' : table[1]!;
}

/** Texts that a plain parse reads, or null when there is no saying what the expression is. */
function readable(pg: PgQuery, { query, parseMode }: { query?: unknown; parseMode?: unknown }): string[] | null {
  if (typeof query !== 'string' || typeof parseMode !== 'number') return null;
  if (parseMode === MODE_DEFAULT) return [query];
  if (parseMode === MODE_EXPRESSION) return [`SELECT ${query}`];
  if (parseMode < MODE_ASSIGN_FIRST || parseMode > MODE_ASSIGN_LAST) return null;
  let tries = 0;
  for (const { index, 0: sign } of query.matchAll(/:?=/g)) {
    if (++tries > MAX_ASSIGN_TRIES) return null;
    const target = `SELECT ${query.slice(0, index)}`;
    const value = `SELECT ${query.slice(index + sign.length)}`;
    if (typeof pg.parse(target) === 'string' && typeof pg.parse(value) === 'string') {
      return target.includes('[') ? [target, value] : [value];
    }
  }
  return null;
}

/**
 * What is asked of PostgreSQL 13 to 18 to know its catalog. Everything here may be read by any role. Objects below oid
 * 16384 (FirstNormalObjectId of access/transam.h) are the server's own and are asked for once, see catalog.ts.
 *
 * All runs in one transaction, with search_path pg_catalog: nothing of a user's own can stand in for what is called, and
 * pg_get_viewdef and its like then write every other name with its schema.
 */
export const FIRST_USER_OID = 16_384;

const user = `>= ${FIRST_USER_OID}`;
const system = `< ${FIRST_USER_OID}`;

export const BEGIN = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY';
export const OWN_PATH = 'SET LOCAL search_path TO pg_catalog';
export const COMMIT = 'COMMIT';

/** version, account, database, and schemas of the session's own search path (JSON). Runs before OWN_PATH: names are qualified. */
export const IDENTITY = `SELECT pg_catalog.current_setting('server_version_num'), current_user, pg_catalog.current_database(),
  pg_catalog.to_json(pg_catalog.current_schemas(false))`;

/**
 * search_path as a new session of this account would have it by ALTER ROLE or ALTER DATABASE … SET, null where neither
 * says anything. This session has what they said when it began.
 */
export const PATH_SETTING = `SELECT (
  SELECT substr(entry, 13) FROM pg_db_role_setting, unnest(setconfig) AS entry
  WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user)) AND entry LIKE 'search\\_path=%'
  ORDER BY setrole <> 0 DESC, setdatabase <> 0 DESC LIMIT 1)`;

/** The schemas which that path means now; a path of pg_catalog comes after it. */
export const PATH_SCHEMAS = [
  `SELECT set_config('search_path', setting, true) FROM (${PATH_SETTING}) AS s(setting) WHERE setting IS NOT NULL`,
  'SELECT pg_catalog.to_json(pg_catalog.current_schemas(false))',
  OWN_PATH,
];

/**
 * One row of two texts. The first names the transactions that this one sees; where it is `seen`, nothing can have changed
 * and the second is null. (A standby does not list the running ones in it, so there it is null.) The second differs after
 * every change that matters: for each table of the catalog it has the number of rows and the sum of their xmin. Every
 * change gives a row a new xmin, higher than all before, so that with as many rows as before the sum can only have risen.
 * xmin has no cast to a number but by text, which is slow: age() differs from it by a term that age('3') differs by too.
 * Frozen rows of servers older than 9.4 have the greatest age for ever.
 */
export function fingerprint(seen: string): string {
  if (!/^[0-9:,]*$/.test(seen)) throw new Error('not a snapshot of transactions');
  return `SELECT now, CASE WHEN now = '${seen}' THEN NULL ELSE concat_ws(' ', ${SUMS}) END
    FROM (SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_snapshot()::text END) AS s(now)`;
}

const SUMS = [
  `pg_class WHERE oid ${user}`,
  `pg_attribute WHERE attrelid ${user} AND attnum > 0`,
  `pg_attrdef WHERE adrelid ${user}`,
  `pg_proc WHERE oid ${user}`,
  `pg_rewrite WHERE oid ${user}`,
  `pg_trigger WHERE oid ${user}`,
  `pg_policy WHERE oid ${user}`,
  `pg_inherits WHERE inhrelid ${user}`,
  `pg_operator WHERE oid ${user}`,
  `pg_cast WHERE oid ${user}`,
  `pg_amop WHERE oid ${user}`,
  `pg_amproc WHERE oid ${user}`,
  `pg_type WHERE oid ${user}`,
  `pg_constraint WHERE oid ${user} AND contypid <> 0`,
  `pg_namespace WHERE oid ${user}`,
  'pg_db_role_setting',
]
  .map(
    (from) =>
      `(SELECT concat(count(*), ':', sum(CASE age(xmin) WHEN 2147483647 THEN 0 ELSE age('3'::xid)::int8 - age(xmin) END)) FROM ${from})`,
  )
  .join(', ');

/** Tells the system parts of two servers apart: oids above 10000 are given out at initdb. */
export const SYSTEM_IDENTITY = `SELECT concat_ws(' ', current_setting('server_version_num'),
  (SELECT md5(string_agg(oid || proname, ' ' ORDER BY oid)) FROM pg_proc WHERE oid ${system}),
  (SELECT md5(string_agg(oid || relname, ' ' ORDER BY oid)) FROM pg_class WHERE oid ${system}))`;

const relations = (
  which: string,
  definition: string,
) => `SELECT c.oid, n.nspname, c.relname, c.relkind, c.reltype, c.relrowsecurity, ${definition}
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid ${which} ORDER BY c.oid`;

const columns = (
  which: string,
  generated = 'pg_get_expr(d.adbin, d.adrelid)',
) => `SELECT a.attrelid, a.attnum, a.attname, a.atttypid,
    CASE WHEN a.attgenerated <> '' THEN ${generated} END
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind NOT IN ('i', 'I')
  LEFT JOIN pg_attrdef d ON a.attgenerated <> '' AND d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid ${which} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum`;

const functions = (
  which: string,
  source: string,
  defaults: string,
) => `SELECT p.oid, n.nspname, p.proname, p.prokind, l.lanname, p.provolatile, p.prosecdef,
    p.proargtypes, to_json(p.proargnames), array_to_string(p.proargmodes, ''), p.pronargdefaults, p.provariadic <> 0,
    p.prorettype, p.proretset, ${source}, to_json(p.proconfig), ${defaults}
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang WHERE p.oid ${which} ORDER BY p.oid`;

/** Names are those of the parts in catalog-parts.ts. */
export const SYSTEM_PARTS = {
  relations: relations(`${system} AND c.relkind NOT IN ('i', 'I')`, 'NULL'),
  columns: columns(system),
  functions: functions(system, "''", "''"),
};

/** Stands for a text that could not be had. No parser takes it, so nothing is known of what it defines. */
const UNREADABLE = "'?'";

/**
 * `server`: server_version_num. `locked`: without the functions that wait for locks on the relations that a text names:
 * the transaction that holds them may be the one that waits for this catalog.
 */
export function userParts(server: number, locked = false) {
  const text = (call: string) => (locked ? UNREADABLE : call);
  const sql = locked
    ? `CASE WHEN p.prosqlbody IS NULL THEN p.prosrc ELSE ${UNREADABLE} END`
    : 'coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)';
  const body = server >= 140_000 ? sql : 'p.prosrc';
  return {
    schemas: 'SELECT nspname FROM pg_namespace ORDER BY oid',
    relations: relations(user, `CASE WHEN c.relkind IN ('v', 'm') THEN ${text('pg_get_viewdef(c.oid)')} END`),
    columns: columns(user, text('pg_get_expr(d.adbin, d.adrelid)')),
    inherits: `SELECT inhrelid, inhparent FROM pg_inherits WHERE inhrelid ${user} ORDER BY inhrelid, inhseqno`,
    rules: `SELECT ev_class, ${text('pg_get_ruledef(oid)')} FROM pg_rewrite WHERE oid ${user} AND rulename <> '_RETURN' AND ev_enabled <> 'D' ORDER BY ev_class, rulename`,
    triggers: `SELECT tgrelid, tgfoid FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' ORDER BY tgrelid, tgname`,
    policies: `SELECT polrelid, ${text('pg_get_expr(polqual, polrelid)')}, ${text('pg_get_expr(polwithcheck, polrelid)')} FROM pg_policy ORDER BY polrelid, polname`,
    functions: functions(
      user,
      `CASE WHEN l.lanname IN ('internal', 'c') THEN '' ELSE ${body} END`,
      `coalesce(pg_get_expr(p.proargdefaults, 0), '')`,
    ),
    aggregates: `SELECT aggfnoid::oid, concat_ws(' ', aggtransfn::oid, aggfinalfn::oid, aggcombinefn::oid, aggserialfn::oid,
        aggdeserialfn::oid, aggmtransfn::oid, aggminvtransfn::oid, aggmfinalfn::oid)
      FROM pg_aggregate WHERE aggfnoid::oid ${user} ORDER BY 1`,
    unnamed: `SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
      WHERE p.oid ${user} AND l.lanname NOT IN ('internal', 'c') AND p.oid IN (
        SELECT castfunc FROM pg_cast WHERE castcontext <> 'e'
        UNION ALL SELECT amproc::oid FROM pg_amproc
        UNION ALL SELECT o.oprcode::oid FROM pg_amop m JOIN pg_operator o ON o.oid = m.amopopr)
      ORDER BY p.oid`,
    operators: `SELECT oprname, oprcode::oid FROM pg_operator WHERE oid ${user} ORDER BY oid`,
    // Row types are known by their relation.
    types: `SELECT t.oid, t.typname, t.typtype, t.typbasetype, t.typelem, coalesce(r.rngsubtype, 0),
        t.typinput::oid, t.typoutput::oid, t.typreceive::oid, t.typsend::oid, t.typmodin::oid, t.typmodout::oid
      FROM pg_type t LEFT JOIN pg_range r ON t.oid ${server >= 140_000 ? 'IN (r.rngtypid, r.rngmultitypid)' : '= r.rngtypid'}
      WHERE t.oid ${user} AND t.typtype <> 'c' ORDER BY t.oid`,
    checks: `SELECT contypid, pg_get_expr(conbin, 0) FROM pg_constraint WHERE contypid ${user} AND contype = 'c' ORDER BY contypid, conname`,
    casts: `SELECT s.typname, t.typname, c.castfunc FROM pg_cast c JOIN pg_type s ON s.oid = c.castsource
      JOIN pg_type t ON t.oid = c.casttarget WHERE c.oid ${user} AND c.castfunc <> 0 ORDER BY c.oid`,
  };
}

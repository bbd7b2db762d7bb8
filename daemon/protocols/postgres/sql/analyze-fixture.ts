/** A catalog written by hand for unit tests: relations, functions and a parser that waits for nobody. */
import type { ColumnMask, Obligations } from '../../../core/mask.ts';
import { FIRST_USER_OID } from './catalog-queries.ts';
import type { Catalog, Column, Func, Names, Relation } from './model.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

let nextOid = 20_000;

/** `schema.name` and its columns; `t.c = expression` for a generated one. */
export function relation(name: string, columns: string, more: Partial<Relation> = {}): Relation {
  const [schema, local] = name.split('.') as [string, string];
  const list = columns.split(',').map((text, i): Column => {
    const [column, generated] = text.split('=').map((part) => part.trim());
    const base = { attnum: i + 1, name: column!, typeOid: 25 };
    return generated === undefined ? base : { ...base, generated };
  });
  return {
    oid: nextOid++,
    schema,
    name: local,
    kind: more.definition === undefined ? 'r' : 'v',
    columns: list,
    parents: [],
    children: [],
    rules: [],
    triggers: [],
    policies: [],
    system: schema === 'pg_catalog' || schema === 'information_schema',
    ...more,
  };
}

/** `schema.name`, with as many text arguments as said. */
export function func(name: string, args: number, more: Partial<Func> = {}): Func {
  const [schema, local] = name.split('.') as [string, string];
  const system = schema === 'pg_catalog';
  return {
    oid: nextOid++,
    schema,
    name: local,
    kind: 'f',
    language: system ? 'internal' : 'sql',
    volatility: 'i',
    securityDefiner: false,
    argTypes: Array(args).fill(25),
    argNames: [],
    defaults: 0,
    defaultTexts: '',
    support: [],
    variadic: false,
    returnType: 25,
    returnsSet: false,
    outNames: [],
    source: '',
    config: [],
    system,
    ...more,
  };
}

export interface CatalogParts {
  readonly relations?: readonly Relation[];
  readonly functions?: readonly Func[];
  readonly operators?: Readonly<Record<string, readonly Func[]>>;
  readonly types?: Readonly<Record<string, readonly Func[]>>;
  readonly domains?: Readonly<Record<string, ReturnType<Catalog['columnsOfDomain']>>>;
  /** Checks of domains, by name. */
  readonly checks?: Readonly<Record<string, readonly string[]>>;
  /** Domains by oid. */
  readonly domainNames?: Readonly<Record<number, string>>;
  readonly unnamed?: readonly Func[];
  readonly server?: number;
  readonly user?: string;
}

const BUILTIN: readonly Func[] = [
  func('pg_catalog.upper', 1),
  func('pg_catalog.lower', 1),
  func('pg_catalog.substr', 3),
  func('pg_catalog.to_jsonb', 1),
  func('pg_catalog.count', 1, { kind: 'a' }),
  func('pg_catalog.count', 0, { kind: 'a' }),
  func('pg_catalog.max', 1, { kind: 'a' }),
  func('pg_catalog.string_agg', 2, { kind: 'a' }),
  func('pg_catalog.rank', 0, { kind: 'w' }),
  func('pg_catalog.generate_series', 2, { returnsSet: true }),
  func('pg_catalog.unnest', 1, { returnsSet: true, returnType: 2283 }),
  func('pg_catalog.unnest', 1, { returnsSet: true, returnType: 2249, outNames: ['lexeme', 'positions', 'weights'] }),
  func('pg_catalog.populated', 2, { returnType: 2283 }),
  func('pg_catalog.now', 0, { volatility: 's' }),
  func('pg_catalog.random', 0, { volatility: 'v' }),
  func('pg_catalog.nextval', 1, { volatility: 'v' }),
  func('pg_catalog.set_config', 3, { volatility: 'v' }),
  func('pg_catalog.pg_notify', 2, { volatility: 'v' }),
  func('pg_catalog.pg_sleep', 1, { volatility: 'v' }),
  func('pg_catalog.pg_read_file', 1, { volatility: 'v' }),
  func('pg_catalog.query_to_xml', 4, { volatility: 'v' }),
  func('pg_catalog.schema_to_xml', 4, { volatility: 's' }),
  func('pg_catalog.pg_terminate_backend', 1, { volatility: 'v' }),
  func('pg_catalog.of_a_later_version', 0, { volatility: 'v' }),
  func('pg_catalog.lo_get', 1, { volatility: 'v' }),
];

const SYSTEM: readonly Relation[] = [
  relation('pg_catalog.pg_class', 'oid,relname,relkind'),
  relation('pg_catalog.pg_stats', 'tablename,null_frac,most_common_vals', { kind: 'v' }),
  relation('pg_catalog.pg_stat_activity', 'pid,query', { kind: 'v' }),
  relation('pg_catalog.pg_prepared_xacts', 'transaction,gid', { kind: 'v' }),
  relation('pg_catalog.pg_stats_ext_exprs', 'expr,most_common_freqs', { kind: 'v' }),
  relation('pg_catalog.pg_authid', 'rolname,rolpassword'),
  relation('pg_catalog.pg_largeobject', 'loid,data'),
];

export function catalogOf(parts: CatalogParts, version = 1): Catalog {
  const relations = [...SYSTEM, ...(parts.relations ?? [])];
  const functions = [...BUILTIN, ...(parts.functions ?? [])];
  const typeCode = (name: string) => ({ functions: parts.types?.[name] ?? [], checks: parts.checks?.[name] ?? [] });
  return {
    version,
    server: parts.server ?? 150_000,
    user: parts.user ?? 'agent',
    database: 'shop',
    searchPath: ['public'],
    schemas: new Set(['pg_catalog', ...relations.map((one) => one.schema)]),
    relation: (schema, name) => relations.find((one) => one.schema === schema && one.name === name),
    relationByOid: (oid) => relations.find((one) => one.oid === oid),
    relationsNamed: (name) => relations.filter((one) => one.name === name),
    functionsNamed: (name) => functions.filter((one) => one.name === name),
    functionByOid: (oid) => functions.find((one) => one.oid === oid),
    operatorFunctions: (operator) => parts.operators?.[operator] ?? [],
    columnsOfDomain: (name) => parts.domains?.[name] ?? [],
    typeCode,
    typeCodeOf: (oid) => {
      const domain = parts.domainNames?.[oid];
      return domain === undefined && oid >= FIRST_USER_OID ? undefined : typeCode(domain ?? '');
    },
    unnamed: parts.unnamed ?? [],
    relationOfType: () => undefined,
  };
}

export function inherits(parent: Relation, child: Relation): void {
  (parent as Mutable<Relation>).children = [...parent.children, child.oid];
  (child as Mutable<Relation>).parents = [...child.parents, parent.oid];
}

export function namesOf(catalog: Catalog, more: Partial<Names> = {}): Names {
  return { catalog, paths: [catalog.searchPath], prepared: new Map(), cursors: new Map(), ...more };
}

export function masked(
  conditions: ColumnMask['conditions'],
  columns: readonly string[],
  kind: ColumnMask['with'] = 'redact',
): Obligations {
  return { masks: [{ name: 'pii', columns, with: kind, conditions }], detect: [], detectWith: 'redact' };
}

/** A small shop: protected are people.email and people.ssn. */
export function shop(): Catalog {
  const people = relation('public.people', 'id,name,email,ssn,note');
  const archive = relation('public.people_archive', 'id,name,email,ssn,note,archived');
  inherits(people, archive);
  const audit = func('public.audit', 0, {
    language: 'plpgsql',
    volatility: 'v',
    returnType: 2279,
    source: 'BEGIN INSERT INTO public.log VALUES (TG_OP, NEW.id); RETURN NEW; END',
  });
  return catalogOf({
    relations: [
      people,
      archive,
      relation('public.orders', 'id,person_id,item,qty', { triggers: [audit.oid] }),
      relation('public.log', 'what,ref'),
      relation('public.scratch', 'k,v'),
      relation('public.made', 'id,mail,tag = lower(mail)'),
      relation('other.people', 'id,name,email'),
      relation('public.people_v', 'id,contact', { definition: 'SELECT id, email AS contact FROM public.people' }),
      relation('public.people_safe', 'id,name', {
        definition: 'SELECT id, name FROM public.people WHERE email IS NOT NULL',
      }),
      relation('public.ticket_seq', 'last_value', { kind: 'S' }),
      relation('public.ruled', 'v', {
        rules: ['CREATE RULE r AS ON INSERT TO public.ruled DO INSTEAD SELECT people.email FROM public.people'],
      }),
    ],
    functions: [
      audit,
      func('public.contact', 1, { volatility: 's', source: 'SELECT email FROM public.people WHERE id = $1' }),
      func('public.find', 1, {
        volatility: 's',
        argNames: ['mail'],
        source: 'SELECT id FROM public.people WHERE email = mail',
      }),
      func('public.twice', 1, { source: 'SELECT $1 || $1' }),
      func('public.forever', 1, { source: 'SELECT public.forever($1)' }),
      func('public.touch', 1, {
        language: 'plpgsql',
        volatility: 'v',
        source: "BEGIN INSERT INTO public.log VALUES ('x', $1); RETURN $1; END",
      }),
      func('public.pay', 1, {
        language: 'plpgsql',
        volatility: 's',
        source: 'DECLARE x text; BEGIN x := (SELECT ssn FROM public.people WHERE id = $1); RETURN x; END',
      }),
      func('public.run_text', 1, { language: 'plpgsql', volatility: 'v', source: 'BEGIN EXECUTE $1; END' }),
      func('public.native', 1, { language: 'c', volatility: 'v' }),
      func('public.similarity', 2, { language: 'c' }),
      func('public.doubled', 1, { kind: 'p', source: 'SELECT $1 || $1', outNames: ['a'] }),
      func('public.telling', 1, { kind: 'p', source: 'SELECT email FROM public.people', outNames: ['a'] }),
      func('public.atomic', 1, { volatility: 's', source: 'BEGIN ATOMIC SELECT email FROM public.people; END' }),
    ],
    domains: { address: [{ relation: people, columns: ['email'] }], label: [{ relation: people, columns: ['name'] }] },
    operators: { '###': [func('public.op', 2, { source: 'SELECT email FROM public.people' })] },
  });
}

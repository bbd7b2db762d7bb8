/** Rows of the catalog, as catalog-queries.ts asks for them, become the objects of model.ts, and their indexes. */
import type { Row } from '../login/client.ts';
import type { Column, Func, Relation } from './model.ts';

type Writable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer U)[] ? readonly U[] : T[K] };

const NONE: readonly never[] = Object.freeze([]);

export interface TypeParts {
  readonly name: string;
  /** pg_type.typtype: b base, d domain, e enum, r range, m multirange, p pseudo. */
  readonly kind: string;
  /** Types that its values are made of: a domain's base, an array's element, a range's bounds. */
  readonly made: readonly number[];
  /** Input, output and the like, as far as they are not the server's own. */
  readonly functions: readonly number[];
  readonly checks: string[];
}

/** Relations and functions, found by oid and by name. One for the server's own, one for the rest. */
export class Objects {
  readonly relations = new Map<number, Relation>();
  readonly relationsByName = new Map<string, Relation[]>();
  readonly relationsByType = new Map<number, Relation>();
  readonly functions = new Map<number, Func>();
  readonly functionsByName = new Map<string, Func[]>();
  readonly #system: boolean;
  /** Names and types recur: one string for each. Dropped when all is read. */
  #strings = new Map<string, string>();

  constructor(system: boolean) {
    this.#system = system;
  }

  intern(text: string): string {
    const known = this.#strings.get(text);
    if (known !== undefined) return known;
    this.#strings.set(text, text);
    return text;
  }

  relation([oid, schema, name, kind, type, , definition]: Row): void {
    const relation: Writable<Relation> = {
      oid: Number(oid),
      schema: this.intern(schema!),
      name: this.intern(name!),
      kind: this.intern(kind!),
      columns: NONE,
      parents: NONE,
      children: NONE,
      rules: NONE,
      triggers: NONE,
      policies: NONE,
      system: this.#system,
    };
    if (definition != null) relation.definition = definition;
    this.relations.set(relation.oid, relation);
    if (type !== '0') this.relationsByType.set(Number(type), relation);
    listed(this.relationsByName, relation.name).push(relation);
  }

  column([oid, attnum, name, type, generated]: Row): void {
    const column: Column = { attnum: Number(attnum), name: this.intern(name!), typeOid: Number(type) };
    this.#extend(Number(oid), 'columns', generated == null ? column : { ...column, generated });
  }

  inherits([child, parent]: Row): void {
    this.#extend(Number(child), 'parents', Number(parent));
    this.#extend(Number(parent), 'children', Number(child));
  }

  rule([oid, definition]: Row): void {
    this.#extend(Number(oid), 'rules', definition!);
  }

  trigger([oid, func]: Row): void {
    this.#extend(Number(oid), 'triggers', Number(func));
  }

  policy([oid, using, check]: Row, secured: ReadonlySet<number>): void {
    if (!secured.has(Number(oid))) return;
    for (const expression of [using, check]) if (expression != null) this.#extend(Number(oid), 'policies', expression);
  }

  #extend(
    oid: number,
    list: 'columns' | 'parents' | 'children' | 'rules' | 'triggers' | 'policies',
    item: unknown,
  ): void {
    const relation = this.relations.get(oid) as unknown as Record<string, unknown[]> | undefined;
    if (relation === undefined) return;
    if ((relation[list] as readonly unknown[]) === NONE) relation[list] = [item];
    else relation[list]!.push(item);
  }

  func(row: Row): void {
    const [
      oid,
      schema,
      name,
      kind,
      language,
      volatility,
      definer,
      types,
      names,
      modes,
      defaults,
      variadic,
      result,
      set,
      source,
      config,
      defaultTexts,
    ] = row;
    const argNames = names == null ? NONE : (JSON.parse(names) as string[]).map((arg) => this.intern(arg));
    // Without modes every argument is an input.
    const named = (of: string) => (modes == null ? [] : argNames.filter((_, i) => of.includes(modes[i] ?? '')));
    const argTypes = types === '' ? NONE : types!.split(' ').map(Number);
    const func: Func = {
      oid: Number(oid),
      schema: this.intern(schema!),
      name: this.intern(name!),
      kind: this.intern(kind!),
      language: this.intern(language!),
      volatility: this.intern(volatility!),
      securityDefiner: definer === 't',
      argTypes,
      argNames: modes == null ? argNames : named('ibv'),
      defaults: Number(defaults),
      variadic: variadic === 't',
      returnType: Number(result),
      returnsSet: set === 't',
      outNames: modes == null ? NONE : named('obt'),
      source: source!,
      defaultTexts: defaultTexts ?? '',
      support: NONE,
      config: config == null ? NONE : (JSON.parse(config) as string[]),
      system: this.#system,
    };
    this.functions.set(func.oid, func);
    listed(this.functionsByName, func.name).push(func);
  }

  aggregate([oid, support]: Row): void {
    const func = this.functions.get(Number(oid)) as Writable<Func> | undefined;
    if (func === undefined) return;
    func.support = support!
      .split(' ')
      .map(Number)
      .filter((part) => part !== 0);
  }

  /** Nothing more comes. Names that `base` has too answer with both. */
  complete(base?: Objects): void {
    this.#strings = new Map();
    if (base === undefined) return;
    for (const [name, own] of this.relationsByName) own.push(...(base.relationsByName.get(name) ?? NONE));
    for (const [name, own] of this.functionsByName) own.push(...(base.functionsByName.get(name) ?? NONE));
  }
}

export function typeParts(row: Row, firstUserOid: number): TypeParts {
  const [, name, kind, base, element, bounds, ...functions] = row;
  const made = [base, element, bounds].map(Number).filter((oid) => oid >= firstUserOid);
  return {
    name: name!,
    kind: kind!,
    made,
    functions: functions.map(Number).filter((oid) => oid >= firstUserOid),
    checks: [],
  };
}

export function listed<K, V>(map: Map<K, V[]>, key: K): V[] {
  const known = map.get(key);
  if (known !== undefined) return known;
  const list: V[] = [];
  map.set(key, list);
  return list;
}

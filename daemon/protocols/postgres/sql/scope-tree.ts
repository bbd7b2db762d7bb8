/**
 * The parse tree as libpg-query gives it: JSON in which a node is an object with one capitalised key (`{SelectStmt: {…}}`),
 * a message of a fixed type is its bare body, and zero, false and empty are left out.
 */

// biome-ignore lint/suspicious/noExplicitAny: the tree is the parser's own JSON; each reader names the keys that it expects
export type Body = { readonly [key: string]: any };
/** `{Tag: body}`. */
export type Node = Body;

/** The tag of a node, or '' for what is no node. */
export function tagOf(node: Node | undefined): string {
  if (node === undefined || node === null || typeof node !== 'object') return '';
  for (const key in node) return key;
  return '';
}

/** Tag and body of a node. */
export function open(node: Node): readonly [string, Body] {
  const tag = tagOf(node);
  return [tag, (node[tag] ?? {}) as Body];
}

/** The strings of a list of String nodes; anything else in the list becomes ''. */
export function strings(list: readonly Node[] | undefined): string[] {
  return (list ?? []).map((item) => item.String?.sval ?? '');
}

/** Items of a List node, or the node itself as the only item. */
export function items(node: Node | undefined): readonly Node[] {
  if (node === undefined) return [];
  return node.List ? (node.List.items ?? []) : [node];
}

/** Text of a constant, identifier or type name in an option (`FORMAT csv`, `ANALYZE 1`); undefined: not a constant. */
export function optionText(arg: Node | undefined): string | undefined {
  if (arg === undefined) return undefined;
  const [tag, body] = open(arg);
  if (tag === 'String') return body.sval ?? '';
  if (tag === 'Integer') return String(body.ival ?? 0);
  if (tag === 'Float') return body.fval;
  if (tag === 'Boolean') return String(body.boolval ?? false);
  if (tag === 'A_Const') return constantText(body);
  if (tag === 'TypeName') return strings(body.names).at(-1);
  if (tag === 'TypeCast') return optionText(body.arg);
  return undefined;
}

/** Text of a literal; undefined for NULL. */
export function constantText(constant: Body): string | undefined {
  if (constant.isnull) return undefined;
  if (constant.sval) return constant.sval.sval ?? '';
  if (constant.ival) return String(constant.ival.ival ?? 0);
  if (constant.fval) return constant.fval.fval;
  if (constant.boolval) return String(constant.boolval.boolval ?? false);
  if (constant.bsval) return constant.bsval.bsval;
  return undefined;
}

/** PostgreSQL's reading of a boolean option: absent means true, prefixes and 0/1 count (defGetBoolean). */
export function optionTrue(option: Body): boolean {
  const text = optionText(option.arg)?.toLowerCase();
  return text === undefined || !(text === 'false' || text === 'off' || text === '0');
}

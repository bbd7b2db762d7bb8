/** A JSON Schema as the terms of a man page: one for each key, with its path, its kind, what absent means, and its words. */
import { bold, item, prose } from './roff.ts';

export interface Schema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly required?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
}

const article = (schema: Schema): string => {
  if (schema.const !== undefined) return `\`${String(schema.const)}\``;
  if (schema.enum !== undefined) return schema.enum.map((one) => `\`${String(one)}\``).join(', ');
  if (schema.anyOf !== undefined) return schema.anyOf.map(article).join(', or ');
  if (schema.type === 'array') return `list of ${schema.items === undefined ? 'anything' : plural(schema.items)}`;
  if (schema.type === 'object') return 'mapping';
  if (schema.type === 'string') return 'text';
  return typeof schema.type === 'string' ? schema.type : 'anything';
};

const plural = (schema: Schema): string =>
  schema.type === 'string' && schema.enum === undefined
    ? 'texts'
    : schema.type === 'object'
      ? 'mappings'
      : article(schema);

/** Objects below a schema whose keys have terms of their own, with what stands in their paths. */
function* nested(schema: Schema): Generator<{ suffix: string; schema: Schema }> {
  if (schema.properties !== undefined) yield { suffix: '', schema };
  if (typeof schema.additionalProperties === 'object')
    for (const { suffix, schema: inner } of nested(schema.additionalProperties))
      yield { suffix: `.NAME${suffix}`, schema: inner };
  if (schema.items !== undefined)
    for (const { suffix, schema: inner } of nested(schema.items)) yield { suffix: `[]${suffix}`, schema: inner };
  for (const branch of schema.anyOf ?? []) yield* nested(branch);
}

function line(schema: Schema, required: boolean): string {
  const parts = [article(schema)];
  if (schema.default !== undefined && typeof schema.default !== 'object')
    parts.push(`default \`${String(schema.default)}\``);
  else if (Array.isArray(schema.default) && schema.default.length > 0)
    parts.push(`default \`${JSON.stringify(schema.default)}\``);
  else if (required && schema.default === undefined) parts.push('required');
  const words = parts.join('; ');
  return `${words.replace(/^[a-z]/, (letter) => letter.toUpperCase())}.`;
}

/** One term for each key of `schema` and of what lies in it, in order. */
export function keys(schema: Schema, path = ''): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, inner]) => {
    const name = path === '' ? key : `${path}.${key}`;
    const texts = [line(inner, schema.required?.includes(key) ?? false)];
    if (inner.description !== undefined) texts.push(inner.description);
    const described = [...nested(inner)];
    const itself = inner.items?.description;
    if (itself !== undefined) texts.push(itself);
    return [
      `${item(bold(name), '')}`.replace(/\n\\&$/, `\n${prose(texts.join(' '))}`),
      ...described.flatMap(({ suffix, schema: below }) => keys(below, `${name}${suffix}`)),
    ];
  });
}

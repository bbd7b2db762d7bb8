/** The name that PostgreSQL gives to an output without AS (FigureColname of parse_target.c). */
import { type Body, type Node, open, strings } from './scope-tree.ts';

const CONSTRUCTOR_NAMES: Readonly<Record<string, string>> = {
  A_ArrayExpr: 'array',
  RowExpr: 'row',
  CoalesceExpr: 'coalesce',
  XmlSerialize: 'xmlserialize',
  GroupingFunc: 'grouping',
  MergeSupportFunc: 'merge_action',
  JsonParseExpr: 'json',
  JsonScalarExpr: 'json_scalar',
  JsonSerializeExpr: 'json_serialize',
  JsonObjectConstructor: 'json_object',
  JsonArrayConstructor: 'json_array',
  JsonArrayQueryConstructor: 'json_array',
  JsonObjectAgg: 'json_objectagg',
  JsonArrayAgg: 'json_arrayagg',
};

export function outputName(node: Node): string {
  return nameOf(node) ?? '?column?';
}

function nameOf(node: Node | undefined): string | undefined {
  if (node === undefined) return undefined;
  const [tag, body] = open(node);
  switch (tag) {
    case 'ColumnRef':
      return strings(body.fields).findLast((name) => name !== '');
    case 'A_Indirection':
      return strings(body.indirection).findLast((name) => name !== '') ?? nameOf(body.arg);
    case 'FuncCall':
      return strings(body.funcname).at(-1);
    case 'A_Expr':
      return body.kind === 'AEXPR_NULLIF' ? 'nullif' : undefined;
    case 'TypeCast':
      return nameOf(body.arg) ?? strings(body.typeName?.names).at(-1);
    case 'CollateClause':
      return nameOf(body.arg);
    case 'MinMaxExpr':
      return body.op === 'IS_LEAST' ? 'least' : 'greatest';
    case 'CaseExpr':
      return nameOf(body.defresult) ?? 'case';
    case 'SQLValueFunction':
      return String(body.op).replace('SVFOP_', '').replace(/_N$/, '').toLowerCase();
    case 'XmlExpr':
      return String(body.op).replace('IS_', '').toLowerCase();
    case 'JsonFuncExpr':
      return String(body.op).replace('_OP', '').toLowerCase();
    case 'SubLink':
      return subqueryName(body);
  }
  return CONSTRUCTOR_NAMES[tag];
}

function subqueryName(body: Body): string | undefined {
  if (body.subLinkType === 'EXISTS_SUBLINK') return 'exists';
  if (body.subLinkType === 'ARRAY_SUBLINK') return 'array';
  if (body.subLinkType !== 'EXPR_SUBLINK') return undefined;
  const target = body.subselect?.SelectStmt?.targetList?.[0]?.ResTarget;
  return target === undefined ? undefined : (target.name ?? nameOf(target.val));
}

/** What is done to each column of a result, worked out once per result. */
import type { MaskKind } from '../../../core/mask.ts';
import type { MaskKey } from '../../../masking/key.ts';
import { type Detection, replaceSpans } from '../../../masking/text.ts';
import type { OutputMask } from '../sql/model.ts';
import { decimalOfNumeric } from './numbers.ts';
import { typeOf } from './types.ts';
import { BINARY, constantMask, maskValue } from './values.ts';

export interface ColumnType {
  readonly typeOid: number;
  /** 0 text, 1 binary. */
  readonly format: number;
}

export type Plan = readonly (OutputMask | null)[] | 'all';

/** How content is looked for in a column. digits: a number in binary, which no pattern sees. */
export type Search = 'none' | 'spans' | 'whole' | 'digits';

export interface ColumnAction extends ColumnType {
  /** Passes, but for content found in it. */
  readonly pass: boolean;
  /** Every value becomes this; undefined: `value` has to be asked. */
  readonly constant: Buffer | null | undefined;
  /** NULL becomes the constant too: of a derived value it would tell which way a condition within it went. */
  readonly fills: boolean;
  readonly kind: MaskKind;
  readonly plain: boolean;
  readonly search: Search;
}

const WHOLE: ColumnAction = {
  typeOid: 0,
  format: 0,
  pass: false,
  constant: null,
  fills: false,
  kind: 'redact',
  plain: false,
  search: 'none',
};

/** A plan of another length than the columns masks every column, since nothing says which is which. */
export function columnActions(plan: Plan, fields: readonly ColumnType[], detects: boolean): ColumnAction[] {
  const whole = plan === 'all' || plan.length !== fields.length;
  return fields.map(({ typeOid, format }, index): ColumnAction => {
    const mask = whole ? null : plan[index]!;
    if (!whole && mask === null)
      return {
        typeOid,
        format,
        pass: true,
        constant: undefined,
        fills: false,
        kind: 'redact',
        plain: true,
        search: detects ? searchOf(typeOid, format) : 'none',
      };
    const kind = mask === null ? 'redact' : mask.mask.with;
    const plain = mask?.plain === true;
    const constant = constantMask(kind, typeOid, format, plain);
    return {
      typeOid,
      format,
      pass: false,
      constant,
      fills: !plain && constant instanceof Uint8Array,
      kind,
      plain,
      search: 'none',
    };
  });
}

/** For rows that have another number of columns than was announced: redacted by type where that is known, else NULL. */
export function wholeAction(action: ColumnAction | undefined): Buffer | null {
  const { typeOid, format } = action ?? WHOLE;
  return constantMask('redact', typeOid, format, false) ?? null;
}

function searchOf(typeOid: number, format: number): Search {
  const type = typeOf(typeOid);
  switch (type.family) {
    case 'text':
    case 'json':
    case 'jsonb':
    case 'xml':
      return 'spans';
    case 'opaque': // composites, hstore, citext: text may stand in them; in binary only NULL is known to be valid
      return format === BINARY ? 'whole' : 'spans';
    case 'array': {
      const inner = searchOf(type.element!, format);
      return inner === 'none' ? 'none' : inner === 'spans' && format !== BINARY ? 'spans' : 'whole';
    }
    case 'integer':
    case 'numeric':
      return format !== BINARY ? 'whole' : type.width === undefined || type.width === 8 ? 'digits' : 'none';
    case 'bytea':
      return format === BINARY ? 'whole' : 'none';
    default:
      return 'none'; // dates, uuids, addresses: nothing that a detector looks for fits into them
  }
}

/** Numbers of fewer digits are no card. */
const CARD_LEAST = 1_000_000_000_000n;

/** Decimal digits of a binary int8 or numeric that is large enough to be looked at, else null. */
export function digitsOf(column: ColumnType, value: Buffer): Buffer | null {
  if (column.typeOid === 20) {
    if (value.length !== 8) return null;
    const number = value.readBigInt64BE();
    return number < CARD_LEAST ? null : Buffer.from(number.toString());
  }
  if (value.length < 16) return null; // four groups of digits
  const decimal = decimalOfNumeric(value);
  return decimal === null || decimal.length < 13 ? null : Buffer.from(decimal);
}

/** A value in which content was found, or null for SQL NULL. `spans` count from the value's first byte. */
export function maskContent(
  detection: Detection,
  column: ColumnAction,
  value: Buffer,
  spans: readonly { from: number; to: number }[],
  key: MaskKey,
): Buffer | null {
  if (detection.with === 'null') return null;
  if (column.search !== 'spans') return maskValue(detection.with, column.typeOid, column.format, value, true, key);
  const masked = replaceSpans(value, 0, value.length, spans, detection.with, key);
  const family = typeOf(column.typeOid).family;
  if (family !== 'json' && family !== 'jsonb') return masked;
  // A number in JSON may have been a card: what replaces it need not be JSON.
  const text = masked.toString('utf8', family === 'jsonb' && column.format === BINARY ? 1 : 0);
  return isJson(text) ? masked : maskValue(detection.with, column.typeOid, column.format, value, true, key);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

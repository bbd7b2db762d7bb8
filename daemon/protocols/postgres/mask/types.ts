/** The server's own types by oid, as far as masking treats them alike. Source: pg_type.dat of PostgreSQL 15 to 18. */

/** How values of a type are masked; see values.ts. Anything not listed is `opaque` and becomes NULL. */
export type Family =
  | 'text'
  | 'char'
  | 'json'
  | 'jsonb'
  | 'xml'
  | 'integer'
  | 'float'
  | 'numeric'
  | 'money'
  | 'bool'
  | 'bytea'
  | 'uuid'
  | 'date'
  | 'timestamp'
  | 'bits'
  | 'array'
  | 'fixed'
  | 'opaque';

export interface Type {
  readonly family: Family;
  /** Bytes of the binary form, for integer and float. */
  readonly width?: number;
  /** Element's oid, for array. */
  readonly element?: number;
  /** What every value becomes, for fixed and for redaction of the others. */
  readonly text: Buffer;
  readonly binary: Buffer;
}

const EMPTY = Buffer.alloc(0);
const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');
const zeros = (length: number): Buffer => Buffer.alloc(length);
const hex = (digits: string): Buffer => Buffer.from(digits, 'hex');
const same = (family: Family, text: string): Type => ({ family, text: ascii(text), binary: ascii(text) });
const integer = (width: number): Type => ({ family: 'integer', width, text: ascii('0'), binary: zeros(width) });
const float = (width: number): Type => ({ family: 'float', width, text: ascii('0'), binary: zeros(width) });
const fixed = (text: string, binary: Buffer): Type => ({ family: 'fixed', text: ascii(text), binary });

export const OPAQUE: Type = { family: 'opaque', text: EMPTY, binary: EMPTY };
/** Empty range: the flag RANGE_EMPTY. */
const RANGE = fixed('empty', hex('01'));
/** No ranges: count 0. */
const MULTIRANGE = fixed('{}', zeros(4));
/** 1970-01-01 in days and microseconds from 2000-01-01, PostgreSQL's own epoch. */
export const EPOCH_DAYS = -10_957;
export const DAY_MICROS = 86_400_000_000n;
const int32 = (value: number): Buffer => {
  const out = zeros(4);
  out.writeInt32BE(value);
  return out;
};
export const int64 = (value: bigint): Buffer => {
  const out = zeros(8);
  out.writeBigInt64BE(value);
  return out;
};
const EPOCH_MICROS = int64(BigInt(EPOCH_DAYS) * DAY_MICROS);

const SCALARS: readonly (readonly [oid: number, arrayOid: number, type: Type])[] = [
  [25, 1009, same('text', '[redacted]')],
  [1043, 1015, same('text', '[redacted]')], // varchar
  [1042, 1014, same('text', '[redacted]')], // bpchar
  [19, 1003, same('text', '[redacted]')], // name
  [705, 0, same('text', '[redacted]')], // unknown
  [2275, 1263, same('text', '[redacted]')], // cstring
  [1790, 2201, same('text', '[redacted]')], // refcursor
  [18, 1002, same('char', '*')], // "char", one byte
  [114, 199, same('json', '"[redacted]"')],
  [3802, 3807, { family: 'jsonb', text: ascii('"[redacted]"'), binary: ascii('\x01"[redacted]"') }], // version 1
  [4072, 4073, { family: 'fixed', text: ascii('$'), binary: ascii('\x01$') }], // jsonpath, version 1
  [142, 143, same('xml', '[redacted]')],
  [21, 1005, integer(2)],
  [23, 1007, integer(4)],
  [20, 1016, integer(8)],
  [700, 1021, float(4)],
  [701, 1022, float(8)],
  // ndigits 0, weight 0, sign +, dscale 0
  [1700, 1231, { family: 'numeric', text: ascii('0'), binary: zeros(8) }],
  [790, 791, { family: 'money', text: ascii('$0.00'), binary: zeros(8) }],
  [16, 1000, { family: 'bool', text: ascii('f'), binary: zeros(1) }],
  [17, 1001, { family: 'bytea', text: ascii('\\x'), binary: EMPTY }],
  [2950, 2951, { family: 'uuid', text: ascii('00000000-0000-0000-0000-000000000000'), binary: zeros(16) }],
  [1082, 1182, { family: 'date', text: ascii('1970-01-01'), binary: int32(EPOCH_DAYS) }],
  [1114, 1115, { family: 'timestamp', text: ascii('1970-01-01 00:00:00'), binary: EPOCH_MICROS }],
  [1184, 1185, { family: 'timestamp', text: ascii('1970-01-01 00:00:00+00'), binary: EPOCH_MICROS }],
  [1083, 1183, fixed('00:00:00', zeros(8))],
  [1266, 1270, fixed('00:00:00+00', zeros(12))], // microseconds, zone
  [1186, 1187, fixed('00:00:00', zeros(16))], // microseconds, days, months
  [1560, 1561, { family: 'bits', text: ascii('0'), binary: hex('0000000100') }], // bit count, bits
  [1562, 1563, { family: 'bits', text: ascii('0'), binary: hex('0000000100') }],
  // family (PGSQL_AF_INET 2), bits, is_cidr, address length, address
  [869, 1041, fixed('0.0.0.0', hex('0220000400000000'))],
  [650, 651, fixed('0.0.0.0/32', hex('0220010400000000'))],
  [829, 1040, fixed('00:00:00:00:00:00', zeros(6))],
  [774, 775, fixed('00:00:00:00:00:00:00:00', zeros(8))],
  [600, 1017, fixed('(0,0)', zeros(16))],
  [628, 629, fixed('{1,0,0}', Buffer.concat([hex('3ff0000000000000'), zeros(16)]))], // a line needs A or B
  [601, 1018, fixed('[(0,0),(0,0)]', zeros(32))],
  [603, 1020, fixed('(0,0),(0,0)', zeros(32))],
  [602, 1019, fixed('((0,0))', Buffer.concat([hex('0100000001'), zeros(16)]))], // closed, one point
  [604, 1027, fixed('((0,0))', Buffer.concat([hex('00000001'), zeros(16)]))],
  [718, 719, fixed('<(0,0),0>', zeros(24))],
  [3614, 3643, fixed('', zeros(4))], // tsvector, no lexeme
  [3615, 3645, fixed('', zeros(4))], // tsquery
  [26, 1028, fixed('0', zeros(4))], // oid
  [24, 1008, fixed('-', zeros(4))], // regproc
  [2202, 2207, fixed('-', zeros(4))], // regprocedure
  [2203, 2208, fixed('0', zeros(4))], // regoper
  [2204, 2209, fixed('0', zeros(4))], // regoperator
  [2205, 2210, fixed('-', zeros(4))], // regclass
  [2206, 2211, fixed('-', zeros(4))], // regtype
  [4096, 4097, fixed('-', zeros(4))], // regrole
  [4089, 4090, fixed('-', zeros(4))], // regnamespace
  [3734, 3735, fixed('-', zeros(4))], // regconfig
  [3769, 3770, fixed('-', zeros(4))], // regdictionary
  [4191, 4192, fixed('-', zeros(4))], // regcollation
  [28, 1011, fixed('0', zeros(4))], // xid
  [29, 1012, fixed('0', zeros(4))], // cid
  [5069, 271, fixed('0', zeros(8))], // xid8
  [27, 1010, fixed('(0,0)', zeros(6))], // tid
  [3220, 3221, fixed('0/0', zeros(8))], // pg_lsn
  [2278, 0, fixed('', EMPTY)], // void
  [3904, 3905, RANGE], // int4range
  [3906, 3907, RANGE], // numrange
  [3908, 3909, RANGE], // tsrange
  [3910, 3911, RANGE], // tstzrange
  [3912, 3913, RANGE], // daterange
  [3926, 3927, RANGE], // int8range
  [4451, 6150, MULTIRANGE],
  [4532, 6151, MULTIRANGE],
  [4533, 6152, MULTIRANGE],
  [4534, 6153, MULTIRANGE],
  [4535, 6155, MULTIRANGE],
  [4536, 6157, MULTIRANGE],
];

/** dimensions 0, no NULLs, element type */
function arrayOf(element: number): Type {
  return { family: 'array', element, text: ascii('{}'), binary: Buffer.concat([zeros(8), int32(element)]) };
}

const TYPES: ReadonlyMap<number, Type> = new Map(
  SCALARS.flatMap(([oid, arrayOid, type]): [number, Type][] =>
    arrayOid === 0
      ? [[oid, type]]
      : [
          [oid, type],
          [arrayOid, arrayOf(oid)],
        ],
  ),
);

/** Enums, composites, records, types of extensions and users: OPAQUE, as no value but NULL is known to be valid. */
export function typeOf(oid: number): Type {
  return TYPES.get(oid) ?? OPAQUE;
}

/**
 * Texts that the server sends beside rows: errors, notices, notifications, parameter values. They can quote protected
 * values (`invalid input syntax for type integer: "123-45-6789"`), so they are withheld or searched.
 *
 * Body of ErrorResponse and NoticeResponse: per field letter(1) text NUL; then NUL.
 * Source: PostgreSQL documentation, "Error and Notice Message Fields" (protocol-error-fields.html).
 */
import { SluiceError } from '../../../core/errors.ts';
import type { MaskKey } from '../../../masking/key.ts';
import { type Detection, maskFound } from '../../../masking/text.ts';
import { B, message } from '../wire.ts';

export interface NativeError {
  /** ERROR, FATAL, PANIC; WARNING, NOTICE, DEBUG, INFO, LOG. */
  readonly severity: string;
  /** Five characters. */
  readonly sqlstate: string;
  readonly message: string;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
}

/** A whole ErrorResponse. */
export function errorResponse(error: NativeError): Buffer {
  return message(B.error, errorBody(error));
}

/** A whole NoticeResponse. */
export function noticeResponse(notice: NativeError): Buffer {
  return message(B.notice, errorBody(notice));
}

function errorBody(error: NativeError): Buffer {
  const fields: [string, string | undefined][] = [
    ['S', error.severity],
    ['V', error.severity],
    ['C', error.sqlstate],
    ['M', error.message],
    ['D', error.detail],
    ['H', error.hint],
  ];
  return joined(fields.flatMap(([letter, text]) => (text === undefined ? [] : [[letter, Buffer.from(text)]])));
}

/** A NUL within a text would end it early and shift what follows. */
function joined(fields: readonly [string, Buffer][]): Buffer {
  const parts: Buffer[] = [];
  for (const [letter, text] of fields) {
    const nul = text.indexOf(0);
    parts.push(Buffer.from(letter, 'latin1'), nul < 0 ? text : text.subarray(0, nul), Buffer.alloc(1));
  }
  parts.push(Buffer.alloc(1));
  return Buffer.concat(parts);
}

/**
 * Fields that never quote a value: severities, code, position in the statement, names of schema, table, column and
 * constraint. M, D, H, W (context), q (internal query) and p (position in it) do, and letters that a later server may add
 * could. Source file, line and routine (F, L, R) tell which of many conversions failed.
 */
const HARMLESS = new Set('SVCPstcn');
/**
 * Names come from the catalog, unless a routine raised the condition: RAISE … USING TABLE = value sets them to anything. Nor
 * do they pass beside a type (d): which domain a value failed in can be made to hang on the value.
 */
const NAMES = new Set('stcn');

/**
 * The error or notice with everything that may quote a value left out. `reason` is a sentence for the client and stands in
 * the detail.
 * @param body of ErrorResponse or NoticeResponse, without letter and length
 * @throws SluiceError UPSTREAM_VIOLATION when it isn't one
 */
export function withhold(body: Buffer, reason: string): Buffer {
  const fields = errorFields(body);
  const raised = isRaised(fields);
  if (!raised && (isOfParsing(fields) || isOfName(fields))) return body;
  const named = !raised && !fields.some(([letter]) => letter === 'd');
  const sqlstate = sqlstateOf(fields, raised);
  const kept = fields.filter(
    ([letter, text]) =>
      HARMLESS.has(letter) && text.length <= MAX_NAME && letter !== 'C' && (named || !NAMES.has(letter)),
  );
  const withheld: [string, Buffer][] = [
    ['C', Buffer.from(sqlstate)],
    ['M', Buffer.from(genericMessage(sqlstate))],
    ['D', Buffer.from(reason)],
  ];
  const severity = kept.filter(([letter]) => letter === 'S' || letter === 'V');
  return joined([...severity, ...withheld, ...kept.filter(([letter]) => letter !== 'S' && letter !== 'V')]);
}

/** NAMEDATALEN is 64; severities are translated and could be longer than in English. */
const MAX_NAME = 64;

/**
 * Made by a routine of a procedural language (pl_exec.c, plpy_elog.c, plperl.c, pltcl.c), or by who knows what. The server
 * sets the file, no routine can.
 */
function isRaised(fields: readonly [string, Buffer][]): boolean {
  const file = fields.find(([letter]) => letter === 'F')?.[1].toString('latin1');
  return file === undefined || /^pl/.test(file);
}

/** What the server says while it makes sense of the client's own text: nothing of that has met a row yet. */
const PARSING =
  /^(?:analyze|parse_(?:agg|clause|coerce|collate|cte|expr|func|merge|node|oper|param|relation|target))\.c$/;

/**
 * A position within the client's text, and no text of a routine's or a function's (`'x'::regtype` is parsed too, when rows
 * are there). parse_type.c is left out for that.
 */
function isOfParsing(fields: readonly [string, Buffer][]): boolean {
  const has = (letter: string) => fields.some(([one]) => one === letter);
  const file = fields.find(([letter]) => letter === 'F')?.[1].toString('latin1') ?? '';
  return PARSING.test(file) && has('P') && !has('p') && !has('q') && !has('W');
}

/** Files that complain of a name which the client gave in FETCH, EXECUTE or a message, by the code that they do it with. */
const NAMING: Readonly<Record<string, RegExp>> = {
  '34000': /^(?:portalcmds|postgres)\.c$/,
  '26000': /^(?:prepare|postgres)\.c$/,
};

/** There is no such cursor, portal or prepared statement. A routine that made the statement up would stand in the context. */
function isOfName(fields: readonly [string, Buffer][]): boolean {
  const text = (letter: string) => fields.find(([one]) => one === letter)?.[1].toString('latin1');
  return text('W') === undefined && text('q') === undefined && NAMING[text('C') ?? '']?.test(text('F') ?? '') === true;
}

/** RAISE … USING ERRCODE = value takes any five of 0-9 and A-Z, so of a raised code only the commonest pass. */
function sqlstateOf(fields: readonly [string, Buffer][], raised: boolean): string {
  const code = fields.find(([letter]) => letter === 'C')?.[1].toString('latin1') ?? '';
  if (raised) return code in CODES || code === '00000' || code === '01000' ? code : 'P0001';
  return /^[0-9A-Z]{5}$/.test(code) && code.slice(0, 2) in CLASSES ? code : 'XX000';
}

/** Classes of appendix A (errcodes-appendix.html), in words that fit every code of the class. */
const CLASSES: Readonly<Record<string, string>> = {
  '00': 'completed',
  '01': 'warning',
  '02': 'no data',
  '03': 'statement not yet complete',
  '08': 'connection exception',
  '09': 'triggered action exception',
  '0A': 'feature not supported',
  '0B': 'invalid transaction initiation',
  '0F': 'locator exception',
  '0L': 'invalid grantor',
  '0P': 'invalid role',
  '0Z': 'diagnostics exception',
  '20': 'case not found',
  '21': 'more or fewer rows than the expression allows',
  '22': 'a value is not valid here',
  '23': 'an integrity constraint is violated',
  '24': 'invalid cursor state',
  '25': 'invalid transaction state',
  '26': 'invalid statement name',
  '27': 'triggered data change violation',
  '28': 'invalid authorization',
  '2B': 'dependent privileges still exist',
  '2D': 'invalid transaction termination',
  '2F': 'an SQL routine failed',
  '34': 'invalid cursor name',
  '38': 'an external routine failed',
  '39': 'an external routine was called wrongly',
  '3B': 'savepoint exception',
  '3D': 'invalid database name',
  '3F': 'invalid schema name',
  '40': 'the transaction was rolled back',
  '42': 'syntax error or access rule violation',
  '44': 'a check option is violated',
  '53': 'insufficient resources',
  '54': 'a limit of the server is exceeded',
  '55': 'an object is not in the state that this needs',
  '57': 'the server or an operator intervened',
  '58': 'a system error outside PostgreSQL',
  '72': 'snapshot too old',
  F0: 'the configuration file is in error',
  HV: 'a foreign data wrapper failed',
  P0: 'a PL/pgSQL routine raised a condition',
  XX: 'internal error of the server',
};

/** Codes of class 22 and 23 that say more without quoting anything. */
const CODES: Readonly<Record<string, string>> = {
  '22001': 'value too long',
  '22003': 'numeric value out of range',
  '22007': 'invalid date or time format',
  '22008': 'date or time out of range',
  '22012': 'division by zero',
  '22021': 'character not in repertoire',
  '22P02': 'invalid text representation',
  '22P03': 'invalid binary representation',
  '23502': 'a not-null constraint is violated',
  '23503': 'a foreign key constraint is violated',
  '23505': 'a unique constraint is violated',
  '23514': 'a check constraint is violated',
  '42501': 'insufficient privilege',
  '42601': 'syntax error',
  '42703': 'a column does not exist',
  '42883': 'a function or operator does not exist',
  '42P01': 'a relation does not exist',
  '57014': 'the statement was cancelled',
};

function genericMessage(sqlstate: string): string {
  const what = CODES[sqlstate] ?? CLASSES[sqlstate.slice(0, 2)] ?? CLASSES.XX;
  return `${what} (text withheld by sluice: masked columns take part)`;
}

/** @throws SluiceError UPSTREAM_VIOLATION */
function errorFields(body: Buffer): [string, Buffer][] {
  const fields: [string, Buffer][] = [];
  let at = 0;
  for (;;) {
    if (at >= body.length) throw violation('an error without an end');
    if (body[at] === 0) break;
    const end = body.indexOf(0, at + 1);
    if (end < 0) throw violation('an error field without an end');
    fields.push([String.fromCharCode(body[at]!), body.subarray(at + 1, end)]);
    at = end + 1;
  }
  if (at !== body.length - 1) throw violation('an error with more behind its end');
  return fields;
}

/** Content found in any field of an error or notice is masked. The same buffer where nothing is found. */
export function maskErrorContent(body: Buffer, detection: Detection, key: MaskKey): Buffer {
  let changed = false;
  const fields = errorFields(body).map(([letter, text]): [string, Buffer] => {
    const masked = maskFound(detection, text, key);
    if (masked !== text) changed = true;
    return [letter, masked];
  });
  return changed ? joined(fields) : body;
}

/** NotificationResponse body: pid(int32) channel NUL payload NUL */
export function maskNotification(body: Buffer, detection: Detection, key: MaskKey): Buffer {
  if (body.length < 4) throw violation('a notification without a process');
  return maskStrings(body, 4, detection, key);
}

/** The notification with its payload replaced; the channel is a name that the client chose by LISTEN. */
export function withholdNotification(body: Buffer): Buffer {
  const channel = body.length < 4 ? -1 : body.indexOf(0, 4);
  if (channel < 0) throw violation('a notification without a channel');
  return Buffer.concat([body.subarray(0, channel + 1), Buffer.from('[redacted]\0')]);
}

/** ParameterStatus body: name NUL value NUL */
export function maskParameter(body: Buffer, detection: Detection, key: MaskKey): Buffer {
  return maskStrings(body, 0, detection, key);
}

/** Two strings from `from` on, and nothing behind them. */
function maskStrings(body: Buffer, from: number, detection: Detection, key: MaskKey): Buffer {
  const first = body.indexOf(0, from);
  const second = first < 0 ? -1 : body.indexOf(0, first + 1);
  if (second !== body.length - 1 || second < 0) throw violation('a message whose strings have no end');
  const name = body.subarray(from, first);
  const value = body.subarray(first + 1, second);
  const maskedName = maskFound(detection, name, key);
  const masked = maskFound(detection, value, key);
  if (masked === value && maskedName === name) return body;
  return Buffer.concat([body.subarray(0, from), maskedName, Buffer.alloc(1), masked, Buffer.alloc(1)]);
}

function violation(what: string): SluiceError {
  return new SluiceError('UPSTREAM_VIOLATION', `masking texts: the server sent ${what}`);
}

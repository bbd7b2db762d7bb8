/** Native errors: the SQLSTATE of each of sluice's codes, and the text that stands in the server's log for a refused act. */
import type { ErrorCode } from '../../core/errors.ts';
import type { Refusal } from '../protocol.ts';
import { B, errorField, F, message } from './wire.ts';

/** Appendix A of PostgreSQL's documentation. What is not listed is 42501, insufficient_privilege. */
const SQLSTATE: Partial<Record<ErrorCode, string>> = {
  STATEMENT_UNPARSABLE: '42601',
  STATEMENT_TOO_LARGE: '54000',
  STATEMENT_TOO_COMPLEX: '54001',
  PROTOCOL_VIOLATION: '08P01',
  PROTOCOL_UNSUPPORTED: '0A000',
  PROTOCOL_TIMEOUT: '08P01',
  FLOW_LIMIT: '53300',
  APPROVAL_LIMIT: '53400',
  APPROVAL_CANCELLED: '57014',
  IDENTITY_EXPIRED: '28000',
  UPSTREAM_UNREACHABLE: '08001',
  UPSTREAM_TLS: '08001',
  UPSTREAM_LOGIN: '28000',
  UPSTREAM_LOST: '08006',
  UPSTREAM_VIOLATION: '08P01',
  CREDENTIAL_UNAVAILABLE: '28000',
  TOKEN_REQUIRED: '28P01',
  AUDIT_FULL: '53100',
  AUDIT_FAILED: '58030',
  INTERNAL: 'XX000',
};

/** Complaints that the scanner makes of what the grammar does not take. */
const SCANNERS_WORDS = / at (or near ".*"|end of input)$/s;

export function sqlstate(code: ErrorCode): string {
  return SQLSTATE[code] ?? '42501';
}

/** PostgreSQL's own words for its own kind of error, so that a syntax error reads the same with sluice as without. */
export function errorResponse(refusal: Refusal, severity: 'ERROR' | 'FATAL' = 'ERROR'): Buffer {
  return report(B.error, severity, sqlstate(refusal.code), refusal);
}

/**
 * A syntax error of ours, with file, line and routine (F, L, R) of the one that the server made of the poison: they differ
 * from version to version and clients show them. `own`: body of the server's ErrorResponse.
 */
export function located(replacement: Buffer, own: Buffer): Buffer {
  const body = replacement.subarray(5);
  if (errorField(body, 'C') !== '42601' || errorField(own, 'C') !== '42601') return replacement;
  if (!SCANNERS_WORDS.test(errorField(body, 'M') ?? '')) return replacement;
  const fields: string[] = [];
  for (const letter of ['S', 'V', 'C', 'M', 'P']) push(fields, letter, errorField(body, letter));
  for (const letter of ['F', 'L', 'R']) push(fields, letter, errorField(own, letter));
  return message(B.error, `${fields.join('\0')}\0\0`);
}

function push(fields: string[], letter: string, text: string | undefined): void {
  if (text !== undefined) fields.push(letter + text);
}

export function noticeResponse(text: string, detail: string): Buffer {
  return report(B.notice, 'NOTICE', '00000', { code: 'INTERNAL', message: text, detail, hint: '' });
}

/**
 * ErrorResponse and NoticeResponse: { field(1) text\0 }… \0
 * S and V severity, C SQLSTATE, M message, D detail, H hint, P position in characters, R routine: the name of the code.
 */
function report(letter: number, severity: string, state: string, refusal: Refusal): Buffer {
  const fields = [`S${severity}`, `V${severity}`, `C${refusal.state ?? state}`, `M${line(refusal.message)}`];
  if (refusal.detail) fields.push(`D${line(refusal.detail)}`);
  if (refusal.hint) fields.push(`H${line(refusal.hint)}`);
  if (refusal.position !== undefined) fields.push(`P${refusal.position}`);
  if (refusal.state === undefined) fields.push(`R${refusal.code}`);
  return message(letter, `${fields.join('\0')}\0\0`);
}

/** A NUL would end the field early and let the rest be read as fields of its own. */
function line(text: string): string {
  return text.replaceAll('\0', ' ');
}

/**
 * What the upstream gets in place of a refused act: text that no PostgreSQL parses, under a name that cannot exist. The
 * server fails it as it would have failed the act, so transaction state, skipping to Sync and the order of answers are
 * the server's own; its error is exchanged for ours on the way back. The text stands in the server's log.
 */
const POISON = 'sluice refused this statement';

export function poisonQuery(): Buffer {
  return message(F.query, `${POISON}\0`);
}

export function poisonParse(): Buffer {
  return message(F.parse, `_sluice_refused\0${POISON}\0`, Buffer.from([0, 0]));
}

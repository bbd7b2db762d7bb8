/**
 * PostgreSQL's wire format, protocol 3.0 and 3.2: the letters, the numbers, and builders of single messages.
 * Source: PostgreSQL documentation, "Message Formats" (protocol-message-formats.html).
 *
 * Every message but the first of a connection:  letter(1) length(int32, counts itself) body(length - 4)
 */

/** Letters of the client's messages. */
export const F = {
  bind: 0x42, // B
  close: 0x43, // C
  copyData: 0x64, // d
  copyDone: 0x63, // c
  copyFail: 0x66, // f
  describe: 0x44, // D
  execute: 0x45, // E
  flush: 0x48, // H
  functionCall: 0x46, // F
  parse: 0x50, // P
  password: 0x70, // p
  query: 0x51, // Q
  sync: 0x53, // S
  terminate: 0x58, // X
} as const;

/** Letters of the server's messages. */
export const B = {
  authentication: 0x52, // R
  backendKeyData: 0x4b, // K
  bindComplete: 0x32, // 2
  closeComplete: 0x33, // 3
  commandComplete: 0x43, // C
  copyBothResponse: 0x57, // W
  copyData: 0x64, // d
  copyDone: 0x63, // c
  copyInResponse: 0x47, // G
  copyOutResponse: 0x48, // H
  dataRow: 0x44, // D
  emptyQuery: 0x49, // I
  error: 0x45, // E
  functionCallResponse: 0x56, // V
  negotiateProtocolVersion: 0x76, // v
  noData: 0x6e, // n
  notice: 0x4e, // N
  notification: 0x41, // A
  parameterDescription: 0x74, // t
  parameterStatus: 0x53, // S
  parseComplete: 0x31, // 1
  portalSuspended: 0x73, // s
  readyForQuery: 0x5a, // Z
  rowDescription: 0x54, // T
} as const;

/** Codes in the first four bytes of a packet without letter. */
export const STARTUP = {
  protocol30: 196608, // 3 << 16
  protocol32: 196610, // 3 << 16 | 2
  ssl: 80877103, // 1234 << 16 | 5679
  gssenc: 80877104, // 1234 << 16 | 5680
  cancel: 80877102, // 1234 << 16 | 5678
} as const;

/** The server itself takes no longer packet (MAX_STARTUP_PACKET_LENGTH in pqcomm.h). */
export const MAX_STARTUP = 10_000;
/** The server itself takes no longer message (PQ_LARGE_MESSAGE_LIMIT in libpq.h). */
export const MAX_MESSAGE = 0x3fffffff;

/** letter, length, body */
export function message(letter: number, ...body: (Buffer | string)[]): Buffer {
  const parts = body.map((part) => (typeof part === 'string' ? Buffer.from(part) : part));
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const out = Buffer.allocUnsafe(5 + size);
  out[0] = letter;
  out.writeUInt32BE(4 + size, 1);
  let at = 5;
  for (const part of parts) at += part.copy(out, at);
  return out;
}

/** Bytes up to the next NUL as text, and where the NUL stands. -1: there is none before `end`. */
export function cstring(bytes: Buffer, from: number, end: number): { text: string; next: number } | null {
  const nul = bytes.indexOf(0, from);
  if (nul < 0 || nul >= end) return null;
  return { text: bytes.toString('utf8', from, nul), next: nul + 1 };
}

/** ParameterStatus: name\0 value\0 */
export function parameterStatus(name: string, value: string): Buffer {
  return message(B.parameterStatus, `${name}\0${value}\0`);
}

/** ReadyForQuery: status(1): I idle, T in a transaction, E in a failed one */
export function readyForQuery(status: number): Buffer {
  return message(B.readyForQuery, Buffer.from([status]));
}

export interface Field {
  readonly name: string;
  readonly tableOid: number;
  readonly attnum: number;
  readonly typeOid: number;
  /** 0 text, 1 binary. */
  readonly format: number;
}

/**
 * RowDescription body: count(int16), then per field
 *   name\0 tableOid(int32) attnum(int16) typeOid(int32) typeSize(int16) typeModifier(int32) format(int16)
 * Null when the lengths lie.
 */
export function rowDescription(body: Buffer): Field[] | null {
  if (body.length < 2) return null;
  const count = body.readUInt16BE(0);
  const fields: Field[] = [];
  let at = 2;
  for (let i = 0; i < count; i++) {
    const name = cstring(body, at, body.length);
    if (name === null || name.next + 18 > body.length) return null;
    at = name.next;
    fields.push({
      name: name.text,
      tableOid: body.readUInt32BE(at),
      attnum: body.readInt16BE(at + 4),
      typeOid: body.readUInt32BE(at + 6),
      format: body.readUInt16BE(at + 16),
    });
    at += 18;
  }
  return at === body.length ? fields : null;
}

/** One field of an ErrorResponse or NoticeResponse body: letter(1) text\0 … \0 */
export function errorField(body: Buffer, letter: string): string | undefined {
  const wanted = letter.charCodeAt(0);
  let at = 0;
  while (at < body.length && body[at] !== 0) {
    const field = cstring(body, at + 1, body.length);
    if (field === null) return undefined;
    if (body[at] === wanted) return field.text;
    at = field.next;
  }
  return undefined;
}

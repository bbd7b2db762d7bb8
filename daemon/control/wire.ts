/**
 * What goes over the control socket, both ways: one JSON object per line, UTF-8, ended by LF.
 *
 *   → {"id":1,"method":"approvals.list","params":{…}}     params may be absent
 *   → {"id":1,"cancel":true}                               stop a stream
 *   ← {"id":1,"result":…}                                  the one answer
 *   ← {"id":1,"item":…}  …  {"id":1,"end":true}            a stream
 *   ← {"id":1,"error":{"code":…,"message":…,"hint":…}}     instead of either, or in the middle of a stream
 *   ← {"id":null,"error":…}                                the line was not a request; the connection ends
 */
import { ERRORS, type ErrorCode, SluiceError } from '../core/errors.ts';

/** Bytes of one request without its LF. */
export const REQUEST_BYTES = 256 * 1024;
/** Bytes of one answer's line that a client takes. */
export const ANSWER_BYTES = 64 * 1024 * 1024;

export interface Request {
  readonly id: number;
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
}

export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

export type Answer =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly item: unknown }
  | { readonly id: number; readonly end: true }
  | { readonly id: number | null; readonly error: WireError };

/** Cuts a byte stream into lines. Holds at most `limit` bytes of an unfinished one. */
export class Lines {
  #parts: Buffer[] = [];
  #bytes = 0;
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether a line is begun and not ended. */
  get partial(): boolean {
    return this.#bytes > 0;
  }

  /** The lines that end in this chunk. @throws SluiceError PROTOCOL_VIOLATION when one is longer than the limit. */
  *feed(chunk: Buffer): Generator<Buffer> {
    let from = 0;
    for (let lf = chunk.indexOf(10); lf >= 0; lf = chunk.indexOf(10, from)) {
      const part = chunk.subarray(from, lf);
      from = lf + 1;
      this.#check(part.length);
      const line = this.#parts.length === 0 ? part : Buffer.concat([...this.#parts, part]);
      this.#parts = [];
      this.#bytes = 0;
      yield line;
    }
    const rest = chunk.subarray(from);
    if (rest.length === 0) return;
    this.#check(rest.length);
    this.#parts.push(rest);
    this.#bytes += rest.length;
  }

  #check(more: number): void {
    if (this.#bytes + more <= this.#limit) return;
    throw new SluiceError('PROTOCOL_VIOLATION', `a line on the control socket is longer than ${this.#limit} bytes`);
  }
}

/** @throws SluiceError PROTOCOL_VIOLATION. */
export function parseRequest(line: Buffer): Request | { readonly id: number; readonly cancel: true } {
  const value = parseObject(line);
  const { id, method, params = {} } = value;
  if (typeof id !== 'number' || !Number.isSafeInteger(id)) throw violation('a request on the control socket has no id');
  if (value.cancel === true) return { id, cancel: true };
  if (typeof method !== 'string') throw violation('a request on the control socket names no method');
  if (typeof params !== 'object' || params === null || Array.isArray(params)) {
    throw violation('the params of a request on the control socket are not an object');
  }
  return { id, method, params: params as Record<string, unknown> };
}

/** @throws SluiceError PROTOCOL_VIOLATION when a line is not JSON, or not an object. */
export function parseObject(line: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line));
  } catch (cause) {
    throw violation('a line on the control socket is not JSON', cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw violation('a line on the control socket is not a JSON object');
  }
  return value as Record<string, unknown>;
}

export function encode(value: unknown): string {
  // cgroup ids are bigints.
  return `${JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? String(each) : each))}\n`;
}

/** Faults of our own are told without their text, which may hold anything. */
export function toWire(error: unknown): WireError {
  if (error instanceof SluiceError) return { code: error.code, message: error.message, hint: error.hint };
  return { code: 'INTERNAL', message: ERRORS.INTERNAL.what, hint: ERRORS.INTERNAL.todo };
}

export function fromWire(error: unknown): SluiceError {
  const { code, message, hint } = (error ?? {}) as Partial<WireError>;
  const known = typeof code === 'string' && Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'INTERNAL';
  return new SluiceError(known, String(message), typeof hint === 'string' ? { hint } : {});
}

function violation(message: string, cause?: unknown): SluiceError {
  return new SluiceError('PROTOCOL_VIOLATION', message, cause === undefined ? {} : { cause });
}

/**
 * Reads the server's bytes against the answers that are owed, and lets them through: untouched where nothing is masked,
 * rewritten where something is. Rows of an unmasked result are walked by their lengths alone and leave in the chunks in
 * which they came. Whatever comes without a plan while masks apply is masked whole.
 */

import { SluiceError } from '../../core/errors.ts';
import type { Outlet } from '../protocol.ts';
import type { Answer, Answers } from './answers.ts';
import type { PgPlan } from './classify.ts';
import { CopyIn } from './copy-in.ts';
import { located } from './refusal.ts';
import { type ReportParts, Reports } from './reports.ts';
import { type Mode, PASS, type ResultParts, Results } from './results.ts';
import { B, errorField, F, type Field, MAX_MESSAGE, message, rowDescription } from './wire.ts';

/** Everything but rows and copies is short; an error may carry a statement. */
const MAX_CONTROL = 16 * 1024 * 1024;
/** A row that has to be rewritten is held whole. */
export const MAX_MASKED_ROW = 64 * 1024 * 1024;

interface Parts extends ReportParts, ResultParts {
  readonly answers: Answers;
  readonly parameters: Map<string, string>;
}

export class Backend {
  readonly #parts: Parts;
  readonly #results: Results;
  readonly #reports: Reports;
  /** The beginning of a message, and how many bytes it needs before it can be read. */
  #carry: Buffer[] = [];
  #carried = 0;
  #needed = 0;
  /** Bytes of a passed row or copy that are still to come. */
  #skip = 0;
  #mode: Mode = PASS;
  /** Set once the mode was chosen for the answer in front and its statement. */
  #modeChosen = false;
  #fields: Field[] | null = null;
  #bytes = 0;
  #opBytes = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#results = new Results(parts);
    this.#reports = new Reports(parts);
  }

  get atBoundary(): boolean {
    return this.#carried === 0 && this.#skip === 0;
  }

  get clientEncoding(): string {
    return (this.#parts.parameters.get('client_encoding') ?? 'UTF8').toUpperCase();
  }

  /** The server failed an extended step and skips whatever comes up to a Sync that has not gone yet. */
  #skipping = false;
  readonly copyIn = new CopyIn();
  /** The server said that it ends the connection, and why. */
  #left = false;

  get left(): boolean {
    return this.#left;
  }

  get skipping(): boolean {
    return this.#skipping;
  }

  /** A Sync goes upstream. */
  synced(): void {
    this.#skipping = false;
  }

  /** Operations that were let through when the server had begun to skip. */
  skipped(ops: readonly number[]): void {
    for (const op of ops) this.#done.push({ op, rows: 0, error: 'skipped' });
  }

  #copyFails(first: Answer, out: Outlet): void {
    const syncs = this.copyIn.fails(first, this.#parts.answers);
    if (syncs > 0) this.#skipping = false;
    for (let i = 0; i < syncs; i++) out.toUpstream(message(F.sync));
  }

  push(chunk: Buffer, out: Outlet): void {
    let from = 0;
    // Only what completes the message begun is put together with it; the rest is read where it lies.
    while (this.#carried > 0 && from < chunk.length) {
      const taken = Math.min(this.#needed - this.#carried, chunk.length - from);
      this.#carry.push(Buffer.from(chunk.subarray(from, from + taken)));
      this.#carried += taken;
      from += taken;
      if (this.#carried < this.#needed) return;
      const whole = Buffer.concat(this.#carry, this.#carried);
      this.#carry = [];
      this.#carried = 0;
      this.#walk(whole, out);
    }
    if (from < chunk.length) this.#walk(from === 0 ? chunk : chunk.subarray(from), out);
  }

  #walk(bytes: Buffer, out: Outlet): void {
    const length = bytes.length;
    let at = Math.min(this.#skip, length);
    this.#skip -= at;
    this.#needed = 5;
    // [from, at) passes as it is.
    let from = 0;
    while (at < length) {
      const here = length - at;
      if (here < 5) break;
      const letter = bytes[at]!;
      const size = int32(bytes, at + 1) + 1;
      if (size < 5 || size > MAX_MESSAGE)
        throw new SluiceError('UPSTREAM_VIOLATION', `the server sent a message of ${size} bytes`);
      if (letter === B.dataRow || letter === B.copyData) {
        if (!this.#modeChosen) this.#choose(letter);
        if (this.#mode.kind === 'pass') {
          if (here >= size) {
            at = wholeRun(bytes, at, letter);
            continue;
          }
          this.#skip = size - here;
          at = length;
          break;
        }
        if (from < at) this.#toClient(out, bytes.subarray(from, at));
        const end = wholeRun(bytes, at, letter);
        if (end === at) {
          if (size > MAX_MASKED_ROW) {
            throw new SluiceError(
              'MASK_ROW_TOO_LARGE',
              `a row of ${size} bytes came, and masking holds up to ${MAX_MASKED_ROW}`,
            );
          }
          from = at;
          this.#needed = size;
          break;
        }
        this.#masked(bytes, at, end, out);
        at = end;
        from = end;
        continue;
      }
      if (size > MAX_CONTROL)
        throw new SluiceError(
          'UPSTREAM_VIOLATION',
          `the server sent a message '${String.fromCharCode(letter)}' of ${size} bytes`,
        );
      if (here < size) {
        this.#needed = size;
        break;
      }
      const instead = this.#control(letter, bytes, at, at + size, out);
      if (instead !== undefined) {
        if (from < at) this.#toClient(out, bytes.subarray(from, at));
        if (instead !== null) this.#toClient(out, instead);
        from = at + size;
      }
      at += size;
      this.#flushEnded(out);
    }
    if (at < length) {
      // Copied: the chunk may be read into again.
      this.#carry = [Buffer.from(bytes.subarray(at))];
      this.#carried = length - at;
    }
    if (from < at) this.#toClient(out, bytes.subarray(from, at));
  }

  #toClient(out: Outlet, bytes: Buffer): void {
    this.#bytes += bytes.length;
    out.toClient(bytes);
  }

  /** Rows and copy data of the answer in front: what to do with them. */
  #choose(letter: number): void {
    this.#modeChosen = true;
    const { first } = this.#parts.answers;
    this.#mode =
      letter === B.copyData
        ? this.#results.copy(first, this.#copyColumns, this.clientEncoding)
        : this.#results.rows(first, first?.portal?.fields ?? this.#fields);
  }

  #copyColumns = 0;

  #masked(bytes: Buffer, start: number, end: number, out: Outlet): void {
    const mode = this.#mode;
    if (mode.kind === 'pass') return;
    const { memory } = mode.masking;
    if (out.idle) memory.reclaim();
    const made = mode.kind === 'rows' ? mode.masking.mask(bytes, start, end) : mode.masking.messages(bytes, start, end);
    if (made.length === 0) return;
    this.#bytes += made.length;
    if (!out.lend(made)) memory.keep();
  }

  /** One whole message other than a row. Undefined: it passes as it is; null: it is not for the client. */
  #control(letter: number, bytes: Buffer, start: number, end: number, out: Outlet): Buffer | null | undefined {
    const { answers, session } = this.#parts;
    const first = answers.first;
    switch (letter) {
      case B.parseComplete:
      case B.bindComplete:
      case B.closeComplete:
        if (first?.step !== (letter === B.parseComplete ? 'parse' : letter === B.bindComplete ? 'bind' : 'close'))
          throw unexpected(letter);
        answers.shift();
        // Recorded where planning may do something.
        for (let i = 0; i < first.ops.length; i++) this.#end({ ...first, at: i }, out, 0);
        for (const changes of first.changes) session.settle(changes);
        return undefined;
      case B.parameterDescription:
        return first?.injected ? null : undefined;
      case B.noData:
      case B.rowDescription:
        return this.#described(letter, bytes.subarray(start + 5, end), first);
      case B.commandComplete:
      case B.emptyQuery:
      case B.portalSuspended:
        return this.#statementEnds(letter, bytes.subarray(start + 5, end), first, out);
      case B.copyOutResponse:
        this.#copyColumns = end - start >= 8 ? bytes.readUInt16BE(start + 6) : 0;
        return undefined;
      case B.copyDone: {
        if (!this.#modeChosen) this.#choose(B.copyData);
        const rest = this.#mode.kind === 'copy' ? this.#mode.masking.end() : null;
        if (rest !== null && rest.length > 0)
          return Buffer.concat([message(B.copyData, rest), bytes.subarray(start, end)]);
        return undefined;
      }
      case B.copyInResponse:
        if (!this.copyIn.begins(first)) throw unexpected(letter);
        return undefined;
      case B.copyBothResponse:
        return undefined;
      case B.functionCallResponse:
        return this.#callAnswered(bytes, start, first);
      case B.error:
        return this.#failed(bytes.subarray(start + 5, end), first, out);
      case B.notice:
        return this.#reports.notice(bytes.subarray(start + 5, end), first);
      case B.notification:
        return this.#reports.notification(bytes.subarray(start + 5, end));
      case B.parameterStatus:
        return this.#parameter(bytes.subarray(start + 5, end));
      case B.readyForQuery:
        return this.#ready(bytes[start + 5] ?? 0, first, out);
      default:
        throw unexpected(letter);
    }
  }

  #described(letter: number, body: Buffer, first: Answer | undefined): Buffer | null | undefined {
    if (first?.step === 'query' && first.plan?.clear) {
      this.#modeChosen = false;
      return undefined;
    }
    if (first?.step === 'describe' && (first.portal === null || (first.portal.verdict.plan as PgPlan).clear)) {
      this.#parts.answers.shift();
      return undefined;
    }
    const fields = letter === B.noData ? [] : rowDescription(body);
    if (fields === null)
      throw new SluiceError('UPSTREAM_VIOLATION', 'the server sent a RowDescription whose lengths do not hold');
    if (first?.step === 'describe') {
      this.#parts.answers.shift();
      if (first.portal !== null) first.portal.fields = fields;
      return first.injected ? null : undefined;
    }
    this.#fields = fields;
    this.#modeChosen = false;
    return undefined;
  }

  #statementEnds(letter: number, body: Buffer, first: Answer | undefined, out: Outlet): undefined {
    if (first === undefined || (first.step !== 'query' && first.step !== 'execute')) throw unexpected(letter);
    if (letter !== B.portalSuspended) this.#parts.session.settle(first.changes[first.at] ?? []);
    const rows = letter === B.commandComplete ? tagRows(body) : 0;
    this.#end(first, out, rows);
    first.at++;
    this.#modeChosen = false;
    this.#fields = null;
    if (first.step === 'execute') {
      first.copies = 0;
      this.#parts.answers.shift();
    }
    return undefined;
  }

  #end(first: Answer, _out: Outlet, rows: number, error?: string): void {
    const op = first.ops[first.at];
    if (op === undefined) return;
    this.#done.push(error === undefined ? { op, rows } : { op, rows, error });
  }

  /** Ended operations; told once the bytes before them have left, so that their size is right. */
  #done: { op: number; rows: number; error?: string }[] = [];

  #flushEnded(out: Outlet): void {
    if (this.#done.length === 0) return;
    for (const end of this.#done) {
      out.ended({ ...end, bytes: this.#bytes - this.#opBytes });
      this.#opBytes = this.#bytes;
    }
    this.#done = [];
  }

  /** FunctionCallResponse: length(int32, -1: NULL) value */
  #callAnswered(bytes: Buffer, start: number, first: Answer | undefined): Buffer | undefined {
    if (first?.step !== 'call') throw unexpected(B.functionCallResponse);
    const output = first.plan === null || first.plan.clear ? null : (first.plan.protections[0]?.outputs ?? 'all');
    const masked = output !== null && (output === 'all' || output.length !== 1 || output[0] !== null);
    if (!masked || this.#parts.obligations().masks.length === 0) return undefined;
    return bytes.readInt32BE(start + 5) < 0
      ? undefined
      : message(B.functionCallResponse, Buffer.from([0xff, 0xff, 0xff, 0xff]));
  }

  #failed(body: Buffer, first: Answer | undefined, out: Outlet): Buffer | undefined {
    const { session } = this.#parts;
    session.failed();
    const code = errorField(body, 'C') ?? 'XX000';
    const fatal = errorField(body, 'V') !== 'ERROR';
    let instead: Buffer | undefined;
    if (first?.replacement && !fatal) instead = located(first.replacement, body);
    else instead = this.#reports.error(body, first);
    this.#modeChosen = false;
    this.#fields = null;
    if (fatal) this.#left = true;
    if (first === undefined || fatal) return instead;
    if (first.step === 'query' || first.step === 'call') {
      for (let i = first.at; i < first.changes.length; i++) session.drop(first.changes[i]!);
      if (!first.replacement) this.#end(first, out, 0, code);
      // The rest of the batch does not run.
      first.at = Number.MAX_SAFE_INTEGER;
      this.#copyFails(first, out);
      return instead;
    }
    if ((first.step === 'execute' || first.step === 'bind') && !first.replacement) this.#end(first, out, 0, code);
    if (first.step !== 'sync') {
      this.#skipToSync(out, first);
      this.#copyFails(first, out);
    }
    return instead;
  }

  /** The server skips everything up to the next Sync. */
  #skipToSync(out: Outlet, failed: Answer): void {
    const { answers, session } = this.#parts;
    for (let next = answers.first; next !== undefined && next.step !== 'sync'; next = answers.first) {
      for (const changes of next.changes) session.drop(changes);
      if (next !== failed) for (let i = 0; i < next.ops.length; i++) this.#end({ ...next, at: i }, out, 0, 'skipped');
      next.copies = 0;
      answers.shift();
    }
    this.#skipping = answers.first === undefined;
  }

  /** ParameterStatus: name\0 value\0 */
  #parameter(body: Buffer): Buffer | undefined {
    const text = body.toString('utf8').split('\0');
    const [name, value] = [text[0] ?? '', text[1] ?? ''];
    this.#parts.parameters.set(name, value);
    if (name === 'standard_conforming_strings' && value !== 'on') {
      throw new SluiceError(
        'PROTOCOL_UNSUPPORTED',
        'standard_conforming_strings was turned off, and statements can no longer be read as the server reads them',
      );
    }
    return this.#reports.parameter(name, value);
  }

  #ready(status: number, first: Answer | undefined, out: Outlet): undefined {
    const { answers, session } = this.#parts;
    if (first === undefined || (first.step !== 'sync' && first.step !== 'query' && first.step !== 'call'))
      throw unexpected(B.readyForQuery);
    if (first.step === 'call' && first.at === 0) this.#end(first, out, 1);
    first.copies = 0;
    answers.shift();
    session.ready(status);
    if (session.dirty && status === 0x49) {
      session.dirty = false;
      this.#parts.statements.changed();
    }
    this.#modeChosen = false;
    this.#fields = null;
    return undefined;
  }
}

/** Big-endian; negative when the highest bit is set. The hot loops read by hand: a bounds check costs as much as the rest. */
function int32(bytes: Buffer, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

/** End of the run of whole messages of this letter that begins at `at`. */
function wholeRun(bytes: Buffer, at: number, letter: number): number {
  const last = bytes.length - 5;
  let end = at;
  while (end <= last && bytes[end] === letter) {
    const size = int32(bytes, end + 1) + 1;
    if (size < 5 || size > MAX_MESSAGE) {
      throw new SluiceError('UPSTREAM_VIOLATION', `the server sent a row of ${size} bytes`);
    }
    if (size > bytes.length - end) break;
    end += size;
  }
  return end;
}

/** CommandComplete: the number at the end of the tag, 0 where there is none. */
function tagRows(body: Buffer): number {
  let rows = 0;
  let scale = 1;
  for (let i = body.length - 2; i >= 0; i--) {
    const digit = body[i]! - 0x30;
    if (digit < 0 || digit > 9) return body[i] === 0x20 ? rows : 0;
    rows += digit * scale;
    scale *= 10;
  }
  return 0;
}

function unexpected(letter: number): SluiceError {
  return new SluiceError(
    'UPSTREAM_VIOLATION',
    `the server sent a message '${String.fromCharCode(letter)}' that nothing asked for`,
  );
}

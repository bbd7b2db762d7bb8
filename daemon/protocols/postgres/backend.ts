/**
 * Reads the server's bytes against the answers that are owed, and lets them through: untouched where nothing is masked,
 * rewritten where something is. Rows of an unmasked result are walked by their lengths alone and leave in the chunks in
 * which they came. Whatever comes without a plan while masks apply is masked whole.
 */

import { SluiceError } from '../../core/errors.ts';
import type { ColumnMask, Obligations } from '../../core/mask.ts';
import type { Outlet } from '../protocol.ts';
import { type Answer, type Answers, answer } from './answers.ts';
import type { PgPlan, Statements } from './classify.ts';
import { located } from './refusal.ts';
import type { Portal, SessionNames } from './session.ts';
import type { CopyOut, OutputMask, Protection } from './sql/model.ts';
import { B, errorField, F, type Field, MAX_MESSAGE, message, rowDescription } from './wire.ts';

/** The memory that masked bytes are written to. */
export interface Lending {
  /** What came out last is still in use: it stays as it is, and other memory takes its place. */
  keep(): void;
  /** All that was kept has left: it may be written to again. */
  reclaim(): void;
}

/** Rewrites complete DataRow messages of one result. */
export interface RowMasking {
  /** `bytes` holds whole messages from `start` to `end`. What comes out is overwritten by the next call, unless kept. */
  mask(bytes: Buffer, start: number, end: number): Buffer;
  readonly memory: Lending;
}

/** Rewrites the CopyData messages of one COPY TO STDOUT. */
export interface CopyMasking {
  /** As RowMasking.mask; what comes out may be empty while a row is incomplete. */
  messages(bytes: Buffer, start: number, end: number): Buffer;
  readonly memory: Lending;
  /** The payload that is left at CopyDone. */
  end(): Buffer;
}

/** What masking lends to the codec. */
export interface MaskTools {
  rows(
    outputs: readonly (OutputMask | null)[] | 'all',
    fields: readonly Field[] | null,
    obligations: Obligations,
  ): RowMasking | null;
  /** `types`: oid of each column, 0 where it is not known. */
  copy(
    outputs: readonly (OutputMask | null)[] | 'all',
    options: CopyOut,
    types: readonly number[],
    obligations: Obligations,
  ): CopyMasking | null;
  /** The body of an ErrorResponse or NoticeResponse without what may quote values. */
  withhold(body: Buffer, obligations: Obligations): Buffer;
  /** Detectors over the texts of an ErrorResponse or NoticeResponse. */
  scanReport(body: Buffer, obligations: Obligations): Buffer;
  scanText(text: string, obligations: Obligations): string;
  /** The mask on a column, null where there is none, 'unknown' where the catalog does not have the table. */
  column(tableOid: number, attnum: number, obligations: Obligations): ColumnMask | null | 'unknown';
}

interface Parts {
  readonly answers: Answers;
  readonly session: SessionNames;
  readonly statements: Statements;
  readonly tools: MaskTools;
  readonly obligations: () => Obligations;
  readonly parameters: Map<string, string>;
}

/** Everything but rows and copies is short; an error may carry a statement. */
const MAX_CONTROL = 16 * 1024 * 1024;
/** A row that has to be rewritten is held whole. */
export const MAX_MASKED_ROW = 64 * 1024 * 1024;

/** How rows and copies of the answer in front are treated. */
type Mode =
  | { readonly kind: 'pass' }
  | { readonly kind: 'rows'; readonly masking: RowMasking }
  | { readonly kind: 'copy'; readonly masking: CopyMasking };

const PASS: Mode = { kind: 'pass' };

export class Backend {
  readonly #parts: Parts;
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
  }

  get atBoundary(): boolean {
    return this.#carried === 0 && this.#skip === 0;
  }

  get clientEncoding(): string {
    return (this.#parts.parameters.get('client_encoding') ?? 'UTF8').toUpperCase();
  }

  /** The server failed an extended step and skips whatever comes up to a Sync that has not gone yet. */
  #skipping = false;
  /** The COPY … FROM STDIN that went last. While it may take data, what a message means hangs on how far it is. */
  #copy: Answer | null = null;
  /** Syncs that were kept back, since nothing of the client's has gone: it may wait for their answers. */
  #syncsKept = 0;
  /** CopyFail was sent for what came behind that Sync. */
  #givenUp = false;

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

  /** An act goes upstream that asks for data. */
  copies(answer: Answer): void {
    this.#copy = answer;
  }

  /** The server has yet to say whether it takes the data or fails; until then nobody knows what it ignores. */
  get copyExpected(): boolean {
    return this.#copy !== null && this.#copy.copies > 0 && !this.#copy.copyIn;
  }

  get copyingIn(): boolean {
    return this.#copy?.copyIn === true;
  }

  /** CopyData, CopyDone or CopyFail goes upstream. */
  copyGoes(ends: boolean): void {
    this.#syncsKept = 0;
    if (ends && this.#copy !== null) this.#copy.copyIn = false;
  }

  /** A Sync came while data is copied in: the server would ignore it, unless it has failed by now. */
  keepSync(): void {
    this.#syncsKept++;
  }

  /**
   * Something else than data came. Behind a Sync it may be meant for after a failure that is still on its way, which only
   * the server knows of: told that the copy has failed, it answers with an error of its own, or with the one on its way.
   */
  giveUpCopy(): 'no' | 'now' | 'before' {
    if (this.#syncsKept === 0) return 'no';
    if (this.#givenUp) return 'before';
    this.#givenUp = true;
    return 'now';
  }

  #copyFails(first: Answer, out: Outlet): void {
    this.#givenUp = false;
    const waiting = first.copyIn ? this.#syncsKept : 0;
    first.copies = 0;
    first.copyIn = false;
    if (waiting === 0) return;
    this.#syncsKept = 0;
    this.#skipping = false;
    for (let i = 0; i < waiting; i++) {
      this.#parts.answers.push(answer('sync'));
      out.toUpstream(message(F.sync));
    }
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
    const first = this.#parts.answers.first;
    const obligations = this.#parts.obligations();
    const plan = first?.plan ?? null;
    if (plan?.clear || (plan === null && obligations.masks.length === 0 && obligations.detect.length === 0)) {
      this.#mode = PASS;
      return;
    }
    const protection = plan?.protections[first?.at ?? 0];
    const held = plan?.obligations ?? obligations;
    if (letter === B.copyData) {
      const options = (plan === null ? undefined : this.#copyOptions(first!)) ?? UNKNOWN_COPY;
      const masking = this.#parts.tools.copy(
        this.#outputs(protection, null, held),
        { encoding: this.clientEncoding, ...options },
        this.#copyTypes(first),
        held,
      );
      this.#mode = masking === null ? PASS : { kind: 'copy', masking };
      return;
    }
    const fields = first?.portal?.fields ?? this.#fields;
    const masking = this.#parts.tools.rows(this.#outputs(protection, fields, held), fields, held);
    this.#mode = masking === null ? PASS : { kind: 'rows', masking };
  }

  #copyColumns = 0;

  /** As many as the server announced columns. */
  #copyTypes(first: Answer | undefined): readonly number[] {
    const known = first?.plan?.types[first.at] ?? [];
    return Array.from({ length: this.#copyColumns }, (_, i) => (known.length === this.#copyColumns ? known[i]! : 0));
  }

  #copyOptions(first: Answer): CopyOut | undefined {
    return first.plan?.copies[first.at];
  }

  /** The plan's outputs, held against what the server itself says of each column. */
  #outputs(
    protection: Protection | undefined,
    fields: readonly Field[] | null,
    obligations: Obligations,
  ): readonly (OutputMask | null)[] | 'all' {
    if (obligations.masks.length === 0) return [];
    if (protection === undefined || protection.outputs === 'all') return 'all';
    if (fields === null) return protection.outputs;
    if (fields.length !== protection.outputs.length) return 'all';
    const outputs: (OutputMask | null)[] = [];
    for (let i = 0; i < fields.length; i++) {
      const planned = protection.outputs[i] ?? null;
      const field = fields[i]!;
      const known =
        planned !== null || field.tableOid === 0
          ? null
          : this.#parts.tools.column(field.tableOid, field.attnum, obligations);
      if (known === 'unknown') {
        // A table that the catalog did not have when the statement was decided.
        this.#parts.statements.changed();
        return 'all';
      }
      outputs.push(planned ?? (known === null ? null : { mask: known, plain: true }));
    }
    return outputs;
  }

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
        if (first === undefined || first.copies === 0 || first.copyIn) throw unexpected(letter);
        first.copies--;
        first.copyIn = true;
        this.#syncsKept = 0;
        return undefined;
      case B.copyBothResponse:
        return undefined;
      case B.functionCallResponse:
        return this.#callAnswered(bytes, start, first);
      case B.error:
        return this.#failed(bytes.subarray(start + 5, end), first, out);
      case B.notice:
        return this.#noticed(bytes.subarray(start + 5, end), first);
      case B.notification:
        return this.#notified(bytes.subarray(start + 5, end));
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
    else instead = this.#report(B.error, body, first);
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
    if (first.step === 'execute' && !first.replacement) this.#end(first, out, 0, code);
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

  /** The statement, or the portal of it, whose withheld notice went last. */
  #told: { readonly of: Answer | Portal; readonly at: number } | null = null;

  /** One withheld notice stands for all of its statement: how many come could be made to tell a value. */
  #noticed(body: Buffer, first: Answer | undefined): Buffer | null | undefined {
    if (first !== undefined && this.#parts.obligations().masks.length > 0 && this.#withholds(first)) {
      const of = first.portal ?? first;
      if (this.#told?.of === of && this.#told.at === first.at) return null;
      this.#told = { of, at: first.at };
    }
    return this.#report(B.notice, body, first);
  }

  #report(letter: number, body: Buffer, first: Answer | undefined): Buffer | undefined {
    const obligations = this.#parts.obligations();
    if (obligations.masks.length === 0 && obligations.detect.length === 0) return undefined;
    const { tools } = this.#parts;
    let made = body;
    // A notice that nothing asked for can't be traced.
    const stray = first === undefined && letter === B.notice && obligations.masks.length > 0;
    if (stray || this.#withholds(first)) made = tools.withhold(made, obligations);
    if (obligations.detect.length > 0) made = tools.scanReport(made, obligations);
    return made === body ? undefined : message(letter, made);
  }

  /** Parse, Bind and Describe of a statement may already quote its values (constant folding). */
  #withholds(first: Answer | undefined): boolean {
    if (first === undefined) return false;
    const plan = first.plan ?? (first.portal?.verdict.plan as PgPlan | undefined) ?? planOf(first);
    return plan?.protections.some((protection) => protection.withholdErrors) ?? false;
  }

  /** NotificationResponse: pid(int32) channel\0 payload\0 */
  #notified(body: Buffer): Buffer | undefined {
    const obligations = this.#parts.obligations();
    if (obligations.masks.length === 0 && obligations.detect.length === 0) return undefined;
    const channelEnd = body.indexOf(0, 4);
    if (body.length < 6 || channelEnd < 0)
      throw new SluiceError('UPSTREAM_VIOLATION', 'the server sent a notification without an end of its channel');
    const payload = body.toString('utf8', channelEnd + 1, body.length - 1);
    // What others, or triggers, put in can't be traced; what the client wrote out itself it knows.
    const masked = obligations.masks.length > 0 && payload !== '' && !this.#parts.session.sent(payload);
    const made = masked ? '' : this.#parts.tools.scanText(payload, obligations);
    return made === payload ? undefined : message(B.notification, body.subarray(0, channelEnd + 1), `${made}\0`);
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
    const obligations = this.#parts.obligations();
    if (obligations.detect.length === 0) return undefined;
    const made = this.#parts.tools.scanText(value, obligations);
    return made === value ? undefined : message(B.parameterStatus, `${name}\0${made}\0`);
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

const UNKNOWN_COPY: CopyOut = { format: 'text', delimiter: '\t', null: '\\N', quote: '"', escape: '"', header: false };

/** The plan of the statement that a Parse, Bind or Describe belongs to. */
function planOf(first: Answer): PgPlan | undefined {
  for (const change of first.changes.flat()) {
    if (change.kind === 'portal' && change.value !== null) return change.value.verdict.plan as PgPlan;
  }
  return undefined;
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

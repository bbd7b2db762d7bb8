/**
 * The PostgreSQL codec: the client's messages become acts to be decided, everything else passes; what comes back is read
 * against the answers that are owed. Which step of an operation carries what:
 *
 *   Query, FunctionCall   decided, held, recorded
 *   Parse                 decided, so that a refusal comes as early as a syntax error would
 *   Bind                  decided again under the policy of now, and held: planning may already run functions; where
 *                         these may do more than read, recorded as well
 *   Execute               recorded, with the verdict of its Bind
 *
 * A refused act is exchanged for a message that the server itself fails (refusal.ts), so that order, transaction state
 * and skipping to Sync are the server's own. What it cannot do: look into replication streams (refused unless allowed by
 * name), and know a portal that a function opened (its rows are masked whole).
 */
import { isAscii, isUtf8 } from 'node:buffer';
import { SluiceError } from '../../core/errors.ts';
import type { Obligations } from '../../core/mask.ts';
import type { Act, Classified, Codec, Outlet, Refusal, Unit, Verdict } from '../protocol.ts';
import { makeAct, type PgAct } from './act.ts';
import { type Answer, Answers, answer } from './answers.ts';
import { Backend } from './backend.ts';
import { changesIn } from './changes.ts';
import type { PgClassified, PgPlan, Statements } from './classify.ts';
import { type Frame, Frontend, type FrontendLimits } from './frontend.ts';
import { Judge } from './judge.ts';
import type { MaskTools } from './mask-tools.ts';
import { bindParameters, userTypes } from './parameters.ts';
import { errorResponse, noticeResponse, poisonParse, poisonQuery } from './refusal.ts';
import { type Change, isIndirect, type Portal, type Prepared, type SessionNames } from './session.ts';
import type { Analysis } from './sql/model.ts';
import { F, message } from './wire.ts';

export interface CodecOptions {
  readonly statements: Statements;
  readonly tools: MaskTools;
  readonly limits: FrontendLimits;
  readonly session: SessionNames;
  readonly obligations: () => Obligations;
  /** As the server reported it at login. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** Names are kept up to here by the server, bytes: NAMEDATALEN - 1. */
const MAX_NAME = 63;

export class PostgresCodec implements Codec {
  readonly #options: CodecOptions;
  readonly #frontend: Frontend;
  readonly #answers = new Answers();
  readonly #session: SessionNames;
  readonly #backend: Backend;
  /** Taken from the frontend and not handed out, as the server has to answer first. */
  #kept: Frame | null = null;
  #blocked = false;
  /** A step was refused: the server skips all up to Sync, and so do we. */
  #skipping = false;
  /** What becomes of the rest of a long message. */
  #rest: 'pass' | 'drop' | 'undecided' = 'pass';
  /** Follows the rest of a long message. */
  #after: Buffer | null = null;
  readonly #judge: Judge;

  constructor(options: CodecOptions) {
    this.#options = options;
    this.#session = options.session;
    this.#frontend = new Frontend(options.limits);
    this.#judge = new Judge(options.session, options.statements);
    this.#backend = new Backend({
      answers: this.#answers,
      session: this.#session,
      statements: options.statements,
      tools: options.tools,
      obligations: options.obligations,
      parameters: new Map(options.parameters),
    });
  }

  client(chunk: Buffer): void {
    this.#frontend.push(chunk);
  }

  get blocked(): boolean {
    return this.#blocked;
  }

  get partial(): boolean {
    return this.#kept === null && this.#frontend.partial;
  }

  get atBoundary(): boolean {
    return this.#backend.atBoundary;
  }

  upstream(chunk: Buffer, out: Outlet): void {
    this.#backend.push(chunk, out);
  }

  notice(text: string, detail: string): Buffer {
    return noticeResponse(text, detail);
  }

  fatal(refusal: Refusal): Buffer {
    // The server's own goodbye is the last word.
    return this.#backend.left ? NOTHING : errorResponse(refusal, 'FATAL');
  }

  next(): Unit | null {
    this.#blocked = false;
    for (;;) {
      if (this.#frontend.outstanding > 0 && this.#kept === null) {
        if (this.#rest === 'undecided') return null;
        const rest = this.#frontend.rest();
        if (rest === null) return null;
        if (this.#rest === 'drop') continue;
        return { kind: 'pass', bytes: rest };
      }
      if (this.#after !== null) {
        const bytes = this.#after;
        this.#after = null;
        return { kind: 'pass', bytes };
      }
      const frame = this.#kept ?? this.#frontend.next();
      this.#kept = null;
      if (frame === null) return null;
      const unit = this.#read(frame);
      if (unit === 'again') continue;
      if (unit === 'wait') {
        this.#kept = frame;
        this.#blocked = true;
        return null;
      }
      return unit;
    }
  }

  #read(frame: Frame): Unit | 'again' | 'wait' {
    const { letter } = frame;
    this.#rest = 'pass';
    if (letter === F.terminate) return { kind: 'end', bytes: frame.bytes };
    if (this.#backend.copyIn.expected) return 'wait';
    if (letter === F.sync) {
      if (this.#backend.copyIn.running) {
        this.#backend.copyIn.keepSync();
        return 'again';
      }
      this.#skipping = false;
      this.#backend.synced();
      this.#session.segment++;
      this.#answers.push(answer('sync'));
      return { kind: 'pass', bytes: frame.bytes };
    }
    if ((this.#skipping || this.#backend.skipping) && letter !== F.flush) {
      this.#rest = 'drop';
      return 'again';
    }
    switch (letter) {
      case F.flush:
        return { kind: 'pass', bytes: frame.bytes };
      case F.copyData:
      case F.copyDone:
      case F.copyFail:
        this.#backend.copyIn.data(letter !== F.copyData);
        return { kind: 'pass', bytes: frame.bytes };
    }
    if (this.#backend.copyIn.running) {
      const what = `a message '${String.fromCharCode(letter)}' came while data is copied in`;
      switch (this.#backend.copyIn.giveUp()) {
        case 'no':
          throw new SluiceError('PROTOCOL_VIOLATION', what);
        case 'now':
          this.#kept = frame;
          return { kind: 'pass', bytes: message(F.copyFail, `${what}\0`) };
        case 'before':
          return 'wait';
      }
    }
    switch (letter) {
      case F.describe:
        return this.#describe(frame);
      case F.close:
        return this.#close(frame);
      default:
        return this.#act(frame);
    }
  }

  /** Describe: kind(1: S, P) name\0 */
  #describe(frame: Frame): Unit {
    const name = this.#name(frame, 6);
    const portal = frame.bytes[5] === 0x50 ? this.#session.portal(name.text) : null;
    this.#answers.push(answer('describe', { portal: portal === 'wait' ? null : portal }));
    return { kind: 'pass', bytes: frame.bytes };
  }

  /** Close: kind(1: S, P) name\0 */
  #close(frame: Frame): Unit {
    const name = this.#name(frame, 6).text;
    const change: Change = { kind: frame.bytes[5] === 0x53 ? 'prepared' : 'portal', name, value: null };
    this.#session.expect(change);
    this.#answers.push(answer('close', { changes: [[change]] }));
    return { kind: 'pass', bytes: frame.bytes };
  }

  /**
   * name\0 of a statement or portal, as the server knows it: it keeps the first 63 bytes, and two names must never be one
   * there and two here, or the other way round.
   */
  #name(frame: Frame, from: number): { text: string; next: number } {
    const { bytes } = frame;
    let end = from;
    let bits = 0;
    // By hand: a call for each of these short names, and a Buffer to make it with, costs more than all else that is done here.
    for (; end < bytes.length && bytes[end] !== 0; end++) bits |= bytes[end]!;
    const letter = String.fromCharCode(frame.letter);
    if (end >= bytes.length)
      throw new SluiceError('PROTOCOL_VIOLATION', `a name without end came in a message '${letter}'`);
    const next = end + 1;
    if (end === from) return { text: '', next };
    if (bits < 0x80) return { text: bytes.toString('latin1', from, Math.min(end, from + MAX_NAME)), next };
    if (this.#backend.clientEncoding !== 'UTF8' || end - from > MAX_NAME || !isUtf8(bytes.subarray(from, end)))
      throw new SluiceError(
        'PROTOCOL_UNSUPPORTED',
        `a message '${letter}' came with a name that can be read in two ways`,
        {
          hint: `use ASCII in names of statements and portals, or UTF8 up to ${MAX_NAME} bytes`,
        },
      );
    return { text: bytes.toString('utf8', from, end), next };
  }

  #act(frame: Frame): Unit | 'wait' {
    // What an earlier segment changes may decide what this one means.
    if (this.#session.unsettled) return 'wait';
    this.#rest = frame.rest > 0 ? 'undecided' : 'pass';
    switch (frame.letter) {
      case F.query:
        return this.#statement(frame, 'query', 5, '');
      case F.parse: {
        // Parse: statement name\0 text\0 count(int16) { type oid(int32) }…
        // Refused whatever its name is.
        if (frame.oversize) return this.#statement(frame, 'parse', 5, '');
        const name = this.#name(frame, 5);
        return this.#statement(frame, 'parse', name.next, name.text);
      }
      case F.bind:
        return this.#bind(frame);
      case F.execute:
        return this.#execute(frame);
      case F.functionCall:
        return { kind: 'act', act: makeAct('call', frame, { decide: true, hold: true, record: true }) };
      default:
        throw new SluiceError(
          'PROTOCOL_VIOLATION',
          `a message '${String.fromCharCode(frame.letter)}' came outside of a login`,
        );
    }
  }

  /** Query: text\0 */
  #statement(frame: Frame, step: 'query' | 'parse', from: number, name: string): Unit {
    const query = step === 'query';
    const act = makeAct(step, frame, { decide: true, hold: query, record: query }, { statement: name });
    const bytes = frame.bytes;
    if (frame.oversize) {
      act.text = printable(bytes.subarray(from));
      const size = bytes.readUInt32BE(1);
      return this.#bad(
        act,
        'STATEMENT_TOO_LARGE',
        `a statement of ${size} bytes came, and sluice parses up to ${this.#options.limits.statement}`,
      );
    }
    const nul = bytes.indexOf(0, from);
    const ends = query ? nul === bytes.length - 1 : nul >= 0;
    const raw = bytes.subarray(from, nul < 0 ? bytes.length : nul);
    if (!ends) {
      act.text = printable(raw);
      return this.#bad(
        act,
        'PROTOCOL_VIOLATION',
        'a statement with a NUL byte inside, or without one at its end, came',
      );
    }
    const encoding = this.#backend.clientEncoding;
    if (!(isAscii(raw) || (encoding === 'UTF8' && isUtf8(raw)))) {
      act.text = printable(raw);
      const what =
        encoding === 'UTF8' ? 'bytes that are no UTF-8' : `characters beyond ASCII under client_encoding ${encoding}`;
      return this.#bad(act, 'STATEMENT_UNPARSABLE', `the statement holds ${what}`, 'use client_encoding UTF8');
    }
    act.text = raw.toString(encoding === 'UTF8' ? 'utf8' : 'latin1');
    if (!query) act.types = userTypes(bytes, nul + 1);
    return { kind: 'act', act };
  }

  /** Bind: portal\0 statement\0 formats, parameters, result formats */
  #bind(frame: Frame): Unit | 'wait' {
    const portal = this.#name(frame, 5);
    const statement = this.#name(frame, portal.next);
    const prepared = this.#session.prepared(statement.text);
    if (prepared === 'wait') return 'wait';
    const act = makeAct(
      'bind',
      frame,
      // Where the names that it uses may change, what it does is not known before Execute.
      { decide: true, hold: !prepared?.indirect, record: false },
      { statement: statement.text, portal: portal.text },
    );
    act.prepared = prepared;
    const from = statement.next;
    act.parameters = () => (frame.rest > 0 ? null : bindParameters(frame.bytes, from));
    act.text = prepared?.text ?? '';
    return { kind: 'act', act };
  }

  /** Execute: portal\0 rows(int32) */
  #execute(frame: Frame): Unit | 'wait' {
    const name = this.#name(frame, 5).text;
    const portal = this.#session.portal(name);
    if (portal === 'wait') return 'wait';
    const open = portal === null || portal.prepared.indirect;
    const act = makeAct('execute', frame, { decide: open, hold: open, record: true }, { portal: name });
    act.portal = portal;
    if (!open) act.verdict = portal.verdict;
    // A cursor of DECLARE is a portal as well; one that nobody declared here may read anything.
    act.text = portal?.prepared.text ?? `FETCH ALL FROM "${name.replaceAll('"', '""')}"`;
    return { kind: 'act', act };
  }

  #bad(act: PgAct, code: Refusal['code'], text: string, hint?: string): Unit {
    return { kind: 'bad', act, refusal: hint === undefined ? { code, message: text } : { code, message: text, hint } };
  }

  classify(given: Act, again = false): Classified | Promise<Classified> {
    return this.#judge.classify(given as PgAct, again);
  }

  forward(given: Act, verdict: Verdict, ops: readonly number[]): Buffer {
    const act = given as PgAct;
    const plan = verdict.plan as PgPlan;
    const analyses = (verdict.classified as PgClassified).analyses;
    if (this.#backend.skipping) {
      // While this was decided, the server failed something before it.
      this.#rest = 'drop';
      this.#backend.skipped(ops);
      return NOTHING;
    }
    if (this.#rest === 'undecided') this.#rest = 'pass';
    const session = this.#session;
    const bytes = act.frame.bytes;
    switch (act.step) {
      case 'query': {
        const changes = this.#expectChanges(analyses);
        this.#expect(answer('query', { ops, plan, changes, copies: copiesIn(analyses) }));
        session.segment++;
        return bytes;
      }
      case 'call':
        this.#answers.push(answer('call', { ops, plan }));
        session.segment++;
        return bytes;
      case 'parse': {
        const value = this.#prepare(act, analyses, (verdict.classified as PgClassified).names.catalog.version);
        const change: Change = { kind: 'prepared', name: act.statement, value };
        session.expect(change);
        this.#answers.push(answer('parse', { changes: [[change]] }));
        return bytes;
      }
      case 'bind': {
        const prepared = act.prepared === null ? null : { ...act.prepared, analyses };
        const portal: Portal | null = prepared === null ? null : { prepared, verdict, fields: null };
        const change: Change = { kind: 'portal', name: act.portalName, value: portal };
        session.expect(change);
        this.#answers.push(answer('bind', { ops, changes: [[change]] }));
        if (plan.clear || portal === null) return bytes;
        // Masks need the types and formats of what comes, and not every client asks for them.
        this.#answers.push(answer('describe', { injected: true, portal }));
        const describe = message(F.describe, `P${act.portalName}\0`);
        if (act.frame.rest === 0) return Buffer.concat([bytes, describe]);
        this.#after = describe;
        return bytes;
      }
      case 'execute': {
        const changes = this.#expectChanges(analyses);
        this.#expect(answer('execute', { ops, plan, changes, portal: act.portal, copies: copiesIn(analyses) }));
        return bytes;
      }
    }
  }

  #expect(item: Answer): void {
    this.#answers.push(item);
    if (item.copies > 0) this.#backend.copyIn.goes(item);
  }

  #prepare({ text, types, generation }: PgAct, analyses: readonly Analysis[], catalog: number): Prepared {
    if (this.#session.full)
      throw new SluiceError('FLOW_LIMIT', 'too many prepared statements, portals and cursors are open');
    return { text, types, whole: null, analyses, catalog, path: generation, indirect: isIndirect(text, analyses) };
  }

  #expectChanges(analyses: readonly Analysis[]): readonly (readonly Change[])[] {
    const changes = changesIn(analyses);
    for (const one of changes) for (const change of one) this.#session.expect(change);
    return changes;
  }

  refuse(given: Act, refusal: Refusal): Buffer {
    const act = given as PgAct;
    this.#rest = 'drop';
    if (this.#backend.skipping) return NOTHING;
    const replacement = errorResponse(refusal);
    if (act.step === 'query' || act.step === 'call') {
      this.#answers.push(answer('query', { replacement }));
      this.#session.segment++;
      return poisonQuery();
    }
    this.#skipping = true;
    this.#answers.push(answer('parse', { replacement }));
    return poisonParse();
  }
}

const NOTHING = Buffer.alloc(0);

function copiesIn(analyses: readonly Analysis[]): number {
  let count = 0;
  for (const analysis of analyses) if (analysis.copyIn) count++;
  return count;
}

/** For the record of something that is not text. */
function printable(bytes: Buffer): string {
  return bytes.subarray(0, 4096).toString('latin1').replaceAll('\0', '\\0');
}

/**
 * The PostgreSQL codec: the client's messages become acts to be decided, everything else passes; what comes back is read
 * against the answers that are owed. Which step of an operation carries what:
 *
 *   Query, FunctionCall   decided, held, recorded
 *   Parse                 decided, so that a refusal comes as early as a syntax error would
 *   Bind                  decided again under the policy of now, and held: planning may already run functions
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
import { type Answer, Answers, answer } from './answers.ts';
import { Backend, type MaskTools } from './backend.ts';
import { PgClassified, type PgPlan, type Statements } from './classify.ts';
import { type Frame, Frontend, type FrontendLimits } from './frontend.ts';
import { errorResponse, noticeResponse, poisonParse, poisonQuery } from './refusal.ts';
import { type Change, isIndirect, type Portal, type Prepared, type SessionNames } from './session.ts';
import type { Analysis, Catalog, Names } from './sql/model.ts';
import { cstring, F, message } from './wire.ts';

export interface CodecOptions {
  readonly statements: Statements;
  readonly tools: MaskTools;
  readonly limits: FrontendLimits;
  readonly session: SessionNames;
  readonly obligations: () => Obligations;
  /** As the server reported it at login. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** What sets a search_path for certain; set_config() may be called for no row, or for the transaction only. */
const SETS = new Set(['SET', 'RESET', 'DISCARD', 'DISCARD ALL']);

/** What runs procedural code at the top, where it may COMMIT and ROLLBACK. */
const CODE = new Set(['CALL', 'DO']);

/** Names are kept up to here by the server, bytes: NAMEDATALEN - 1. */
const MAX_NAME = 63;

type Step = 'query' | 'parse' | 'bind' | 'execute' | 'call';

interface PgAct extends Act {
  readonly step: Step;
  readonly frame: Frame;
  /** The statement; for a call, one that stands for it. */
  text: string;
  /** Name of the statement made (Parse) or used (Bind). */
  readonly statement: string;
  readonly portalName: string;
  portal: Portal | null;
  prepared: Prepared | null;
  classified: PgClassified | null;
}

const UNCHANGED: readonly never[] = [];

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
  #names: { readonly names: Names; readonly generation: number } | null = null;
  readonly #classified = new WeakMap<object, PgClassified>();

  constructor(options: CodecOptions) {
    this.#options = options;
    this.#session = options.session;
    this.#frontend = new Frontend(options.limits);
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
    if (this.#backend.copyExpected) return 'wait';
    if (letter === F.sync) {
      if (this.#backend.copyingIn) {
        this.#backend.keepSync();
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
        this.#backend.copyGoes(letter !== F.copyData);
        return { kind: 'pass', bytes: frame.bytes };
    }
    if (this.#backend.copyingIn) {
      const what = `a message '${String.fromCharCode(letter)}' came while data is copied in`;
      switch (this.#backend.giveUpCopy()) {
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
    const name = cstring(frame.bytes, from, frame.bytes.length);
    const letter = String.fromCharCode(frame.letter);
    if (name === null) throw new SluiceError('PROTOCOL_VIOLATION', `a name without end came in a message '${letter}'`);
    const bytes = frame.bytes.subarray(from, name.next - 1);
    if (isAscii(bytes)) return { text: name.text.slice(0, MAX_NAME), next: name.next };
    if (this.#backend.clientEncoding !== 'UTF8' || !isUtf8(bytes) || bytes.length > MAX_NAME)
      throw new SluiceError(
        'PROTOCOL_UNSUPPORTED',
        `a message '${letter}' came with a name that can be read in two ways`,
        {
          hint: `use ASCII in names of statements and portals, or UTF8 up to ${MAX_NAME} bytes`,
        },
      );
    return name;
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
        return { kind: 'act', act: this.#make('call', frame, { decide: true, hold: true, record: true }) };
      default:
        throw new SluiceError(
          'PROTOCOL_VIOLATION',
          `a message '${String.fromCharCode(frame.letter)}' came outside of a login`,
        );
    }
  }

  #make(
    step: Step,
    frame: Frame,
    needs: Pick<Act, 'decide' | 'hold' | 'record'>,
    names: { statement?: string; portal?: string } = {},
  ): PgAct {
    return {
      ...needs,
      step,
      frame,
      text: '',
      statement: names.statement ?? '',
      portalName: names.portal ?? '',
      portal: null,
      prepared: null,
      classified: null,
    };
  }

  /** Query: text\0 */
  #statement(frame: Frame, step: 'query' | 'parse', from: number, name: string): Unit {
    const query = step === 'query';
    const act = this.#make(step, frame, { decide: true, hold: query, record: query }, { statement: name });
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
    return { kind: 'act', act };
  }

  /** Bind: portal\0 statement\0 formats, parameters, result formats */
  #bind(frame: Frame): Unit | 'wait' {
    const portal = this.#name(frame, 5);
    const statement = this.#name(frame, portal.next);
    const prepared = this.#session.prepared(statement.text);
    if (prepared === 'wait') return 'wait';
    const act = this.#make(
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
    const act = this.#make('execute', frame, { decide: open, hold: open, record: true }, { portal: name });
    act.portal = portal;
    if (!open) act.verdict = portal.verdict;
    // A cursor of DECLARE is a portal as well; one that nobody declared here may read anything.
    act.text = portal?.prepared.text ?? `FETCH ALL FROM "${name.replaceAll('"', '""')}"`;
    return { kind: 'act', act };
  }

  #bad(act: PgAct, code: Refusal['code'], text: string, hint?: string): Unit {
    return { kind: 'bad', act, refusal: hint === undefined ? { code, message: text } : { code, message: text, hint } };
  }

  classify(given: Act): Classified | Promise<Classified> {
    const act = given as PgAct;
    if (act.classified !== null && act.step !== 'execute') return act.classified;
    const catalog = this.#options.statements.catalog();
    if (catalog instanceof Promise) return catalog.then((loaded) => this.#classifyWith(act, loaded));
    return this.#classifyWith(act, catalog);
  }

  #classifyWith(act: PgAct, catalog: Catalog): PgClassified | Promise<PgClassified> {
    const session = this.#session;
    const { prepared } = act.step === 'execute' && act.portal !== null ? act.portal : act;
    // A portal stays what it was planned as at its Bind, wherever names lead by now.
    const planned = act.step === 'execute' && prepared !== null;
    const fresh = planned || (prepared?.catalog === catalog.version && prepared.path === session.pathGeneration);
    if (prepared !== null && fresh && !prepared.indirect) {
      return this.#keep(act, prepared.analyses, () => this.#namesOf(catalog));
    }
    if (act.step === 'bind' && prepared === null) return this.#keep(act, [], () => this.#namesOf(catalog));
    const stale = session.stale(catalog.version);
    if (stale.length > 0) return this.#renew(stale, catalog).then(() => this.#analyze(act, catalog));
    return this.#analyze(act, catalog);
  }

  #analyze(act: PgAct, catalog: Catalog): PgClassified | Promise<PgClassified> {
    const names = this.#namesOf(catalog);
    const analyses = act.step === 'call' ? this.#call(act, names) : this.#options.statements.analyze(act.text, names);
    if (analyses instanceof Promise) return analyses.then((made) => this.#keep(act, made, () => names));
    return this.#keep(act, analyses, () => names);
  }

  /** FunctionCall: oid(int32) … */
  #call(act: PgAct, names: Names): readonly Analysis[] | Promise<readonly Analysis[]> {
    const { bytes } = act.frame;
    if (bytes.length < 9) throw new SluiceError('PROTOCOL_VIOLATION', 'a FunctionCall without a function came');
    const made = this.#options.statements.analyzeCall(bytes.readUInt32BE(5), names);
    return made instanceof Promise ? made.then((analysis) => [analysis]) : [made];
  }

  #keep(act: PgAct, analyses: readonly Analysis[], names: () => Names): PgClassified {
    const template = analyses.length === 1 ? analyses[0]!.template : undefined;
    const key = template ?? analyses;
    let made = this.#classified.get(key);
    if (made === undefined) {
      made = new PgClassified(analyses, names(), this.#options.statements);
      this.#classified.set(key, made);
    }
    if (made.analyses !== analyses) made = new PgClassified(analyses, made.names, this.#options.statements, made);
    act.classified = made;
    return made;
  }

  async #renew(stale: readonly [string, Prepared][], catalog: Catalog): Promise<void> {
    for (const [name, { text }] of stale) {
      const names = this.#session.names(catalog);
      const analyses = await Promise.resolve(this.#options.statements.analyze(text, names)).catch(() => []);
      const path = this.#session.pathGeneration;
      this.#session.renew(name, { text, analyses, catalog: catalog.version, path, indirect: isIndirect(text) });
    }
  }

  #namesOf(catalog: Catalog): Names {
    if (!this.#session.plain) return this.#session.names(catalog);
    const generation = this.#session.pathGeneration;
    if (this.#names === null || this.#names.names.catalog !== catalog || this.#names.generation !== generation) {
      this.#names = { names: this.#session.names(catalog), generation };
    }
    return this.#names.names;
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
        const value = this.#prepare(act.text, analyses, (verdict.classified as PgClassified).names.catalog.version);
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
        this.#answers.push(answer('bind', { changes: [[change]] }));
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
    if (item.copies > 0) this.#backend.copies(item);
  }

  #prepare(text: string, analyses: readonly Analysis[], catalog: number): Prepared {
    if (this.#session.full)
      throw new SluiceError('FLOW_LIMIT', 'too many prepared statements, portals and cursors are open');
    return { text, analyses, catalog, path: this.#session.pathGeneration, indirect: isIndirect(text) };
  }

  /** Most statements change nothing that a session means by names. */
  #expectChanges(analyses: readonly Analysis[]): readonly (readonly Change[])[] {
    if (analyses.every(({ changes, operation }) => changes.length === 0 && !CODE.has(operation.verb))) return UNCHANGED;
    const changes = analyses.map((analysis) => this.#changes(analysis));
    for (const change of changes.flat()) this.#session.expect(change);
    return changes;
  }

  #changes(analysis: Analysis): Change[] {
    const made: Change[] = [];
    // Their code may end the transaction that a search_path was set in.
    if (CODE.has(analysis.operation.verb)) made.push({ kind: 'rollback' });
    for (const change of analysis.changes) {
      switch (change.kind) {
        case 'search-path':
          made.push({
            kind: 'path',
            path: change.path,
            local: change.local,
            certain: SETS.has(analysis.operation.verb),
          });
          break;
        case 'prepare':
          made.push({
            kind: 'prepared',
            name: change.name,
            value: {
              text: change.text,
              analyses: change.analyses,
              catalog: -1,
              path: -1,
              indirect: isIndirect(change.text),
            },
          });
          break;
        case 'deallocate':
          made.push(
            change.name === null ? { kind: 'all-prepared-gone' } : { kind: 'prepared', name: change.name, value: null },
          );
          break;
        case 'declare':
          made.push({ kind: 'cursor', name: change.name, outputs: change.outputs });
          break;
        case 'close':
          made.push({ kind: 'cursor-gone', name: change.name });
          break;
        case 'notify':
          made.push({ kind: 'notify', payload: change.payload });
          break;
        case 'rollback':
        case 'rollback-to':
          made.push({ kind: 'rollback' });
          break;
        case 'commit':
        case 'discard':
        case 'catalog':
          made.push({ kind: change.kind });
          break;
        default:
          break;
      }
    }
    return made;
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

/**
 * Bind after its names: formats(int16 count, int16 each) parameters(int16 count, each int32 length (-1: NULL) and bytes)
 * Binary values are shown in hex. Null when the lengths lie; the server will refuse that.
 */
export function bindParameters(bytes: Buffer, from: number): (string | null)[] | null {
  if (from + 2 > bytes.length) return null;
  const formats = bytes.readUInt16BE(from);
  let at = from + 2 + 2 * formats;
  if (at + 2 > bytes.length) return null;
  const count = bytes.readUInt16BE(at);
  at += 2;
  const values: (string | null)[] = [];
  for (let i = 0; i < count; i++) {
    if (at + 4 > bytes.length) return null;
    const length = bytes.readInt32BE(at);
    at += 4;
    if (length < 0) {
      values.push(null);
      continue;
    }
    if (at + length > bytes.length) return null;
    const binary =
      formats === 0 ? 0 : bytes.readUInt16BE(from + 2 + 2 * (formats === 1 ? 0 : Math.min(i, formats - 1)));
    const value = bytes.subarray(at, at + length);
    values.push(binary === 0 ? value.toString('utf8') : `\\x${value.toString('hex')}`);
    at += length;
  }
  return values;
}

/** For the record of something that is not text. */
function printable(bytes: Buffer): string {
  return bytes.subarray(0, 4096).toString('latin1').replaceAll('\0', '\\0');
}

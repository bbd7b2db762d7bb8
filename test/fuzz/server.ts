/**
 * A model of PostgreSQL's session: what it answers to each message, in the states that its protocol has. Written from the
 * server's own behaviour (postgres.c, prepare.c, portalmem.c, copyfromparse.c of version 15), not from sluice's picture.
 */
import { B, F, message, readyForQuery } from '../../daemon/protocols/postgres/wire.ts';
import { CANARY, type Statement, statementsOf } from './language.ts';

/** NAMEDATALEN - 1: names are the same from here on. */
const NAME = 63;
const START_PATH = 'b';

interface Prepared {
  readonly statement: Statement | null;
}

interface Portal {
  readonly statement: Statement | null;
  /** What READ and TOUCH mean is settled when it is planned. */
  readonly path: string;
  done: boolean;
  left: number;
}

class Failed extends Error {}

export class ModelServer {
  /** Statements that ran although policy refuses them. */
  readonly undecided: string[] = [];
  #in: Buffer = Buffer.alloc(0);
  /** Written and not flushed; flushed and not taken. */
  #buffered: Buffer[] = [];
  #out: Buffer[] = [];
  readonly #prepared = new Map<string, Prepared>();
  #portals = new Map<string, Portal>();
  #path = START_PATH;
  /** Path that a rollback restores; null: no transaction is open. */
  #before: string | null = null;
  /** Path that holds once the transaction has ended, where LOCAL covers it. */
  #session = START_PATH;
  #block: 'none' | 'open' | 'failed' = 'none';
  #skipping = false;
  #maybes = 0;
  /** Statements after the COPY IN that runs, and how it was begun. */
  #copying: { readonly rest: readonly Statement[]; readonly simple: boolean } | null = null;
  /** The connection is broken: nothing is answered any more. */
  dead = false;

  write(bytes: Buffer): void {
    this.#in = Buffer.concat([this.#in, bytes]);
  }

  /** Bytes for sluice, if there are any. */
  take(): Buffer | null {
    return this.#out.shift() ?? null;
  }

  get idle(): boolean {
    return this.dead || this.#in.length < 5 || this.#in.length < this.#in.readUInt32BE(1) + 1;
  }

  get answered(): boolean {
    return this.#out.length === 0;
  }

  /** Takes one message. */
  step(): void {
    if (this.idle) return;
    const size = this.#in.readUInt32BE(1) + 1;
    const letter = this.#in[0]!;
    const body = this.#in.subarray(5, size);
    this.#in = this.#in.subarray(size);
    if (letter === F.terminate) {
      this.dead = true;
      return;
    }
    if (this.#copying !== null) this.#copyMessage(letter, body);
    else if (!this.#skipping || letter === F.sync) this.#message(letter, body);
  }

  #say(letter: number, ...body: (Buffer | string)[]): void {
    this.#buffered.push(message(letter, ...body));
  }

  #flush(): void {
    if (this.#buffered.length > 0) this.#out.push(Buffer.concat(this.#buffered));
    this.#buffered = [];
  }

  #ready(): void {
    const state = { none: 0x49, open: 0x54, failed: 0x45 }[this.#block];
    this.#buffered.push(readyForQuery(state));
    this.#flush();
  }

  #error(text: string, fatal = false): void {
    const severity = fatal ? 'FATAL' : 'ERROR';
    this.#say(B.error, `S${severity}\0V${severity}\0CXX001\0M${text}\0\0`);
    this.#flush();
  }

  // ---------------------------------------------------------------- transactions

  #enter(): void {
    if (this.#before === null) {
      this.#before = this.#session;
    }
  }

  #leave(kept: boolean): void {
    if (!kept && this.#before !== null) this.#session = this.#before;
    this.#path = this.#session;
    this.#before = null;
    this.#block = 'none';
    // Cursors here are all without hold.
    this.#portals.clear();
  }

  #abort(): void {
    if (this.#block === 'none') this.#leave(false);
    else {
      this.#block = 'failed';
      this.#portals.clear();
      // As after AbortCurrentTransaction: settings are back at once.
      if (this.#before !== null) this.#session = this.#before;
      this.#path = this.#session;
    }
  }

  // ---------------------------------------------------------------- messages

  #message(letter: number, body: Buffer): void {
    const simple = letter === F.query || letter === F.functionCall;
    try {
      switch (letter) {
        case F.query:
          this.#prepared.delete('');
          this.#portals.delete('');
          this.#batch(statementsOf(text(body, 0).text), true);
          return;
        case F.functionCall:
          this.#enter();
          if (this.#block === 'failed') throw new Failed('aborted');
          if (body.length < 4) throw new Failed('invalid message');
          if (body.readUInt32BE(0) === 1) this.undecided.push('FunctionCall');
          this.#say(B.functionCallResponse, Buffer.from([0xff, 0xff, 0xff, 0xff]));
          if (this.#block === 'none') this.#leave(true);
          this.#ready();
          return;
        case F.parse:
          this.#parse(body);
          return;
        case F.bind:
          this.#bind(body);
          return;
        case F.describe:
          this.#describe(body);
          return;
        case F.execute:
          this.#execute(body);
          return;
        case F.close:
          this.#close(body);
          return;
        case F.sync:
          this.#skipping = false;
          if (this.#block === 'none') this.#leave(true);
          this.#ready();
          return;
        case F.flush:
          this.#flush();
          return;
        case F.copyData:
        case F.copyDone:
        case F.copyFail:
          return;
        default:
          this.#error('unknown message', true);
          this.dead = true;
      }
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      this.#fail(error.message, simple);
    }
  }

  #fail(why: string, simple: boolean): void {
    this.#error(why);
    this.#abort();
    if (simple) this.#ready();
    else this.#skipping = true;
  }

  #batch(statements: readonly Statement[], fromQuery: boolean): void {
    if (fromQuery && statements.length === 0) {
      this.#say(B.emptyQuery);
      // exec_simple_query() closes the transaction that extended steps before it began, here too.
      if (this.#block === 'none') this.#leave(true);
      this.#ready();
      return;
    }
    // The text is parsed as a whole before any of it runs.
    if (fromQuery && statements.some(unparsable)) throw new Failed('syntax error');
    for (const [i, statement] of statements.entries()) {
      if (statement.verb === 'COPYIN') {
        this.#enter();
        if (this.#block === 'failed') throw new Failed('aborted');
        this.#beginCopy(statements.slice(i + 1), true);
        return;
      }
      this.#run(statement, true, this.#path);
    }
    if (this.#block === 'none') this.#leave(true);
    this.#ready();
  }

  #parse(body: Buffer): void {
    const name = nameAt(body, 0);
    const statements = statementsOf(text(body, name.next).text);
    if (statements.length > 1 || statements.some(unparsable)) throw new Failed('syntax error');
    const statement = statements[0] ?? null;
    if (this.#block === 'failed' && !ends(statement)) throw new Failed('aborted');
    this.#enter();
    if (name.text !== '' && this.#prepared.has(name.text)) throw new Failed('exists');
    this.#prepared.set(name.text, { statement });
    this.#say(B.parseComplete);
  }

  #bind(body: Buffer): void {
    const portal = nameAt(body, 0);
    const name = nameAt(body, portal.next);
    const prepared = this.#prepared.get(name.text);
    if (prepared === undefined) throw new Failed('no such statement');
    if (this.#block === 'failed' && !ends(prepared.statement)) throw new Failed('aborted');
    this.#enter();
    if (portal.text !== '' && this.#portals.has(portal.text)) throw new Failed('exists');
    this.#portals.set(portal.text, { statement: prepared.statement, path: this.#path, done: false, left: 3 });
    this.#say(B.bindComplete);
  }

  #describe(body: Buffer): void {
    const { text: name } = nameAt(body, 1);
    if (body[0] === 0x53) {
      const prepared = this.#prepared.get(name);
      if (prepared === undefined) throw new Failed('no such statement');
      this.#say(B.parameterDescription, Buffer.from([0, 0]));
      this.#rowsOf(prepared.statement);
    } else {
      const portal = this.#portals.get(name);
      if (portal === undefined) throw new Failed('no such portal');
      this.#rowsOf(portal.statement);
    }
  }

  #rowsOf(statement: Statement | null): void {
    if (statement !== null && rows(statement)) this.#say(B.rowDescription, DESCRIPTION);
    else this.#say(B.noData);
  }

  #execute(body: Buffer): void {
    const name = nameAt(body, 0);
    if (body.length < name.next + 4) throw new Failed('invalid message');
    const most = body.readInt32BE(name.next);
    const portal = this.#portals.get(name.text);
    if (portal === undefined) throw new Failed('no such portal');
    const { statement } = portal;
    if (statement === null) {
      this.#say(B.emptyQuery);
      return;
    }
    if (this.#block === 'failed' && !ends(statement)) throw new Failed('aborted');
    if (!rows(statement)) {
      if (portal.done) throw new Failed('cannot be run');
      portal.done = true;
      if (statement.verb === 'COPYIN') {
        this.#beginCopy([], false);
        return;
      }
      this.#run(statement, false, portal.path);
      return;
    }
    const count = most > 0 ? Math.min(most, portal.left) : portal.left;
    for (let i = 0; i < count; i++) this.#row(statement, portal.path);
    if (count === 0) this.#meaning(statement, portal.path);
    portal.left -= count;
    if (most > 0 && count === most) this.#say(B.portalSuspended);
    else this.#say(B.commandComplete, `SELECT ${count}\0`);
  }

  #close(body: Buffer): void {
    const { text: name } = nameAt(body, 1);
    if (body[0] === 0x53) this.#prepared.delete(name);
    else this.#portals.delete(name);
    this.#say(B.closeComplete);
  }

  // ---------------------------------------------------------------- COPY

  #beginCopy(rest: readonly Statement[], simple: boolean): void {
    this.#say(B.copyInResponse, Buffer.from([0, 0, 1, 0, 0]));
    this.#flush();
    this.#copying = { rest, simple };
  }

  #copyMessage(letter: number, body: Buffer): void {
    const { rest, simple } = this.#copying!;
    switch (letter) {
      case F.flush:
      case F.sync:
        return;
      case F.copyData:
        if (!body.includes('bad')) return;
        this.#copying = null;
        this.#fail('bad data', simple);
        return;
      case F.copyFail:
        this.#copying = null;
        this.#fail('copy failed', simple);
        return;
      case F.copyDone:
        this.#copying = null;
        this.#say(B.commandComplete, 'COPY 1\0');
        if (!simple) return;
        try {
          this.#batch(rest, false);
        } catch (error) {
          if (!(error instanceof Failed)) throw error;
          this.#fail(error.message, true);
        }
        return;
      default:
        this.#error('unexpected message during COPY', true);
        this.dead = true;
    }
  }

  // ---------------------------------------------------------------- statements

  /** What a statement comes to in the end, through names and path. @throws Failed */
  #meaning(statement: Statement, path: string): string {
    switch (statement.verb) {
      case 'READ':
        return path === 'b' ? 'SECRET' : 'SHOW';
      case 'TOUCH':
        if (path === 'b') this.undecided.push('TOUCH');
        return 'SHOW';
      case 'FORBID':
        this.undecided.push('FORBID');
        return 'SHOW';
      case 'execute': {
        const prepared = this.#prepared.get(statement.name);
        if (!prepared?.statement || depth(prepared.statement) > 1 || !rows(prepared.statement))
          throw new Failed('no such statement');
        // It is planned again under the path of now.
        return this.#meaning(prepared.statement, this.#path);
      }
      case 'fetch': {
        const portal = this.#portals.get(statement.name);
        if (!portal?.statement) throw new Failed('no such cursor');
        if (!rows(portal.statement) || portal.statement.verb === 'fetch') throw new Failed('not a cursor');
        return this.#meaning(portal.statement, portal.path);
      }
      default:
        return statement.verb;
    }
  }

  #row(statement: Statement, path: string): void {
    const meaning = this.#meaning(statement, path);
    if (meaning === 'FAIL') throw new Failed('failed');
    if (meaning === 'LEAKFAIL') throw new Failed(`failed over ${CANARY}`);
    const value = meaning === 'SECRET' ? CANARY : 'shown';
    const size = Buffer.alloc(6);
    size.writeUInt16BE(1);
    size.writeInt32BE(value.length, 2);
    this.#say(B.dataRow, size, value);
  }

  /** `described`: simple queries get a RowDescription. */
  #run(statement: Statement, described: boolean, path: string): void {
    this.#enter();
    const { verb, name, inner } = statement;
    if (this.#block === 'failed' && !ends(statement)) throw new Failed('aborted');
    if (rows(statement)) {
      if (described) this.#say(B.rowDescription, DESCRIPTION);
      for (let i = 0; i < 2; i++) this.#row(statement, path);
      this.#say(B.commandComplete, 'SELECT 2\0');
      return;
    }
    switch (verb) {
      case 'MAYBE':
        // set_config() for no row.
        this.#maybes++;
        if (this.#maybes % 2 === 0) break;
        this.#session = name;
        this.#path = name;
        break;
      case 'SET':
        this.#session = name;
        this.#path = name;
        break;
      case 'LOCAL':
        // Outside of a transaction block it warns and does nothing.
        if (this.#block === 'open') this.#path = name;
        break;
      case 'BEGIN':
        this.#block = 'open';
        break;
      case 'COMMIT':
        this.#leave(this.#block !== 'failed');
        this.#enter();
        break;
      case 'ROLLBACK':
        this.#leave(false);
        this.#enter();
        break;
      case 'DISCARD':
        if (this.#block !== 'none') throw new Failed('not in a transaction');
        this.#session = START_PATH;
        this.#path = START_PATH;
        this.#prepared.clear();
        this.#portals.clear();
        break;
      case 'PREPARE':
        if (this.#prepared.has(name)) throw new Failed('exists');
        this.#prepared.set(name, { statement: inner });
        break;
      case 'DEALLOCATE':
        if (!this.#prepared.delete(name)) throw new Failed('no such statement');
        break;
      case 'DECLARE':
        if (this.#block === 'none') throw new Failed('needs a transaction');
        if (this.#portals.has(name)) throw new Failed('exists');
        if (inner !== null) this.#portals.set(name, { statement: inner, path: this.#path, done: false, left: 3 });
        break;
      case 'CLOSE':
        if (!this.#portals.delete(name)) throw new Failed('no such cursor');
        break;
      case 'COPYOUT':
      case 'COPYSECRET':
        this.#say(B.copyOutResponse, Buffer.from([0, 0, 1, 0, 0]));
        this.#say(B.copyData, `${verb === 'COPYSECRET' ? CANARY : 'shown'}\n`);
        this.#say(B.copyDone);
        break;
      default:
        throw new Failed('no such statement');
    }
    this.#say(B.commandComplete, `${verb}\0`);
  }
}

const ROWS = new Set(['SHOW', 'SECRET', 'READ', 'TOUCH', 'FORBID', 'FAIL', 'LEAKFAIL', 'execute', 'fetch']);
const KNOWN = new Set(
  `SET MAYBE LOCAL BEGIN COMMIT ROLLBACK DISCARD PREPARE DEALLOCATE DECLARE CLOSE COPYIN COPYOUT COPYSECRET`.split(' '),
);

function rows(statement: Statement): boolean {
  return ROWS.has(statement.verb);
}

function unparsable({ verb, inner }: Statement): boolean {
  if (verb === 'PREPARE' || verb === 'DECLARE') return inner === null || unparsable(inner);
  return !(ROWS.has(verb) || KNOWN.has(verb));
}

function ends(statement: Statement | null): boolean {
  return statement?.verb === 'COMMIT' || statement?.verb === 'ROLLBACK';
}

function depth(statement: Statement): number {
  return statement.verb === 'execute' || statement.verb === 'fetch' ? 2 : 1;
}

/** Up to its NUL. */
function text(body: Buffer, from: number): { text: string; next: number } {
  const nul = body.indexOf(0, from);
  if (nul < 0) throw new Failed('invalid message');
  return { text: body.toString('latin1', from, nul), next: nul + 1 };
}

/** A name is cut as the server cuts it, whatever stands in it. */
function nameAt(body: Buffer, from: number): { text: string; next: number } {
  const { text: found, next } = text(body, from);
  return { text: found.slice(0, NAME), next };
}

/** One column `value`, text, of no table. */
const DESCRIPTION = Buffer.concat([
  Buffer.from([0, 1]),
  Buffer.from('value\0'),
  Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 0]),
]);

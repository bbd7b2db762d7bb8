/**
 * A client for sluice's own questions to a server (its catalog): logs in and runs simple queries, one after another.
 * Not pg-protocol's parser: it takes lengths of up to 4 GB on trust and keeps four bytes of a cancel key, while the
 * login needs a bounded reader anyway. Rows come as text.
 */
import { SluiceError } from '../../../core/errors.ts';
import { B, errorField, F, message, rowDescription } from '../wire.ts';
import { MessageReader } from './messages.ts';
import { type LoggedIn, type LoginOptions, UpstreamLogin } from './upstream.ts';

/** A connected byte stream. */
export interface Stream {
  /** At least one byte, or null at the end. */
  read(): Promise<Buffer | null>;
  write(bytes: Buffer): void;
}

export type Row = readonly (string | null)[];

/** A row holds at most one definition of a view or function. */
const MAX_MESSAGE = 4 << 20;
/** All rows of one question, bytes on the wire. */
const MAX_ANSWER = 256 << 20;

export class QueryClient {
  readonly server: LoggedIn;
  readonly #stream: Stream;
  readonly #reader = new MessageReader(MAX_MESSAGE, 'UPSTREAM_VIOLATION');
  /** The question before this one; each waits for it. */
  #last: Promise<unknown> = Promise.resolve();
  #broken: SluiceError | null = null;

  private constructor(stream: Stream, server: LoggedIn) {
    this.#stream = stream;
    this.server = server;
    this.#reader.push(server.rest);
  }

  /** @throws SluiceError UPSTREAM_LOGIN, UPSTREAM_VIOLATION, UPSTREAM_LOST */
  static async login(stream: Stream, options: LoginOptions): Promise<QueryClient> {
    const login = new UpstreamLogin(options);
    stream.write(login.start());
    for (;;) {
      const bytes = await stream.read();
      if (bytes === null) throw new SluiceError('UPSTREAM_LOST', 'the server closed the connection during the login');
      const server = login.push(bytes, (answer) => stream.write(answer));
      if (server !== null) return new QueryClient(stream, server);
    }
  }

  /** Rows of the last statement that gave any. @throws SluiceError UPSTREAM_QUERY, UPSTREAM_LOST, UPSTREAM_VIOLATION */
  async query(sql: string): Promise<Row[]> {
    return (await this.batch(sql)).at(-1) ?? [];
  }

  /** Rows of each statement that gives some, in order; several statements in one round trip. */
  async batch(sql: string): Promise<Row[][]> {
    const results: Row[][] = [];
    await this.stream(sql, (result, row) => {
      while (results.length <= result) results.push([]);
      if (row !== null) results[result]!.push(row);
    });
    return results;
  }

  /**
   * Rows as they come, so that nothing large is held: `result` counts the statements that give rows, from 0. Each begins
   * with a row of null. An exception in `take` breaks the connection.
   */
  stream(sql: string, take: (result: number, row: Row | null) => void): Promise<void> {
    let result = -1;
    return this.#turn(message(F.query, `${sql}\0`), (letter, body) => {
      if (letter === B.rowDescription) take(++result, null);
      else if (letter === B.dataRow && result >= 0) take(result, row(body));
      else return false;
      return true;
    });
  }

  /**
   * Names of the columns that one statement would give, without running it; null: it gives no rows of its own.
   * @throws SluiceError UPSTREAM_QUERY, UPSTREAM_LOST, UPSTREAM_VIOLATION
   */
  async columns(sql: string): Promise<readonly string[] | null> {
    let names: readonly string[] | null = null;
    const request = [message(F.parse, `\0${sql}\0`, Buffer.alloc(2)), message(F.describe, 'S\0'), message(F.sync)];
    await this.#turn(Buffer.concat(request), (letter, body) => {
      if (letter === B.rowDescription) {
        const fields = rowDescription(body);
        if (fields === null) throw new SluiceError('UPSTREAM_VIOLATION', 'a RowDescription whose lengths lie came');
        names = fields.map(({ name }) => name);
      }
      return DESCRIBED.has(letter);
    });
    return names;
  }

  /** Tells the server; the stream is the caller's to close. */
  end(): void {
    this.#broken ??= new SluiceError('UPSTREAM_LOST', 'the connection was closed');
    this.#stream.write(message(F.terminate));
  }

  /** One question, after those before it. `see` says whether it knows the message. */
  #turn(request: Buffer, see: (letter: number, body: Buffer) => boolean): Promise<void> {
    const answer = this.#last.then(() => this.#ask(request, see));
    this.#last = answer.catch(() => undefined);
    return answer;
  }

  async #ask(request: Buffer, see: (letter: number, body: Buffer) => boolean): Promise<void> {
    if (this.#broken !== null) throw this.#broken;
    try {
      this.#stream.write(request);
      await this.#answer(see);
    } catch (error) {
      if (!(error instanceof SluiceError && error.code === 'UPSTREAM_QUERY')) {
        this.#broken =
          error instanceof SluiceError
            ? error
            : new SluiceError('UPSTREAM_LOST', 'the connection broke', { cause: error });
        throw this.#broken;
      }
      throw error;
    }
  }

  async #answer(see: (letter: number, body: Buffer) => boolean): Promise<void> {
    let failure: SluiceError | null = null;
    let bytes = 0;
    for (;;) {
      const next = this.#reader.next();
      if (next === null) {
        const chunk = await this.#stream.read();
        if (chunk === null) throw new SluiceError('UPSTREAM_LOST', 'the server closed the connection');
        bytes += chunk.length;
        if (bytes > MAX_ANSWER)
          throw new SluiceError('UPSTREAM_VIOLATION', `the answer is longer than ${MAX_ANSWER} bytes`);
        this.#reader.push(chunk);
        continue;
      }
      const { letter, body } = next;
      if (see(letter, body)) continue;
      if (letter === B.error) {
        failure = new SluiceError(
          'UPSTREAM_QUERY',
          `the server refused: ${errorField(body, 'M')} (SQLSTATE ${errorField(body, 'C')})`,
        );
      } else if (letter === B.readyForQuery) {
        if (failure !== null) throw failure;
        return;
      } else if (!PASSED.has(letter)) {
        throw new SluiceError(
          'UPSTREAM_VIOLATION',
          `message ${JSON.stringify(String.fromCharCode(letter))} answers no question of ours`,
        );
      }
    }
  }
}

/** What answers Parse and Describe. */
const DESCRIBED: ReadonlySet<number> = new Set([B.parseComplete, B.parameterDescription, B.rowDescription, B.noData]);

const PASSED: ReadonlySet<number> = new Set([
  B.commandComplete,
  B.emptyQuery,
  B.notice,
  B.notification,
  B.parameterStatus,
]);

/** count(int16), then per field length(int32, -1: null) bytes */
function row(body: Buffer): Row {
  const lying = () => new SluiceError('UPSTREAM_VIOLATION', 'a row whose lengths do not add up came');
  if (body.length < 2) throw lying();
  const count = body.readUInt16BE(0);
  const fields: (string | null)[] = new Array(count);
  let at = 2;
  for (let i = 0; i < count; i++) {
    if (at + 4 > body.length) throw lying();
    const length = body.readInt32BE(at);
    at += 4;
    if (length < -1 || at + length > body.length) throw lying();
    fields[i] = length < 0 ? null : body.toString('utf8', at, at + length);
    at += Math.max(0, length);
  }
  if (at !== body.length) throw lying();
  return fields;
}

/**
 * SQL text to PostgreSQL's own parse tree, in a Worker. The parser recurses over what the text nests, and an exhausted
 * stack ruins the WebAssembly instance for good (on the main thread: with the process). So it runs in a thread with a
 * large stack that is thrown away after any such end, after a time limit, and when its memory has grown.
 *
 * Texts that arrive while a batch is being parsed go together in the next message: the cost of waking a thread is shared
 * by all flows. A batch that fails is run again one by one, so that only the text that is to blame is refused.
 *
 * Memory: compiling the WebAssembly code leaves 90 MB of freed memory with glibc, for good. Started with
 * MALLOC_TRIM_THRESHOLD_=131072 and MALLOC_MMAP_THRESHOLD_=65536 in its environment, the process gives it back: measured
 * 112 MB resident instead of 205 after 64,000 statements, flat from then on.
 */
import { Worker } from 'node:worker_threads';
import { SluiceError } from '../../../core/errors.ts';
import type { BatchResult, Job, JobResult } from './parser.worker.ts';
import { type RawStatement, statementTexts } from './statement-text.ts';

/** Longest text that is parsed, bytes of UTF-8. */
export const MAX_STATEMENT_BYTES = 1 << 20;
/** How long one text may take, milliseconds. A batch may take as long as one text does. */
export const PARSE_TIME_LIMIT = 2_000;
const BATCH_JOBS = 64;
const BATCH_CHARACTERS = 256 << 10;
const WORKER_STACK_MB = 64;
const WORKER_HEAP_MB = 128;
/** The WebAssembly memory begins at 128 MiB (of which only what is used is resident); grown beyond this it is let go. */
const WASM_HEAP_LIMIT = 160 << 20;
/** Consecutive failures to start before the parser gives up on what waits. */
const MAX_START_FAILURES = 3;

export interface ParsedStatement {
  /** The statement's node: one key, its type's name, e.g. `{SelectStmt: {…}}`. */
  readonly tree: Readonly<Record<string, unknown>>;
  readonly text: string;
  /** 16 hex digits, the same for texts that differ only in constants. */
  readonly fingerprint: string;
}

/** Empty for a text of white space and comments. */
export interface ParsedBatch {
  readonly statements: readonly ParsedStatement[];
}

export interface ParsedFunction {
  /** Each parses as a statement of its own. */
  readonly queries: readonly string[];
  /** It runs text made up at run time, or holds something that is not known. */
  readonly dynamic: boolean;
  /** It opens cursors that stay behind, under names that it makes up. */
  readonly opens: boolean;
  /** Types of its variables, as CAST takes them. */
  readonly types: readonly string[];
}

/** STATEMENT_UNPARSABLE with what PostgreSQL said and where. */
export class StatementSyntaxError extends SluiceError {
  /** As PostgreSQL words it. */
  readonly complaint: string;
  /** Characters from 1, as in field P of an ErrorResponse; 0: not known. */
  readonly position: number;

  constructor(complaint: string, position: number) {
    super('STATEMENT_UNPARSABLE', position > 0 ? `${complaint} at character ${position}` : complaint);
    this.complaint = complaint;
    this.position = position;
  }
}

interface Waiting extends Job {
  resolve(result: JobResult): void;
  reject(error: Error): void;
  /** Was in a batch that failed: goes alone. */
  alone: boolean;
}

export interface SqlParserOptions {
  /** Milliseconds; default PARSE_TIME_LIMIT. */
  readonly timeLimit?: number;
  /** Bytes; default MAX_STATEMENT_BYTES. */
  readonly maxBytes?: number;
}

export class SqlParser {
  readonly #timeLimit: number;
  readonly #maxBytes: number;
  #worker: Worker | null = null;
  #ready = false;
  #closed = false;
  #startFailures = 0;
  #queue: Waiting[] = [];
  #running: Waiting[] = [];
  #timer: NodeJS.Timeout | null = null;
  #scheduled = false;

  constructor(options: SqlParserOptions = {}) {
    this.#timeLimit = options.timeLimit ?? PARSE_TIME_LIMIT;
    this.#maxBytes = options.maxBytes ?? MAX_STATEMENT_BYTES;
  }

  /** @throws SluiceError STATEMENT_UNPARSABLE (StatementSyntaxError), STATEMENT_TOO_LARGE, STATEMENT_TOO_COMPLEX, INTERNAL */
  async parse(text: string): Promise<ParsedBatch> {
    if (text.trim() === '') return { statements: [] };
    const result = await this.#run('sql', text);
    if (!('tree' in result)) throw unexpected();
    const { stmts = [] } = JSON.parse(result.tree) as { stmts?: RawStatement[] };
    const texts = statementTexts(text, stmts);
    if (stmts.length > 0 && result.fingerprints.length !== stmts.length) throw unexpected();
    return {
      statements: stmts.map(({ stmt }, i) => {
        if (stmt === null || typeof stmt !== 'object') throw unexpected();
        return { tree: stmt as Record<string, unknown>, text: texts[i]!, fingerprint: result.fingerprints[i]! };
      }),
    };
  }

  /**
   * The SQL within a PL/pgSQL function, given as the text of its CREATE FUNCTION (see procedureText).
   * @throws SluiceError as parse does: then nothing is known of what the function does
   */
  async parsePlpgsql(createFunctionText: string): Promise<ParsedFunction> {
    const result = await this.#run('plpgsql', createFunctionText);
    if (!('queries' in result)) throw unexpected();
    return result;
  }

  /** Starts the thread, if none runs: it takes about 0.1 s. To be called when statements are about to come. */
  warm(): void {
    if (!this.#closed) this.#worker ??= this.#start();
  }

  /** There is no thread: the next statement starts one. */
  get resting(): boolean {
    return this.#worker === null;
  }

  /** Ends the thread, which holds 20 MB, unless something is being parsed. The next statement starts another. */
  rest(): void {
    if (this.#running.length === 0 && this.#queue.length === 0) void this.#drop()?.terminate();
  }

  /** What waits is refused. Resolves when the thread has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#drop();
    for (const job of [...this.#running.splice(0), ...this.#queue.splice(0)]) job.reject(closed());
    await worker?.terminate();
  }

  async #run(kind: Job['kind'], text: string): Promise<Exclude<JobResult, { syntax: unknown } | { complex: unknown }>> {
    if (this.#closed) throw closed();
    const bytes = text.length > this.#maxBytes ? text.length : Buffer.byteLength(text);
    if (bytes > this.#maxBytes) {
      throw new SluiceError(
        'STATEMENT_TOO_LARGE',
        `the statement is ${bytes} bytes long; sluice parses ${this.#maxBytes}`,
      );
    }
    // C strings end at NUL: what stands behind it would not be judged. A lone surrogate is no text that a server can have got.
    if (text.includes('\0'))
      throw new StatementSyntaxError('the statement holds a NUL character', text.indexOf('\0') + 1);
    if (!text.isWellFormed()) throw new StatementSyntaxError('the statement is not valid Unicode', 0);
    const result = await new Promise<JobResult>((resolve, reject) => {
      this.#queue.push({ kind, text, resolve, reject, alone: false });
      this.#schedule();
    });
    if ('syntax' in result) throw new StatementSyntaxError(result.syntax.message, result.syntax.position);
    if ('complex' in result) throw new SluiceError('STATEMENT_TOO_COMPLEX', result.complex);
    return result;
  }

  /** All texts of one turn of the event loop share a message. */
  #schedule(): void {
    if (this.#scheduled || this.#running.length > 0) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#closed || this.#running.length > 0 || this.#queue.length === 0) return;
    this.#worker ??= this.#start();
    if (!this.#ready) return;
    this.#running = this.#takeBatch();
    this.#worker.ref();
    this.#worker.postMessage(this.#running.map(({ kind, text }) => ({ kind, text })));
    const worker = this.#worker;
    // When this thread itself was held up, the answer may be here already: messages come before setImmediate.
    this.#timer = setTimeout(() => setImmediate(() => this.#expire(worker)), this.#timeLimit);
  }

  #takeBatch(): Waiting[] {
    let count = 1;
    let characters = this.#queue[0]!.text.length;
    if (!this.#queue[0]!.alone) {
      for (; count < this.#queue.length && count < BATCH_JOBS; count++) {
        const next = this.#queue[count]!;
        characters += next.text.length;
        if (next.alone || characters > BATCH_CHARACTERS) break;
      }
    }
    return this.#queue.splice(0, count);
  }

  #start(): Worker {
    const url = new URL(import.meta.url.endsWith('.ts') ? './parser.worker.ts' : './parser.worker.js', import.meta.url);
    const worker = new Worker(url, {
      resourceLimits: {
        stackSizeMb: WORKER_STACK_MB,
        maxOldGenerationSizeMb: WORKER_HEAP_MB,
        maxYoungGenerationSizeMb: 4,
      },
      env: {},
    });
    this.#ready = false;
    worker.on('message', (message: 'ready' | BatchResult) => {
      if (worker !== this.#worker) return;
      if (message === 'ready') {
        this.#ready = true;
        this.#startFailures = 0;
        if (this.#queue.length === 0) worker.unref();
        this.#send();
      } else {
        this.#settle(message);
      }
    });
    const ended = () => {
      if (worker === this.#worker) this.#fail('the parser ended while it read the statement');
    };
    worker.on('error', ended);
    worker.on('exit', ended);
    return worker;
  }

  #settle({ results, lost, heapBytes }: BatchResult): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const jobs = this.#running.splice(0);
    if (lost || heapBytes > WASM_HEAP_LIMIT) void this.#drop()?.terminate();
    else if (this.#queue.length === 0) this.#worker?.unref();
    for (let i = 0; i < results.length; i++) jobs[i]?.resolve(results[i]!);
    if (results.length < jobs.length) this.#queue.unshift(...jobs.slice(results.length));
    this.#send();
  }

  #expire(worker: Worker): void {
    if (worker === this.#worker && this.#running.length > 0 && this.#timer !== null) {
      this.#fail(`the statement takes longer than ${this.#timeLimit} ms to parse`);
    }
  }

  /** The thread is gone or is to go. A single text is to blame; of several, each gets its own try. */
  #fail(reason: string): void {
    void this.#drop()?.terminate();
    const jobs = this.#running.splice(0);
    if (jobs.length === 0 && ++this.#startFailures >= MAX_START_FAILURES) {
      this.#startFailures = 0;
      for (const job of this.#queue.splice(0)) job.reject(new SluiceError('INTERNAL', 'the SQL parser does not start'));
    } else if (jobs.length === 1) {
      jobs[0]!.resolve({ complex: reason });
    } else {
      for (const job of jobs) job.alone = true;
      this.#queue.unshift(...jobs);
    }
    this.#send();
  }

  #drop(): Worker | null {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const worker = this.#worker;
    this.#worker = null;
    this.#ready = false;
    return worker;
  }
}

function closed(): SluiceError {
  return new SluiceError('INTERNAL', 'the SQL parser is closed');
}

function unexpected(): SluiceError {
  return new SluiceError('INTERNAL', 'the SQL parser gave an answer of the wrong shape');
}

/**
 * The Worker side of parser.ts: takes a batch of jobs, answers with one result per job in the same order. Its stack is
 * large, and whoever started it replaces it after an answer that says `lost`.
 */
import { parentPort } from 'node:worker_threads';
import { PgQuery, type SyntaxFault, TreeTooLarge } from './pg-query.ts';
import { embeddedQueries } from './plpgsql.ts';
import { type RawStatement, statementTexts } from './statement-text.ts';

export interface Job {
  readonly kind: 'sql' | 'plpgsql';
  readonly text: string;
}

export type JobResult =
  /** `tree`: JSON of the whole parse result; one fingerprint per statement of it. */
  | { readonly tree: string; readonly fingerprints: readonly string[] }
  | {
      readonly queries: readonly string[];
      readonly dynamic: boolean;
      readonly opens: boolean;
      readonly types: readonly string[];
    }
  | { readonly syntax: SyntaxFault }
  | { readonly complex: string };

export interface BatchResult {
  readonly results: readonly JobResult[];
  /** The instance can't be used any more: the jobs from `results.length` on were not run. */
  readonly lost: boolean;
  readonly heapBytes: number;
}

const port = parentPort;
if (port === null) throw new Error('parser.worker.ts runs as a Worker only');
const pg = await PgQuery.load();

port.on('message', (jobs: readonly Job[]) => {
  const results: JobResult[] = [];
  let lost = false;
  for (const job of jobs) {
    try {
      results.push(job.kind === 'sql' ? parse(job.text) : embeddedQueries(pg, job.text));
    } catch (error) {
      // Whatever is not the parser's own refusal may have left the instance half way through something.
      lost = !(error instanceof TreeTooLarge);
      const exhausted = error instanceof RangeError || (error as Error).name === 'RuntimeError';
      results.push({ complex: exhausted ? 'the statement is nested too deeply' : (error as Error).message });
      if (lost) break;
    }
  }
  port.postMessage({ results, lost, heapBytes: pg.heapBytes } satisfies BatchResult);
});
// The first text of a thread compiles the parser's code, 20 ms and more on a busy host: that is no statement's own time.
parse('select 1');
port.postMessage('ready');

function parse(text: string): JobResult {
  const tree = pg.parse(text);
  if (typeof tree !== 'string') return { syntax: tree };
  // Only a semicolon parts statements. Without one within the text the tree need not be read here at all.
  const semicolon = text.indexOf(';');
  if (semicolon >= 0 && semicolon < text.trimEnd().length - 1) {
    const { stmts = [] } = JSON.parse(tree) as { stmts?: RawStatement[] };
    return { tree, fingerprints: statementTexts(text, stmts).map((statement) => pg.fingerprint(statement)) };
  }
  return { tree, fingerprints: [pg.fingerprint(text)] };
}

/** Runs `run.py` of a corpora folder against one endpoint and hands each result on as it comes. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Corpus } from './verdict.ts';

/** Debian's own, which its packages of psycopg2 and asyncpg belong to; another may come first on PATH. */
const PYTHON = '/usr/bin/python3';

export interface HarnessRun {
  readonly folder: string;
  readonly corpus: Corpus;
  readonly ids: readonly string[];
  /** Port of the database on 127.0.0.1, which agents and the checks outside both connect to. */
  readonly port: number;
  /** Words that make a command an agent. Absent: agents connect like everyone else (to see the harness itself work). */
  readonly connectBy?: readonly string[];
  readonly onResult: (result: Record<string, unknown>) => void;
}

/** Resolves with the exit status and what run.py printed besides results, for when it gave up early. */
export async function runHarness(run: HarnessRun): Promise<{ status: number; said: string }> {
  const words = run.connectBy?.map((word) => `'${word.replaceAll("'", `'"'"'`)}'`).join(' ');
  const child = spawn(
    PYTHON,
    [
      join(run.folder, 'run.py'),
      ...['--host', '127.0.0.1', '--port', String(run.port), '--corpus', run.corpus, '--ids', run.ids.join(',')],
      ...['--direct-dsn', `host=127.0.0.1 port=${run.port} user=corpus_admin dbname=postgres`],
      ...(words === undefined ? [] : ['--connect-by', words]),
      // Prints each result at once.
      '-v',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-8192);
  });
  createInterface(child.stdout).on('line', (line) => {
    if (line.startsWith('{')) run.onResult(JSON.parse(line));
    else said += `${line}\n`;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ status: code ?? 1, said }));
  });
}

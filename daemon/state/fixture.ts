/** A state of two small stores, a step between two formats of them, and a program that takes it: for state.test.ts. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openState, rollBack, type Step } from './state.ts';

/** Format 1: numbers, one a file. Format 2: the same in one file; what was added there goes back as files. */
export const STEP: Step = {
  what: 'numbers in one file',
  entries: ['numbers', 'sessions.json', 'index', 'list'],
  async up(from, into, progress) {
    const names = readdirSync(join(from, 'numbers')).sort();
    mkdirSync(join(into, 'numbers'));
    const lines = names.map((name, i) => {
      progress(i, names.length);
      return readFileSync(join(from, 'numbers', name), 'utf8');
    });
    writeFileSync(join(into, 'numbers/all'), lines.join(''));
    // One that there was not before; `list` is no more.
    writeFileSync(join(into, 'index'), names.join());
    const sessions = JSON.parse(readFileSync(join(from, 'sessions.json'), 'utf8'));
    writeFileSync(join(into, 'sessions.json'), JSON.stringify({ ...sessions, version: 2 }));
  },
  async down(from, into) {
    mkdirSync(join(into, 'numbers'));
    const lines = readFileSync(join(from, 'numbers/all'), 'utf8').trimEnd().split('\n');
    writeFileSync(join(into, 'list'), 'a list');
    for (const line of lines) writeFileSync(join(into, 'numbers', line), `${line}\n`);
    const sessions = JSON.parse(readFileSync(join(from, 'sessions.json'), 'utf8'));
    writeFileSync(join(into, 'sessions.json'), JSON.stringify({ ...sessions, version: 1 }));
  },
};

export function make(dir: string): void {
  mkdirSync(join(dir, 'numbers'), { recursive: true });
  for (const n of [1, 2, 3]) writeFileSync(join(dir, `numbers/${n}`), `${n}\n`);
  writeFileSync(join(dir, 'sessions.json'), JSON.stringify({ version: 1, sessions: [] }));
  writeFileSync(join(dir, 'list'), 'a list');
  writeFileSync(join(dir, 'untouched'), 'as it was');
}

if (import.meta.main) {
  const [way, dir = ''] = process.argv.slice(2);
  const options = { dir, version: '2.0', steps: [STEP], say: (text: string) => console.log(text) };
  await (way === 'up' ? openState(options) : rollBack(options));
}

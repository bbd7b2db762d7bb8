/** The table of errors in the docs is the table in the code. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERRORS } from '../../daemon/core/errors.ts';

const root = new URL('../..', import.meta.url).pathname;
const codes = Object.entries(ERRORS);
const row = (code: string, what: string, todo: string) => `| \`${code}\` | ${what} | ${todo} |`;

test('every error code stands in the table of daemon/core/README.md, word for word, and no other', () => {
  const readme = readFileSync(`${root}daemon/core/README.md`, 'utf8');
  const documented = readme.split('\n').filter((line) => /^\| `[A-Z_]+` \|/.test(line));
  assert.deepEqual(
    documented,
    codes.map(([code, { what, todo }]) => row(code, what, todo)),
  );
});

test('every error code is raised somewhere', () => {
  const sources = globSync(['daemon/**/*.ts', 'native/**/*.{c,h}'], { cwd: root })
    .filter((file) => file !== 'daemon/core/errors.ts' && !file.endsWith('.test.ts'))
    .map((file) => readFileSync(root + file, 'utf8'));
  const dead = codes.map(([code]) => code).filter((code) => !sources.some((source) => source.includes(`'${code}'`)));
  assert.deepEqual(dead, [], 'a code that nothing raises misleads whoever reads the table');
});

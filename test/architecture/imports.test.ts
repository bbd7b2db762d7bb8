/**
 * Import direction. Data takes the path intake, identify, protocols, policy, approvals, audit, credentials, masking; each
 * stage is a folder of daemon/ that knows core/ and itself. What a stage needs of another comes to it at run time, as an
 * interface of core/. Only daemon/bin sees all of them and ties them together.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';

const root = new URL('../..', import.meta.url).pathname;

/** Edges beyond core/ and oneself. `to` ending in `.ts` is that one file. */
const ALLOWED: readonly { readonly from: string; readonly to: string; readonly because: string }[] = [
  {
    from: 'protocols/postgres',
    to: 'protocols/protocol.ts',
    because: 'the interface that every protocol implements',
  },
  {
    from: 'protocols/dns',
    to: 'protocols/protocol.ts',
    because: 'the interface of protocols that sluice answers itself',
  },
  { from: 'protocols/tcp', to: 'protocols/protocol.ts', because: 'the interface that every protocol implements' },
  {
    from: 'protocols/postgres',
    to: 'masking',
    because:
      'only the protocol knows where a value stands in its bytes; what becomes of the value is pure and of masking',
  },
  {
    from: 'cli',
    to: 'audit',
    because: 'a store is read and verified without a daemon, too, by the code that wrote it',
  },
  { from: 'cli', to: 'policy', because: 'check, test, explain and diff are policy without a daemon' },
  { from: 'flow', to: 'protocols/protocol.ts', because: 'the flow drives a codec through that interface alone' },
];

/** The part of daemon/ that a file belongs to: a stage, or one protocol. */
function part(file: string): string {
  const [, folder = '', name = ''] = file.split('/');
  return folder === 'protocols' && !name.endsWith('.ts') ? `protocols/${name}` : folder;
}

/** Relative specifiers of static, dynamic and worker imports. */
function imports(file: string): string[] {
  const source = readFileSync(join(root, file), 'utf8');
  const found = source.matchAll(/(?:\bfrom|\bimport|\bimport\(|\bnew URL\()\s*['"](\.{1,2}\/[^'"]+)['"]/g);
  return [...found].map((match) => relative(root, join(root, dirname(file), match[1] as string)));
}

const files = globSync('daemon/**/*.ts', { cwd: root }).filter((file) => !file.startsWith('daemon/bin/'));
const edges = files.flatMap((file) => imports(file).map((target) => ({ file, target })));

function allowed(file: string, target: string): boolean {
  // A test may put stages together, as daemon/bin does.
  if (file.endsWith('.test.ts')) return true;
  if (!target.startsWith('daemon/')) return false;
  const [from, to] = [part(file), part(target)];
  if (to === 'core' || from === to) return true;
  return ALLOWED.some((edge) => edge.from === from && (edge.to === to || target === `daemon/${edge.to}`));
}

test('a stage imports core/, its own folder, and what is listed here with a reason', () => {
  const wrong = edges.filter(({ file, target }) => !allowed(file, target));
  assert.deepEqual(
    wrong.map(({ file, target }) => `${file} imports ${target}`),
    [],
    'a stage that knows another can no longer be read, tested or replaced alone: pass it in from daemon/bin through an interface of daemon/core',
  );
});

test('core/ imports nothing of the stages', () => {
  const wrong = edges.filter(({ file, target }) => part(file) === 'core' && part(target) !== 'core');
  assert.deepEqual(wrong, []);
});

test('what is listed as allowed is in use', () => {
  const unused = ALLOWED.filter(
    ({ from, to }) =>
      !edges.some(({ file, target }) => part(file) === from && (part(target) === to || target === `daemon/${to}`)),
  );
  assert.deepEqual(unused, [], 'an edge that nobody needs any more must not stay open');
});

test('protocols hold no socket, file, process or clock of their own', () => {
  const forbidden = /from '(node:(?:net|tls|dgram|http|https|fs|fs\/promises|child_process|timers)|pino)'/;
  const wrong = files
    .filter((file) => file.startsWith('daemon/protocols/') && !file.endsWith('.test.ts'))
    .filter((file) => forbidden.test(readFileSync(join(root, file), 'utf8')));
  assert.deepEqual(wrong, [], 'a codec is bytes in, units out: the flow lends it channels');
});

test('what the daemon is made of does not reach into tests, bench or demo', () => {
  const wrong = edges.filter(({ file, target }) => !file.endsWith('.test.ts') && !target.startsWith('daemon/'));
  assert.deepEqual(wrong, []);
});

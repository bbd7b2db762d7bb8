/** What the server has for the clients, made on the spot: a repository, a package for pip and one for npm. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mustSucceed } from '../harness/child.ts';

export const PACKAGE = 'madehere';
export const VERSION = '1.0.7';
export const WHEEL = `${PACKAGE}-${VERSION}-py3-none-any.whl`;
export const TARBALL = `${PACKAGE}-${VERSION}.tgz`;
/** In the only file of each. */
export const SAYS = 'made on the spot';

/** Fills `dir` with `repo.git`, the wheel and the tarball, as far as there are programs to make them. */
export async function makeWares(dir: string, git: boolean): Promise<void> {
  mkdirSync(dir, { mode: 0o755 });
  const info = `${PACKAGE}-${VERSION}.dist-info`;
  const files = {
    [`${PACKAGE}.py`]: `SAYS = ${JSON.stringify(SAYS)}\n`,
    [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${PACKAGE}\nVersion: ${VERSION}\n`,
    [`${info}/WHEEL`]: 'Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    [`${info}/RECORD`]: `${PACKAGE}.py,,\n${info}/METADATA,,\n${info}/WHEEL,,\n${info}/RECORD,,\n`,
  };
  const zip = `import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as z:
    for name, text in json.load(sys.stdin).items(): z.writestr(name, text)`;
  await mustSucceed(['python3', '-c', zip, join(dir, WHEEL)], { input: JSON.stringify(files) });

  const folder = join(dir, 'package');
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: PACKAGE, version: VERSION, main: 'index.js' }));
  writeFileSync(join(folder, 'index.js'), `module.exports = ${JSON.stringify(SAYS)};\n`);
  await mustSucceed(['tar', '-C', dir, '-czf', join(dir, TARBALL), 'package']);

  if (!git) return;
  const tree = join(dir, 'tree');
  const env = { ...process.env, HOME: dir, GIT_CONFIG_NOSYSTEM: '1' };
  const run = (...words: string[]) => mustSucceed(['git', ...words], { env });
  await run('init', '--quiet', '--initial-branch=main', tree);
  writeFileSync(join(tree, 'README'), `${SAYS}\n`);
  await run('-C', tree, 'add', 'README');
  const who = ['-c', 'user.name=Ada', '-c', 'user.email=ada@shop.test'];
  await run('-C', tree, ...who, 'commit', '--quiet', '--message=first');
  await run('clone', '--quiet', '--bare', tree, join(dir, 'repo.git'));
}

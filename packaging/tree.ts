/** The files of the package, as they will lie on the host: below `top`, which stands for `/`. */
import { cpSync, existsSync, globSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { LIBRARY, PROGRAMS } from './native.ts';
import { type NodeBinary, type NpmPackage, packageFolder } from './npm.ts';
import type { Target } from './target.ts';
import { run } from './tools.ts';

/** Where everything is that only sluice itself calls. */
export const LIB = 'usr/lib/sluice';

/** Writes one file and the folders above it. */
export function put(top: string, path: string, content: string | Buffer, mode = 0o644): void {
  const file = join(top, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content, { mode });
}

/** The binary of Node, and programs and library of native/, without what only a debugger reads; build ids stay. */
export function putBinaries(top: string, target: Target, native: string, node: NodeBinary): void {
  const strip = (from: string, path: string) => {
    mkdirSync(dirname(join(top, path)), { recursive: true });
    run(`${target.triplet}-strip`, ['--strip-unneeded', '--remove-section=.comment', '-o', join(top, path), from]);
  };
  strip(join(node.folder, 'bin/node'), `${LIB}/bin/node`);
  for (const program of [...PROGRAMS, LIBRARY]) strip(join(native, program), `${LIB}/${program}`);
}

/** The compiled daemon; its package.json says the version, and that the files are modules. */
export function putDaemon(top: string, root: string, version: string): void {
  const built = join(root, 'build/js/daemon');
  for (const file of globSync('**/*.js', { cwd: built }).sort())
    put(top, `${LIB}/daemon/${file}`, readFileSync(join(built, file), 'utf8').replace(/^#!.*\n/, ''));
  const { name, license } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const manifest = { name, version, license, private: true, type: 'module' };
  put(top, `${LIB}/package.json`, `${JSON.stringify(manifest, null, 2)}\n`);
}

/** What is never read at run time: types, maps, sources in other languages, words for people, other C libraries and Nodes. */
const UNREAD = [
  /\.(?:[cm]?ts|map|md|markdown|html|ico|c|cc|cpp|h|hh|hpp|S|asm|gyp|gypi|sh|yml|yaml|flow|tgz|txt)$/i,
  /(?:^|\/)(?:\.[^/]+|CNAME|Makefile|CMakeLists\.txt|AUTHORS|rollup\.config\.js|eslint\.config\.js|tsconfig.*\.json)(?:\/|$)/,
  /^(?:test|tests|bench|benchmarks?|docs?|examples?|vendor|scripts|dependencies)\//,
  /musl|\.abi\d+\./,
];
/** Texts of licences go to the package's copyright file. */
const LICENCE = /^(?:licen[cs]e|copying|notice|copyright)/i;

/** node_modules, with the natives of the target alone. */
export function putModules(top: string, root: string, packages: readonly NpmPackage[], target: Target): void {
  for (const one of packages) {
    const folder = packageFolder(root, one);
    for (const file of globSync('**/*', { cwd: folder, exclude: (name) => basename(name) === 'node_modules' }).sort()) {
      const from = join(folder, file);
      if (!statSync(from).isFile() || UNREAD.some((pattern) => pattern.test(file)) || LICENCE.test(basename(file)))
        continue;
      const content = readFileSync(from);
      // A program of its own, which nothing imports.
      if (content.toString('latin1', 0, 2) === '#!') continue;
      put(top, `${LIB}/${one.path}/${file}`, content);
      if (file.endsWith('.node')) run(`${target.triplet}-strip`, ['--strip-unneeded', join(top, LIB, one.path, file)]);
    }
  }
}

/** Units, accounts, paths; the repository's systemd/ is the one source of them. Gives the names of the units. */
export function putUnits(top: string, root: string): string[] {
  const from = join(root, 'systemd');
  if (!existsSync(from)) throw new Error('systemd/ is missing: the package is nothing without its units');
  const units = readdirSync(from)
    .filter((name) => /\.(?:service|socket|slice|timer|path|target)$/.test(name))
    .sort();
  for (const unit of units) put(top, `usr/lib/systemd/system/${unit}`, readFileSync(join(from, unit)));
  put(top, 'usr/lib/sysusers.d/sluice.conf', readFileSync(join(from, 'sysusers.d/sluice.conf')));
  return units;
}

/** What watches the hosts, as it is in the repository: a dashboard, alert rules. */
export function putMonitoring(top: string, root: string): void {
  for (const file of ['dashboard.json', 'rules.yaml'])
    put(top, `usr/share/sluice/monitoring/${file}`, readFileSync(join(root, 'monitoring', file)));
}

/** What people call, what they edit. Gives the paths of what they edit. */
export function putCommands(top: string, root: string): string[] {
  const node = `/${LIB}/bin/node`;
  put(top, 'usr/bin/sluice', `#!/bin/sh\nexec ${node} /${LIB}/daemon/bin/sluice.js "$@"\n`, 0o755);
  // The options are those of daemon/bin/README.md.
  const flags = '--liftoff-only --max-semi-space-size=4';
  put(top, 'usr/sbin/sluiced', `#!/bin/sh\nexec ${node} ${flags} /${LIB}/daemon/bin/sluiced.js "$@"\n`, 0o755);
  run('ln', ['-s', '../lib/sluice/sluice-helper', join(top, 'usr/sbin/sluice-helper')]);
  const etc = join(root, 'packaging/etc');
  cpSync(etc, join(top, 'etc/sluice'), { recursive: true });
  // Of sluice-agent@.service.
  mkdirSync(join(top, 'etc/sluice/agents'));
  return globSync('**/*.{json,yaml}', { cwd: etc })
    .sort()
    .map((file) => `/etc/sluice/${file}`);
}

/**
 * `npm run package`: writes build/packages/sluice_VERSION_ARCH.deb, the same bytes for the same commit wherever it is made.
 * `--arch amd64|arm64`: that one alone. `--version X`: another than package.json says.
 */
import { mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { constants, gzipSync } from 'node:zlib';
import { type CommandText, commandLine } from './command-line.ts';
import { bash, fish, zsh } from './completion.ts';
import { libraries, MAINTAINER, putControl, sameNeeds } from './control.ts';
import { copyright } from './copyright.ts';
import { pages } from './manual.ts';
import { buildNative, LIBRARY, PROGRAMS } from './native.ts';
import { nodeBinary, packageFolder, productionPackages } from './npm.ts';
import { sbom } from './sbom.ts';
import { hostTarget, TARGETS, type Target } from './target.ts';
import { run } from './tools.ts';
import { LIB, put, putBinaries, putCommands, putDaemon, putModules, putMonitoring, putUnits } from './tree.ts';

const root = dirname(import.meta.dirname);
const host = hostTarget();

/** When all of it was made, as far as anybody can see: the time of the commit, or SOURCE_DATE_EPOCH. */
function moment(): Date {
  const seconds = process.env.SOURCE_DATE_EPOCH ?? run('git', ['-C', root, 'log', '-1', '--format=%ct']).trim();
  return new Date(Number(seconds) * 1000);
}

const gzip = (text: string | Buffer): Buffer => gzipSync(text, { level: constants.Z_BEST_COMPRESSION });

/** ELF files of the package, on the machine that builds: those that the host's own dpkg can speak of, or another's. */
function binaries(target: Target, native: string): string[] {
  const modules = productionPackages(root, target).flatMap((one) => {
    const folder = packageFolder(root, one);
    if (one.name.startsWith('@koromix/koffi-')) return [join(folder, `linux_${target.cpu}/koffi.node`)];
    if (one.name.startsWith('@lmdb/lmdb-')) return [join(folder, 'node.napi.glibc.node')];
    return [];
  });
  const built = [...PROGRAMS, LIBRARY].map((name) => join(native, name));
  return [join(nodeBinary(root, target).folder, 'bin/node'), ...built, ...modules];
}

function putDocuments(top: string, documents: Readonly<Record<string, string | Buffer>>): void {
  for (const [name, content] of Object.entries(documents)) put(top, `usr/share/doc/sluice/${name}`, content);
}

/** What is in packaging/debian, below an entry for a version that is not. */
function changelog(version: string, date: Date): string {
  const text = readFileSync(join(root, 'packaging/debian/changelog'), 'utf8');
  if (text.startsWith(`sluice (${version}) `)) return text;
  const when = date.toUTCString().replace('GMT', '+0000');
  return `sluice (${version}) unstable; urgency=medium\n\n  * Built under this version.\n\n -- ${MAINTAINER}  ${when}\n\n${text}`;
}

function putCompletions(top: string, program: CommandText): void {
  put(top, 'usr/share/bash-completion/completions/sluice', bash(program));
  put(top, 'usr/share/zsh/vendor-completions/_sluice', zsh(program));
  put(top, 'usr/share/fish/vendor_completions.d/sluice.fish', fish(program));
}

async function build(target: Target, version: string, program: CommandText, depends: string): Promise<string> {
  const date = moment();
  const top = join(root, 'build/package', target.debian, 'root');
  rmSync(top, { recursive: true, force: true });
  mkdirSync(top, { recursive: true });
  const native = buildNative(root, target);
  if (target !== host) sameNeeds(binaries(host, buildNative(root, host)), binaries(target, native));
  const node = nodeBinary(root, target);
  const packages = productionPackages(root, target);

  putBinaries(top, target, native, node);
  putDaemon(top, root, version);
  putModules(top, root, packages, target);
  const units = putUnits(top, root);
  putMonitoring(top, root);
  const conffiles = putCommands(top, root);
  putCompletions(top, program);
  const helper = join(buildNative(root, host), 'sluice-helper');
  for (const { name, text } of await pages(root, version, date, program, helper))
    put(top, `usr/share/man/man${name.at(-1)}/${name}.gz`, gzip(text));
  putDocuments(top, {
    copyright: copyright(root, packages, node.version),
    'changelog.gz': gzip(changelog(version, date)),
    'node.gz': gzip(readFileSync(join(node.folder, 'LICENSE'))),
    'sbom.cdx.json': sbom({ version, date, target, packages, node, depends }),
  });
  put(top, 'usr/share/lintian/overrides/sluice', readFileSync(join(root, 'packaging/debian/lintian-overrides')));
  putControl(top, root, { version, target, depends, conffiles, units });
  // Whatever npm left executable.
  run('find', [top, '-type', 'd', '-exec', 'chmod', '755', '{}', '+']);
  run('find', [top, '-type', 'f', '-not', '-perm', '-100', '-exec', 'chmod', '644', '{}', '+']);
  run('find', [join(top, LIB), '-type', 'f', '-path', '*/node_modules/*', '-exec', 'chmod', '644', '{}', '+']);
  run('chmod', ['755', ...['bin/node', ...PROGRAMS].map((name) => join(top, LIB, name))]);
  run('chmod', ['644', join(top, LIB, LIBRARY)]);

  const deb = join(root, 'build/packages', `sluice_${version}_${target.debian}.deb`);
  mkdirSync(dirname(deb), { recursive: true });
  // The number of threads decides where xz cuts, so it must not be that of the machine. xz, since zstd leaves 32 MB instead of 29.
  run('dpkg-deb', ['--root-owner-group', '-Zxz', '-z6', '--threads-max=2', '--build', top, deb], {
    env: { SOURCE_DATE_EPOCH: String(date.getTime() / 1000) },
  });
  return deb;
}

// Modes are part of the bytes, and dpkg-deb refuses some.
process.umask(0o022);
const { values } = parseArgs({ options: { arch: { type: 'string' }, version: { type: 'string' } } });
const version = values.version ?? (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version as string);
const targets = values.arch === undefined ? TARGETS : TARGETS.filter(({ debian }) => debian === values.arch);
if (targets.length === 0)
  throw new Error(`--arch ${values.arch}: it is one of ${TARGETS.map(({ debian }) => debian).join(', ')}`);
if (!/^[0-9][A-Za-z0-9.+~]*$/.test(version))
  throw new Error(`--version ${version}: it is no version of a Debian package`);
const program = await commandLine(version);
const depends = libraries(binaries(host, buildNative(root, host)));
for (const target of targets) {
  const deb = await build(target, version, program, depends);
  console.log(`${deb.slice(root.length + 1)}  ${(statSync(deb).size / 1e6).toFixed(1)} MB`);
}

/** What dpkg reads: DEBIAN/control, conffiles, md5sums, the maintainer scripts. */
import { createHash } from 'node:crypto';
import { globSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Target } from './target.ts';
import { run } from './tools.ts';
import { put } from './tree.ts';

export const MAINTAINER = 'The sluice authors <sluice@sluice.invalid>';

/** Beside libraries: whoever makes accounts and starts units. Node has certificates of its own. */
const NEEDED = ['systemd (>= 252)', 'init-system-helpers (>= 1.54)'];

/** Text between the first brackets of a version that symbols are bound to, as GLIBC_2.34 → [2, 34]. */
const VERSION = /\b(GLIBC|GLIBCXX|CXXABI|GCC)_(\d+(?:\.\d+)+)\b/g;

/**
 * Debian's packages that ELF files need, in the words of Depends. dpkg-shlibdeps finds those of files for this machine, by what
 * is installed here.
 */
export function libraries(files: readonly string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-shlibdeps-'));
  try {
    mkdirSync(join(folder, 'debian'));
    writeFileSync(join(folder, 'debian/control'), 'Source: sluice\n\nPackage: sluice\nArchitecture: any\n');
    const said = run('dpkg-shlibdeps', ['-O', '--warnings=0', ...files.map((file) => `-e${file}`)], { cwd: folder });
    const depends = /^shlibs:Depends=(.*)$/m.exec(said)?.[1];
    if (depends === undefined) throw new Error(`dpkg-shlibdeps found nothing: ${said}`);
    return depends;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Libraries by their soname, and the newest version that symbols are bound to of each family. */
export function needs(files: readonly string[]): { sonames: string[]; versions: Map<string, number[]> } {
  const sonames = new Set<string>();
  const versions = new Map<string, number[]>();
  for (const file of files) {
    for (const [, name] of run('readelf', ['-dW', file]).matchAll(/\(NEEDED\).*\[(.*)\]/g))
      if (!name!.startsWith('ld-linux')) sonames.add(name!);
    for (const [, family, text] of run('readelf', ['-VW', file]).matchAll(VERSION)) {
      const version = text!.split('.').map(Number);
      const highest = versions.get(family!);
      if (highest === undefined || later(version, highest)) versions.set(family!, version);
    }
  }
  return { sonames: [...sonames].sort(), versions };
}

export function later(a: readonly number[], b: readonly number[]): boolean {
  for (let i = 0; i < Math.max(a.length, b.length); i++)
    if ((a[i] ?? 0) !== (b[i] ?? 0)) return (a[i] ?? 0) > (b[i] ?? 0);
  return false;
}

/**
 * dpkg-shlibdeps can't look at files of an architecture that dpkg here does not know. What it says of this machine's own is true
 * of them if they need the same libraries and nothing newer of them, which is what this holds.
 * @throws Error that names what differs
 */
export function sameNeeds(own: readonly string[], others: readonly string[]): void {
  const [mine, theirs] = [needs(own), needs(others)];
  if (mine.sonames.join() !== theirs.sonames.join())
    throw new Error(`they need ${theirs.sonames.join(' ')}, and those of this machine ${mine.sonames.join(' ')}`);
  for (const [family, version] of theirs.versions) {
    const known = mine.versions.get(family);
    if (known === undefined || later(version, known))
      throw new Error(
        `they need ${family}_${version.join('.')}, and those of this machine ${known?.join('.') ?? 'none of it'}`,
      );
  }
}

export interface Control {
  readonly version: string;
  readonly target: Target;
  readonly depends: string;
  readonly conffiles: readonly string[];
  readonly units: readonly string[];
}

/** Writes DEBIAN/ below `top`, when all else is there. */
export function putControl(top: string, root: string, { version, target, depends, conffiles, units }: Control): void {
  const files = globSync('**/*', { cwd: top }).sort();
  const sizes = files.map((file) => {
    const { size, isFile } = { size: lstatSync(join(top, file)).size, isFile: lstatSync(join(top, file)).isFile() };
    return isFile ? Math.ceil(size / 1024) : 1;
  });
  const sums = files
    .filter((file) => lstatSync(join(top, file)).isFile() && !conffiles.includes(`/${file}`))
    .map(
      (file) =>
        `${createHash('md5')
          .update(readFileSync(join(top, file)))
          .digest('hex')}  ${file}\n`,
    );
  const description = readFileSync(join(root, 'packaging/debian/description'), 'utf8').trimEnd();
  put(
    top,
    'DEBIAN/control',
    `Package: sluice
Version: ${version}
Architecture: ${target.debian}
Maintainer: ${MAINTAINER}
Installed-Size: ${sizes.reduce((sum, size) => sum + size, 0)}
Depends: ${[depends, ...NEEDED].join(', ')}
Section: admin
Priority: optional
Description: ${description}
`,
  );
  put(top, 'DEBIAN/conffiles', conffiles.map((file) => `${file}\n`).join(''));
  put(top, 'DEBIAN/md5sums', sums.join(''));
  for (const script of ['postinst', 'prerm', 'postrm']) {
    const text = readFileSync(join(root, 'packaging/debian', script), 'utf8');
    put(top, `DEBIAN/${script}`, text.replaceAll('@UNITS@', units.join(' ')), 0o755);
  }
}

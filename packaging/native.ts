/** native/ for the machine of the package. For another than this one, with Debian's libraries for it in a folder of their own. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hostTarget, type Target } from './target.ts';
import { run } from './tools.ts';

export const PROGRAMS = ['sluice-helper', 'sluice-launch', 'sluice-probe'];
export const LIBRARY = 'libsluice.so';

/** What native/ links, and what that links in turn; the C library comes with the compiler. */
const LIBRARIES = [
  'libbpf-dev',
  'libbpf1',
  'libelf1',
  'zlib1g',
  'libvectorscan-dev',
  'libvectorscan5',
  'libstdc++6',
  'libgcc-s1',
];

/** The folder with programs and library, not yet stripped. */
export function buildNative(root: string, target: Target): string {
  const out = join(root, 'build/package', target.debian, 'native');
  const cross = target === hostTarget() ? [] : [`TARGET=${target.triplet}`, `SYSROOT=${sysroot(root, target)}`];
  run('make', ['-s', '-C', join(root, 'native'), `OUT=${out}`, ...cross]);
  return out;
}

/**
 * Debian's packages of the libraries, unpacked and not installed: dpkg here need not know of the architecture. apt fetches and
 * verifies them with the machine's own sources and keys, and state of its own.
 */
function sysroot(root: string, target: Target): string {
  const state = join(root, 'build/cache/debian', target.debian);
  const done = join(state, 'root');
  if (existsSync(done)) return done;
  const debs = join(state, 'debs');
  const unpacked = join(state, 'root.new');
  for (const folder of [debs, unpacked]) rmSync(folder, { recursive: true, force: true });
  for (const folder of [debs, unpacked, join(state, 'lists/partial'), join(state, 'cache/archives/partial')])
    mkdirSync(folder, { recursive: true });
  writeFileSync(join(state, 'status'), '');
  const options = [
    `Dir::State=${state}`,
    `Dir::State::lists=${join(state, 'lists')}`,
    `Dir::State::status=${join(state, 'status')}`,
    `Dir::Cache=${join(state, 'cache')}`,
    `APT::Architecture=${target.debian}`,
    `APT::Architectures=${target.debian}`,
    'APT::Sandbox::User=root',
  ].flatMap((option) => ['-o', option]);
  run('apt-get', [...options, 'update']);
  run('apt-get', [...options, 'download', ...LIBRARIES], { cwd: debs });
  for (const deb of readdirSync(debs).sort()) run('dpkg-deb', ['-x', join(debs, deb), unpacked]);
  renameSync(unpacked, done);
  for (const folder of [debs, join(state, 'lists'), join(state, 'cache')])
    rmSync(folder, { recursive: true, force: true });
  return done;
}

/** The architectures that packages are made for, in the words of each tool. */
export interface Target {
  /** Debian's name, as in `dpkg --print-architecture`. */
  readonly debian: 'amd64' | 'arm64';
  /** Node's, as in process.arch and npm's `cpu`. */
  readonly cpu: 'x64' | 'arm64';
  /** GNU's, as compilers and library folders are named. */
  readonly triplet: string;
}

export const TARGETS: readonly Target[] = [
  { debian: 'amd64', cpu: 'x64', triplet: 'x86_64-linux-gnu' },
  { debian: 'arm64', cpu: 'arm64', triplet: 'aarch64-linux-gnu' },
];

/** @throws Error on a machine that no package is made on. */
export function hostTarget(): Target {
  const host = TARGETS.find(({ cpu }) => cpu === process.arch);
  if (host === undefined) throw new Error(`packages are made on x64 and arm64, this is ${process.arch}`);
  return host;
}

/**
 * The format of the state directory, and how one version's becomes another's.
 *
 *   FORMAT     {"format": 2, "writer": "0.2.0"}: what lies here, and the version of sluice that wrote it. Absent: format 1
 *   next/      what a step makes, beside what it reads. Thrown away when it was not finished
 *   FORMAT     {"format": 1, "switching": {"to": 2, "entries": [{"entry": "audit", "made": true}]}}: from here on the step is done, whatever happens
 *   before/    what it replaced, until the switch is complete
 *
 * A step reads the entries that it names and writes them anew, in either direction. A process that is killed anywhere, or
 * a machine that loses power, leaves the state as it was or as it will be, and the next start goes on from there.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { SluiceError } from '../core/errors.ts';

/** Tells how far a step is, to be called now and then. `done` of `all`, in whatever it counts. */
export type Progress = (done: number, all: number) => void;

/** From one format to the next, and back with all that was kept meanwhile. */
export interface Step {
  /** For people: `audit: one file a month`. */
  readonly what: string;
  /** Files and folders of the state directory that it writes anew. */
  readonly entries: readonly string[];
  /** Reads `from`, writes into the empty folder `into`. Called anew from the beginning when it was not finished. */
  up(from: string, into: string, progress: Progress): Promise<void>;
  down(from: string, into: string, progress: Progress): Promise<void>;
}

export interface StateOptions {
  readonly dir: string;
  /** Version of sluice, for whoever has to find the one that can read this. */
  readonly version: string;
  /** `steps[0]` makes format 2 of format 1, and so on: the format of this version is one more than there are steps. */
  readonly steps: readonly Step[];
  /** For log and service manager. */
  readonly say: (text: string) => void;
}

interface Format {
  readonly format: number;
  readonly writer: string;
  readonly switching?: {
    readonly to: number;
    readonly entries: readonly { readonly entry: string; readonly made: boolean }[];
  };
}

const FORMAT = 'FORMAT';
const NEXT = 'next';
const BEFORE = 'before';
/** Between two lines about how far it is, milliseconds. */
const SAY_EVERY = 2_000;

/**
 * Brings the state to the format of this version; to be called before anything of it is opened.
 * @throws SluiceError STATE_NEWER: a later version wrote it; STATE_FAILED: it is as it was, or goes on with the next start.
 */
export function openState(options: StateOptions): Promise<void> {
  return toFormat(options, options.steps.length + 1);
}

/**
 * One format back, for the version before this one. @returns the format that it has now.
 * @throws SluiceError as openState does; STATE_FAILED when there is none before.
 */
export async function rollBack(options: StateOptions): Promise<number> {
  const { format, switching } = read(options.dir);
  // One that was begun already is finished, and is not two.
  const to = switching !== undefined && switching.to < format ? switching.to : (switching?.to ?? format) - 1;
  if (to < 1)
    throw new SluiceError('STATE_FAILED', `the state in ${options.dir} is of format 1: there is none before it`);
  await toFormat(options, to);
  return to;
}

async function toFormat(options: StateOptions, wanted: number): Promise<void> {
  const { dir, steps } = options;
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    // Told now and not by the first part that writes, in words of its own.
    accessSync(dir, constants.W_OK);
    let found = read(dir);
    if (found.switching !== undefined) found = complete(dir, found);
    for (const left of [NEXT, BEFORE]) rmSync(join(dir, left), { recursive: true, force: true });
    if (found.format > steps.length + 1) throw newer(dir, found, steps.length + 1);
    while (found.format !== wanted) found = await step(options, found, wanted > found.format);
    // Also where nothing changed: which version it was that had it last.
    if (found.writer !== options.version || !existsSync(join(dir, FORMAT)))
      write(dir, { format: found.format, writer: options.version });
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code;
    const hint = code === undefined ? undefined : HINTS[code];
    throw new SluiceError('STATE_FAILED', `opening the state in ${dir}: ${(cause as Error).message}`, {
      ...(hint !== undefined && { hint }),
      cause,
    });
  }
}

const HINTS: Readonly<Record<string, string>> = {
  EROFS: 'its file system is read-only: mount it writable, or set stateDir to one that is',
  EACCES: 'give the directory to the account that sluiced runs as, with mode 0700',
  ENOSPC: 'make room on its file system, and start again',
};

async function step({ dir, version, steps, say }: StateOptions, { format }: Format, up: boolean): Promise<Format> {
  const to = up ? format + 1 : format - 1;
  const { what, entries, ...ways } = steps[Math.min(format, to) - 1]!;
  const about = `state: format ${format} to ${to} (${what})`;
  const there = entries.filter((entry) => existsSync(join(dir, entry)));
  const needed = there.reduce((sum, entry) => sum + bytesOf(join(dir, entry)), 0);
  const { bavail, bsize } = statfsSync(dir);
  if (needed > bavail * bsize) {
    const hint = 'make room on its file system, and start again; nothing was changed';
    throw new SluiceError('STATE_FAILED', `${about} needs ${needed} bytes in ${dir}, and ${bavail * bsize} are free`, {
      hint,
    });
  }
  say(`${about} begins`);
  const into = join(dir, NEXT);
  mkdirSync(into, { mode: 0o700 });
  let said = performance.now();
  await (up ? ways.up : ways.down)(dir, into, (done, all) => {
    if (performance.now() - said < SAY_EVERY) return;
    said = performance.now();
    say(`${about}: ${Math.floor((100 * done) / Math.max(all, 1))} %`);
  });
  flush(into);
  const switching = {
    format,
    writer: version,
    switching: { to, entries: entries.map((entry) => ({ entry, made: existsSync(join(into, entry)) })) },
  };
  write(dir, switching);
  const done = complete(dir, switching);
  say(`${about} is done`);
  return done;
}

/** Puts what a step made in the place of what there was. Each of its moves may have been made already. */
function complete(dir: string, found: Format): Format {
  const { to, entries } = found.switching!;
  const [next, before] = [join(dir, NEXT), join(dir, BEFORE)];
  mkdirSync(before, { recursive: true, mode: 0o700 });
  const move = (from: string, to: string) => {
    renameSync(from, to);
    flushFolder(dir);
  };
  for (const { entry, made } of entries) {
    const [here, there, kept] = [join(dir, entry), join(next, entry), join(before, entry)];
    // What is here is the old one as long as the new one is still beside it; where there is no new one, at all times.
    if (existsSync(here) && (!made || existsSync(there))) move(here, kept);
    if (existsSync(there)) move(there, here);
  }
  flushFolder(dir);
  const done = { format: to, writer: found.writer };
  write(dir, done);
  for (const left of [NEXT, BEFORE]) rmSync(join(dir, left), { recursive: true, force: true });
  return done;
}

function newer(dir: string, { format, writer }: Format, known: number): SluiceError {
  return new SluiceError(
    'STATE_NEWER',
    `the state in ${dir} is of format ${format}, written by sluice ${writer}; this version reads formats up to ${known}`,
    {
      hint: `install sluice ${writer} again; to go back from it, stop sluiced and run its sluiced --rollback-state first`,
    },
  );
}

/** @throws SluiceError STATE_FAILED when there is a file that is not what was written. */
function read(dir: string): Format {
  let text: string;
  try {
    text = readFileSync(join(dir, FORMAT), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { format: 1, writer: '' };
    throw error;
  }
  try {
    const { format, writer, switching } = JSON.parse(text) as Format;
    const sound =
      Number.isInteger(format) &&
      typeof writer === 'string' &&
      (switching === undefined || (Number.isInteger(switching.to) && Array.isArray(switching.entries)));
    if (sound) return { format, writer, ...(switching !== undefined && { switching }) };
  } catch {
    // Falls through.
  }
  throw new SluiceError('STATE_FAILED', `${join(dir, FORMAT)} does not say which format the state has`, {
    hint: 'put back what it said; a state that was never migrated has none',
  });
}

function write(dir: string, format: Format): void {
  const next = join(dir, `${FORMAT}.new`);
  writeFileSync(next, `${JSON.stringify(format)}\n`, { mode: 0o600, flush: true });
  renameSync(next, join(dir, FORMAT));
  flushFolder(dir);
}

/** Everything below it is on disk. */
function flush(path: string): void {
  const stat = statSync(path);
  if (stat.isDirectory()) for (const name of readdirSync(path)) flush(join(path, name));
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function flushFolder(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** What it takes on disk. */
function bytesOf(path: string): number {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.blocks * 512;
  return readdirSync(path).reduce((sum, name) => sum + bytesOf(join(path, name)), stat.blocks * 512);
}

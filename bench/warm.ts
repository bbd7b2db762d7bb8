/**
 * Machines whose host takes back memory that is not used for seconds: a guest sees no page fault there, only that the next
 * touch of each page takes some 10 µs of what counts as its own processor time. A process that wakes up every few seconds is
 * charged ten to fifty times its own work then. Here is how much that is, and a way to measure without it.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const PAGE = 4096;
const PROBE_PAGES = 2000;
/** About as long as an idle daemon sleeps. */
const PROBE_MS = 2500;
/** Between two rounds through a process's memory: well below what a host takes for unused. */
const ROUND_MS = 150;
/** Rounds until its list of pages is read again. */
const ROUNDS = 20;
/** Read at once, bytes. */
const CHUNK = 1 << 20;

/** Microseconds that the touch of one page takes: of one that was not touched for 2.5 s, and of one that just was. */
export async function touches(): Promise<{ readonly cold: number; readonly warm: number }> {
  const memory = Buffer.alloc(PROBE_PAGES * PAGE, 1);
  const touch = () => {
    const from = performance.now();
    let sum = 0;
    for (let at = 0; at < memory.length; at += PAGE) sum += memory[at]!;
    if (sum !== PROBE_PAGES) throw new Error('not the memory that was filled');
    return ((performance.now() - from) * 1000) / PROBE_PAGES;
  };
  touch();
  await sleep(PROBE_MS);
  const cold = touch();
  return { cold, warm: touch() };
}

/** Reads all memory that `pid` has, again and again until the signal, at the expense of this process. */
export async function keepWarm(pid: number, signal: AbortSignal): Promise<void> {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    const into = Buffer.alloc(CHUNK);
    let pages: Stretch[] = [];
    for (let round = 0; !signal.aborted; round++) {
      if (round % ROUNDS === 0) pages = present(pid);
      for (const [from, to] of pages) {
        // What was given back since the list was made can't be read; there is nothing to keep then.
        try {
          readSync(memory, into, 0, to - from, from);
        } catch {}
      }
      await sleep(ROUND_MS);
    }
  } finally {
    closeSync(memory);
  }
}

type Stretch = [from: number, to: number];

/** Stretches of at most CHUNK bytes that are in memory: reading others would bring them there (Documentation/admin-guide/mm/pagemap.rst). */
function present(pid: number): Stretch[] {
  const stretches: Stretch[] = [];
  const map = openSync(`/proc/${pid}/pagemap`, 'r');
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n')) {
      const [, first, end] = /^([0-9a-f]+)-([0-9a-f]+) r(?!.*\[v)/.exec(line) ?? [];
      if (first === undefined || end === undefined) continue;
      for (let at = parseInt(first, 16); at < parseInt(end, 16); ) {
        const flags = Buffer.alloc(Math.min((parseInt(end, 16) - at) / PAGE, CHUNK / 8) * 8);
        readSync(map, flags, 0, flags.length, (at / PAGE) * 8);
        for (let high = 7; high < flags.length; high += 8, at += PAGE) {
          if ((flags[high]! & 0x80) === 0) continue;
          const last = stretches.at(-1);
          if (last?.[1] === at && at - last[0] < CHUNK) last[1] += PAGE;
          else stretches.push([at, at + PAGE]);
        }
      }
    }
    return stretches;
  } finally {
    closeSync(map);
  }
}

/**
 * The memory of the daemon's cgroup. At memory.high the kernel does not end a process but slows it down, more with each
 * page that it can't take back: agents would wait on a daemon that crawls, and the watchdog is a blunt end for it. So what
 * can't be taken back is looked at, and the daemon ends in order just below the limit, to be started again.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Part of memory.high at which it is time. */
const NEAR = 0.9;

export interface Pressure {
  /** Bytes that the kernel can't take back without swapping. */
  readonly used: number;
  /** memory.high, bytes. */
  readonly high: number;
}

/**
 * `cgroup`: its directory. Null: it has no such limit, or is not to be read, or there is room.
 * Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files".
 */
export function pressureOf(cgroup: string): Pressure | null {
  let limit: string;
  let stat: string;
  try {
    limit = readFileSync(join(cgroup, 'memory.high'), 'utf8').trim();
    if (limit === 'max') return null;
    stat = readFileSync(join(cgroup, 'memory.stat'), 'utf8');
  } catch {
    return null; // the root cgroup, or without the memory controller
  }
  const of = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0);
  // Page cache, of which LMDB's map is part, goes by itself.
  const used = of('anon') + of('shmem') + of('slab_unreclaimable') + of('sock');
  const high = Number(limit);
  return used > high * NEAR ? { used, high } : null;
}

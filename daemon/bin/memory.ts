/**
 * glibc keeps freed memory for later, in several arenas: told to, it gives back what reading a catalog or compiling the
 * SQL parser freed. The other half of keeping the daemon under 200 MB are Node's flags, which README.md names.
 */
import koffi from 'koffi';
import { hasRun } from './ran.ts';

/** malloc.h; mallopt(3). */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;

/** Between two times at which what is free within glibc's arenas is given back, milliseconds. It takes one to five. */
const TRIM_MS = 10_000;
/** Running less, in milliseconds, a process has freed nothing that is worth it. */
const WORTH_MS = 100;

/** To be called before anything large is allocated. */
export function boundMemory(): void {
  let mallopt: (option: number, value: number) => number;
  let trim: (pad: number) => number;
  try {
    const libc = koffi.load('libc.so.6');
    mallopt = libc.func('int mallopt(int, int)');
    trim = libc.func('int malloc_trim(size_t)');
  } catch {
    return; // another libc has its own way
  }
  const worthIt = hasRun(WORTH_MS);
  setInterval(() => worthIt() && trim(0), TRIM_MS).unref();
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
  // Above the size of a socket read, which would cost a mapping each otherwise.
  mallopt(M_MMAP_THRESHOLD, 256 * 1024);
}

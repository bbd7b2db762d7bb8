/**
 * glibc keeps freed memory for later, in several arenas: told to, it gives back what reading a catalog or compiling the
 * SQL parser freed. The other half of keeping the daemon under 200 MB are Node's flags, which README.md names.
 */
import koffi from 'koffi';

/** malloc.h; mallopt(3). */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;

/** To be called before anything large is allocated. */
export function boundMemory(): void {
  let mallopt: (option: number, value: number) => number;
  try {
    mallopt = koffi.load('libc.so.6').func('int mallopt(int, int)');
  } catch {
    return; // another libc has its own way
  }
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
  // Above the size of a socket read, which would cost a mapping each otherwise.
  mallopt(M_MMAP_THRESHOLD, 256 * 1024);
}

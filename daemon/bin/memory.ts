/**
 * glibc keeps freed memory for later by default. Compiling the SQL parser's wasm and reading a catalog free a lot at once
 * that is never asked for again, in several arenas: told to, it gives that back, which halves the daemon's memory.
 */
import koffi from 'koffi';

/** malloc.h; mallopt(3). */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;

/** To be called before anything large is allocated. Elsewhere than on glibc nothing happens. */
export function returnFreedMemory(): void {
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

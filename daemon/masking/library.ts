/**
 * The scanning part of libsluice.so. Buffers go in by address and matches are read back by hand, since that costs tens of
 * nanoseconds where decoded structures cost microseconds. Contract: native/lib/libsluice.h.
 */
import koffi from 'koffi';
import { SluiceError } from '../core/errors.ts';
import { libraryPath } from '../core/library.ts';

/** struct sluice_match: id(uint32) from(uint32) to(uint32), host byte order. */
export const MATCH_WORDS = 3;
export const TOO_MANY = -2;

export interface ScanLibrary {
  compile(patterns: string[], flags: Uint32Array, ids: Uint32Array): unknown;
  /** Count of matches, TOO_MANY, or another negative number. */
  scan(handle: unknown, data: Uint8Array, length: number, out: Uint32Array, max: number): number;
  free(handle: unknown): void;
}

/** @throws SluiceError CONFIG_INVALID when the library is missing or is none. */
export function openScanLibrary(path: string = libraryPath()): ScanLibrary {
  let library: ReturnType<typeof koffi.load>;
  try {
    library = koffi.load(path);
  } catch (cause) {
    throw new SluiceError('CONFIG_INVALID', `could not load ${path}`, { cause, hint: 'run make -C native' });
  }
  const compile = library.func(
    'void *sluice_scan_compile(const char **, const uint32_t *, const uint32_t *, uint32_t, int, void *, size_t)',
  );
  const scan = library.func('int sluice_scan(void *, const void *, size_t, void *, uint32_t)');
  const free = library.func('void sluice_scan_free(void *)');
  return {
    compile(patterns, flags, ids) {
      const fault = Buffer.alloc(256);
      const handle: unknown = compile(patterns, flags, ids, patterns.length, 0, fault, fault.length);
      if (handle === null) {
        const why = fault.toString('latin1', 0, fault.indexOf(0));
        throw new SluiceError('INTERNAL', `the detectors could not be compiled: ${why}`);
      }
      return handle;
    },
    scan,
    free,
  };
}

/** Where libsluice.so is. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SluiceError } from './errors.ts';

/**
 * Searches upwards, so that sources and the compiled package find the same build.
 * @throws SluiceError CONFIG_INVALID when there is none.
 */
export function libraryPath(from: string = import.meta.dirname): string {
  for (let folder = from; ; folder = dirname(folder)) {
    const path = join(folder, 'build/native/libsluice.so');
    if (existsSync(path)) return path;
    if (dirname(folder) === folder)
      throw new SluiceError('CONFIG_INVALID', 'build/native/libsluice.so was not found above the daemon', {
        hint: 'run make -C native',
      });
  }
}

/** Where the parts of sluice find each other. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

export interface Paths {
  /** Sockets of daemon and helper. */
  readonly runDir: string;
  /** Native programs. */
  readonly libDir: string;
  readonly control: string;
  readonly helper: string;
  readonly launch: string;
}

/**
 * SLUICE_RUN_DIR, SLUICE_LIB_DIR (empty counts as absent), else where the package puts them.
 * @param built where make puts native programs in a checkout; counts when they are there.
 */
export function pathsFrom(env: Readonly<Record<string, string | undefined>>, built: string): Paths {
  const runDir = env.SLUICE_RUN_DIR || '/run/sluice';
  const libDir = env.SLUICE_LIB_DIR || (existsSync(join(built, 'sluice-launch')) ? built : '/usr/lib/sluice');
  return {
    runDir,
    libDir,
    control: join(runDir, 'daemon/control.sock'),
    helper: join(runDir, 'helper.sock'),
    launch: join(libDir, 'sluice-launch'),
  };
}

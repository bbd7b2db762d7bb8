/**
 * Becomes a server in the place of the daemon: enters its cgroup, has agents' connections turned to PORT, and turns into
 * COMMAND, which listens there. Arguments: run directory, library, PORT, COMMAND….
 */
import { join } from 'node:path';
import { openHelper } from '../daemon/intake/helper.ts';
import { openKernel } from '../daemon/intake/kernel.ts';

const [runDir = '', library = '', port = '', command = '', ...args] = process.argv.slice(2);
await openHelper(join(runDir, 'helper.sock')).enterDaemonCgroup();
openKernel({ pinDir: join(runDir, 'bpf'), library }).setListener(Number(port));
process.execve!(command, [command, ...args], process.env as Record<string, string>);

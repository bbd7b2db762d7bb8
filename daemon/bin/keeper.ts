/**
 * Beside a session, started by `sluice run`: renews its token (daemon/cli/keep.ts). It holds a token and perhaps what gets
 * more of them, and the agent may run under the same uid: so the kernel lets nobody but root look into it.
 */
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import koffi from 'koffi';
import { type Charge, KEEPER_READY, keep } from '../cli/keep.ts';
import { ControlClient } from '../control/client.ts';

/** linux/prctl.h; PR_SET_DUMPABLE(2const): no ptrace, and /proc/PID belongs to root. */
const PR_SET_DUMPABLE = 4;

const prctl = koffi
  .load('libc.so.6')
  .func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)');
if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) !== 0) throw new Error('prctl(PR_SET_DUMPABLE) failed');
const charge = JSON.parse(await text(process.stdin)) as Charge;
process.stdout.write(KEEPER_READY);
process.stdout.on('error', () => {});
await keep(charge, { connect: () => ControlClient.connect(charge.control), sleep });
process.exit(0);

/** What a daemon costs that has nothing to do: start, memory and processor time with idle sessions. */
import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { startStack } from '../test/harness/stack.ts';
import { policyFor } from './policy.ts';
import { keepWarm, touches } from './warm.ts';

export interface Idle {
  /** Seconds from the start of the process until it takes agents' connections. */
  readonly ready: number;
  /** Megabytes (10^6 bytes): resident, and the daemon's share of it. */
  readonly resident: number;
  readonly proportional: number;
  /** Of one processor, in percent, over `seconds`: with its memory kept within reach, and as the machine is. */
  readonly processor: number;
  readonly asIs: number;
  /** Microseconds that touching a page takes on this machine: after 2.5 s, and again at once. */
  readonly touch: { readonly cold: number; readonly warm: number };
}

/** Idle sessions that it is measured with. */
export const IDLE_SESSIONS = 20;
/** Until what a start leaves behind has settled: freed memory is given back every ten seconds. */
const SETTLE_MS = 25_000;

export async function measureIdle(seconds: number): Promise<Idle> {
  const stack = await startStack({ name: 'idle', policy: policyFor('none', 5433), helper: [] });
  try {
    const agents: ChildProcess[] = [];
    for (let i = 0; i < IDLE_SESSIONS; i++) {
      const agent = stack.agent(['/bin/sh', '-c', 'echo begun; exec sleep 900'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await new Promise((resolve) => agent.stdout!.once('data', resolve));
      agents.push(agent);
    }
    await sleep(SETTLE_MS);
    const pid = stack.daemon.pid!;
    const share = async () => {
      const before = ran(pid);
      await sleep(seconds * 1000);
      return (100 * (ran(pid) - before)) / seconds;
    };
    const touch = await touches();
    const asIs = await share();
    const measured = new AbortController();
    const [processor] = await Promise.all([share().finally(() => measured.abort()), keepWarm(pid, measured.signal)]);
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const field = (name: string) => (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1]) * 1024) / 1e6;
    await stack.kill('SIGTERM');
    const started = performance.now();
    await stack.restart();
    const ready = (performance.now() - started) / 1000;
    return { ready, resident: field('Rss'), proportional: field('Pss'), processor, asIs, touch };
  } finally {
    await stack.stop();
  }
}

/** Seconds that its threads have run: the first field of schedstat, nanoseconds (Linux, Documentation/scheduler/sched-stats). */
function ran(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  return (
    threads.reduce(
      (sum, id) => sum + Number(readFileSync(`/proc/${pid}/task/${id}/schedstat`, 'utf8').split(' ')[0]),
      0,
    ) / 1e9
  );
}

/**
 * What a service of systemd and its manager tell each other: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3). Under
 * no manager, all of it does nothing.
 */
import koffi from 'koffi';

export interface Manager {
  /** Whether there is one that listens. */
  readonly present: boolean;
  /** Descriptors that it kept for us, by name. */
  readonly kept: ReadonlyMap<string, number>;
  /** It ends us when it was not told `WATCHDOG=1` for so long, milliseconds. Null: it does not. */
  readonly watchdog: number | null;
  /** Lines of `VARIABLE=value`. What it does not take is lost. */
  tell(...lines: readonly string[]): void;
  /** Has it hold on to a descriptor while this process is started again. At most 8 a call. */
  keep(name: string, descriptors: readonly number[]): void;
  /** It closes its own of that name. */
  forget(name: string): void;
}

/** The first descriptor that is passed, SD_LISTEN_FDS_START. */
const FIRST = 3;
const OURS = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID', 'LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES'] as const;

/** Takes its variables out of `env`, so that no child takes itself for the service. */
export function openManager(library: string, env: NodeJS.ProcessEnv = process.env, pid = process.pid): Manager {
  const [socket = '', usec, watchdogPid, listenPid, count, names = ''] = OURS.map((name) => env[name]);
  for (const name of OURS) delete env[name];
  const kept = new Map<string, number>();
  if (Number(listenPid) === pid) {
    const given = names.split(':');
    for (let i = 0; i < Number(count); i++) kept.set(given[i] || `unnamed-${i}`, FIRST + i);
  }
  const send: (path: string, state: string, fds: Int32Array, count: number) => number =
    socket === '' ? () => 0 : koffi.load(library).func('int sluice_notify(str, str, const int32_t *, uint32_t)');
  const say = (lines: readonly string[], descriptors: readonly number[] = []) =>
    send(socket, lines.join('\n'), Int32Array.from(descriptors), descriptors.length);
  const forUs = watchdogPid === undefined || Number(watchdogPid) === pid;
  return {
    present: socket !== '',
    kept,
    watchdog: forUs && Number(usec) > 0 ? Number(usec) / 1000 : null,
    tell: (...lines) => void say(lines),
    // Not polled: it would let go of a datagram socket that an ICMP error came to.
    keep: (name, descriptors) => void say(['FDSTORE=1', `FDNAME=${name}`, 'FDPOLL=0'], descriptors),
    forget: (name) => void say(['FDSTOREREMOVE=1', `FDNAME=${name}`]),
  };
}

/** The daemon as a service of systemd: what it tells its manager and the journal. Started by hand it has neither. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { AuditStore } from '../audit/audit.ts';
import { entryOf } from '../audit/fields.ts';
import { Follower } from '../audit/follower.ts';
import { ControlClient } from '../control/client.ts';
import { cgroupMount, cgroupPath } from '../identify/process.ts';
import { openJournal } from '../systemd/journal.ts';
import { pressureOf } from '../systemd/memory.ts';
import { type Manager, openManager } from '../systemd/notify.ts';
import { type Vital, Watchdog } from '../systemd/watchdog.ts';
import type { Config } from './config.ts';
import { hasRun } from './ran.ts';
import { type Repeated, repeat } from './repeat.ts';

/**
 * The memory of the cgroup is looked at this often, milliseconds; twice too much is too much. Less often while the process
 * hardly runs, as it then takes hardly any.
 */
const MEMORY = 1_000;
const MEMORY_IDLE = 5_000;
/** As much of the processor in the time of a look, milliseconds. */
const HARDLY = 20;
/** The line that `systemctl status` shows is written anew this often, milliseconds. */
const STATUS = 10_000;
/** Left out of the journal where only decisions are wanted: what follows from one, and is none itself. */
const FOLLOWING = /^(result|flow\.start|flow\.end)$/;

export interface Running {
  readonly audit: AuditStore;
  /** Path of the control socket, which is asked as anybody would. */
  readonly control: string;
  readonly vitals: Readonly<Record<string, Vital>>;
  /** One line. */
  status(): string;
}

export class Service {
  readonly #config: Config;
  readonly #log: Logger;
  readonly manager: Manager;
  readonly #repeated: Repeated[] = [];
  #watchdog: Watchdog | null = null;
  #follower: Follower | null = null;

  constructor(config: Config, log: Logger) {
    this.#config = config;
    this.#log = log;
    this.manager = openManager(config.library);
  }

  /** From now on events go to the journal, too. */
  follow(audit: AuditStore): void {
    const { journal, library, stateDir } = this.#config;
    if (journal === 'off' || !this.manager.present) return;
    const out = openJournal(library);
    this.#follower = new Follower({
      log: audit,
      cursor: join(stateDir, 'journal-cursor'),
      take(events) {
        const wanted =
          journal === 'all'
            ? events
            : events.filter(({ type, decision }) => decision !== undefined || !FOLLOWING.test(type));
        const sent = out.send(wanted.map(entryOf));
        if (sent === wanted.length) return events.length;
        return sent === 0 ? 0 : events.indexOf(wanted[sent - 1]!) + 1;
      },
      onGap: (count) => this.#log.warn(`${count} events were deleted before the journal had them; the audit had them`),
      onFault: (error) =>
        this.#log.error(
          { err: error, where: 'journal' },
          'the journal gets no events until this is over; the audit has them',
        ),
      onResume: (ms) =>
        this.#log.warn(`the journal gets events again, those of the last ${Math.ceil(ms / 1000)} s as well`),
    });
  }

  /** Agents are served. */
  ready(running: Running): void {
    const manager = this.manager;
    if (!manager.present) return;
    let said = '';
    const status = () => {
      const behind = this.#follower?.behind ?? 0;
      const now = `${running.status()}${behind > 1_000 ? `; the journal is ${behind} events behind` : ''}`;
      if (now !== said) manager.tell(`STATUS=${now}`);
      said = now;
    };
    manager.tell('READY=1');
    status();
    this.#every(() => STATUS, status);
    this.#watchMemory(running.audit);
    if (manager.watchdog === null) return;
    const control = async () => {
      const client = await ControlClient.connect(running.control);
      await client.call('ping').finally(() => client.close());
    };
    this.#watchdog = new Watchdog({
      limit: manager.watchdog,
      vitals: { audit: () => running.audit.answers(), control, ...running.vitals },
      well: () => manager.tell('WATCHDOG=1'),
      unwell: (what) => this.#log.warn(`the watchdog is not told that all is well: ${what}`),
    });
  }

  #watchMemory(audit: AuditStore): void {
    const path = cgroupPath(readFileSync('/proc/self/cgroup', 'utf8'));
    if (path === null) return;
    const cgroup = join(cgroupMount(), path);
    const ran = hasRun(HARDLY);
    let looks = 0;
    const next = () => (ran() || looks > 0 ? MEMORY : MEMORY_IDLE);
    this.#every(next, () => {
      const pressure = pressureOf(cgroup);
      looks = pressure === null ? 0 : looks + 1;
      if (pressure === null || looks !== 2) return;
      const megabytes = (bytes: number) => `${Math.round(bytes / 1024 ** 2)} MB`;
      const message = `sluiced uses ${megabytes(pressure.used)} of the ${megabytes(pressure.high)} at which it is slowed down: it ends, to be started again`;
      this.#log.error(message);
      try {
        audit.record({ type: 'fault', error: 'MEMORY_LIMIT', message });
      } finally {
        process.kill(process.pid, 'SIGTERM');
      }
    });
  }

  #every(ms: () => number, work: () => void): void {
    const onFault = (error: unknown) => this.#log.error({ err: error }, 'fault');
    this.#repeated.push(repeat(ms, async () => work(), onFault));
  }

  stopping(): void {
    this.manager.tell('STOPPING=1', 'STATUS=ends what runs');
    for (const each of this.#repeated) each.stop();
    this.#watchdog?.stop();
  }

  /** When the last event was recorded and before the audit is closed. */
  async close(): Promise<void> {
    await this.#follower?.close();
  }
}

/** What can be read of the daemon as it is now, beside what daemon/metrics counts of events. */
import { readdirSync, readFileSync } from 'node:fs';
import type { AuditFigures, AuditState } from '../audit/audit.ts';
import type { HelperStatus, MapFill } from '../intake/helper.ts';
import type { Registry } from '../metrics/registry.ts';

export interface Gauges {
  readonly version: string;
  readonly policy: () => { readonly version: string; readonly loadedAt: number; readonly rejected: boolean };
  readonly sessions: () => number;
  readonly flows: () => { readonly open: number; readonly most: number };
  readonly heldSince: () => readonly number[];
  readonly asking: () => number;
  readonly audit: { readonly state: AuditState; figures(): AuditFigures };
  readonly helper: { status(): Promise<HelperStatus>; maps(): Promise<readonly MapFill[]> };
  readonly lost: () => number;
  readonly jumps: () => number;
}

/** Seconds that the event loop was late. */
const LATE = [0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export interface OpenedMetrics {
  /** The exposition as of now. */
  text(): Promise<string>;
  /** Tells by how much a timer was late, milliseconds. */
  late(ms: number): void;
}

export function openMetrics(registry: Registry, parts: Gauges): OpenedMetrics {
  let helper: HelperStatus | null = null;
  let maps: readonly MapFill[] = [];
  let figures = parts.audit.figures();
  let own = ownProcess();
  const one = (value: () => number) => () => [[{}, value()] as const];
  const gauge = (name: string, help: string, value: () => number) => registry.read('gauge', name, help, one(value));
  const counter = (name: string, help: string, value: () => number) => registry.read('counter', name, help, one(value));

  registry.read('gauge', 'sluice_build_info', 'Always 1; the version is a label.', () => [
    [{ version: parts.version, node: process.version }, 1],
  ]);
  gauge('sluice_enforcing', '1 when every hook is effective and every required guarantee holds.', () =>
    helper?.enforcing ? 1 : 0,
  );
  gauge('sluice_helper_up', '1 when sluice-helper answers.', () => (helper === null ? 0 : 1));
  registry.read(
    'counter',
    'sluice_tampered_total',
    'Changes of the kernel side behind the back of sluice-helper.',
    () => (helper === null ? [] : [[{}, helper.tampered]]),
  );
  registry.read('gauge', 'sluice_guarantee_held', '1 when a guarantee holds on this host.', () =>
    (helper?.guarantees ?? []).map(({ name, held, required }) => [
      { guarantee: name, required: String(required) },
      held ? 1 : 0,
    ]),
  );
  registry.read('gauge', 'sluice_kernel_map_entries', 'Entries of the kernel’s maps that can be full.', () =>
    maps.map(({ name, entries }) => [{ map: name }, entries]),
  );
  registry.read('gauge', 'sluice_kernel_map_max_entries', 'How many entries they can have.', () =>
    maps.map(({ name, most }) => [{ map: name }, most]),
  );
  counter(
    'sluice_kernel_refusals_lost_total',
    'Refusals of the kernel that could not be counted by what they were.',
    parts.lost,
  );

  registry.read('gauge', 'sluice_policy_info', 'Always 1; the version in force is a label.', () => [
    [{ version: parts.policy().version }, 1],
  ]);
  gauge('sluice_policy_loaded_timestamp_seconds', 'When it was loaded.', () => parts.policy().loadedAt / 1000);
  gauge('sluice_policy_rejected', '1 while the policy files are not valid, and an older version decides.', () =>
    Number(parts.policy().rejected),
  );
  gauge('sluice_sessions', 'Sessions that run.', parts.sessions);
  gauge('sluice_flows', 'Connections of agents that are open.', () => parts.flows().open);
  gauge('sluice_flows_max', 'How many may be open at once.', () => parts.flows().most);
  gauge('sluice_approvals_held', 'Operations that wait for a person.', () => parts.heldSince().length);
  gauge('sluice_approvals_oldest_seconds', 'Age of the oldest of them; 0: none waits.', () => {
    const all = parts.heldSince();
    return all.length === 0 ? 0 : Math.max(0, (Date.now() - Math.min(...all)) / 1000);
  });
  gauge('sluice_questions_asking', 'Questions for names that wait for a resolver.', parts.asking);

  gauge('sluice_audit_refusing', '1 while the audit takes no new operations.', () => Number(!parts.audit.state.ok));
  gauge('sluice_audit_bytes', 'What the audit takes on disk.', () => figures.bytes);
  gauge('sluice_audit_quota_bytes', 'What it may take.', () => figures.quotaBytes);
  gauge('sluice_audit_events', 'Events that are kept.', () => figures.kept);
  gauge(
    'sluice_audit_pending_bytes',
    'Committed to the journal, and not in the store yet.',
    () => figures.pendingBytes,
  );
  gauge('sluice_audit_pending_events', 'The same, in events.', () => figures.pendingEvents);
  gauge('sluice_audit_disk_free_bytes', 'Free on the file system of the audit.', () => figures.freeBytes);
  registry.read('gauge', 'sluice_audit_checkpoint_timestamp_seconds', 'When the newest event was last signed.', () =>
    figures.checkpointAt === null ? [] : [[{}, figures.checkpointAt / 1000]],
  );
  gauge('sluice_audit_retention_behind_seconds', 'How far retention is behind a clock that jumped ahead.', () =>
    Math.max(0, figures.behindMs / 1000),
  );
  counter('sluice_clock_jumps_total', 'Jumps of the wall clock, and times that the host slept.', parts.jumps);

  const late = registry.histogram(
    'sluice_event_loop_late_seconds',
    'How late a timer was, of each second or of each five while nothing happens.',
    LATE,
  );
  counter('sluice_event_loop_active_seconds_total', 'Time that the event loop worked.', () => {
    const { active } = performance.eventLoopUtilization();
    return active / 1000;
  });
  gauge('sluice_heap_bytes', 'JavaScript objects that are kept.', () => process.memoryUsage().heapUsed);

  counter('process_cpu_seconds_total', 'User and system CPU time.', () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  gauge('process_start_time_seconds', 'Start of the process, since the epoch.', () => STARTED);
  gauge('process_resident_memory_bytes', 'Resident memory.', () => own.resident);
  gauge('process_virtual_memory_bytes', 'Virtual memory.', () => own.virtual);
  gauge('process_open_fds', 'Open file descriptors.', () => own.descriptors);
  gauge('process_max_fds', 'How many may be open.', () => own.mostDescriptors);

  return {
    async text() {
      [helper, maps] = await Promise.all([
        parts.helper.status().catch(() => null),
        parts.helper.maps().catch(() => []),
      ]);
      figures = parts.audit.figures();
      own = ownProcess();
      return registry.text();
    },
    late: (ms) => late.observe(Math.max(0, ms) / 1000),
  };
}

const STARTED = performance.timeOrigin / 1000;

/** proc_pid_statm(5), in pages; proc_pid_limits(5). */
function ownProcess(): { resident: number; virtual: number; descriptors: number; mostDescriptors: number } {
  const [virtual = 0, resident = 0] = readFileSync('/proc/self/statm', 'utf8').split(' ').map(Number);
  const limits = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? '';
  return {
    resident: resident * PAGE,
    virtual: virtual * PAGE,
    // One is that of the listing itself.
    descriptors: readdirSync('/proc/self/fd').length - 1,
    mostDescriptors: limits === 'unlimited' ? Number.POSITIVE_INFINITY : Number(limits),
  };
}

/** Of x86-64 and of arm64 as Debian builds it. */
const PAGE = 4096;

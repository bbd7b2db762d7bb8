/** What `sluice status` shows: gathered from the stages, and what of it is a problem. `--json` prints it as it is. */
import type { Approval } from '../approvals/approval.ts';
import type { AuditFigures, AuditState } from '../audit/audit.ts';
import { SluiceError } from '../core/errors.ts';
import type { HelperStatus } from '../intake/helper.ts';
import type { Rejection } from '../policy/live.ts';
import type { CompiledPolicy } from '../policy/policy.ts';

export interface StatusParts {
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly policy: {
    readonly current: CompiledPolicy;
    readonly loadedAt: number;
    readonly rejected: Rejection | null;
  };
  readonly sessions: () => number;
  readonly flows: () => { readonly open: number; readonly most: number };
  /** Those that wait for people. */
  readonly held: () => readonly Approval[];
  readonly audit: { readonly state: AuditState; figures(): AuditFigures };
  readonly retentionDays: number | null;
  readonly helper: () => Promise<HelperStatus>;
  /** Where agents' connections arrive. */
  readonly port: number;
  readonly listeners: Readonly<Record<string, string>>;
  readonly logLevel: () => { readonly level: string; readonly configured: string };
  /** Jumps of the clock since the start. */
  readonly jumps: () => number;
}

export interface Problem {
  readonly what: string;
  readonly todo: string;
}

export type Status = Awaited<ReturnType<typeof statusOf>>;

/** Names say what numbers are: …At milliseconds since the epoch, …Bytes, …Ms. Absent or null: there is none. */
export async function statusOf(parts: StatusParts) {
  const { current, loadedAt, rejected } = parts.policy;
  const { observing } = current;
  const figures = parts.audit.figures();
  const { state } = parts.audit;
  const held = parts.held();
  const helper = await parts.helper().catch((error: Error) => error);
  const problems: Problem[] = [];
  const add = (what: string, todo: string) => problems.push({ what, todo });

  const down = helper instanceof Error;
  const lacking = down ? [] : helper.guarantees.filter(({ held }) => !held);
  if (down)
    add(
      `sluice-helper does not answer: ${helper.message}`,
      'systemctl status sluice-helper; no session starts without it',
    );
  else if (!helper.enforcing) {
    const what =
      helper.missing === '' ? lacking.filter(({ required }) => required).map(({ name }) => name) : [helper.missing];
    add(
      `the kernel does not enforce: ${what.join(', ')}`,
      'sluice doctor says what is missing; no session starts meanwhile',
    );
  }
  if (!down && helper.tampered > 0) {
    const what = `${helper.tampered} times the kernel side was changed behind sluice’s back`;
    add(what, 'sluice audit ERROR=TAMPERED');
  }
  if (!state.ok) add(`the audit refuses: ${state.error.message}`, state.error.hint);
  else if (figures.bytes > figures.quotaBytes * 0.9)
    add(
      'the audit fills its quota: new operations are refused soon',
      'set audit.retentionDays, or raise audit.quotaBytes',
    );
  if (figures.freeBytes < LEAST_FREE)
    add(`${figures.freeBytes} bytes are free on the disk of the audit`, 'make room before operations are refused');
  if (figures.behindMs > BEHIND)
    add(
      `the clock jumped ahead by ${hours(figures.behindMs)}: old events are kept longer than retention says`,
      'check the clock; if it is right, nothing has to be done',
    );
  if (figures.aheadMs > BEHIND)
    add(
      `events were recorded under a clock that was ahead: their time stands still for ${hours(figures.aheadMs)}`,
      'check the clock; their order is kept',
    );
  if (rejected !== null) {
    const first = rejected.error.message.split('\n')[0]!;
    add(
      `the policy files are not in force: ${first}`,
      'sluice policy check says what to correct; the version before decides',
    );
  }

  return {
    state: problems.length === 0 ? ('well' as const) : ('problems' as const),
    problems,
    version: parts.version,
    pid: process.pid,
    port: parts.port,
    startedAt: parts.startedAt,
    enforcement: down
      ? { enforcing: false, missing: helper instanceof SluiceError ? helper.code : helper.message }
      : {
          enforcing: helper.enforcing,
          missing: helper.missing,
          kernel: helper.kernel,
          hooks: helper.hooks,
          pinned: helper.pinned,
          attached: helper.attached,
          notHeld: lacking.map(({ name, required, needs }) => ({ name, required, needs })),
          tampered: helper.tampered,
        },
    policy: {
      version: current.version,
      loadedAt,
      files: current.files,
      mode: modeOf(current),
      observedResources: observing.resources,
      resources: [...current.resources.keys()],
      rules: current.ruleCount,
      rejectedAt: rejected?.at ?? null,
    },
    sessions: parts.sessions(),
    flows: parts.flows().open,
    flowsMost: parts.flows().most,
    approvals: {
      held: held.length,
      oldestAt: held.length === 0 ? null : Math.min(...held.map((each) => each.requestedAt)),
    },
    audit: {
      refusing: !state.ok,
      events: figures.last,
      kept: figures.kept,
      bytes: figures.bytes,
      quotaBytes: figures.quotaBytes,
      pendingBytes: figures.pendingBytes,
      freeBytes: figures.freeBytes,
      checkpointAt: figures.checkpointAt,
      retentionDays: parts.retentionDays,
    },
    memoryBytes: process.memoryUsage.rss(),
    clockJumps: parts.jumps(),
    log: parts.logLevel(),
    listeners: parts.listeners,
  };
}

/** Less free disk than this is a problem before anything is refused. */
const LEAST_FREE = 256 * 1024 ** 2;
/** A clock that is off by less is nobody's problem, milliseconds. */
const BEHIND = 3_600_000;

const hours = (ms: number): string => `${Math.round(ms / 3_600_000).toLocaleString('en')} h`;

function modeOf({ observing, ruleCount, resources }: CompiledPolicy): 'enforce' | 'observe' | 'mixed' {
  if (observing.rules === 0 && observing.resources.length === 0) return 'enforce';
  return observing.rules === ruleCount && observing.resources.length === resources.size ? 'observe' : 'mixed';
}

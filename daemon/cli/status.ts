/** `sluice status`: one screen. */
import { Command } from 'commander';
import { SluiceError } from '../core/errors.ts';
import { type Context, withDaemon } from './context.ts';
import { FAILED } from './failure.ts';
import { columns, moment, size, span, visible, wrap } from './screen.ts';

/** The answer of the daemon, as far as it is shown; daemon/bin/status.ts says what each is. */
export interface Status {
  readonly state: 'well' | 'problems';
  readonly problems: readonly { readonly what: string; readonly todo: string }[];
  readonly version: string;
  readonly pid: number;
  readonly startedAt: number;
  readonly enforcement: {
    readonly enforcing: boolean;
    readonly missing: string;
    readonly kernel?: string;
    readonly hooks?: number;
    readonly pinned?: number;
    readonly notHeld?: readonly { readonly name: string; readonly required: boolean; readonly needs: string | null }[];
  };
  readonly policy: {
    readonly version: string;
    readonly loadedAt: number;
    readonly files: readonly string[];
    readonly mode: string;
    readonly resources: readonly string[];
    readonly rules: number;
  };
  readonly sessions: number;
  readonly flows: number;
  readonly flowsMost: number;
  readonly approvals: { readonly held: number; readonly oldestAt: number | null };
  readonly audit: {
    readonly refusing: boolean;
    readonly events: number;
    readonly bytes: number;
    readonly quotaBytes: number;
    readonly freeBytes: number;
    readonly checkpointAt: number | null;
    readonly retentionDays: number | null;
  };
  readonly memoryBytes: number;
  readonly log: { readonly level: string; readonly configured: string };
  readonly listeners: Readonly<Record<string, string>>;
}

export interface HelperAnswer {
  readonly enforcing: boolean;
  readonly missing: string;
  readonly hooks: number;
  readonly pinned: number;
  readonly kernel: string;
}

export interface StatusContext extends Context {
  /** @throws SluiceError HELPER_UNREACHABLE. */
  helperStatus(): Promise<HelperAnswer>;
}

export function statusCommand(context: StatusContext): Command {
  return new Command('status')
    .description('what sluice does on this host and whether all is well (exit status 0: yes, 1: no)')
    .option('--json', 'as JSON')
    .action(async (flags: { json?: true }) => {
      const width = context.out.columns ?? 80;
      try {
        const status = (await withDaemon(context, (daemon) => daemon.call('status'))) as Status;
        context.out.write(flags.json ? json(status) : statusScreen(status, width, Date.now()));
        if (status.state !== 'well') process.exitCode = FAILED;
      } catch (error) {
        // The kernel enforces without the daemon: what that means for agents is what matters then.
        if (!(error instanceof SluiceError) || error.code !== 'DAEMON_UNREACHABLE') throw error;
        const helper = await context.helperStatus().catch((cause: SluiceError) => cause);
        context.out.write(flags.json ? json(downJson(error, helper)) : downScreen(error, helper, width));
        process.exitCode = FAILED;
      }
    });
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** Rows of a label and what may be broken into lines; a label that is empty goes on with the row before. */
type Row = readonly [string, string];
const LABEL = 13;

export function statusScreen(status: Status, width: number, now: number): string {
  const { enforcement, policy, approvals, audit, log } = status;
  const ago = (at: number) => `${span(now - at)} ago`;
  const notHeld = enforcement.notHeld ?? [];
  const rows: Row[] = [
    ['enforcement', enforced(enforcement)],
    ...notHeld.map(({ name, needs }): Row => ['not held', `${name}${needs === null ? '' : `: ${needs}`}`]),
    [
      'policy',
      `${policy.version} (${MODES[policy.mode] ?? policy.mode}), loaded ${ago(policy.loadedAt)}: ` +
        `${count(policy.rules, 'rule')} in ${files(policy.files)}`,
    ],
    ['resources', policy.resources.length === 0 ? 'none: agents may reach nothing' : listed(policy.resources, width)],
    ['sessions', `${status.sessions}, with ${count(status.flows, 'open connection')} of at most ${status.flowsMost}`],
    [
      'approvals',
      approvals.oldestAt === null
        ? 'none waits'
        : `${approvals.held} ${approvals.held === 1 ? 'waits' : 'wait, the oldest'} since ${span(now - approvals.oldestAt)}`,
    ],
    [
      'audit',
      `${audit.events.toLocaleString('en')} events, ${size(audit.bytes)} of ${size(audit.quotaBytes)}` +
        `${audit.retentionDays === null ? ', kept until that is full' : `, kept for ${audit.retentionDays} d`}; ` +
        `${size(audit.freeBytes)} free on its disk`,
    ],
    ['', audit.checkpointAt === null ? 'never signed' : `signed last ${ago(audit.checkpointAt)}`],
    [
      'daemon',
      `sluice ${status.version}, pid ${status.pid}, up ${span(now - status.startedAt)} (since ${moment(status.startedAt)}), ` +
        `${size(status.memoryBytes)} of memory`,
    ],
    ...(log.level === log.configured
      ? []
      : [['log level', `${log.level}, until the next start (${log.configured} is configured)`] as Row]),
    ...Object.entries(status.listeners).map(
      ([name, where], i): Row => [i === 0 ? 'listens' : '', `${where} for ${FOR[name] ?? name}`],
    ),
  ];
  return screen(head(status.problems), rows, width);
}

const FOR: Readonly<Record<string, string>> = { agents: 'agents', control: 'people', metrics: 'metrics' };
const MODES: Readonly<Record<string, string>> = {
  enforce: 'enforced',
  observe: 'OBSERVED ONLY: nothing is refused',
  mixed: 'partly observed only',
};

function head(problems: Status['problems']): Row[] {
  if (problems.length === 0) return [['state', 'well']];
  return [
    ['state', problems.length === 1 ? 'A PROBLEM' : `${problems.length} PROBLEMS`],
    ...problems.flatMap(({ what, todo }): Row[] => [
      ['problem', what],
      ['', `→ ${todo}`],
    ]),
  ];
}

function enforced({ enforcing, hooks, pinned, kernel, missing }: Status['enforcement'] | HelperAnswer): string {
  if (hooks === undefined) return `not known: ${missing}`;
  const state = enforcing ? 'on' : 'NOT COMPLETE';
  return `${state}: ${hooks} hooks, ${pinned} pinned, Linux ${kernel}${missing === '' ? '' : `; missing: ${missing}`}`;
}

function downScreen(error: SluiceError, helper: HelperAnswer | SluiceError, width: number): string {
  const gone = helper instanceof SluiceError;
  const rows: Row[] = [
    ['problem', error.message],
    ['', '→ systemctl status sluiced; journalctl -u sluiced'],
    ...(gone
      ? ([
          ['problem', helper.message],
          ['', '→ systemctl status sluice-helper'],
        ] as Row[])
      : []),
    ['agents', gone ? REFUSED : helper.enforcing ? REFUSED : `${REFUSED}, as far as the hooks that there are reach`],
    ['enforcement', gone ? 'not known: what was attached stays attached without the helper' : enforced(helper)],
  ];
  return screen([['state', 'DOWN']], rows, width);
}

const REFUSED = 'every connection of theirs is refused, and no session starts, until sluiced runs';

function downJson(error: SluiceError, helper: HelperAnswer | SluiceError): unknown {
  const problems = [error, helper]
    .filter((each) => each instanceof SluiceError)
    .map(({ message, hint }) => ({ what: message, todo: hint }));
  return { state: 'down', problems, enforcement: helper instanceof SluiceError ? null : helper };
}

function files(paths: readonly string[]): string {
  const [first = '', ...others] = paths;
  const folder = first.replace(/[^/]*$/, '');
  if (others.length === 0) return first;
  return others.every((path) => path.startsWith(folder))
    ? `${paths.length} files of ${folder}`
    : `${paths.length} files`;
}

/** As many as fit on one line; the others counted. */
function listed(names: readonly string[], width: number): string {
  let shown = names.length;
  const text = () =>
    names.slice(0, shown).join(', ') + (shown === names.length ? '' : ` and ${names.length - shown} more`);
  while (shown > 1 && columns(text()) > width - LABEL) shown--;
  return text();
}

const count = (n: number, noun: string): string => `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;

function screen(first: readonly Row[], rows: readonly Row[], width: number): string {
  return [...first, ...rows]
    .flatMap(([label, text]) =>
      wrap(visible(text), Math.max(width - LABEL, 20)).map(
        (line, i) => `${(i === 0 ? label : '').padEnd(LABEL)}${line}\n`,
      ),
    )
    .join('');
}

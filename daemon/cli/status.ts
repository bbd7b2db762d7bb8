/** `sluice status`: one screen. */
import { Command } from 'commander';
import { type Context, withDaemon } from './context.ts';
import { FAILED } from './failure.ts';
import { fields, moment, size, span } from './screen.ts';

/**
 * What the daemon answers: values and sections of them. `problems` (sentences) may stand beside them; with any, the status
 * is 1. Names say what numbers are: `started` and …At milliseconds since the epoch, `memory`, `bytes` and …Bytes, …Ms; and `pid`
 * and `port` are written without separators.
 */
type Status = Readonly<Record<string, Readonly<Record<string, unknown>> | readonly string[] | unknown>>;

export function statusCommand(context: Context): Command {
  return new Command('status')
    .description('what the daemon does and whether all is well (exit status 1 if not)')
    .option('--json', 'as JSON')
    .action(async (flags: { json?: true }) => {
      const status = (await withDaemon(context, (daemon) => daemon.call('status'))) as Status;
      context.out.write(
        flags.json
          ? `${JSON.stringify(status, null, 2)}\n`
          : statusScreen(status, context.out.columns ?? 80, Date.now()),
      );
      if (problemsOf(status).length > 0) process.exitCode = FAILED;
    });
}

export function statusScreen(status: Status, width: number, now: number): string {
  const pairs: [string, string][] = problemsOf(status).map((each) => ['problem', each]);
  for (const [name, value] of Object.entries(status)) {
    if (name !== 'problems') pairs.push([words(name), isSection(value) ? section(value, now) : show(name, value, now)]);
  }
  if (problemsOf(status).length === 0) pairs.unshift(['state', 'well']);
  return fields(pairs, width);
}

function section(value: Readonly<Record<string, unknown>>, now: number): string {
  return Object.entries(value)
    .filter(([, each]) => each !== null && each !== undefined && each !== '')
    .map(([name, each]) => `${words(name.replace(/(At|Bytes|Ms)$/, ''))} ${show(name, each, now)}`)
    .join(', ');
}

function show(name: string, value: unknown, now: number): string {
  if (typeof value === 'number') {
    if (name === 'pid' || name === 'port') return String(value);
    if (name === 'started' || name.endsWith('At')) return `${moment(value)} (${span(now - value)} ago)`;
    if (name === 'memory' || name === 'bytes' || name.endsWith('Bytes')) return size(value);
    if (name.endsWith('Ms')) return span(value);
    return value.toLocaleString('en');
  }
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.map((each) => show('', each, now)).join(', ');
  return isSection(value) ? `(${section(value, now)})` : String(value);
}

function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

function problemsOf(status: Status): readonly string[] {
  const problems = Array.isArray(status.problems) ? status.problems.map(String) : [];
  const { enforcement } = status;
  // Said by the helper, not by the daemon: without it connections go where they like, or agents do not start.
  if (isSection(enforcement) && enforcement.enforcing !== true) {
    problems.push(`the kernel does not enforce: ${String(enforcement.missing ?? 'no answer')}`);
  }
  return problems;
}

function isSection(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

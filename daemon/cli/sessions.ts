/** `sluice sessions running` and `sluice sessions end`: one's own, for root all. What has been is told by the audit. */
import { Command } from 'commander';
import { SluiceError } from '../core/errors.ts';
import type { Session, TokenIdentity } from '../core/principal.ts';
import { type Context, withDaemon } from './context.ts';
import { account, span, table, visible } from './screen.ts';

/** As the daemon says it. */
export type Listed = Omit<Session, 'cgroupId'> & {
  /** As whom the agent runs. */
  readonly agent: { readonly uid: number; readonly user: string };
  /** Where: as in /proc/PID/cgroup. */
  readonly cgroup: string;
};

export function runningCommand(context: Context): Command {
  return new Command('running')
    .description('your own sessions that run; all of them for root')
    .option('--json', 'one JSON object a line')
    .action(async (flags: { json?: true }) => {
      const sessions = (await withDaemon(context, (daemon) => daemon.call('sessions.list'))) as Listed[];
      if (flags.json) for (const session of sessions) context.out.write(`${JSON.stringify(session)}\n`);
      else if (sessions.length === 0) context.out.write('no session runs\n');
      else context.out.write(runningTable(sessions, context.out.columns ?? Number.POSITIVE_INFINITY, Date.now()));
    });
}

export function runningTable(sessions: readonly Listed[], width: number, now: number): string {
  const rows = sessions.map((session) => [
    session.id.slice(0, 8),
    visible(session.principal.subject),
    account(session.agent),
    span(now - session.startedAt),
    identityState(session.identity, now),
    visible(session.command.join(' ')),
  ]);
  const troubles = sessions.flatMap(({ id, identity }) =>
    identity?.problem === undefined ? [] : [`${id.slice(0, 8)} was not renewed: ${visible(identity.problem)}\n`],
  );
  const lines = table(['SESSION', 'WHO', 'RUNS AS', 'FOR', 'IDENTITY', 'COMMAND'], rows, width).split(/(?<=\n)/);
  // On a line of its own and whole: with the command beside it, neither could be read on a screen.
  const places = sessions.map(({ cgroup }) => `          in ${visible(cgroup)}\n`);
  return lines.map((line, i) => line + (places[i - 1] ?? '')).join('') + troubles.join('');
}

/** Whether the token that the session rests on holds, and for how long. */
export function identityState(identity: TokenIdentity | undefined, now: number): string {
  if (identity === undefined) return 'local';
  const { until, expiredAt } = identity;
  if (expiredAt !== undefined || until <= now) return `ended ${span(now - (expiredAt ?? until))} ago`;
  return `ends in ${span(until - now)}`;
}

export function endCommand(context: Context): Command {
  return new Command('end')
    .description('end a session: its processes are killed, its connections closed')
    .argument('<id>', 'session; its first characters are enough')
    .action((prefix: string) =>
      withDaemon(context, async (daemon) => {
        const sessions = (await daemon.call('sessions.list')) as Listed[];
        const meant = sessions.filter((session) => session.id.startsWith(prefix));
        if (meant.length !== 1 || prefix.length < 4) {
          const what =
            meant.length === 0 ? 'no running session of yours begins' : 'it is not clear which session begins';
          throw new SluiceError('SESSION_UNKNOWN', `${what} with ${prefix}`, { hint: 'see sluice sessions running' });
        }
        await daemon.call('session.end', { id: meant[0]!.id });
        context.out.write(`session ${meant[0]!.id.slice(0, 8)} has ended\n`);
      }),
    );
}

/** `sluice log-level [LEVEL]`: how much the daemon logs, until it ends. */
import { Argument, Command } from 'commander';
import { type Context, withDaemon } from './context.ts';

export function logLevelCommand(context: Context): Command {
  return new Command('log-level')
    .description('show or set how much the daemon logs; what is set holds until it ends (root only)')
    .addArgument(new Argument('[level]').choices(['debug', 'info', 'warn', 'error']))
    .action(async (level?: string) => {
      const params = level === undefined ? {} : { level };
      const answer = (await withDaemon(context, (daemon) => daemon.call('log.level', params))) as {
        level: string;
        configured: string;
      };
      const until =
        answer.level === answer.configured ? '' : `, until sluiced ends (${answer.configured} is configured)`;
      context.out.write(`${answer.level}${until}\n`);
    });
}

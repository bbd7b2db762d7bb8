/** `sluice policy reload`: the daemon reads its policy anew; a bad one leaves the old one in force and says so. */
import { Command } from 'commander';
import { type Context, withDaemon } from './context.ts';

export function reloadCommand(context: Context): Command {
  return new Command('reload')
    .description('have the daemon load its policy anew (root only); a bad one leaves the old one in force')
    .action(async () => {
      const answer = (await withDaemon(context, (daemon) => daemon.call('policy.reload'))) as { policy: string };
      context.out.write(`policy ${answer.policy} is in force\n`);
    });
}

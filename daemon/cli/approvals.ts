/** `sluice approvals`: list, show, approve, deny, watch. */
import { Command } from 'commander';
import { approvalBlock, approvalsTable, changeLine, type Shown, verdictLine } from './approval-screen.ts';
import { type Context, type Daemon, withDaemon } from './context.ts';
import { review } from './review.ts';

export function approvalsCommand(context: Context): Command {
  const command = new Command('approvals').description('operations that wait for a person, and decisions on them');
  const width = () => context.out.columns ?? 80;
  const lines = (items: readonly unknown[]) => items.map((each) => `${JSON.stringify(each)}\n`).join('');

  command
    .command('list', { isDefault: true })
    .description('those that wait, and those given or refused that still count')
    .option('-a, --all', 'those that are over, too')
    .option('-s, --session <id>', 'of this session only')
    .option('--json', 'one JSON object a line')
    .action((flags: { all?: true; session?: string; json?: true }) =>
      withDaemon(context, async (daemon) => {
        const { all, session } = flags;
        const params = { ...(all && { all }), ...(session !== undefined && { session }) };
        const approvals = (await daemon.call('approvals.list', params)) as Shown[];
        if (flags.json) context.out.write(lines(approvals));
        else if (approvals.length === 0) context.out.write('nothing waits for approval\n');
        else
          context.out.write(
            approvalsTable(approvals, context.out.isTTY ? width() : Number.POSITIVE_INFINITY, Date.now()),
          );
      }),
    );

  command
    .command('show')
    .description('one of them whole')
    .argument('<id>')
    .option('--json', 'as JSON')
    .action((id: string, flags: { json?: true }) =>
      withDaemon(context, async (daemon) => {
        const approval = (await daemon.call('approvals.show', { id })) as Shown;
        context.out.write(
          flags.json ? `${JSON.stringify(approval, null, 2)}\n` : approvalBlock(approval, width(), Date.now()),
        );
      }),
    );

  for (const verdict of ['approve', 'deny'] as const) {
    command
      .command(verdict)
      .description(verdict === 'approve' ? 'let the operation pass' : 'refuse it, for as long as the rule says')
      .argument('<id>')
      .option('-r, --reason <text>', 'for the requester and the audit')
      .option('--json', 'the approval as JSON')
      .action((id: string, flags: { reason?: string; json?: true }) =>
        withDaemon(context, async (daemon) => {
          const { reason } = flags;
          const params = { id, verdict, ...(reason !== undefined && { reason }) };
          const approval = (await daemon.call('approvals.decide', params)) as Shown;
          context.out.write(flags.json ? `${JSON.stringify(approval, null, 2)}\n` : verdictLine(approval, verdict));
        }),
      );
  }

  command
    .command('watch')
    .description('show requests and decisions as they come')
    .option('-p, --prompt', 'ask for a verdict on each request')
    .option('--json', 'changes as JSON, one a line')
    .action((flags: { prompt?: true; json?: true }) =>
      withDaemon(context, async (daemon) => {
        if (flags.prompt) await review(daemon, process.stdin, context.out);
        else await watch(context, daemon, flags.json === true);
      }),
    );
  return command;
}

async function watch(context: Context, daemon: Daemon, json: boolean): Promise<void> {
  const width = context.out.isTTY ? (context.out.columns ?? 80) : Number.POSITIVE_INFINITY;
  for await (const item of daemon.stream('approvals.watch')) {
    const change = item as { type: string; approval: Shown };
    context.out.write(json ? `${JSON.stringify(change)}\n` : changeLine(change, width, Date.now()));
  }
}

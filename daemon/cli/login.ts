/** `sluice login` and `sluice logout`: who the sessions are for that you start from here on. */
import { Command } from 'commander';
import { SluiceError } from '../core/errors.ts';
import { type Context, withDaemon } from './context.ts';
import { span, visible } from './screen.ts';

interface Invitation {
  readonly uri: string;
  readonly code: string;
  readonly complete?: string;
  readonly until: number;
}

type Step =
  | { readonly invitation: Invitation }
  | { readonly done: { readonly subject: string; readonly groups: readonly string[] }; readonly until: number };

export function loginCommand(context: Context): Command {
  return new Command('login')
    .description('say who you are, in a browser on any device')
    .option('-p, --provider <name>', 'where to log in, if this host has several providers')
    .action((flags: { provider?: string }) =>
      withDaemon(context, async (daemon) => {
        const { out } = context;
        let done = false;
        for await (const item of daemon.stream('login.begin', { ...flags })) {
          const step = item as Step;
          if ('invitation' in step) out.write(invitation(step.invitation, Date.now()));
          else {
            done = true;
            const { subject, groups } = step.done;
            const among = groups.length === 0 ? 'no group' : groups.map(visible).join(', ');
            out.write(`Logged in as ${visible(subject)}, in ${among}.\n`);
          }
        }
        if (!done) throw new SluiceError('LOGIN_FAILED', 'sluiced ended the login');
      }),
    );
}

export function logoutCommand(context: Context): Command {
  return new Command('logout')
    .description('forget your login; sessions that run on it may do nothing any more')
    .action(() =>
      withDaemon(context, async (daemon) => {
        const { subject } = (await daemon.call('login.end')) as { subject: string };
        context.out.write(`${visible(subject)} is logged out\n`);
      }),
    );
}

/** What a person reads off a screen and types elsewhere: each on a line of its own. */
export function invitation({ uri, code, complete, until }: Invitation, now: number): string {
  const direct = complete === undefined ? '' : `\nor open     ${visible(complete)}\n`;
  return `To log in, open this page in a browser, on this device or another:

    ${visible(uri)}

and enter the code

    ${visible(code)}
${direct}
Waiting for you; the code holds for ${span(until - now)}. Ctrl-C gives up.
`;
}

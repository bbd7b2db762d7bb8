/**
 * `sluice run`: opens a session and becomes its command. The process itself turns into sluice-launch, which joins the
 * session and turns into the command: terminal, signals and exit status are the command's own.
 */
import { accessSync, constants } from 'node:fs';
import { Command } from 'commander';
import { SluiceError } from '../core/errors.ts';
import { type Context, type UserEntry, withDaemon } from './context.ts';
import { hiddenVariables, type IdentityFlags, presentedToken, type Wanted } from './identity.ts';
import { startKeeper } from './keep.ts';
import { visible } from './screen.ts';

/** Agents of root run as this user where nobody else is named. */
const AGENT_USER = 'sluice-agent';

/** Characters of the command line that the daemon is told; it serves to recognise the session by. */
const COMMAND_SHOWN = 4096;

interface Opened {
  readonly session: { readonly id: string };
  readonly token: string;
  readonly ca: string;
  readonly environment: Readonly<Record<string, string>>;
}

export function runCommand(context: Context): Command {
  return new Command('run')
    .description('run a command, e.g. an agent, in a new session')
    .argument('<command...>', 'the command and its arguments; -- before it is allowed')
    .option('-u, --user <name>', 'run it as this user (root only; default: who called sudo, else sluice-agent)')
    .option('--token-file <path>', 'whose session it is: a file with an OIDC token, read again when it is renewed')
    .option('--token-env <name>', 'the same, from this variable (default: SLUICE_ID_TOKEN, or your sluice login)')
    .option('-v, --verbose', 'say on stderr which session it is and as whom it runs')
    .passThroughOptions()
    .action(async (command: string[], flags: IdentityFlags & { user?: string; verbose?: true }) => {
      const user = await agentUser(context, flags.user);
      checkLauncher(context.paths.launch);
      const wanted = () => withDaemon(context, (daemon) => daemon.call('identity.providers')) as Promise<Wanted>;
      const presented = await presentedToken(flags, process.env, wanted);
      const opened = (await withDaemon(context, (daemon) =>
        daemon.call('session.open', {
          command: shown(command),
          ...(user !== null && { uid: user.uid }),
          ...(presented !== null && { identity: presented.token }),
        }),
      )) as Opened;
      const renewal = presented?.renewal;
      if (renewal) {
        const { control } = context.paths;
        await startKeeper(context.keeper, {
          control,
          session: opened.session.id,
          presented: { ...presented, renewal },
        });
      }
      if (flags.verbose || (user !== null && process.stderr.isTTY)) {
        const as = user === null ? '' : ` as ${visible(user.user)}`;
        process.stderr.write(`sluice: session ${opened.session.id.slice(0, 8)}${as}\n`);
      }
      const { launch, helper } = context.paths;
      const as = user === null ? [] : ['--uid', String(user.uid), '--gid', String(user.gid)];
      process.execve!(
        launch,
        [launch, '--helper', helper, '--session', opened.session.id, ...as, '--', ...command],
        agentEnvironment(process.env, user, opened, hiddenVariables(flags)),
      );
    });
}

/**
 * Whom the agent runs as; null: the caller.
 * @throws SluiceError NOT_ALLOWED, CONFIG_INVALID.
 */
async function agentUser(context: Context, name: string | undefined): Promise<(UserEntry & { gid: number }) | null> {
  const own = process.getuid!();
  if (own !== 0) {
    if (name === undefined || (await context.uidOf(name)) === own) return null;
    throw new SluiceError('NOT_ALLOWED', `only root can run a command as ${name}`, {
      hint: `sudo sluice run --user ${name} …`,
    });
  }
  const sudo = Number(process.env.SUDO_UID);
  const uid = name !== undefined ? await context.uidOf(name) : sudo > 0 ? sudo : await context.uidOf(AGENT_USER);
  const user = uid === null ? null : await context.lookUp(uid);
  if (user?.gid === undefined) {
    const whom = name ?? (sudo > 0 ? `uid ${sudo}` : AGENT_USER);
    throw new SluiceError('CONFIG_INVALID', `an agent does not run as root, and this host has no user ${whom}`, {
      hint: 'name one with --user',
    });
  }
  if (user.uid === 0 || user.gid === 0) {
    throw new SluiceError('NOT_ALLOWED', `an agent does not run as ${user.user} (uid ${user.uid}, gid ${user.gid})`, {
      hint: 'name another user with --user',
    });
  }
  return { ...user, gid: user.gid };
}

/** Before a session is opened: once the process has begun to turn into the launcher there is no way back. */
function checkLauncher(path: string): void {
  try {
    accessSync(path, constants.X_OK);
  } catch (cause) {
    throw new SluiceError('CONFIG_INVALID', `${path} can't be executed`, {
      hint: 'install it, build it (make -C native), or say where it is by SLUICE_LIB_DIR',
      cause,
    });
  }
}

/**
 * The agent's environment: the caller's, the session's names, what clients look for where the user has not set it, and
 * the identity of the user it becomes.
 */
export function agentEnvironment(
  env: Readonly<NodeJS.ProcessEnv>,
  user: UserEntry | null,
  { session, token, ca, environment }: Opened,
  hidden: readonly string[] = [],
): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || hidden.includes(name)) continue;
    if (user === null || !OF_CALLER.test(name)) out[name] = value;
  }
  if (user !== null) {
    Object.assign(out, { HOME: user.home || '/', USER: user.user, LOGNAME: user.user, SHELL: usableShell(user.shell) });
  }
  // An empty value is one that the user set.
  for (const [name, value] of Object.entries(environment)) out[name] ??= value;
  return { ...out, SLUICE_SESSION: session.id, SLUICE_TOKEN: token, SLUICE_CA: ca };
}

/** Variables that lead another user to the caller's directories, sockets and agents. */
const OF_CALLER = /^(SUDO_.*|XDG_.*|DBUS_SESSION_BUS_ADDRESS|SSH_AUTH_SOCK|MAIL|XAUTHORITY)$/;

function shown(command: readonly string[]): string[] {
  const words: string[] = [];
  let left = COMMAND_SHOWN;
  for (const word of command) {
    if (left <= 0) return [...words, '…'];
    words.push(word.length > left ? `${word.slice(0, left)}…` : word);
    left -= word.length + 1;
  }
  return words;
}

/** Accounts of agents often have none, and tools that start $SHELL would end there. */
function usableShell(shell: string | undefined): string {
  return !shell || /\/(nologin|false)$/.test(shell) ? '/bin/sh' : shell;
}

/**
 * `sluice run`: opens a session and turns into sluice-launch. That has sluice-helper start the command under another uid and
 * stands for it here, or (--same-user) joins the session and becomes the command.
 */
import { accessSync, constants, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { Command } from 'commander';
import { SluiceError } from '../core/errors.ts';
import { type Context, type UserEntry, withDaemon } from './context.ts';
import { hiddenVariables, type IdentityFlags, presentedToken, type Wanted } from './identity.ts';
import { startKeeper } from './keep.ts';
import { account, visible } from './screen.ts';

/** Agents that root starts are this user's where nobody else is named. */
const AGENT_USER = 'sluice-agent';

/** Characters of the command line that the daemon is told; it serves to recognise the session by. */
const COMMAND_SHOWN = 4096;
const EXE_SHOWN = 4096;

interface Opened {
  readonly session: { readonly id: string; readonly agentUid?: number };
  readonly token: string;
  readonly ca: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Home directory of a uid of the session's own. */
  readonly home?: string;
  /** Cgroup of the session, as in /proc/PID/cgroup. */
  readonly path: string;
}

interface Flags {
  readonly user?: string;
  readonly sameUser?: true;
  readonly verbose?: true;
}

/** Under which uid the agent runs. Whose session it is decides the principal. */
type Mode =
  /** One of the session's own, which sluice-helper gives. */
  | { readonly as: 'own'; readonly owner: UserEntry | null }
  /** A user's whom root names. */
  | { readonly as: 'named'; readonly owner: UserEntry & { readonly gid: number } }
  /** The caller's. */
  | { readonly as: 'same' };

const SAME_USER = `sluice: the agent runs under your own uid. Sluice holds its connections all the same, and can't keep it from
        what this uid may do outside of the session: read and change your files, signal and control your other processes,
        hand them work through files, and so reach the network by them. Without --same-user it gets a uid of its own.
`;

export function runCommand(context: Context): Command {
  return new Command('run')
    .description('run a command, e.g. an agent, in a new session')
    .argument('<command...>', 'the command and its arguments; -- before it is allowed')
    .option('--same-user', 'run it under your own uid, e.g. to let it edit your files (default: a uid of its own)')
    .option('-u, --user <name>', 'run it as this user (root only)')
    .option('--token-file <path>', 'whose session it is: a file with an OIDC token, read again when it is renewed')
    .option('--token-env <name>', 'the same, from this variable (default: SLUICE_ID_TOKEN, or your sluice login)')
    .option('-v, --verbose', 'say on stderr which session it is, as whom it runs and where')
    .passThroughOptions()
    .action(async (command: string[], flags: Flags & IdentityFlags) => {
      const mode = await modeOf(context, flags);
      checkLauncher(context.paths.launch);
      const owner = mode.as === 'same' ? null : mode.owner;
      const wanted = () => withDaemon(context, (daemon) => daemon.call('identity.providers')) as Promise<Wanted>;
      const presented = await presentedToken(flags, process.env, wanted);
      const opened = (await withDaemon(context, (daemon) =>
        daemon.call('session.open', {
          command: shown(command),
          exe: programOf(command[0]!, process.env.PATH ?? '', mode.as === 'same').slice(0, EXE_SHOWN),
          ownUid: mode.as === 'own',
          ...(owner !== null && { uid: owner.uid }),
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
      const user = mode.as === 'own' ? await accountOf(context, opened) : owner;
      if (mode.as === 'same') process.stderr.write(SAME_USER);
      if (flags.verbose || (process.stderr.isTTY && mode.as === 'named')) {
        const as = account(user ?? (await context.lookUp(process.getuid!())));
        const where = `in ${visible(opened.path)}`;
        process.stderr.write(`sluice: session ${opened.session.id.slice(0, 8)} runs as ${as} ${where}\n`);
      }
      const { launch, helper } = context.paths;
      const how = {
        own: ['--own-uid'],
        // Root can become that user in place, with the mounts and the terminal that the caller has.
        named: ['--uid', String(owner?.uid), '--gid', String(owner?.gid)],
        same: [],
      }[mode.as];
      process.execve!(
        launch,
        [launch, '--helper', helper, '--session', opened.session.id, ...how, '--', ...command],
        agentEnvironment(process.env, user, opened, hiddenVariables(flags)),
      );
    });
}

/** @throws SluiceError NOT_ALLOWED, CONFIG_INVALID. */
async function modeOf(context: Context, { user: name, sameUser }: Flags): Promise<Mode> {
  const own = process.getuid!();
  if (own !== 0) {
    if (name !== undefined && (await context.uidOf(name)) !== own) {
      throw new SluiceError('NOT_ALLOWED', `only root can run a command as ${name}`, {
        hint: `sudo sluice run --user ${name} …`,
      });
    }
    return sameUser || name !== undefined ? { as: 'same' } : { as: 'own', owner: null };
  }
  if (sameUser) {
    throw new SluiceError('NOT_ALLOWED', 'an agent does not run as root, so root has no use for --same-user', {
      hint: 'leave it out, or name a user with --user',
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
  if (name === undefined) return { as: 'own', owner: user };
  if (user.uid === 0 || user.gid === 0) {
    throw new SluiceError('NOT_ALLOWED', `an agent does not run as ${user.user} (uid ${user.uid}, gid ${user.gid})`, {
      hint: 'name another user with --user',
    });
  }
  return { as: 'named', owner: { ...user, gid: user.gid } };
}

/**
 * The file that the launcher will find for the command, links resolved; the word as it stands where there is none. An agent
 * with another uid passes over what its caller alone may enter (a root's ~/.local/bin), so that comes last then.
 */
export function programOf(word: string, path: string, sameUid: boolean): string {
  const places = word.includes('/') ? [word] : path.split(':').map((directory) => `${directory || '.'}/${word}`);
  const found = places.flatMap((place) => {
    try {
      accessSync(place, constants.X_OK);
      return statSync(place).isFile() ? [realpathSync(place)] : [];
    } catch {
      return []; // not there, or closed to the caller as well
    }
  });
  return (sameUid ? undefined : found.find(openToOthers)) ?? found[0] ?? word;
}

/** Whether everybody may execute the file: directories on the way included, ACLs not. */
function openToOthers(file: string): boolean {
  for (let place = file; ; place = dirname(place)) {
    if ((statSync(place).mode & constants.S_IXOTH) === 0) return false;
    if (place === '/') return true;
  }
}

/** The uid that the session was given, with the name that the host has for it, if any. */
async function accountOf(context: Context, { session, home }: Opened): Promise<UserEntry> {
  const uid = session.agentUid;
  if (uid === undefined || home === undefined) {
    throw new SluiceError('INTERNAL', 'sluiced gave the session no uid of its own; is it of this version?');
  }
  return { uid, user: (await context.lookUp(uid)).user, home, shell: '/bin/sh' };
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
 * the identity of the user that it runs as.
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

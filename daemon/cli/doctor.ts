/**
 * `sluice doctor`: attacks the guarantees from within a throwaway session and says which hold. What it prints is what was
 * seen: the attempts' own words, the witnesses', the helper's; doctor/README.md says how they are put together.
 */
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { SluiceError } from '../core/errors.ts';
import { type Context, withDaemon } from './context.ts';
import { type Check, checks, type DaemonFacts, type HelperFacts, type Installation } from './doctor/checks.ts';
import { type Enforcement, exitStatus, type Finding, findings, type Tried, type Witnessed } from './doctor/findings.ts';
import { processesOf, readHost } from './doctor/host.ts';
import { checksTable, guaranteesTable, type Style, summary } from './doctor/screen.ts';
import { tryAll } from './doctor/session.ts';
import { openWorld } from './doctor/world.ts';
import { visible } from './screen.ts';

/** Whom `sluice run` takes where root names nobody. */
const AGENT_USER = 'sluice-agent';

type HelperStatus = HelperFacts & Enforcement;

export interface DoctorContext extends Context {
  /** @throws SluiceError HELPER_UNREACHABLE. */
  helperStatus(): Promise<HelperStatus>;
  /** Words that run `sluice`. */
  readonly self: readonly string[];
}

interface Flags {
  readonly json?: true;
  readonly checks?: true;
  readonly user?: string;
  readonly verbose?: true;
}

export function doctorCommand(context: DoctorContext): Command {
  return new Command('doctor')
    .description('try every way out of a session on this host, and say which guarantees hold')
    .option('-u, --user <name>', 'run the session as this user, as in sluice run')
    .option('-v, --verbose', 'every attempt with what came of it')
    .option('--checks', 'look at the installation only, and try nothing')
    .option('--json', 'as JSON: the list of guarantees, or with --checks that of checks')
    .addHelpText(
      'after',
      '\nExit status: 0 all required guarantees are held, 1 one is not, 2 it could not be found out.\n' +
        'With --checks: 0 nothing is wrong, 1 something is.',
    )
    .action(async (flags: Flags) => {
      process.exitCode = await doctor(context, flags);
    });
}

async function doctor(context: DoctorContext, flags: Flags): Promise<number> {
  const { out } = context;
  const style: Style = {
    width: out.columns ?? 80,
    colour: out.isTTY === true && !process.env.NO_COLOR,
    verbose: flags.verbose === true,
  };
  const json = (value: unknown) => out.write(`${JSON.stringify(value, null, 2)}\n`);
  const agent = await agentAccount(context, flags.user);
  const installation = await look(context, agent);
  const checked = checks(installation);
  if (flags.checks) {
    if (flags.json) json(checked);
    else out.write(checksTable(checked, style));
    return checked.some((each) => each.state === 'fault') ? 1 : 0;
  }
  const { found, notes } = await attack(context, flags, agent, installation);
  if (flags.json) json(found);
  else out.write(screen(checked, found, notes, style));
  return exitStatus(found);
}

function screen(checked: readonly Check[], found: readonly Finding[], notes: readonly string[], style: Style): string {
  return `${checksTable(checked, style)}\n${guaranteesTable(found, style)}\n${summary(found, notes, style)}`;
}

async function look(context: DoctorContext, agent: Agent | null): Promise<Installation> {
  const helper = await context.helperStatus().catch(known);
  const daemon = await withDaemon(context, (each) => each.call('status')).catch(known);
  return {
    host: readHost(),
    helper,
    daemon: daemon as DaemonFacts | SluiceError,
    lacking: [context.paths.launch, probePath(context)].filter((path) => !isExecutable(path)),
    agent: agent === null ? null : { ...agent, processes: process.getuid!() === 0 ? processesOf(agent.uid) : [] },
  };
}

/** Sets up the world outside, opens the session, and takes the world down again, whatever happens. */
async function attack(
  context: DoctorContext,
  flags: Flags,
  agent: Agent | null,
  { helper, daemon }: Installation,
): Promise<{ found: Finding[]; notes: readonly string[] }> {
  const enforcement = helper instanceof Error ? null : (helper as HelperStatus);
  const notes: string[] = [];
  let tried: Tried | null = null;
  let witnessed: Witnessed | null = null;
  try {
    const root = process.getuid!() === 0;
    const world = await openWorld(probePath(context), root ? agent : null);
    try {
      notes.push(...world.missing);
      const run = [...context.self, 'run', ...(flags.user === undefined ? [] : ['--user', flags.user]), '--'];
      tried = await tryAll(run, world, words(context, helper, daemon));
      witnessed = world;
    } finally {
      await world.close();
    }
  } catch (error) {
    const { message, hint } = known(error);
    notes.push(`nothing was tried: ${message}${hint === '' ? '' : `; ${hint}`}`);
    if (flags.json) process.stderr.write(`sluice: ${visible(message)}\n  ${visible(hint)}\n`);
  }
  return { found: findings(tried, witnessed, enforcement), notes };
}

/** What the probes have to know of sluice itself. */
function words(context: DoctorContext, helper: Installation['helper'], daemon: Installation['daemon']): string[] {
  const port = daemon instanceof Error ? undefined : daemon.port;
  return [
    ...(helper instanceof Error ? [] : [`cgroup=${helper.mount}`]),
    ...(port ? [`daemon=${port}`] : []),
    `pins=${join(context.paths.runDir, 'bpf')}`,
  ];
}

interface Agent {
  readonly user: string;
  readonly uid: number;
  readonly gid: number;
}

/** As `sluice run` chooses. null: there is none. */
async function agentAccount(context: Context, name: string | undefined): Promise<Agent | null> {
  const own = process.getuid!();
  const sudo = Number(process.env.SUDO_UID);
  const uid =
    name !== undefined || own === 0
      ? name === undefined && sudo > 0
        ? sudo
        : await context.uidOf(name ?? AGENT_USER)
      : own;
  if (uid === null) return null;
  const { user, gid = uid } = await context.lookUp(uid);
  return { user, uid, gid };
}

function probePath(context: Context): string {
  return join(context.paths.libDir, 'sluice-probe');
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function known(error: unknown): SluiceError {
  if (error instanceof SluiceError) return error;
  return new SluiceError('INTERNAL', error instanceof Error ? error.message : String(error), { cause: error });
}

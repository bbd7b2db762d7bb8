#!/usr/bin/env node
/** The command line: puts commands and stages together. Stages are loaded by the command that needs them. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import type { Context } from '../cli/context.ts';
import { describe, FAILED, NOT_RUN } from '../cli/failure.ts';
import { pathsFrom } from '../cli/paths.ts';
import { type Commands, runProgram, usageStatus } from '../cli/program.ts';
import { ControlClient } from '../control/client.ts';
import { SluiceError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import type { Kit } from '../policy/schema.ts';

const version: string = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;
/** Words that run this program. */
const self = [process.execPath, ...process.execArgv, process.argv[1]!];

const context: Context = {
  paths: pathsFrom(process.env, fileURLToPath(new URL('../../build/native', import.meta.url))),
  keeper: import.meta.filename.replace(/sluice(\.[jt]s)$/, 'keeper$1'),
  connect: () => ControlClient.connect(context.paths.control),
  lookUp: async (uid) => (await import('../identify/local.ts')).lookUp(uid),
  uidOf: async (name) => (await import('../identify/local.ts')).uidOf(name),
  out: process.stdout,
};

/** The audit as the daemon tells it. A connection for each question; the process ends after one or two. */
const auditReader = {
  async *query(params: object) {
    const daemon = await context.connect();
    try {
      for await (const event of daemon.stream('audit.query', { ...params })) yield event as Event;
    } finally {
      daemon.close();
    }
  },
  sessions: () => answer('audit.sessions', 'your own that run: sluice sessions running'),
  verify: () => answer('audit.verify'),
};

// biome-ignore lint/suspicious/noExplicitAny: the audit's own types, which the daemon of the same version sends
async function answer(method: string, hint?: string): Promise<any> {
  const daemon = await context.connect();
  try {
    return await daemon.call(method);
  } catch (error) {
    if (!(error instanceof SluiceError) || error.code !== 'NOT_ALLOWED' || hint === undefined) throw error;
    throw new SluiceError(error.code, error.message, { hint: `${error.hint}; ${hint}` });
  } finally {
    daemon.close();
  }
}

/** Everything that has ever been decided, for `policy diff`. */
async function* recorded(): AsyncGenerator<Event> {
  yield* auditReader.query({ matches: [['TYPE=operation']] });
}

/** What the policy language has to know of protocols and masking. */
export async function policyKit(): Promise<Kit> {
  const [{ postgresOptions }, { TCP_UNREAD, tcpOptions }, { DETECTOR_NAMES }] = await Promise.all([
    import('../protocols/postgres/options.ts'),
    import('../protocols/tcp/options.ts'),
    import('../masking/detectors/table.ts'),
  ]);
  return {
    protocols: { postgres: { options: postgresOptions }, tcp: { options: tcpOptions, unread: TCP_UNREAD } },
    detectors: DETECTOR_NAMES,
  };
}

const audit = () => import('../cli/audit.ts');

/** All of them, also for what is made of them when the package is built: man page and completions. */
export const commands: Commands = {
  run: {
    summary: 'run a command, e.g. an agent, in a new session',
    load: async () => (await import('../cli/run.ts')).runCommand(context),
  },
  login: {
    summary: 'say who you are, in a browser on any device',
    load: async () => (await import('../cli/login.ts')).loginCommand(context),
  },
  logout: {
    summary: 'forget your login; sessions that run on it may do nothing any more',
    load: async () => (await import('../cli/login.ts')).logoutCommand(context),
  },
  status: {
    summary: 'what the daemon does and whether all is well',
    load: async () => {
      const [{ statusCommand }, { openHelper }] = await Promise.all([
        import('../cli/status.ts'),
        import('../intake/helper.ts'),
      ]);
      return statusCommand({ ...context, helperStatus: () => openHelper(context.paths.helper).status() });
    },
  },
  'log-level': {
    summary: 'show or set how much the daemon logs',
    load: async () => (await import('../cli/log-level.ts')).logLevelCommand(context),
  },
  doctor: {
    summary: 'try every way out of a session on this host, and say which guarantees hold',
    load: async () => {
      const [{ doctorCommand }, { openHelper }] = await Promise.all([
        import('../cli/doctor.ts'),
        import('../intake/helper.ts'),
      ]);
      const helperStatus = () => openHelper(context.paths.helper).status();
      return doctorCommand({ ...context, helperStatus, self });
    },
  },
  'support-bundle': {
    summary: 'pack what is needed to find a fault, without secrets',
    load: async () => {
      const [{ supportCommand }, { openHelper }] = await Promise.all([
        import('../cli/support.ts'),
        import('../intake/helper.ts'),
      ]);
      return supportCommand({
        ...context,
        version,
        self,
        helperStatus: () => openHelper(context.paths.helper).status(),
        events: (lines) => auditReader.query({ lines }),
      });
    },
  },
  systemd: {
    summary: 'run services of systemd in sessions',
    load: async () => (await import('../cli/systemd.ts')).systemdCommand(context, self),
  },
  approvals: {
    summary: 'operations that wait for a person, and decisions on them',
    load: async () => (await import('../cli/approvals.ts')).approvalsCommand(context),
  },
  sessions: {
    summary: 'running and past sessions',
    load: async (): Promise<Command> => {
      const { endCommand, runningCommand } = await import('../cli/sessions.ts');
      const command = (await audit()).sessionsCommand(auditReader);
      return command.addCommand(runningCommand(context)).addCommand(endCommand(context));
    },
  },
  audit: { summary: 'show what was recorded', load: async () => (await audit()).auditCommand(auditReader) },
  replay: {
    summary: 'what one session did, in order and in its own time',
    load: async () => (await audit()).replayCommand(auditReader),
  },
  verify: {
    summary: 'prove that the audit chain is whole',
    load: async () => (await audit()).verifyCommand(auditReader),
  },
  policy: {
    summary: 'write, test and review policy',
    load: async () => {
      const [{ policyCommand }, { reloadCommand }, kit] = await Promise.all([
        import('../cli/policy.ts'),
        import('../cli/reload.ts'),
        policyKit(),
      ]);
      const command = policyCommand({
        kit,
        classifier: async (database) => (await import('./classifier.ts')).openClassifier(database),
        connectors: {
          tcp: async (resource, said) => (await import('./connector.ts')).connectTcp(resource, said),
        },
        recorded,
        out: process.stdout,
        now: Date.now,
        fail: (status) => {
          process.exitCode = status;
        },
      });
      return command.addCommand(reloadCommand(context));
    },
  },
};

async function main(): Promise<void> {
  // `sluice audit | head`: the reader has what it wanted.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : FAILED));
  const args = process.argv.slice(2);
  try {
    await runProgram(commands, version, args);
  } catch (error) {
    const usage = usageStatus(error);
    if (usage === null) process.stderr.write(describe(error));
    const running = args.find((word) => !word.startsWith('-')) === 'run';
    process.exitCode = usage === 0 ? 0 : running ? NOT_RUN : (usage ?? FAILED);
  }
}

if (import.meta.main) await main();

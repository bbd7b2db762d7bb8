/**
 * The command line. Only the command that is called is loaded: `sluice run` stands before every start of an agent, and the
 * policy's parser or the audit's store have no part in it.
 */
import { Command, CommanderError } from 'commander';
import { USAGE } from './failure.ts';

/** Name to what loads it. The summaries stand here a second time so that `sluice --help` loads nothing. */
export type Commands = Readonly<Record<string, { readonly summary: string; readonly load: () => Promise<Command> }>>;

/** @throws CommanderError after it has written its message, SluiceError and others from commands. */
export async function runProgram(commands: Commands, version: string, argv: readonly string[]): Promise<void> {
  const program = bare(version);
  const called = argv.find((word) => !word.startsWith('-'));
  // `sluice help run` is `sluice run --help`.
  const named = called === 'help' ? argv[argv.indexOf('help') + 1] : called;
  for (const [name, { summary, load }] of Object.entries(commands)) {
    program.addCommand(name === named ? await load() : new Command(name).description(summary).allowUnknownOption());
  }
  strict(program);
  await program.parseAsync([...argv], { from: 'user' });
}

/** The whole command line, to be described rather than run. */
export async function wholeProgram(commands: Commands, version: string): Promise<Command> {
  const program = bare(version);
  for (const { load } of Object.values(commands)) program.addCommand(await load());
  return program;
}

function bare(version: string): Command {
  return new Command('sluice')
    .description("an agent host's only way out: sessions, approvals, policy and audit on this host")
    .version(version, '-V, --version')
    .enablePositionalOptions()
    .showHelpAfterError('(add --help for more)');
}

/** Nothing exits by itself: the entry point does, after output is written. Errors look like those of commands. */
function strict(command: Command): void {
  command.exitOverride().configureOutput({
    outputError: (text, write) => write(text.replace(/^error: /, 'sluice: ')),
  });
  for (const each of command.commands) strict(each);
}

/** Status for a failed command line; null: not an error of the command line. */
export function usageStatus(error: unknown): number | null {
  if (!(error instanceof CommanderError)) return null;
  // Help and version are thrown, too.
  return error.exitCode === 0 ? 0 : USAGE;
}

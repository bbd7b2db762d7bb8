/** The command line of `sluice` as data: man page and completions are made of it. */
import type { Command } from 'commander';
import { commands } from '../daemon/bin/sluice.ts';
import { wholeProgram } from '../daemon/cli/program.ts';

export interface OptionText {
  /** `-o` and `--output`, whichever there are. */
  readonly names: readonly string[];
  /** What stands behind it: `<kind>`, `[file]`; empty: nothing. */
  readonly value: string;
  readonly text: string;
  readonly choices: readonly string[];
}

export interface CommandText {
  readonly name: string;
  readonly text: string;
  /** As in a usage line: `<command...>`. */
  readonly args: readonly { readonly usage: string; readonly text: string; readonly choices: readonly string[] }[];
  readonly options: readonly OptionText[];
  readonly commands: readonly CommandText[];
  /** What follows the first argument is another program's command line. */
  readonly runs: boolean;
}

export async function commandLine(version: string): Promise<CommandText> {
  return describe(await wholeProgram(commands, version));
}

function describe(command: Command): CommandText {
  const help = command.createHelp();
  return {
    name: command.name(),
    text: command.description(),
    args: command.registeredArguments.map((argument) => {
      const name = argument.variadic ? `${argument.name()}...` : argument.name();
      const usage = argument.required ? `<${name}>` : `[${name}]`;
      return { usage, text: help.argumentDescription(argument), choices: argument.argChoices ?? [] };
    }),
    options: help.visibleOptions(command).map((option) => ({
      names: [option.short, option.long].filter((name) => name !== undefined),
      value: /[<[].*$/.exec(option.flags)?.[0] ?? '',
      text: help.optionDescription(option),
      choices: option.argChoices ?? [],
    })),
    commands: help
      .visibleCommands(command)
      .filter((sub) => sub.name() !== 'help')
      .map(describe),
    runs: command.name() === 'run',
  };
}

/** Each command with the words that call it, the program itself first. */
export function walk(command: CommandText, above: readonly string[] = []): { words: string[]; command: CommandText }[] {
  const words = [...above, command.name];
  return [{ words, command }, ...command.commands.flatMap((sub) => walk(sub, words))];
}

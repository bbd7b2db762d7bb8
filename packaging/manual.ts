/**
 * The man pages. What a page lists comes from what it describes (command lines, schemas); the rest is prose in packaging/man,
 * where a line `@NAME@` stands for a list.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { configSchema } from '../daemon/bin/config.ts';
import { OPTIONS } from '../daemon/bin/options.ts';
import { policyKit } from '../daemon/bin/sluice.ts';
import { ERRORS } from '../daemon/core/errors.ts';
import { jsonSchema } from '../daemon/policy/schema.ts';
import { type CommandText, walk } from './command-line.ts';
import { bold, escaped, item, prose, value } from './roff.ts';
import { keys, type Schema } from './schema-text.ts';
import { run } from './tools.ts';

export interface Page {
  /** As `sluice.1`. */
  readonly name: string;
  readonly text: string;
}

/** @param helper a sluice-helper that runs on this machine, which is asked for its options */
export async function pages(
  root: string,
  version: string,
  date: Date,
  program: CommandText,
  helper: string,
): Promise<Page[]> {
  const lists: Record<string, string> = {
    SLUICE_COMMANDS: commandList(program),
    SLUICED_OPTIONS: Object.entries(OPTIONS)
      .map(([name, option]) =>
        item(`${bold(`--${name}`)}${option.value ? ` ${value(option.value)}` : ''}`, option.text),
      )
      .join('\n'),
    HELPER_OPTIONS: helperOptions(run(helper, ['--help'])),
    CONFIG_KEYS: keys(z.toJSONSchema(configSchema, { io: 'input' }) as Schema).join('\n'),
    POLICY_KEYS: keys(jsonSchema(await policyKit()) as Schema).join('\n'),
    ERRORS: Object.entries(ERRORS)
      .map(([code, { what, todo }]) => item(bold(code), `${what}; ${todo}.`))
      .join('\n'),
  };
  const names = ['sluice.1', 'sluiced.json.5', 'sluice.yaml.5', 'sluice-helper.8', 'sluiced.8'];
  return names.map((name) => {
    const [, title, chapter] = /^(.*)\.(\d)$/.exec(name)!;
    const head = `.TH ${title!.toUpperCase()} ${chapter} ${date.toISOString().slice(0, 10)} "sluice ${version}" "sluice"`;
    const body = readFileSync(join(root, 'packaging/man', name), 'utf8').replace(
      /^@([A-Z_]+)@$/gm,
      (_, list: string) => {
        const text = lists[list];
        if (text === undefined) throw new Error(`packaging/man/${name} asks for @${list}@, which there is not`);
        return text;
      },
    );
    return { name, text: `${head}\n.nh\n.ad l\n${body.trimEnd()}\n` };
  });
}

function commandList(program: CommandText): string {
  return walk(program)
    .filter(({ command, words }) => words.length > 1 && (command.commands.length === 0 || command.options.length > 1))
    .map(({ words, command }) => {
      const options = command.options.filter(({ names }) => !names.includes('--help'));
      const args = command.args.map(({ usage }) => ` ${value(usage)}`).join('');
      const title = `.SS "${escaped(words.join(' '))}"`;
      const synopsis = `${bold(words.join(' '))}${options.length > 0 ? ` [\\fIoption\\fR...]` : ''}${args}`;
      const list = options.map(({ names, value: takes, text, choices }) => {
        const flags = names.map((name) => bold(name)).join(', ');
        const allowed = choices.length > 0 && !/choices:/.test(text) ? ` (${choices.join(', ')})` : '';
        return item(`${flags}${takes === '' ? '' : ` ${value(takes)}`}`, `${text}${allowed}`);
      });
      const named = command.args.filter(({ text }) => text !== '').map(({ usage, text }) => item(value(usage), text));
      return [title, synopsis, '.PP', prose(command.text), ...named, ...list].join('\n');
    })
    .join('\n');
}

/** Lines of `  --name VALUE   text`, some with text that goes on in the next line. */
function helperOptions(help: string): string {
  const items: { flags: string; text: string }[] = [];
  for (const line of help.split('\n')) {
    const begins = /^ {2}(--\S+(?: \S+)*?) {2,}(.*)$/.exec(line);
    if (begins !== null) items.push({ flags: begins[1]!, text: begins[2]! });
    else if (/^ {4,}\S/.test(line) && items.length > 0) items.at(-1)!.text += ` ${line.trim()}`;
  }
  return items
    .map(({ flags, text }) => {
      const [first, ...rest] = flags.split(' ');
      return item(
        [bold(first!), ...rest.map((word) => (word.includes('--') ? bold(word) : value(word)))].join(' '),
        text,
      );
    })
    .join('\n');
}

/** The command line of sluiced. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { SluiceError } from '../core/errors.ts';

export type Act = 'run' | 'check' | 'version' | 'help' | 'rollback-state';

/** In the order of --help and of the man page, which is made of this. `value`: what stands behind the option. */
export const OPTIONS: Readonly<Record<string, { readonly value?: string; readonly text: string }>> = {
  config: { value: 'FILE', text: 'its configuration; absent: /etc/sluice/sluiced.json' },
  check: { text: 'say whether configuration and policy are valid, and start nothing' },
  'rollback-state': { text: 'take the state one format back, for the version before this one; sluiced must not run' },
  version: { text: 'print the version' },
  help: { text: 'print this' },
};

const written = ([name, { value }]: [string, { readonly value?: string }]): string =>
  value === undefined ? `--${name}` : `--${name} ${value}`;

export const HELP = `Usage: sluiced [--config FILE] [--check | --rollback-state | --version | --help]

The daemon of sluice. It runs as the account sluice, never as root, beside sluice-helper.

${Object.entries(OPTIONS)
  .map((option) => `  ${written(option).padEnd(19)}${option[1].text}\n`)
  .join('')}
Exit: 0 stopped by a signal, or done, 1 failed, 2 wrong usage.
`;

/** @throws SluiceError CONFIG_INVALID for a command line that is not valid. */
export function optionsOf(argv: readonly string[]): { readonly act: Act; readonly config: string } {
  const flags = { check: { type: 'boolean' }, 'rollback-state': { type: 'boolean' } } as const;
  const others = { version: { type: 'boolean', short: 'V' }, help: { type: 'boolean', short: 'h' } } as const;
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: { config: { type: 'string', default: '/etc/sluice/sluiced.json' }, ...flags, ...others },
    });
    const acts = (['help', 'version', 'check', 'rollback-state'] as const).filter((act) => values[act]);
    if (acts.length > 1) throw new Error(`--${acts.join(' and --')} exclude each other`);
    return { act: acts[0] ?? 'run', config: values.config };
  } catch (cause) {
    throw new SluiceError('CONFIG_INVALID', (cause as Error).message, { hint: 'sluiced --help', cause });
  }
}

/** Of package.json, which lies beside `daemon` in a checkout and in a package alike. */
export function versionOfSluice(): string {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;
}

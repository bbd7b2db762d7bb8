/** How a command fails: one line on stderr, a line of advice below it, a status that a shell can use. */
import { SluiceError } from '../core/errors.ts';
import { visible } from './screen.ts';

/** What was asked for did not happen. */
export const FAILED = 1;
/** The command line is not valid; also commander's, see program.ts. */
export const USAGE = 2;
/** `sluice run`: sluice itself failed before the command began, as env(1) and docker-run(1) say it. */
export const NOT_RUN = 125;

export function describe(error: unknown): string {
  if (error instanceof SluiceError) {
    return `sluice: ${visible(error.message)} (${error.code})\n${error.hint === '' ? '' : `  ${visible(error.hint)}\n`}`;
  }
  const text = error instanceof Error ? error.message : String(error);
  const stack = process.env.SLUICE_DEBUG && error instanceof Error ? `${error.stack}\n` : '';
  return `sluice: ${visible(text)} (INTERNAL)\n${stack}`;
}

/** What sluiced does without being a daemon: `--help`, `--version`, `--check`, `--rollback-state`. */
import { join } from 'node:path';
import { answers } from '../control/server.ts';
import { SluiceError } from '../core/errors.ts';
import { rollBack } from '../state/state.ts';
import { STEPS } from '../state/steps.ts';
import { checked } from './check.ts';
import { readConfig } from './config.ts';
import { type Act, HELP, versionOfSluice } from './options.ts';

/** What to print. @throws SluiceError CONFIG_INVALID, NOT_ALLOWED, STATE_FAILED and what of the policy is not valid. */
export async function alone(act: Exclude<Act, 'run'>, file: string): Promise<string> {
  if (act === 'help') return HELP;
  if (act === 'version') return `${versionOfSluice()}\n`;
  if (act === 'check') return `${checked(file)}\n`;
  if (process.getuid!() === 0)
    throw new SluiceError('NOT_ALLOWED', 'what root makes of the state, sluiced could not read', {
      hint: 'run it as the user sluice: runuser -u sluice -- sluiced --rollback-state',
    });
  const { stateDir: dir, runDir } = readConfig(file);
  const running = join(runDir, 'daemon/control.sock');
  if (await answers(running))
    throw new SluiceError('STATE_FAILED', `sluiced runs (it answers on ${running})`, { hint: 'stop it first' });
  const say = (text: string) => process.stderr.write(`sluiced: ${text}\n`);
  const format = await rollBack({ dir, version: versionOfSluice(), steps: STEPS, say });
  return `the state in ${dir} is of format ${format} now\n`;
}

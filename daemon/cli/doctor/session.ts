/** The throwaway session: `sluice run`, as a user types it, with sluice-probe as the agent. */
import { SluiceError } from '../../core/errors.ts';
import type { Tried } from './findings.ts';
import { type Line, runLines, type Try } from './probe.ts';
import type { World } from './world.ts';

/** Each attempt is limited by sluice-probe itself; this is for what hangs before or beside them. */
const LIMIT_MS = 90_000;

/**
 * @param run words that run the rest of a command line in a session of its own
 * @param words further KEY=VALUE words for sluice-probe
 * @throws SluiceError as `sluice run` says, when nothing was tried.
 */
export async function tryAll(run: readonly string[], world: World, words: readonly string[]): Promise<Tried> {
  const tries: Try[] = [];
  let uid: number | null = null;
  const hear = (line: Line) => {
    if (typeof line.uid === 'number') uid = line.uid;
    else if (typeof line.listen === 'string') world.call(line);
    else if (isTry(line)) tries.push(line);
  };
  const handed = await world.connection();
  const { status, stderr } = await runLines([...run, world.probe, 'all', ...world.words, ...words], hear, {
    // The last is a connection to the witness. A session must not have it.
    stdio: ['ignore', 'pipe', 'pipe', handed],
    limitMs: LIMIT_MS,
  }).finally(() => handed.destroy());
  await world.settle();
  if (uid === null || status !== 0) {
    const [what = '', advice] = stderr.trim().split('\n').slice(-2);
    const message = what.replace(/^sluice: |\s\([A-Z_]+\)$/g, '') || `sluice run ended with status ${status}`;
    throw new SluiceError('SESSION_UNKNOWN', `no session could be opened: ${message}`, {
      hint: advice?.trim() || 'try sluice run -- true',
    });
  }
  return { tries, uid };
}

function isTry(line: Line): line is Line & Try {
  return typeof line.name === 'string' && typeof line.escaped === 'boolean' && typeof line.how === 'string';
}

/**
 * `npm run demo`: shows sluice at work on a throwaway database.
 * `npm run demo -- [--policy FILE] COMMAND…`: runs a command of yours as an agent in front of that database, and exits
 * with its status. PGHOST, PGPORT, PGUSER and PGDATABASE are set for it.
 */
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { finished } from '../test/harness/child.ts';
import { stackMissing } from '../test/harness/stack.ts';
import { Page } from './page.ts';
import { openShop, type Shop } from './shop.ts';
import { Story } from './story.ts';

interface Wanted {
  readonly policy: string | undefined;
  /** Empty: the story. */
  readonly command: readonly string[];
}

const USAGE = 'usage: npm run demo [-- [--policy FILE] [COMMAND [ARGUMENT…]]]';
/** Where npm was called; npm itself runs scripts in the folder of package.json. */
const HERE = process.env.INIT_CWD ?? process.cwd();

function wanted(argv: readonly string[]): Wanted {
  const [first, second, ...rest] = argv;
  if (first === '--help' || first === '-h') {
    console.log(USAGE);
    process.exit(0);
  }
  if (first === '--policy' && second !== undefined) return { policy: resolve(HERE, second), command: rest };
  if (first === '--policy' || first?.startsWith('-')) {
    console.error(`demo: ${first} is not understood\n${USAGE}`);
    process.exit(2);
  }
  return { policy: undefined, command: argv };
}

/** The caller's folder, unless the agent's account can't be in it. */
function folderFor(agent: string): string {
  const test = spawnSync('setpriv', ['--reuid', agent, '--regid', agent, '--clear-groups', 'test', '-x', HERE]);
  return test.status === 0 ? HERE : '/';
}

async function runCommand(shop: Shop, argv: readonly string[]): Promise<number> {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|INIT_CWD$|HOME$|USER$|LOGNAME$|NODE)/.test(name),
  );
  const env = { ...(Object.fromEntries(inherited) as Record<string, string>), PSQL_HISTORY: '/dev/null', ...shop.env };
  const child = shop.stack.agent(argv, { env, cwd: folderFor('sluice-agent'), stdio: 'inherit' });
  return (await finished(child)).status;
}

const { policy, command } = wanted(process.argv.slice(2));
const missing = stackMissing();
if (missing !== null) {
  console.error(`demo: ${missing}`);
  process.exit(1);
}

const page = new Page(command.length > 0 ? process.stderr : process.stdout);
let opening: Promise<Shop> | undefined;
let leaving = false;

/** Ends everything, once, and the process with it. What is just being started is waited for, so that it can be ended. */
async function leave(status: number): Promise<void> {
  if (leaving) return;
  leaving = true;
  const shop = await opening?.catch(() => undefined);
  await shop?.stop();
  process.exit(status);
}

for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.on(signal, () => {
    // At a terminal the command gets Ctrl-C as well, and may live on: psql cancels a statement with it.
    if (signal === 'SIGINT' && command.length > 0 && process.stdin.isTTY) return;
    void leave(status);
  });
}

try {
  if (command.length === 0) page.title('sluice: what an agent may do to a database, and who says so');
  if (command.length === 0)
    page.say('Starting a throwaway PostgreSQL, sluice-helper (root) and sluiced (an account without rights) …');
  opening = openShop(policy);
  const shop = await opening;
  if (command.length > 0) await leave(await runCommand(shop, command));
  await new Story(shop, page).tell();
  await shop.stop();
  page.title('Done');
  page.say('Everything that was started is stopped and removed. A command of your own under the same policy:');
  page.command('npm run demo -- psql');
  await leave(0);
} catch (error) {
  if (!leaving) console.error(`demo: ${(error as Error).message}`);
  await leave(1);
}

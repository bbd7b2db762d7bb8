/** `npm run check`: what a machine can say about the sources without running them. Each check counts as one test. */
import { spawn } from 'node:child_process';

const root = new URL('..', import.meta.url).pathname;

const CHECKS: readonly { readonly name: string; readonly command: readonly [string, ...string[]] }[] = [
  { name: 'format and lint', command: ['node_modules/.bin/biome', 'check', '--error-on-warnings', '.'] },
  { name: 'types', command: ['node_modules/.bin/tsc', '-p', '.'] },
  { name: 'C without warnings', command: ['make', '-s', '-C', 'native', 'OUT=../build/check'] },
];

function finish(command: readonly [string, ...string[]]): Promise<{ status: number; output: string }> {
  const [program, ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    child.once('error', reject);
    child.once('close', (code) => resolve({ status: code ?? 1, output }));
  });
}

/** Runs all of them, also after one failed, and prints what failed says. */
export async function check(): Promise<{ passed: number; failed: number }> {
  const tally = { passed: 0, failed: 0 };
  for (const { name, command } of CHECKS) {
    const started = Date.now();
    const { status, output } = await finish(command);
    const seconds = ((Date.now() - started) / 1000).toFixed(1);
    if (status === 0) tally.passed += 1;
    else {
      tally.failed += 1;
      console.log(`FAILED ${command.join(' ')}\n${output.trimEnd().replace(/^/gm, '    ')}\n`);
    }
    console.log(`${name.padEnd(18)} ${status === 0 ? 'passed' : 'failed'} in ${seconds} s`);
  }
  return tally;
}

if (import.meta.main) {
  const { failed } = await check();
  process.exit(failed === 0 ? 0 : 1);
}

/**
 * `node test/fuzz/main.ts --seconds 60 [--seed N]`: conversations between clients and servers of every kind, good and bad,
 * through the PostgreSQL codec. `--only N` runs the one conversation of that seed again, and tells what is said in it.
 *
 * Exit status: 0 when everything held; 1 with the seed of the first conversation in which something did not.
 */
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz.ts';
import { round } from './round.ts';

const { values } = parseArgs({
  options: { seconds: { type: 'string' }, seed: { type: 'string' }, only: { type: 'string' } },
});
const seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed);
try {
  if (values.only !== undefined) {
    const trace = (way: string, bytes: Buffer) => console.log(way.padEnd(18), JSON.stringify(bytes.toString('latin1')));
    console.log(await round(Number(values.only), trace));
  } else {
    const totals = await fuzz({ seed, seconds: Number(values.seconds ?? 10) });
    console.log(`seed ${seed}: ${totals.conversations} conversations, ${totals.bytes} bytes of clients'`);
    console.log(
      `${totals.forwarded} acts forwarded, ${totals.refused} refused, peak memory ${totals.memory >> 20} MiB`,
    );
    const ends = Object.entries(totals.ends).map(([name, count]) => `${count} ${name}`);
    console.log(`ended: ${ends.join(', ')}`);
  }
} catch (error) {
  console.error((error as Error).stack);
  process.exit(1);
}

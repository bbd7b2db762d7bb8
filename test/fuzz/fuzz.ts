/** Many conversations, one after the other. */
import { round } from './round.ts';

export interface Totals {
  conversations: number;
  bytes: number;
  refused: number;
  forwarded: number;
  /** Highest resident memory seen, bytes. */
  memory: number;
  readonly ends: Record<string, number>;
}

const MAX_MEMORY = 400 << 20;

/** Until `seconds` are over, or `conversations` were had. @throws Error that names the conversation's seed. */
export async function fuzz(options: { seed: number; seconds: number; conversations?: number }): Promise<Totals> {
  const totals: Totals = { conversations: 0, bytes: 0, refused: 0, forwarded: 0, memory: 0, ends: {} };
  const until = performance.now() + options.seconds * 1000;
  for (let i = 0; performance.now() < until && i < (options.conversations ?? Number.POSITIVE_INFINITY); i++) {
    // Far apart, so that runs with neighbouring seeds don't share conversations.
    const seed = (Math.imul(options.seed, 0x9e3779b1) + i) >>> 0;
    const outcome = await round(seed).catch((cause) => {
      throw new Error(`conversation ${seed} (--only ${seed}): ${(cause as Error).message}`, { cause });
    });
    totals.conversations++;
    totals.bytes += outcome.bytes;
    totals.refused += outcome.refused;
    totals.forwarded += outcome.forwarded;
    totals.ends[outcome.ended] = (totals.ends[outcome.ended] ?? 0) + 1;
    if (i % 256 === 0) totals.memory = Math.max(totals.memory, process.memoryUsage.rss());
    if (totals.memory > MAX_MEMORY) throw new Error(`memory grew to ${totals.memory} bytes by conversation ${i}`);
  }
  return totals;
}

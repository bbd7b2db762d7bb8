/**
 * A process that records until it is killed, and says on stdout what was acknowledged: `c <seq>` once committed, `d <seq>`
 * once durable. Arguments: directory, events a turn, quota.
 */
import { writeSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { openAudit } from '../../daemon/audit/audit.ts';

const [dir = '', perTurn = '3', quota = '1000000000'] = process.argv.slice(2);
const store = await openAudit({ dir, quotaBytes: Number(quota), clock: Date.now });
let seq = store.range()?.last ?? 0;
writeSync(1, `open ${seq}\n`);
for (;;) {
  let receipt = null;
  for (let i = 0; i < Number(perTurn); i++) {
    receipt = store.record({ type: 'operation', session: 'dead', op: ++seq, text: `UPDATE t SET a = ${seq}` });
  }
  await receipt?.committed();
  // A write to a pipe of what is acknowledged: it can't be lost with the process, and comes before the next event.
  writeSync(1, `c ${seq}\n`);
  if (seq % 30 === 0) {
    await receipt?.durable();
    writeSync(1, `d ${seq}\n`);
  }
  if (seq % 50 === 0) await turn();
}

/** A process that writes, reads and verifies many events, and says at each stage how much memory it has. Arguments: directory, count. */
import { readFileSync } from 'node:fs';
import { openAudit } from '../../daemon/audit/audit.ts';
import { query } from '../../daemon/audit/query.ts';
import { verifyChain } from '../../daemon/audit/verify.ts';

const [dir = '', count = '0'] = process.argv.slice(2);
const COUNT = Number(count);

function stage(name: string, events: number): void {
  const status = readFileSync('/proc/self/status', 'utf8');
  const anonymous = Number(/RssAnon:\s+(\d+) kB/.exec(status)![1]) * 1024;
  const file = Number(/RssFile:\s+(\d+) kB/.exec(status)![1]) * 1024;
  console.log(JSON.stringify({ name, events, anonymous, file }));
}

const store = await openAudit({ dir, quotaBytes: 1e9, clock: Date.now });
for (let op = 1; op <= COUNT; op++) {
  const receipt = store.record({ type: 'operation', session: 'aaaa', op, text: `SELECT ${op} -- ${'x'.repeat(300)}` });
  if (op % 20 === 0) await receipt.committed();
}
await store.record({ type: 'fault' }).durable();
stage('written', store.range()!.last);

let seen = 0;
for await (const event of query(store, { matches: [['SESSION=aaaa']], reverse: true })) {
  if (event.op === COUNT - seen) seen++;
}
stage('read', seen);

let newest = 0;
for await (const _ of query(store, { lines: COUNT / 2 })) newest++;
stage('newest', newest);

const { ok, events } = await verifyChain(store, store.publicKey);
stage('verified', ok ? events : -1);
await store.close();

/** What the record has to say of a client that got through, and of one that did not. */
import assert from 'node:assert/strict';
import type { Client } from './clients.ts';
import type { Event, Site, Visit } from './site.ts';

/** Questions for a host's addresses, of whatever family: the operations of the record. */
export const questions = (visit: Visit, host: string): readonly Event[] =>
  visit.events.filter(({ type, text }) => type === 'operation' && (text === `A ${host}` || text === `AAAA ${host}`));

/** Every event by which a client is known: whose session, which program. */
export function assertWho(events: readonly Event[], visit: Visit, client: Client): void {
  assert.ok(events.length > 0, 'nothing is on record');
  for (const event of events) {
    assert.deepEqual([event.session, event.subject], [visit.session, 'local:sluice-agent']);
    assert.match(String(event.exe), client.exe);
  }
}

/** The connection and its operations. @returns where the client meant to go, by its address. */
export function assertPassed(visit: Visit, client: Client, host: string): string {
  const resource = `${client.to}-${host.split('.')[0]}`;
  const through = visit.events.filter((event) => event.type === 'operation' && event.resource === resource);
  assertWho(through, visit, client);
  const [wanted, rule] =
    client.to === 'web'
      ? [`CONNECT ${host}:443 TLS ${host}`, 'agents fetch']
      : [/^select 'answer from '/, 'agents read'];
  for (const { text, decision, rule: by } of through) {
    if (typeof wanted === 'string') assert.equal(text, wanted);
    else assert.match(String(text), wanted);
    assert.deepEqual([decision, by], ['allow', rule]);
  }
  return String(through[0]!.address);
}

/** The kernel counts for about a second, and the daemon asks once a second. Milliseconds, with patience. */
const RECORDED_WITHIN = 20_000;

/**
 * What the kernel refused to the clients, all of which did as clients do. @returns how often a C library was kept from
 * sorting the addresses of a name, which sends nothing; there is no other refusal.
 */
export async function assertOnlySorting({ visit, stack }: Site): Promise<number> {
  // Refusals are taken in their order: when this one is on record, so is all that came before.
  const last = '198.51.100.77';
  await visit(['python3', '-c', `import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('${last}', 9))`]);
  let refused: Event[] = [];
  for (const end = performance.now() + RECORDED_WITHIN; !refused.some(({ address }) => address === last); ) {
    assert.ok(performance.now() < end, 'not even the last attempt is on record');
    const { stdout } = await stack.sluice(['audit', '-o', 'json', '-n', '10000', 'ERROR=KERNEL_REFUSED']);
    refused = stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  }
  const before = refused.filter(({ address }) => address !== last);
  const sorting = before.filter(({ verb, message }) => verb === 'connect' && /nothing was sent/.test(String(message)));
  assert.deepEqual(
    before.filter((event) => !sorting.includes(event)).map(({ message }) => message),
    [],
  );
  return sorting.length;
}

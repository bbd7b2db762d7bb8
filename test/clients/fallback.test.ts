/**
 * A host with two addresses of which one is dead. The client's own happy eyeballs have nothing to do: each of its connections
 * is accepted by sluice, which then finds the address that answers. So it also holds for clients that have none, as Java
 * and asyncio, and for one that insists on the dead family.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { CLIENTS } from './clients.ts';
import { assertOnlySorting, assertPassed } from './record.ts';
import { HOSTS, openSite, type Site, siteMissing } from './site.ts';
import { ADDRESSES } from './world.ts';

const { live, late } = ADDRESSES;
const CASES = [
  ['closed4.shop.test', 6, 'IPv4 is refused'],
  ['closed6.shop.test', 4, 'IPv6 is refused'],
  ['lost4.shop.test', 6, 'packets over IPv4 are lost'],
  ['lost6.shop.test', 4, 'packets over IPv6 are lost'],
] as const;

/** git connects as curl does, pip as python; npm has more to do around one connection than all of these together. */
const TRIED = CLIENTS.filter(({ name }) => !['git', 'pip', 'npm'].includes(name));

describe('one family dead', { skip: siteMissing() }, () => {
  let site: Site;
  before(async () => {
    site = await openSite();
  });
  after(() => site?.stop());

  for (const client of TRIED)
    for (const [host, other, what] of CASES)
      test(`${client.name} gets through where ${what}`, { skip: client.missing }, async () => {
        const visit = await site.visit(client.argv(host, site), client.env);
        assert.deepEqual([visit.status, visit.stdout], [0, client.got(host, live[other])], visit.stderr);
        for (const { at } of visit.asked) assert.equal(at, live[other]);
        assert.ok(HOSTS[host]!.includes(assertPassed(visit, client, host)));
      });

  const asyncio = CLIENTS.find(({ name }) => name === 'python asyncio')!;
  for (const [host, other, what] of CASES)
    test(`a client that insists on the dead one gets through, where ${what}`, async () => {
      const dead = other === 4 ? 6 : 4;
      const visit = await site.visit(['python3', join(site.programs, 'fetch.py'), host, String(dead)]);
      assert.deepEqual([visit.status, visit.stdout], [0, asyncio.got(host, live[other])], visit.stderr);
      const meant = assertPassed(visit, asyncio, host);
      assert.notEqual(meant, live[other]);
      assert.ok(HOSTS[host]!.includes(meant));
    });

  test('a server that is slow to answer is waited for when the other family has refused', async () => {
    const host = 'late6.shop.test';
    const curl = CLIENTS.find(({ name }) => name === 'curl')!;
    const before = site.world.refusals();
    let over = false;
    const visiting = site.visit(curl.argv(host, site), curl.env).finally(() => {
      over = true;
    });
    // IPv6 is tried first, and its first packet has been lost by then.
    while (site.world.refusals() === before && !over) await wait(10);
    site.world.arrive();
    const visit = await visiting;
    assert.deepEqual([visit.status, visit.stdout], [0, curl.got(host, late[6])], visit.stderr);
    assertPassed(visit, curl, host);
  });

  test('of what a client does by itself only the sorting of addresses is told, as that', async () => {
    assert.ok((await assertOnlySorting(site)) > 0, 'curl sorts with the port that it wants');
  });
});

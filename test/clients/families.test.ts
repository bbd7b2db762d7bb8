/** Each client, by name: once to a host that has IPv4 alone, with a nameserver on IPv4, once all of it on IPv6. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { CLIENTS } from './clients.ts';
import { assertOnlySorting, assertPassed, assertWho, questions } from './record.ts';
import { openSite, type Site, siteMissing } from './site.ts';
import { ADDRESSES, NAMESERVERS } from './world.ts';

describe('clients without settings of their own', { skip: siteMissing() }, () => {
  let site: Site;
  before(async () => {
    site = await openSite();
  });
  after(() => site?.stop());

  for (const [family, host, type] of [
    [4, 'four.shop.test', 'A'],
    [6, 'six.shop.test', 'AAAA'],
  ] as const)
    for (const client of CLIENTS)
      test(`${client.name} resolves and connects over IPv${family}`, { skip: client.missing }, async () => {
        site.world.askOver(family);
        const visit = await site.visit(client.argv(host, site), client.env);
        const at = ADDRESSES.live[family];
        assert.deepEqual([visit.status, visit.stdout], [0, client.got(host, at)], visit.stderr);
        if (client.resolver !== undefined) assert.match(visit.stderr, client.resolver);
        if (client.to === 'web') assert.ok(visit.asked.length > 0);
        for (const request of visit.asked) assert.deepEqual([request.server, request.at], [host, at]);

        const asked = questions(visit, host);
        assertWho(asked, visit, client);
        assert.ok(asked.some(({ verb }) => verb === type));
        for (const { address, port, decision } of asked)
          assert.deepEqual([address, port, decision], [NAMESERVERS[family], 53, 'allow']);
        assert.equal(assertPassed(visit, client, host), at);
      });

  test('nothing that a client does by itself is told as an attempt', async () => {
    assert.equal(await assertOnlySorting(site), 0, 'a name with one address needs no sorting');
  });

  test('the record of all of it is whole', async () => {
    const { status, stderr } = await site.stack.sluice(['verify']);
    assert.equal(status, 0, stderr);
  });
});

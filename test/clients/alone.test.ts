/** Agents' hosts that have one family alone: IPv6 is turned off, or there is no way out over IPv4. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { command } from '../harness/child.ts';
import { CLIENTS } from './clients.ts';
import { assertPassed } from './record.ts';
import { openSite, type Site, siteMissing } from './site.ts';
import { ADDRESSES } from './world.ts';

const SLUICE = new URL('../../build/js/daemon/bin/sluice.js', import.meta.url).pathname;

for (const [family, host, both] of [
  [4, 'four.shop.test', 'lost6.shop.test'],
  [6, 'six.shop.test', 'lost4.shop.test'],
] as const)
  describe(`a host that has IPv${family} alone`, { skip: siteMissing() }, () => {
    let site: Site;
    before(async () => {
      site = await openSite([family]);
    });
    after(() => site?.stop());

    for (const client of CLIENTS)
      test(`${client.name} resolves and connects`, { skip: client.missing }, async () => {
        for (const name of [host, both]) {
          const visit = await site.visit(client.argv(name, site), client.env);
          const at = ADDRESSES.live[family];
          assert.deepEqual([visit.status, visit.stdout], [0, client.got(name, at)], visit.stderr);
          for (const request of visit.asked) assert.equal(request.at, at);
          assertPassed(visit, client, name);
        }
      });

    test('sluice doctor finds every guarantee held that is required', async () => {
      const env = { ...process.env, SLUICE_RUN_DIR: site.stack.runDir };
      const { stdout } = await command([...site.world.enter, process.execPath, SLUICE, 'doctor', '--json'], { env });
      const found = JSON.parse(stdout) as { guarantee: string; required: boolean; held: boolean | null }[];
      assert.ok(found.length > 0);
      for (const { guarantee, held, required } of found) assert.ok(held || !required, `${guarantee}: ${held}`);
    });
  });

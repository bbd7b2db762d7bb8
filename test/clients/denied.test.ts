/** What policy does not let through: each client ends with the error that it has for it, and says why as far as it can. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { CLIENTS } from './clients.ts';
import { assertWho, questions } from './record.ts';
import { openSite, REFUSED, type Site, siteMissing, UNKNOWN } from './site.ts';

/** npm asks again by itself, after 10 seconds and after another 60, whatever the error: here it has one try. */
const ONE_TRY = { npm_config_fetch_retries: '0' };

describe('clients that policy does not let through', { skip: siteMissing() }, () => {
  let site: Site;
  before(async () => {
    site = await openSite();
  });
  after(() => site?.stop());

  for (const client of CLIENTS) {
    test(`${client.name}: a name that it may not know does not exist`, { skip: client.missing }, async () => {
      const visit = await site.visit(client.argv(UNKNOWN, site), { ...client.env, ...ONE_TRY });
      assert.notEqual(visit.status, 0);
      assert.match(visit.stderr, client.unknown);
      assert.deepEqual(visit.asked, []);
      const asked = questions(visit, UNKNOWN);
      assertWho(asked, visit, client);
      for (const { decision, error } of asked) assert.deepEqual([decision, error], ['deny', 'NAME_UNKNOWN']);
      assert.ok(!visit.events.some(({ type }) => type === 'flow.start'), 'it connects to nobody');
    });

    test(`${client.name}: a host that is no resource refuses it`, { skip: client.missing }, async () => {
      const visit = await site.visit(client.argv(REFUSED, site), { ...client.env, ...ONE_TRY });
      assert.notEqual(visit.status, 0);
      assert.match(visit.stderr, client.refused);
      assert.deepEqual(visit.asked, []);
      const tried = visit.events.filter(({ type }) => type === 'flow.start');
      assertWho(tried, visit, client);
      for (const { decision, error } of tried) assert.deepEqual([decision, error], ['deny', 'FLOW_NO_RESOURCE']);
    });
  }
});

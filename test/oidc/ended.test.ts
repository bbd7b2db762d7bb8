/** What the clients of a session meet whose identity has ended, and after a new token has come. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { postgresMissing } from '../harness/postgres.ts';
import { stackMissing } from '../harness/stack.ts';
import { type Site, startSite } from './site.ts';

suite('an identity that has ended', { skip: postgresMissing() ?? stackMissing() ?? false }, () => {
  let site: Site;

  before(async () => {
    site = await startSite('ended');
  });
  after(() => site?.stop());

  test('new connections of a session whose identity has ended are told so; a new token in the file revives it', {
    timeout: 150_000,
  }, async () => {
    const path = await site.put('linus', ['ai-agents'], 30);
    const again =
      'until psql -XAtc "SELECT name FROM people" 2>&1; do sleep 0.2; done; psql -XAtc "SELECT 2 * 21" 2>&1';
    const agent = site.stack.run(['sh', '-c', `while psql -XAtc "SELECT 1"; do sleep 0.2; done; echo gone; ${again}`], {
      env: { ...site.env, SLUICE_ID_TOKEN_FILE: path },
    });
    const expired = async () => (await site.running()).some(({ identity }) => identity?.expiredAt !== undefined);
    while (!(await expired())) await new Promise((resolve) => setTimeout(resolve, 100));
    const { stdout } = await site.stack.sluice(['sessions', 'running']);
    assert.match(stdout, /corp:linus .* ended \d+ s ago/);
    await site.put('linus', ['ai-agents'], 600);
    const { stdout: said, stderr } = await agent;
    assert.match(stderr + said, /FATAL: {2}sluice: the identity corp:linus of this session has ended/);
    assert.match(said, /gone[\s\S]*^Ada\n42$/m);
  });
});

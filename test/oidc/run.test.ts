/** `sluice login` and `sluice run` as people and runners use them, and as somebody might who is neither. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { postgresMissing } from '../harness/postgres.ts';
import { stackMissing } from '../harness/stack.ts';
import { type Site, startSite } from './site.ts';

suite('tokens of people and runners', { skip: postgresMissing() ?? stackMissing() ?? false }, () => {
  let site: Site;

  before(async () => {
    site = await startSite('login');
  });
  after(() => site?.stop());

  test('sluice login in a terminal, then a session without any token', {
    timeout: 120_000,
  }, async () => {
    const refused = await site.stack.sluice(['run', '--user', 'sluice-agent', '--', 'true']);
    assert.equal(refused.status, 125);
    assert.match(
      refused.stderr,
      /asks for a verified identity, and none was given \(IDENTITY_REQUIRED\)\n {2}run sluice login/,
    );
    // As the user whose sessions they will be.
    const command = `await loginCommand({ connect, out: process.stdout }).parseAsync(['', '']);`;
    const login = site.as('sluice-agent', `import { loginCommand } from './daemon/cli/login.ts';`, command);
    const shown = await login.until(/Waiting/);
    await site.provider.decide(/or open +(\S+)/.exec(shown)![1]!, 'ada');
    assert.match(await login.until(/\n/), /^Logged in as corp:ada, in ai-agents\.\n$/);
    await login.ended;
    const { stdout, status } = await site.stack.run(['psql', '-XAtc', 'SELECT name FROM people'], { env: site.env });
    assert.deepEqual([stdout, status], ['Ada\n', 0]);
  });

  test('no token in the log, the state, the audit, a command line or the environment of an agent', {
    timeout: 120_000,
  }, async () => {
    const path = await site.put('mallory', ['ai-agents']);
    const agent = site.stack.agent(['sh', '-c', 'env; for p in /proc/[0-9]*/cmdline; do tr "\\0" " " <$p; done; cat'], {
      env: {
        SLUICE_ID_TOKEN_FILE: path,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'eyJ-of-the-runner',
        ACTIONS_ID_TOKEN_REQUEST_URL: 'https://x',
        SLUICE_ID_TOKEN: 'eyJ-spare',
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let said = '';
    agent.stdout!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    while (!/keeper\.js/.test(said)) await new Promise((resolve) => setTimeout(resolve, 20));
    agent.stdin!.end();
    await new Promise((resolve) => agent.once('close', resolve));
    assert.match(said, /SLUICE_SESSION=/);
    assert.doesNotMatch(said, /eyJ|SLUICE_ID_TOKEN|ACTIONS_ID/);
    assert.doesNotMatch(site.stack.log(), /eyJ/);
    assert.doesNotMatch((await site.stack.sluice(['audit', '-o', 'json'])).stdout, /eyJ/);
    for (const name of readdirSync(site.stack.stateDir, { recursive: true, withFileTypes: true })) {
      if (name.isFile()) assert.doesNotMatch(readFileSync(join(name.parentPath, name.name), 'latin1'), /eyJ[\w-]{20}/);
    }
  });

  test('in a job of GitHub Actions the token is asked for, by the audience that the daemon names', {
    timeout: 60_000,
  }, async () => {
    const { provider, stack } = site;
    const iss = `${provider.issuer}/_services/token`;
    const asked: (string | undefined)[] = [];
    provider.instead.set('/_services/token/.well-known/openid-configuration', (_, response) => {
      response.end(JSON.stringify({ issuer: iss, jwks_uri: `${provider.issuer}/jwks` }));
    });
    provider.instead.set('/request', async (request, response) => {
      asked.push(request.headers.authorization, request.url);
      const token = await provider.sign({ iss, sub: 'repo:shop/agents', repository: 'shop/agents', groups: ['dba'] });
      response.end(JSON.stringify({ value: token }));
    });
    const { stdout, stderr } = await stack.run(['psql', '-XAtc', 'SELECT name FROM people'], {
      env: {
        ...site.env,
        NODE_EXTRA_CA_CERTS: provider.ca,
        GITHUB_SERVER_URL: provider.issuer,
        ACTIONS_ID_TOKEN_REQUEST_URL: `${provider.issuer}/request?api-version=2`,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'of the runner',
      },
    });
    assert.deepEqual([stdout, stderr], ['Ada\n', '']);
    assert.deepEqual(asked.slice(0, 2), [
      'bearer of the runner',
      `/request?api-version=2&audience=${encodeURIComponent('https://sluice.example')}`,
    ]);
    const [start] = (await site.events('session.start')).filter(({ issuer }) => issuer === iss);
    assert.deepEqual([start?.subject, start?.groups], ['ci:repo:shop/agents', ['ai-agents']]);
  });

  test('a token is only taken for a session of the caller, and renews only sessions of the caller', {
    timeout: 60_000,
  }, async () => {
    const token = await site.provider.sign({ sub: 'ada' });
    const ask = async (method: string, params: object) => {
      const call = `(await connect()).call('${method}', ${JSON.stringify(params)})`;
      const stranger = site.as(
        'nobody',
        '',
        `console.log(await ${call}.catch((error) => error.code)); process.exit();`,
      );
      return (await stranger.until(/\n/)).trim();
    };
    assert.equal(await ask('session.open', { command: ['x'], uid: 1, identity: token }), 'NOT_ALLOWED');
    const ada = site.client(await site.put('ada', ['ai-agents']));
    ada.send('\\echo ready\n');
    await ada.until(/ready/);
    const session = (await site.running()).find(({ principal }) => principal.subject === 'corp:ada')!;
    assert.equal(await ask('session.renew', { id: session.id, token }), 'SESSION_UNKNOWN');
    ada.end();
    await ada.ended;
  });
});

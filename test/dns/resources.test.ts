/** A database that policy knows by name: met by that name, and by no other that leads to the same address. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { finished } from '../harness/child.ts';
import { type DnsServer, dnsMissing, startDns } from '../harness/dns.ts';
import { type PostgresServer, postgresMissing, startPostgres } from '../harness/postgres.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';

const missing = stackMissing() ?? dnsMissing() ?? postgresMissing() ?? false;

describe('a resource by name', { skip: missing }, () => {
  let postgres: PostgresServer;
  let dns: DnsServer;
  let stack: Stack;
  before(async () => {
    postgres = await startPostgres();
    dns = await startDns([
      'host-record=db.shop.test,127.0.0.1',
      'host-record=same.shop.test,127.0.0.1',
      'host-record=x.zone.test,127.0.0.1',
      'host-record=sub.x.zone.test,127.0.0.1',
    ]);
    stack = await startStack({
      name: 'names',
      policy: policy('db.shop.test'),
      config: { resolvers: [`127.0.0.1:${dns.port}`] },
    });
  });
  after(async () => {
    await stack?.stop();
    await dns?.stop();
    await postgres?.stop();
  });

  const policy = (host: string, more = ''): string => `apiVersion: sluice/v1
identities:
  - user: sluice-agent
    groups: [agents]
dns:
  - names: [db.shop.test, same.shop.test, x.zone.test, sub.x.zone.test]
    who: {groups: [agents]}
    answers: any
resources:
  db:
    protocol: postgres
    address: ${host}:${postgres.port}
    tls: off
    login: none
${more}
rules:
  - name: agents read
    allow: [read, session]
    who: {groups: [agents]}
    on: db
`;
  const psql = (host: string) =>
    `psql -XAtw -h ${host} -p ${postgres.port} -U postgres -d postgres -c "select 'answer ' || 1" 2>&1`;
  const sh = async (...commands: string[]) => (await stack.run(['sh', '-c', commands.join('; ')])).stdout;

  test('is met by its name', async () => {
    assert.match(await sh(psql('db.shop.test')), /answer 1/);
    const { stdout } = await stack.sluice(['audit', '-o', 'json', '-n', '100']);
    assert.match(stdout, /"resource":"db".*answer/);
  });

  test('not by its address alone, nor by another name of the same address', async () => {
    assert.match(await sh(psql('127.0.0.1')), /no resource at 127\.0\.0\.1/);
    assert.match(await sh(psql('same.shop.test')), /no resource at 127\.0\.0\.1 port \d+, which is same\.shop\.test/);
  });

  test('not by what another session was told', async () => {
    assert.match(await sh('getent hosts db.shop.test', psql('127.0.0.1')), /answer 1/, 'the same session');
    assert.match(await sh(psql('127.0.0.1')), /no resource/);
  });

  test('by a zone, where policy lets it', async () => {
    await stack.setPolicy(policy('db.shop.test', `    also: ["*.zone.test:${postgres.port}"]\n    breadth: accepted`));
    assert.match(await sh(psql('x.zone.test')), /answer 1/);
    assert.match(await sh(psql('sub.x.zone.test')), /answer 1/);
    assert.match(await sh(psql('same.shop.test')), /no resource/);
    await stack.setPolicy(policy('db.shop.test'));
  });

  test('by a name of /etc/hosts, which no server is asked for', async () => {
    await stack.setPolicy(policy('localhost'));
    const before = dns.asked().length;
    assert.match(await sh(psql('localhost')), /answer 1/);
    assert.equal(dns.asked().length, before);
    await stack.setPolicy(policy('db.shop.test'));
  });

  test('by what the session was told before the daemon was killed and began anew', async () => {
    const script = `getent hosts db.shop.test; read go; ${psql('127.0.0.1')}`;
    const agent = stack.agent(['sh', '-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
    const running = finished(agent);
    await once(agent.stdout!, 'data');
    await stack.kill('SIGKILL');
    const refused = await stack.run(['true']);
    assert.notEqual(refused.status, 0);
    await stack.restart();
    agent.stdin!.end('go\n');
    assert.match((await running).stdout, /answer 1/);
    // Of others it is no more than before.
    assert.match(await sh(psql('127.0.0.1')), /no resource/);
  });
});

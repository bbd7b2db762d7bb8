import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { parse } from 'yaml';
import { freePort } from '../harness/port.ts';
import { postgresMissing } from '../harness/postgres.ts';
import { type Stack, stackMissing, startStack } from '../harness/stack.ts';
import { get, policyFor, type Site, startSite } from './site.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const PARSE = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families as families
print(json.dumps([[f.name, f.type, f.documentation, [[s.name, s.labels, s.value] for s in f.samples]] for f in families(sys.stdin.read())]))
`;
type Family = [name: string, type: string, help: string, samples: [string, Record<string, string>, number][]];

const parser = spawnSync('/usr/bin/python3', ['-c', 'import prometheus_client']).status === 0;
const missing = postgresMissing() ?? stackMissing() ?? (parser ? null : 'python3-prometheus-client is not there');

function parsed(text: string): Family[] {
  const { stdout, stderr, status } = spawnSync('/usr/bin/python3', ['-c', PARSE], { input: text, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

suite('metrics', { skip: missing ?? false }, () => {
  let site: Site;
  let socketPath: string;
  let families: Family[];
  const value = (name: string, labels: Record<string, string> = {}): number | undefined =>
    families
      .flatMap(([, , , samples]) => samples)
      .find(
        ([sample, has]) => sample === name && Object.entries(labels).every(([key, each]) => has[key] === each),
      )?.[2];

  before(async () => {
    site = await startSite();
    socketPath = join(site.stack.runDir, 'daemon/metrics.sock');
    assert.match(await site.psql('SELECT id FROM orders'), /^1\n/);
    assert.match(await site.psql('SELECT id FROM orders WHERE id = 2'), /^$/);
    assert.match(await site.psql('DROP TABLE orders'), /no drops/);
    assert.match(await site.psql('UPDATE orders SET id = 3'), /approv/);
    families = parsed((await get({ socketPath })).text);
  });
  after(() => site?.stop());

  test('are text that Prometheus reads, each with its help and type', async () => {
    const { status, type, text } = await get({ socketPath });
    assert.equal(status, 200);
    assert.equal(type, 'text/plain; version=0.0.4; charset=utf-8');
    assert.ok(text.endsWith('\n'));
    for (const [name, type, help] of families) {
      assert.notEqual(type, 'unknown', name);
      assert.ok(help.length > 0, name);
      assert.match(name, /^(sluice|process)_[a-z_]+$/);
    }
    assert.equal((await get({ socketPath }, '/')).status, 404);
  });

  test('say of decisions what the audit says', async () => {
    const { stdout } = await site.stack.sluice(['audit', '--no-pager', '-o', 'json', 'TYPE=operation']);
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    for (const [rule, decision] of [
      ['agents "read" the shop', 'allow'],
      ['no drops', 'deny'],
      ['a dba signs off writes', 'deny'],
    ] as const) {
      const recorded = events.filter((event) => event.rule === rule && event.decision === decision).length;
      assert.ok(recorded > 0, rule);
      const labels = { protocol: 'postgres', resource: 'shop', rule, decision };
      assert.equal(value('sluice_decisions_total', labels), recorded, rule);
    }
    assert.equal(value('sluice_refused_total', { error: 'POLICY_DENIED' }), 1);
    assert.equal(value('sluice_refused_total', { error: 'APPROVAL_PENDING' }), 1);
    assert.equal(value('sluice_events_total', { type: 'operation' }), events.length);
  });

  test('say how long it took, what waits, and how full things are', () => {
    assert.ok(value('sluice_decision_seconds_count')! >= 4);
    assert.equal(value('sluice_hold_seconds_count'), 1);
    assert.equal(
      value('sluice_hold_seconds_bucket', { le: '1.0' }) ?? value('sluice_hold_seconds_bucket', { le: '1' }),
      0,
    );
    assert.equal(
      value('sluice_hold_seconds_bucket', { le: '5.0' }) ?? value('sluice_hold_seconds_bucket', { le: '5' }),
      1,
    );
    // What was held is not what sluice added.
    assert.ok(value('sluice_decision_seconds_sum')! < 1);
    assert.equal(value('sluice_upstream_seconds_count'), value('sluice_events_total', { type: 'result' }));
    assert.equal(value('sluice_approvals_held'), 1);
    assert.ok(value('sluice_approvals_oldest_seconds')! > 0);
    assert.equal(value('sluice_enforcing'), 1);
    assert.equal(value('sluice_kernel_map_max_entries', { map: 'pending' }), 16384);
    assert.ok(value('sluice_kernel_map_entries', { map: 'usage' })! >= 0);
    assert.equal(value('sluice_audit_quota_bytes'), 2 * 1024 ** 3);
    assert.ok(value('sluice_audit_bytes')! > 0);
    assert.ok(value('process_resident_memory_bytes')! > 10e6);
    assert.ok(value('process_open_fds')! > 10);
  });

  test('hold nothing of statements or people', async () => {
    const { text } = await get({ socketPath });
    assert.doesNotMatch(text, /orders|SELECT|local:|sluice-agent|psql/);
  });

  test('are for root and their group alone, and for no agent', async () => {
    const url = ['--unix-socket', socketPath, 'http://sluice/metrics'];
    const other = spawnSync('setpriv', ['--reuid', 'nobody', '--clear-groups', 'curl', '-sS', ...url], {
      encoding: 'utf8',
    });
    assert.match(other.stdout, /^uid \d+ may not read the audit/);
    const { stdout, stderr, status } = await site.stack.run(['/usr/bin/curl', '-sS', ...url]);
    assert.deepEqual([status, stdout], [7, ''], stderr);
  });

  test('the dashboard and the alert rules name only metrics that there are', () => {
    const known = new Set(families.flatMap(([name, , , samples]) => [name, ...samples.map(([sample]) => sample)]));
    // There before anything of the kind has happened.
    for (const name of ['sluice_faults_total', 'sluice_unrecorded_total', 'up']) known.add(name);
    const dashboard = JSON.parse(readFileSync(join(ROOT, 'monitoring/dashboard.json'), 'utf8'));
    assert.ok(dashboard.schemaVersion >= 36 && dashboard.title === 'sluice');
    const panels = dashboard.panels as { id: number; gridPos: object; type: string; targets: { expr: string }[] }[];
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
    assert.ok(
      panels.every(({ gridPos, type }) => Object.keys(gridPos).length === 4 && ['stat', 'timeseries'].includes(type)),
    );
    const rules = parse(readFileSync(join(ROOT, 'monitoring/rules.yaml'), 'utf8'));
    const alerts = rules.groups.flatMap((group: { rules: { expr: string }[] }) => group.rules);
    const expressions = [...panels.flatMap(({ targets }) => targets), ...alerts].map(
      ({ expr }: { expr: string }) => expr,
    );
    assert.ok(expressions.length > 40);
    for (const expression of expressions) {
      const named =
        expression.replace(/\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)/g, ' ').match(/\b(?:sluice|process)_\w+|\bup\b/g) ?? [];
      assert.ok(named.length > 0, expression);
      for (const name of named) assert.ok(known.has(name), `${name} in ${expression}`);
    }
  });
});

suite('metrics on a port', { skip: stackMissing() ?? false }, () => {
  let stack: Stack;
  let port: number;

  before(async () => {
    port = await freePort();
    stack = await startStack({ name: 'metrics', policy: policyFor(5433), config: { metrics: { port } } });
  });
  after(() => stack?.stop());

  test('are read from the host, and an agent that connects there meets the policy', async () => {
    assert.equal((await get({ port })).status, 200);
    const { stdout, status } = await stack.run(['/usr/bin/curl', '-sS', `http://127.0.0.1:${port}/metrics`]);
    assert.deepEqual([stdout, status === 0], ['', false]);
    const events = await stack.sluice(['audit', '--no-pager', '-o', 'json', 'ERROR=FLOW_NO_RESOURCE']);
    assert.equal(JSON.parse(events.stdout.trim().split('\n')[0]!).port, port);
  });
});

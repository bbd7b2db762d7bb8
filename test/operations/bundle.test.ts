import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { journalPart, policyPart } from '../../daemon/cli/support/parts.ts';
import { postgresMissing } from '../harness/postgres.ts';
import { stackMissing } from '../harness/stack.ts';
import { type Site, startSite } from './site.ts';

/** A secret for each place; each is looked for as it is, and as base64. */
const planted: Record<string, string> = {};
const secret = (where: string): string => {
  planted[where] ??= `zq${randomBytes(9).toString('hex')}`;
  return planted[where];
};

/** What of `planted` stands in a text. */
function found(text: string): string[] {
  return Object.entries(planted)
    .filter(([, value]) =>
      [value, value.toUpperCase(), Buffer.from(value).toString('base64').replace(/=+$/, '')].some((form) =>
        text.includes(form),
      ),
    )
    .map(([where]) => where);
}

const rules = (): string => `  - name: payroll in office hours
    allow: [read]
    who: {groups: [agents]}
    on: payroll
    when: operation.text.contains("${secret('policy: condition')}")
    reason: ask ${secret('policy: reason')}
    hint: the password is ${secret('policy: hint')}
# ${secret('policy: comment')}
masks:
  - on: shop
    columns: [public.people.ssn]
`;

suite('a support bundle', { skip: postgresMissing() ?? stackMissing() ?? false }, () => {
  let site: Site;
  let dir: string;
  let files: Record<string, string>;
  let archive: string;
  let printed: string;

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'sluice-bundle-'));
    chmodSync(dir, 0o755);
    const credential = join(dir, 'shop.credential');
    writeFileSync(credential, secret('credential file'), { mode: 0o600 });
    const provider = {
      ...{ name: 'corp', issuer: 'https://login.example', audience: secret('config: audience') },
      ...{ clientId: secret('config: client id'), clientSecretFile: join(dir, 'client.secret') },
    };
    writeFileSync(provider.clientSecretFile, secret('client secret'), { mode: 0o600 });
    site = await startSite({
      daemonReads: [credential, provider.clientSecretFile],
      config: { identity: { providers: [provider], localSessions: true } },
      more: rules(),
      resources: `  payroll:
    protocol: postgres
    address: payroll.internal:5432
    tls: off
    credential: {command: [/usr/bin/printf, ${secret('policy: command of a credential')}]}
  ledger:
    protocol: postgres
    address: ledger.internal:5432
    tls: off
    credential: {file: ${credential}, user: ${secret('policy: account')}}
`,
    });
    const { stack } = site;
    // Statements: let through, failing upstream with the value in the error, refused, held, not to be parsed.
    await site.psql(`SELECT '${secret('statement: literal')}'`);
    assert.match(await site.psql(`SELECT '${secret('statement: error of the server')}'::int`), /invalid input syntax/);
    await site.psql(`DROP TABLE "${secret('statement: refused')}"`);
    await site.psql(`UPDATE orders SET id = 1 WHERE '${secret('statement: held')}' = ''`);
    await site.psql(`SELEKT ${secret('statement: syntax error')}`);
    await site.psql(`SELECT ${secret('statement: column')} FROM ${secret('statement: table')}`);
    // The session's token, the environment of an agent, its command line and its program.
    const words = `echo $SLUICE_TOKEN; : ${secret('command line')} postgres://u:${secret('URL')}@db/x`;
    const { stdout } = await stack.run(['/bin/sh', '-c', words], {
      env: { AWS_SECRET_ACCESS_KEY: secret('environment') },
    });
    planted['session token'] = stdout.trim();
    assert.match(planted['session token'], /^sluice_/);
    const program = join(dir, secret('program'));
    writeFileSync(program, '#!/bin/sh\n', { mode: 0o755 });
    await stack.run([program]);
    // A token that is refused, and one whose issuer nobody knows.
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const token = `${part({ alg: 'RS256' })}.${part({ iss: `https://${secret('token: issuer')}`, sub: secret('token: subject') })}.${secret('token: signature')}`;
    planted.token = token;
    const file = join(dir, 'token');
    writeFileSync(file, token);
    assert.match(
      (await stack.sluice(['run', '--user', 'sluice-agent', '--token-file', file, '--', 'true'])).stderr,
      /IDENTITY_REFUSED/,
    );
    // A name that is asked for, and one in a policy that is not valid.
    await stack.run(['/usr/bin/getent', 'hosts', `${secret('name')}.example`]);
    const bad = join(stack.dir, 'policy/bad.yaml');
    writeFileSync(bad, `apiVersion: sluice/v1\n${secret('policy: unknown key')}: ${secret('policy: unknown value')}\n`);
    await stack.sluice(['policy', 'reload']);
    // What somebody laid into the state, by its name alone.
    writeFileSync(join(stack.stateDir, secret('state: name of a file')), secret('state: file'));
    mkdirSync(join(dir, 'out'));
    archive = join(dir, 'out/bundle.tar.gz');
    const argv = ['support-bundle', '-o', archive, '--config', join(stack.dir, 'sluiced.json')];
    const packed = await stack.sluice(argv);
    assert.equal(packed.status, 0, packed.stderr);
    printed = packed.stdout + packed.stderr;
    const { status, stderr } = spawnSync('tar', ['-xzf', archive, '-C', join(dir, 'out')], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    const names = globSync('**/*', { cwd: join(dir, 'out') }).filter((name) => name !== 'bundle.tar.gz');
    files = Object.fromEntries(names.map((name) => [name, readFileSync(join(dir, 'out', name), 'utf8')]));
  });
  after(async () => {
    await site?.stop();
    if (dir !== undefined) rmSync(dir, { recursive: true });
  });

  test('holds none of the secrets that stand in configuration, policy, statements, errors, tokens and the state', async () => {
    const { stdout } = await site.stack.sluice(['audit', '--no-pager', '-o', 'json']);
    // They are there: the audit and the log have them.
    assert.ok(found(stdout + site.stack.log()).length >= 8, found(stdout + site.stack.log()).join());
    assert.ok(Object.keys(planted).length > 25);
    for (const [name, text] of Object.entries(files)) assert.deepEqual(found(text), [], name);
    assert.deepEqual(found(Object.keys(files).join(' ') + printed), []);
  });

  test('says what is in it and what was taken out, and is for root alone', () => {
    assert.equal(statSync(archive).mode & 0o777, 0o600);
    const { files: listed, removed } = JSON.parse(files['manifest.json']!) as {
      files: { file: string; holds: string; missing?: string }[];
      removed: string;
    };
    assert.match(removed, /Never collected: .*credentials/);
    const there = listed.filter(({ missing }) => missing === undefined).map(({ file }) => file);
    assert.deepEqual([...there, 'manifest.json'].sort(), Object.keys(files).sort());
    for (const file of [
      'status.json',
      'config.json',
      'policy.txt',
      'events.jsonl',
      'metrics.txt',
      'helper.json',
      'disk.json',
    ])
      assert.ok(there.includes(file), `${file}: ${JSON.stringify(listed.find((each) => each.file === file))}`);
    assert.ok(listed.every(({ holds }) => holds.length > 0));
  });

  test('still says what a fault is looked for in', () => {
    const events = files['events.jsonl']!.trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const refused = events.find(({ rule }) => rule === 'no drops');
    assert.deepEqual([refused.type, refused.decision, refused.error], ['operation', 'deny', 'POLICY_DENIED']);
    assert.match(refused.text, /^#[0-9a-f]{12}$/);
    assert.deepEqual(
      events.map(({ seq }) => seq),
      events.map((_, i) => events[0].seq + i),
    );
    // The same person has one name.
    assert.equal(new Set(events.filter(({ session }) => session !== undefined).map(({ subject }) => subject)).size, 1);
    const config = JSON.parse(files['config.json']!);
    assert.equal(config.runDir, site.stack.runDir);
    assert.deepEqual(config.identity.providers[0].issuer, 'https://login.example');
    assert.match(config.identity.providers[0].audience, /^\(removed: \d+ characters\)$/);
    assert.match(files['policy.txt']!, /"name": "no drops"/);
    assert.match(files['policy.txt']!, /"address": "payroll.internal:5432"/);
    assert.ok(files['disk.json']!.includes('sessions.json'));
    assert.ok(JSON.parse(files['helper.json']!).enforcing);
  });

  test('is not written over a file that is there, and not by others', async () => {
    const again = await site.stack.sluice(['support-bundle', '-o', archive]);
    assert.deepEqual([again.status, /EEXIST/.test(again.stderr)], [1, true]);
  });

  test('is written where it was made, whatever takes the place of its name', async () => {
    // What somebody does who may write in the folder, between the making and the writing: as tar starts.
    const folder = join(dir, 'anybody');
    const bundle = join(folder, 'bundle.tar.gz');
    const victim = join(dir, 'victim');
    const programs = join(dir, 'programs');
    mkdirSync(folder);
    mkdirSync(programs);
    chmodSync(folder, 0o777);
    writeFileSync(victim, 'as it was');
    const swap = `mv ${bundle} ${bundle}.moved && ln -s ${victim} ${bundle}`;
    const tar = `#!/bin/sh\n${swap}\nPATH=/usr/bin:/bin exec tar "$@"\n`;
    writeFileSync(join(programs, 'tar'), tar, { mode: 0o755 });
    const PATH = `${programs}:${process.env.PATH}`;
    const packed = await site.stack.sluice(['support-bundle', '-o', bundle], '', { PATH });
    assert.equal(packed.status, 0, packed.stderr);
    assert.equal(readlinkSync(bundle), victim);
    assert.equal(readFileSync(victim, 'utf8'), 'as it was');
    const { stdout, status } = spawnSync('tar', ['-tzf', `${bundle}.moved`], { encoding: 'utf8' });
    assert.deepEqual([status, stdout.includes('./manifest.json')], [0, true]);
  });
});

test('of the journal stays what is ours, and where a fault was', () => {
  const entry = (message: string, more: object = {}) =>
    journalPart(
      JSON.stringify({
        __REALTIME_TIMESTAMP: '1795774593632000',
        SYSLOG_IDENTIFIER: 'sluiced',
        PRIORITY: '3',
        MESSAGE: message,
        ...more,
      }),
    );
  const stack = `Error: ${secret('journal: message')}\n    at Relay.take (file:///opt/sluice/flow/relay.js:12:3)\n    at ${secret('journal: frame')}`;
  const line = JSON.stringify({
    level: 50,
    err: { type: 'Error', message: secret('journal: error'), stack },
    where: 'names of sessions',
    msg: 'fault',
  });
  assert.equal(
    entry(line),
    '2026-11-27T10:16:33.632Z sluiced 3 {"level":50,"msg":"fault","where":"names of sessions","error":"Error","at":["Relay.take relay.js:12"]}\n',
  );
  assert.match(entry(`sluiced: reading ${secret('journal: path')}: ENOENT`)!, /3 sluiced\n$/);
  assert.equal(entry('x', { SLUICE_DECISION: 'deny' }), null);
  const helper = entry(`cannot open postgres://u:${secret('journal: URL')}@h/x`, {
    SYSLOG_IDENTIFIER: 'sluice-helper',
  })!;
  for (const text of [entry(line)!, helper]) assert.deepEqual(found(text), []);
});

test('a policy that is no YAML is left out whole', () => {
  assert.match(policyPart(`a: [${secret('broken policy')}`), /^\(removed: \d+ characters that are no YAML\)\n$/);
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Credentials, MAX_CREDENTIAL } from './credentials.ts';
import { credentialFrom } from './format.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-credentials-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const credentials = new Credentials({ directory: folder, commandTime: 2_000 });
const SECRET = 'hunter2-SECRET';
const PEM = '-----BEGIN X-----\nAA==\n-----END X-----\n';

function file(name: string, content: string | Buffer, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, content, { mode });
  chmodSync(path, mode);
  return path;
}

async function refused(reading: Promise<unknown>, why: RegExp): Promise<void> {
  await assert.rejects(reading, (error: Error & { code?: string }) => {
    assert.equal(error.code, 'CREDENTIAL_UNAVAILABLE');
    assert.match(error.message, why);
    assert.doesNotMatch(`${error.message} ${error.stack} ${String(error.cause)}`, /hunter2/);
    return true;
  });
}

test('a password stands alone, without the newline that editors add', () => {
  assert.deepEqual(credentialFrom('a b \n'), { password: 'a b ' });
  assert.deepEqual(credentialFrom('user:pass\r\n'), { password: 'user:pass' });
  for (const bad of ['', '\n', 'a\nb', 'a\0b', 'a\n\n', '\ufffd'])
    assert.equal(typeof credentialFrom(bad), 'string', JSON.stringify(bad));
});

test('JSON names its parts, and nothing else is let in', () => {
  assert.deepEqual(credentialFrom('{"user": "u", "password": "{"}'), { user: 'u', password: '{' });
  assert.deepEqual(credentialFrom(JSON.stringify({ user: 'u', certificate: PEM, key: PEM })), {
    user: 'u',
    clientCertificate: { cert: PEM, key: PEM },
  });
  for (const bad of [
    `{${SECRET}`,
    `{"password": 1, "user": "${SECRET}"}`,
    `{"pasword": "${SECRET}"}`,
    '{"user": "u"}',
    '{"password": ""}',
    `{"certificate": ${JSON.stringify(PEM)}}`,
    '{"certificate": "x", "key": "y"}',
    '{}',
  ]) {
    const said = credentialFrom(bad);
    assert.equal(typeof said, 'string', bad);
    assert.doesNotMatch(said as string, /hunter2/);
  }
});

test('a file is read anew each time, through a link too', async () => {
  const path = file('password', `${SECRET}\n`);
  symlinkSync(path, join(folder, 'link'));
  assert.deepEqual(await credentials.read({ file: join(folder, 'link') }), { password: SECRET });
  writeFileSync(path, 'next');
  assert.deepEqual(await credentials.read({ file: path }), { password: 'next' });
});

test('a file that others can read, a FIFO, a file too long or not there is refused', async () => {
  await refused(credentials.read({ file: file('open', SECRET, 0o644) }), /others can read/);
  await refused(credentials.read({ file: file('writable', SECRET, 0o660) }), /group can write/);
  assert.deepEqual(await credentials.read({ file: file('group', SECRET, 0o640) }), { password: SECRET });
  execFileSync('mkfifo', ['-m', '600', join(folder, 'fifo')]);
  await refused(credentials.read({ file: join(folder, 'fifo') }), /regular/);
  await refused(credentials.read({ file: file('long', SECRET.repeat(6_000)) }), /longer/);
  await refused(credentials.read({ file: join(folder, 'none') }), /ENOENT/);
  assert.deepEqual(await credentials.read({ file: file('full', 'x'.repeat(MAX_CREDENTIAL)) }), {
    password: 'x'.repeat(MAX_CREDENTIAL),
  });
});

test('a folder holds a client certificate, its key guarded', async () => {
  const path = join(folder, 'tls');
  mkdirSync(path);
  file('tls/tls.crt', PEM, 0o644);
  const key = file('tls/tls.key', PEM);
  assert.deepEqual(await credentials.read({ file: path }), { clientCertificate: { cert: PEM, key: PEM } });
  file('tls/user', 'app\n', 0o644);
  assert.deepEqual(await credentials.read({ file: path }), { user: 'app', clientCertificate: { cert: PEM, key: PEM } });
  chmodSync(key, 0o644);
  await refused(credentials.read({ file: path }), /others can read/);
});

test("systemd's folder is the only place that its names reach", async () => {
  file('shop-rw', SECRET, 0o444);
  assert.deepEqual(await credentials.read({ systemd: 'shop-rw' }), { password: SECRET });
  for (const name of ['../x', '..', '.', '', 'a/b', 'x'.repeat(256)])
    await refused(credentials.read({ systemd: name }), /no name/);
  await refused(credentials.read({ systemd: 'missing' }), /ENOENT/);
});

test('a command is run without a shell, and once for logins that come together', async () => {
  const count = join(folder, 'count');
  const script = file('command', `#!/bin/sh\necho run >> "$1"\nprintf '{"user": "u", "password": "%s"}' "$2"\n`, 0o700);
  const command = [script, count, '$(id) `id`; "'.replaceAll('"', '')];
  const both = await Promise.all([credentials.read({ command }), credentials.read({ command })]);
  assert.deepEqual(both[0], { user: 'u', password: '$(id) `id`; ' });
  assert.equal(both[0], both[1]);
  assert.equal(readFileSync(count, 'utf8'), 'run\n');
});

test('a command that fails, floods, hangs, or is not there is refused, and what it started ends', async () => {
  const sh = (script: string) => credentials.read({ command: ['/bin/sh', '-c', script] });
  await refused(sh(`echo ${SECRET}; echo ${SECRET} >&2; exit 3`), /status 3/);
  await refused(sh(`yes ${SECRET}`), /more than/);
  await refused(credentials.read({ command: ['relative'] }), /absolute/);
  await refused(credentials.read({ command: ['/nonexistent'] }), /ENOENT/);
  await refused(credentials.read({ command: [] }), /absolute/);
  await refused(sh('true'), /empty/);
  const pidFile = join(folder, 'pid');
  await refused(sh(`sleep 1000 & echo $! > ${pidFile}; wait`), /longer than 2000 ms/);
  const stat = `/proc/${readFileSync(pidFile, 'utf8').trim()}/stat`;
  // Killed processes take a moment to go; the runner's own limit ends this loop when it never does.
  while (existsSync(stat) && !/ Z /.test(readFileSync(stat, 'utf8'))) await new Promise((done) => setTimeout(done, 5));
});

test('a command that failed is tried again', async () => {
  const flag = join(folder, 'flag');
  const command = ['/bin/sh', '-c', `test -e ${flag} && echo ${SECRET}`];
  await refused(credentials.read({ command }), /status 1/);
  writeFileSync(flag, '');
  assert.deepEqual(await credentials.read({ command }), { password: SECRET });
});

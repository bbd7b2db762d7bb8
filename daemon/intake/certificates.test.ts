import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { CertificateAuthority } from './certificates.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-ca-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const authority = await CertificateAuthority.open(folder);

test('a client that trusts ca.crt verifies the name it asked for, or the address it went to', async () => {
  const ca = readFileSync(join(folder, 'ca.crt'), 'utf8');
  const byAddress = await authority.leafFor(['127.0.0.1', '::1']);
  const server = createServer({
    cert: byAddress.cert,
    key: byAddress.key,
    SNICallback: (name, done) => {
      authority.secureContextFor(name, ['127.0.0.1']).then((context) => done(null, context), done);
    },
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.on('secureConnection', (socket) => socket.end('hello')).on('tlsClientError', () => {});
  const { port } = server.address() as { port: number };
  const visit = async (options: object): Promise<TLSSocket> => {
    const socket = connect({ host: '127.0.0.1', port, ca, ...options });
    await once(socket, 'secureConnect');
    return socket;
  };
  const named = await visit({ servername: 'db.shop.internal' });
  assert.equal(named.authorized, true);
  assert.equal(named.getPeerCertificate().subjectaltname, 'IP Address:127.0.0.1, DNS:db.shop.internal');
  assert.deepEqual(
    named.getPeerX509Certificate()?.raw,
    (await authority.leafFor(['127.0.0.1', 'DB.shop.internal.'])).der,
  );
  named.destroy();
  (await visit({})).destroy();
  await assert.rejects(visit({ servername: 'db.shop.internal', ca: undefined }), { code: /VERIFY|SELF_SIGNED|UNABLE/ });
  await assert.rejects(visit({ checkServerIdentity: undefined, host: '127.0.0.1', servername: 'bad name' }));
  server.close();
});

test('the authority stays the same over a restart, and its key is for its owner alone', async () => {
  assert.equal((await CertificateAuthority.open(folder)).pem, authority.pem);
  assert.equal(statSync(join(folder, 'ca.key')).mode & 0o777, 0o600);
  chmodSync(join(folder, 'ca.key'), 0o640);
  await assert.rejects(CertificateAuthority.open(folder), { code: 'CONFIG_INVALID', message: /read by others/ });
  chmodSync(join(folder, 'ca.key'), 0o600);
});

test('a key of another authority, a lost key and rubbish are refused, not replaced', async () => {
  const [one, other] = [join(folder, 'one'), join(folder, 'other')];
  const kept = (await CertificateAuthority.open(one)).pem;
  await CertificateAuthority.open(other);
  writeFileSync(join(one, 'ca.key'), readFileSync(join(other, 'ca.key')));
  await assert.rejects(CertificateAuthority.open(one), { code: 'CONFIG_INVALID', message: /belong together/ });
  writeFileSync(join(one, 'ca.key'), 'rubbish');
  await assert.rejects(CertificateAuthority.open(one), { code: 'CONFIG_INVALID' });
  rmSync(join(one, 'ca.key'));
  await assert.rejects(CertificateAuthority.open(one), { code: 'CONFIG_INVALID' });
  assert.equal(readFileSync(join(one, 'ca.crt'), 'utf8'), kept);
});

test('one certificate for the same names whatever their order, made once for flows that come at once', async () => {
  const [a, b] = await Promise.all([
    authority.leafFor(['a.example', '198.51.100.23']),
    authority.leafFor(['198.51.100.23', 'A.example']),
  ]);
  assert.equal(a, b);
  const other = await authority.leafFor(['b.example']);
  assert.notEqual(new X509Certificate(other.der).serialNumber, new X509Certificate(a.der).serialNumber);
  for (let i = 0; i < 256; i++) await authority.leafFor([`host-${i}.example`]);
  assert.notEqual(await authority.leafFor(['b.example']), other, 'the cache is bounded');
});

test('a leaf is valid before now and after, is no authority, and is signed by ours', async () => {
  const leaf = new X509Certificate((await authority.leafFor(['x.example'])).der);
  assert.ok(
    Date.parse(leaf.validFrom) < Date.now() - 50 * 60_000 && Date.parse(leaf.validTo) > Date.now() + 86_400_000,
  );
  assert.equal(leaf.ca, false);
  assert.ok(
    leaf.checkIssued(new X509Certificate(authority.pem)) && leaf.verify(new X509Certificate(authority.pem).publicKey),
  );
});

test('what is no host name gets no certificate', async () => {
  for (const names of [
    [],
    [''],
    ['a b'],
    ['*.example'],
    ['a\0b'],
    ['x'.repeat(64)],
    [`${'abc.'.repeat(70)}d`],
    ['a,DNS:b'],
    Array.from({ length: 33 }, (_, i) => `h${i}`),
  ]) {
    await assert.rejects(authority.leafFor(names), { code: 'PROTOCOL_VIOLATION' });
  }
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, test } from 'node:test';
import koffi from 'koffi';
import { addressText } from './address.ts';
import {
  decodeOrigin,
  decodeRefusal,
  decodeUnixName,
  encodeUnixName,
  ORIGIN_LAYOUT,
  openKernel,
  REFUSED_LAYOUT,
  UNIX_NAME_LAYOUT,
} from './kernel.ts';

const ROOT = join(import.meta.dirname, '../..');
const LIBRARY = join(ROOT, 'build/native/libsluice.so');

before(() => {
  execFileSync('make', ['-s', '-C', join(ROOT, 'native'), 'lib'], { stdio: ['ignore', 'ignore', 'inherit'] });
});

test('the layout of what is shared is the one that the C compiler made', () => {
  const layout = koffi.load(LIBRARY).func('const char *sluice_layout(void)');
  const lines = Object.entries({ ...ORIGIN_LAYOUT, ...UNIX_NAME_LAYOUT, ...REFUSED_LAYOUT }).map(
    ([field, [offset, size]]) => `${field} ${offset} ${size}\n`,
  );
  assert.equal(layout(), lines.join(''));
});

function record(): Buffer {
  const bytes = Buffer.alloc(ORIGIN_LAYOUT.sluice_origin[1]);
  Buffer.from('00000000000000000000ffffc6336417', 'hex').copy(bytes, ORIGIN_LAYOUT.address[0]);
  bytes.writeBigUInt64LE(0x1_0000_0311n, ORIGIN_LAYOUT.cgroup_id[0]);
  bytes.writeUInt32LE(4242, ORIGIN_LAYOUT.pid[0]);
  bytes.writeUInt32LE(64802, ORIGIN_LAYOUT.uid[0]);
  bytes.writeUInt16LE(5433, ORIGIN_LAYOUT.port[0]);
  bytes.write('python3\0', ORIGIN_LAYOUT.comm[0]);
  return bytes;
}

function withExe(text: string): Buffer {
  const bytes = record();
  bytes.writeUInt16LE(Buffer.byteLength(text), ORIGIN_LAYOUT.exe_len[0]);
  bytes.write(text, ORIGIN_LAYOUT.exe[0]);
  return bytes;
}

test('the name of a UNIX socket goes to the kernel and back, and none that is too long', () => {
  for (const name of ['/run/postgresql/.s.PGSQL.5432', '@abstract', '@', `/${'x'.repeat(107)}`, '@/tmp/.X11-unix/X0']) {
    const given = { cgroupId: 0x1_0000_0311n, name };
    assert.deepEqual(decodeUnixName(encodeUnixName(given)), given);
  }
  assert.equal(encodeUnixName({ cgroupId: 1n, name: '@ab' }).toString('hex', 8, 16), '0300000000616200');
  assert.throws(() => encodeUnixName({ cgroupId: 1n, name: `/${'x'.repeat(108)}` }), /too long/);
});

test('an origin is read field by field', () => {
  assert.deepEqual(decodeOrigin(withExe('python3.11\0bin\0usr\0\0')), {
    pid: 4242,
    uid: 64802,
    cgroupId: 0x1_0000_0311n,
    comm: 'python3',
    exe: '/usr/bin/python3.11',
    address: '198.51.100.23',
    port: 5433,
  });
});

test('a refusal is read field by field', () => {
  const bytes = Buffer.alloc(REFUSED_LAYOUT.sluice_refused[1]);
  encodeUnixName({ cgroupId: 0x1_0000_0312n, name: '@tracer' }).copy(bytes, REFUSED_LAYOUT['key.name'][0]);
  bytes.writeUInt16LE(1, REFUSED_LAYOUT['key.kind'][0]);
  bytes.writeBigUInt64LE(0x1_0000_0001n, REFUSED_LAYOUT['refusal.count'][0]);
  withExe('python3.11\0bin\0usr\0\0').copy(bytes, REFUSED_LAYOUT['refusal.first'][0]);
  const { kind, name, count, first } = decodeRefusal(bytes);
  assert.deepEqual([kind, name, count], ['unix', '@tracer', 4_294_967_297]);
  assert.deepEqual([first.pid, first.exe, first.cgroupId], [4242, '/usr/bin/python3.11', 0x1_0000_0312n]);
  assert.equal(first.address, '', 'a UNIX socket has none');
  bytes.writeUInt16LE(6, REFUSED_LAYOUT['key.kind'][0]);
  bytes.writeUInt8(1, REFUSED_LAYOUT['key.further'][0]);
  for (const [i, number] of [2, 17, 0xffff_fff1].entries())
    bytes.writeUInt32LE(number, REFUSED_LAYOUT['key.detail'][0] + 4 * i);
  const sendto = decodeRefusal(bytes);
  assert.deepEqual([sendto.kind, sendto.further, sendto.detail], ['sendto', true, [2, 17, 0xffff_fff1]]);
  assert.deepEqual([sendto.name, sendto.first.address, sendto.first.port], ['', '198.51.100.23', 5433]);
  bytes.writeUInt16LE(77, REFUSED_LAYOUT['key.kind'][0]);
  assert.throws(() => decodeRefusal(bytes), { code: 'INTERNAL' });
});

test('a path that was too long says so, and one that is unknown is asked of /proc', () => {
  assert.equal(decodeOrigin(withExe('agent\0bin\0')).exe, '…/bin/agent');
  assert.equal(decodeOrigin(withExe('memfd:x\0\0')).exe, '/memfd:x');
  const own = record();
  own.writeUInt32LE(process.pid, ORIGIN_LAYOUT.pid[0]);
  assert.equal(decodeOrigin(own).exe, process.execPath);
  const gone = record();
  gone.writeUInt32LE(0x7fffffff, ORIGIN_LAYOUT.pid[0]);
  assert.equal(decodeOrigin(gone).exe, '');
});

test('a name of 15 bytes and a length past the field are taken for no more than they are', () => {
  const bytes = withExe('');
  bytes.write('fifteen-bytes-1\0', ORIGIN_LAYOUT.comm[0]);
  bytes.writeUInt16LE(0xffff, ORIGIN_LAYOUT.exe_len[0]);
  const origin = decodeOrigin(bytes);
  assert.equal(origin.comm, 'fifteen-bytes-1');
});

test('addresses read as RFC 5952 writes them', () => {
  for (const [hex, text] of [
    ['00000000000000000000ffff7f000001', '127.0.0.1'],
    ['20010db8000000000000000000170023', '2001:db8::17:23'],
    ['20010db8000000010000000000000001', '2001:db8:0:1::1'],
    ['20010db8000000010001000100010001', '2001:db8:0:1:1:1:1:1'],
    ['00000000000000000000000000000000', '::'],
    ['00000000000000000000000000000001', '::1'],
    ['fe800000000000000000000000000000', 'fe80::'],
    ['0001000000000000000100000000000a', '1::1:0:0:a'],
    ['0000000000000000000000007f000001', '::7f00:1'],
  ] as const)
    assert.equal(addressText(Buffer.from(`aa${hex}`, 'hex'), 1), text);
});

test('pins that are not there are an error that names them, and so is a library that is not there', () => {
  const attempt = (pinDir: string, library: string) => () => openKernel({ pinDir, library });
  assert.throws(attempt('/nowhere/bpf', LIBRARY), {
    code: 'KERNEL_UNSUPPORTED',
    message: 'cannot open the pinned map /nowhere/bpf/accepted: No such file or directory',
  });
  assert.throws(attempt('/nowhere/bpf', '/nowhere/libsluice.so'), { code: 'KERNEL_UNSUPPORTED' });
});

test('the peer of a UNIX socket is the process that connected; other sockets have none', async () => {
  const lib = koffi.load(LIBRARY);
  const peer = lib.func('int sluice_peer(int, _Out_ uint8 *)');
  const dir = mkdtempSync(join(tmpdir(), 'sluice-peer-'));
  const fdOf = (socket: Socket) => (socket as unknown as { _handle: { fd: number } })._handle.fd;
  const out = Buffer.alloc(12);
  for (const [at, found] of [
    [{ path: join(dir, 's') }, 0],
    [{ host: '127.0.0.1', port: 0 }, -3],
  ] as const) {
    const server = createServer().listen(at);
    await once(server, 'listening');
    const address = server.address();
    const client = connect(typeof address === 'string' ? { path: address } : { port: address!.port });
    const [accepted] = (await once(server, 'connection')) as [Socket];
    assert.equal(peer(fdOf(accepted), out), found);
    client.destroy();
    accepted.destroy();
    server.close();
  }
  assert.deepEqual([out.readUInt32LE(0), out.readUInt32LE(4)], [process.pid, process.getuid?.()]);
  assert.equal(peer(9999, out), -9);
  rmSync(dir, { recursive: true });
});

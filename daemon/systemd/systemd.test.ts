import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Encoder, openJournal } from './journal.ts';
import { pressureOf } from './memory.ts';
import { openManager } from './notify.ts';
import { Watchdog } from './watchdog.ts';

const LIBRARY = new URL('../../build/native/libsluice.so', import.meta.url).pathname;
const dir = mkdtempSync(join(tmpdir(), 'sluice-systemd-'));
after(() => rmSync(dir, { recursive: true, force: true }));

/** Runs `work` against a datagram socket, and gives what arrived: bytes, and what the descriptors with them hold. */
function received(path: string, count: number, work: string): { bytes: string; files: string[] }[] {
  const python = `import array, json, os, socket, subprocess, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace('@', '\\0', 1))
node = subprocess.Popen(sys.argv[3:])
for _ in range(int(sys.argv[2])):
    data, ancillary, _, _ = s.recvmsg(1 << 22, 1024)
    fds = array.array('i')
    for _, _, raw in ancillary: fds.frombytes(raw)
    files = []
    for fd in fds:
        files.append(os.pread(fd, 1 << 25, 0).decode('latin1') if os.fstat(fd).st_mode & 0o170000 == 0o100000 else '')
        os.close(fd)
    print(json.dumps({'bytes': data.decode('latin1'), 'files': files}))
sys.exit(node.wait())`;
  const script = join(dir, 'work.ts');
  writeFileSync(script, work);
  const out = execFileSync('python3', ['-c', python, path, String(count), process.execPath, script], {
    encoding: 'utf8',
    timeout: 20_000,
    maxBuffer: 1 << 26,
  });
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

const here = new URL('.', import.meta.url).pathname;

for (const path of [join(dir, 'notify'), `@sluice-notify-${process.pid}`])
  test(`the manager is told lines and given descriptors, on ${path.startsWith('@') ? 'an abstract name' : 'a path'}`, () => {
    const [state, kept, gone] = received(
      path,
      3,
      `import { openSync } from 'node:fs';
import { openManager } from '${here}notify.ts';
const manager = openManager('${LIBRARY}', { NOTIFY_SOCKET: '${path}' });
manager.tell('READY=1', 'STATUS=well');
manager.keep('tcp4-1', [openSync('/etc/hostname', 'r'), openSync('/etc/hostname', 'r')]);
manager.forget('tcp4-1');`,
    );
    assert.deepEqual(state, { bytes: 'READY=1\nSTATUS=well', files: [] });
    assert.equal(kept?.bytes, 'FDSTORE=1\nFDNAME=tcp4-1\nFDPOLL=0');
    assert.equal(kept?.files.length, 2);
    assert.equal(gone?.bytes, 'FDSTOREREMOVE=1\nFDNAME=tcp4-1');
  });

test('what the manager gives is taken out of the environment, and is only for whom it names', () => {
  const env = { NOTIFY_SOCKET: '/x', WATCHDOG_USEC: '6000000', WATCHDOG_PID: '7', LISTEN_PID: '7', LISTEN_FDS: '2' };
  const ours: NodeJS.ProcessEnv = { ...env, LISTEN_FDNAMES: 'a:b', HOME: '/' };
  const manager = openManager(LIBRARY, ours, 7);
  assert.deepEqual(ours, { HOME: '/' });
  assert.deepEqual(
    [...manager.kept],
    [
      ['a', 3],
      ['b', 4],
    ],
  );
  assert.equal(manager.watchdog, 6_000);
  const other = openManager(LIBRARY, { ...env }, 8);
  assert.deepEqual([...other.kept], []);
  assert.equal(other.watchdog, null);
  const none = openManager(LIBRARY, {}, 7);
  assert.equal(none.present, false);
  none.tell('READY=1');
});

/** Fields of an entry, read as journald reads them (journald-native.c). */
function decode(bytes: Buffer): [string, string][] {
  const fields: [string, string][] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(10, at);
    const line = bytes.toString('utf8', at, end);
    const equals = line.indexOf('=');
    if (equals >= 0) {
      fields.push([line.slice(0, equals), line.slice(equals + 1)]);
      at = end + 1;
    } else {
      const length = Number(bytes.readBigUInt64LE(end + 1));
      fields.push([line, bytes.toString('utf8', end + 9, end + 9 + length)]);
      assert.equal(bytes[end + 9 + length], 10);
      at = end + 10 + length;
    }
  }
  return fields;
}

test('whatever a value holds, an entry has the fields that it was made of', () => {
  const values = [
    '',
    'plain',
    'a\nSLUICE_DECISION=allow\n',
    '\n',
    '\n\n\0',
    'ä=€\u{1f4a5}\n',
    '=',
    '\r\n',
    'x'.repeat(200_000),
  ];
  const entry = values.map((value, i) => [`SLUICE_F${i}`, value] as const);
  const encoder = new Encoder();
  const ends = encoder.encode([entry, entry]);
  assert.deepEqual(decode(encoder.bytes.subarray(0, ends[0])), entry);
  assert.deepEqual(decode(encoder.bytes.subarray(ends[0], ends[1])), entry);
});

test('the journal gets one datagram for each entry, and a file for one that is larger than that', () => {
  const path = join(dir, 'journal');
  const got = received(
    path,
    101,
    `import { openJournal } from '${here}journal.ts';
const journal = openJournal('${LIBRARY}', '${path}');
const entries = Array.from({ length: 101 }, (_, i) => [['SLUICE_SEQ', String(i)], ['SLUICE_TEXT', i === 50 ? 'x'.repeat(20_000_000) : 'x']] as const);
const end = Date.now() + 10_000;
for (let sent = 0; sent < entries.length && Date.now() < end;) sent += journal.send(entries.slice(sent));`,
  );
  for (const [i, { bytes, files }] of got.entries()) {
    const text = bytes === '' ? files[0]! : bytes;
    assert.equal(files.length, i === 50 ? 1 : 0);
    assert.match(text, new RegExp(`^SLUICE_SEQ=${i}\\nSLUICE_TEXT=x`));
    assert.equal(text.length, `SLUICE_SEQ=${i}\nSLUICE_TEXT=\n`.length + (i === 50 ? 20_000_000 : 1));
  }
});

test('without a journal nothing is taken, and nothing waits', () => {
  const journal = openJournal(LIBRARY, join(dir, 'nobody'));
  assert.equal(journal.send([[['MESSAGE', 'x']]]), 0);
  journal.close();
});

test('the watchdog is fed only when every part has answered', async () => {
  const said: string[] = [];
  let fails = false;
  const vitals = {
    one: async () => {},
    two: () => (fails ? Promise.reject(new Error('it broke')) : Promise.resolve()),
  };
  const dog = new Watchdog({
    limit: 600_000,
    vitals,
    well: () => said.push('well'),
    unwell: (what) => said.push(what),
  });
  await dog.look();
  fails = true;
  await dog.look();
  dog.stop();
  assert.deepEqual(said, ['well', 'two: it broke']);
});

test('nor when one does not, or when the event loop stood still', async () => {
  const said: string[] = [];
  const hangs = { one: () => new Promise(() => {}) };
  const options = { limit: 300, well: () => said.push('well'), unwell: (what: string) => said.push(what) };
  let dog = new Watchdog({ ...options, vitals: hangs });
  await dog.look();
  dog.stop();
  assert.deepEqual(said, ['one: no answer within 100 ms']);
  dog = new Watchdog({ ...options, limit: 3_000, vitals: {} });
  // The measure begins with a turn of the loop; what is held up must reach over the next of its looks.
  await new Promise((resolve) => setTimeout(resolve, 300));
  const end = Date.now() + 1_200;
  while (Date.now() < end);
  await new Promise((resolve) => setTimeout(resolve, 300));
  await dog.look();
  dog.stop();
  // By this look, or by one of its own.
  assert.ok(
    said.some((what) => /^the event loop was held up for \d+ ms$/.test(what)),
    said.join(),
  );
});

test('memory counts that the kernel can not take back, near the limit that slows the daemon down', () => {
  const cgroup = join(dir, 'cgroup');
  mkdirSync(cgroup);
  assert.equal(pressureOf(cgroup), null);
  const set = (high: string, anon: number) => {
    writeFileSync(join(cgroup, 'memory.high'), `${high}\n`);
    writeFileSync(
      join(cgroup, 'memory.stat'),
      `anon ${anon}\nfile 99000000\nkernel 1\nshmem 1000\nsock 0\nslab_unreclaimable 0\n`,
    );
  };
  set('max', 1e9);
  assert.equal(pressureOf(cgroup), null);
  set('1000000', 800_000);
  assert.equal(pressureOf(cgroup), null);
  set('1000000', 950_000);
  assert.deepEqual(pressureOf(cgroup), { used: 951_000, high: 1_000_000 });
});

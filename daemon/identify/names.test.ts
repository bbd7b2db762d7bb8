import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { HostsFile, parseHosts } from './hosts.ts';
import { SessionNames } from './names.ts';
import { NamesFile } from './names-file.ts';

const dir = mkdtempSync(join(tmpdir(), 'sluice-names-'));
after(() => rmSync(dir, { recursive: true }));

test('a name counts for the session that was given it, and for no other', () => {
  const names = new SessionNames({ host: () => [] });
  names.remember('one', 'a.test', ['198.51.100.23', '2001:db8:0:0:0:0:17:23']);
  names.remember('one', 'b.test', ['198.51.100.23']);
  names.remember('one', 'a.test', ['198.51.100.23']);
  assert.deepEqual(names.of('one', '198.51.100.23'), ['a.test', 'b.test'], 'the last one first');
  assert.deepEqual(names.of('one', '2001:db8::17:23'), ['a.test']);
  assert.deepEqual(names.of('two', '198.51.100.23'), []);
  names.remember('one', 'm.test', ['::ffff:203.0.113.9']);
  assert.deepEqual(names.of('one', '203.0.113.9'), ['m.test'], 'IPv4 within IPv6 is IPv4');
  names.forget('one');
  assert.deepEqual(names.of('one', '198.51.100.23'), []);
});

test('what is kept of a session is bounded, and what was given last stays', () => {
  const names = new SessionNames({ host: () => [] });
  for (let i = 0; i < 5000; i++) names.remember('s', `n${i}.test`, [`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`]);
  assert.deepEqual(names.of('s', '10.0.0.0'), []);
  assert.deepEqual(names.of('s', '10.0.19.135'), ['n4999.test']);
  for (let i = 0; i < 100; i++) names.remember('s', `m${i}.test`, ['10.9.9.9']);
  assert.equal(names.of('s', '10.9.9.9').length, 32);
});

test('a daemon that starts again knows them, of sessions that run on', () => {
  const path = join(dir, 'names');
  const faults: unknown[] = [];
  const open = (at = path) =>
    new SessionNames({ host: () => [], file: new NamesFile(at), onFault: (error) => faults.push(error) });
  const before = open();
  before.remember('one', 'a.test', ['198.51.100.23', '198.51.100.24']);
  before.remember('one', 'b.test', ['198.51.100.23']);
  before.remember('gone', 'c.test', ['198.51.100.23']);
  const size = statSync(path).size;
  before.remember('one', 'b.test', ['198.51.100.23']);
  assert.equal(statSync(path).size, size, 'what is told again is not written again');
  // Killed in the middle of a line.
  appendFileSync(path, '{"session":"one","name":"cut.te');
  for (let i = 0; i < 2; i++) {
    const after = open();
    after.restore(new Set(['one']));
    assert.deepEqual(after.of('one', '198.51.100.23'), ['b.test', 'a.test'], 'the last one first');
    assert.deepEqual(after.of('one', '198.51.100.24'), ['a.test']);
    assert.deepEqual(after.of('gone', '198.51.100.23'), []);
    after.remember('one', 'd.test', ['198.51.100.25']);
  }
  assert.deepEqual(faults, []);
  const nowhere = open(join(dir, 'no', 'such', 'folder'));
  for (let i = 0; i < 3; i++) nowhere.remember('one', `n${i}.test`, ['198.51.100.23']);
  assert.equal(faults.length, 1, 'told once');
  assert.equal(nowhere.of('one', '198.51.100.23').length, 3);
});

test('the file is written anew when it has grown', () => {
  const path = join(dir, 'grown');
  const names = new SessionNames({ host: () => [], file: new NamesFile(path) });
  let most = 0;
  for (let i = 0; i < 120_000; i++) {
    names.remember('s', `n${i}.test`, [`10.1.1.${i & 7}`]);
    if (i % 1000 === 0) most = Math.max(most, statSync(path).size);
  }
  assert.ok(most > 1_000_000 && most < 4_300_000, `${most} bytes`);
  const after = new SessionNames({ host: () => [], file: new NamesFile(path) });
  after.restore(new Set(['s']));
  assert.deepEqual(after.of('s', '10.1.1.3'), names.of('s', '10.1.1.3'));
});

test('names of hosts(5) hold for every session, also those that come later, until they go', async () => {
  const path = join(dir, 'hosts');
  writeFileSync(
    path,
    '127.0.0.1 localhost\n198.51.100.23\tDB.shop.internal db # the shop\n::1 localhost ip6-localhost\n',
  );
  const hosts = new HostsFile(path);
  const names = new SessionNames({ host: (address) => hosts.namesOf(address) });
  names.remember('s', 'db', ['198.51.100.23']);
  assert.deepEqual(names.of('s', '198.51.100.23'), ['db', 'db.shop.internal']);
  assert.deepEqual(names.of('t', '0:0:0:0:0:0:0:1'), ['localhost', 'ip6-localhost']);
  assert.deepEqual(hosts.addressesOf('localhost'), ['127.0.0.1', '::1']);
  assert.deepEqual(new HostsFile(join(dir, 'nothing')).namesOf('127.0.0.1'), []);
});

test('a hosts file of nonsense gives no names', () => {
  assert.deepEqual(
    [...parseHosts('#\n\n   \nno-address\n10.0.0.1\n10.0.0.2 a A a.\n')],
    [
      ['no-address', []],
      ['10.0.0.1', []],
      ['10.0.0.2', ['a']],
    ],
  );
});

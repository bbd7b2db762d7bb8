import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { resolvConf, resolverOf } from './resolvers.ts';

const dir = mkdtempSync(join(tmpdir(), 'sluice-resolvers-'));
after(() => rmSync(dir, { recursive: true }));

test('a resolver is an address, with a port where it is not 53', () => {
  for (const [text, host, port] of [
    ['10.0.0.2', '10.0.0.2', 53],
    ['10.0.0.2:5353', '10.0.0.2', 5353],
    ['2001:db8::2', '2001:db8::2', 53],
    ['[2001:db8::2]:5353', '2001:db8::2', 5353],
    ['[2001:db8::2]', '2001:db8::2', 53],
  ] as const)
    assert.deepEqual(resolverOf(text), { host, port });
  for (const text of [
    '',
    'fe80::1%eth0',
    'dns.test',
    '10.0.0.2:0',
    '10.0.0.2:65536',
    '10.0.0.2:',
    '[10.0.0.2]:53',
    '10.0.0',
    '2001:db8::2:x',
  ])
    assert.equal(resolverOf(text), null, text);
});

test('resolv.conf gives at most three, and the one on loopback where it names none', () => {
  const path = join(dir, 'resolv.conf');
  const read = (text: string) => {
    writeFileSync(path, text);
    return resolvConf(path)().map(({ host }) => host);
  };
  assert.deepEqual(
    read('# nameserver 1.1.1.1\nsearch a.test\nnameserver 10.0.0.2\n  nameserver\t2001:db8::2 \nnameserver x\n'),
    ['10.0.0.2', '2001:db8::2'],
  );
  assert.equal(read('nameserver 10.0.0.1\n'.repeat(5)).length, 3);
  assert.deepEqual(read('search a.test\n'), ['127.0.0.1']);
  assert.deepEqual(resolvConf(join(dir, 'nothing'))(), []);
});

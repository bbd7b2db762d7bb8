import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { loadMaskKey, randomMaskKey } from './key.ts';
import { MAX_SHAPED, maskText } from './kinds.ts';

const key = randomMaskKey();
const mask = (kind: Parameters<typeof maskText>[0], text: string, with_ = key): string | undefined =>
  maskText(kind, Buffer.from(text), with_)?.toString('latin1');

describe('maskText', () => {
  test('partial keeps the last characters, at most four and at most a quarter', () => {
    assert.equal(mask('partial', '4111-1111-1111-1111'), '****-****-****-1111');
    assert.equal(mask('partial', '123-45-6789'), '***-**-**89');
    assert.equal(mask('partial', 'alice@example.com'), '*****@*******.com');
    assert.equal(mask('partial', 'abc'), '***');
    assert.equal(mask('partial', 'a'.repeat(100)), `${'*'.repeat(96)}aaaa`);
  });
  test('partial shows no sign of a password of signs, and no character beyond ASCII', () => {
    assert.equal(mask('partial', '!?#$%'), '[redacted]');
    assert.equal(mask('partial', 'p!?#$%'), '[redacted]');
    assert.equal(mask('partial', 'Jörg Müllér'), '**** *****r');
    assert.equal(mask('partial', ''), '[redacted]');
  });
  test('tokenize keeps the shape, and the same value gives the same token', () => {
    const token = mask('tokenize', 'Alice.B-42@example.com')!;
    assert.match(token, /^[A-Z][a-z]{4}\.[A-Z]-\d\d@[a-z]{7}\.[a-z]{3}$/);
    assert.equal(mask('tokenize', 'Alice.B-42@example.com'), token);
    assert.notEqual(mask('tokenize', 'Alice.B-43@example.com')!.slice(0, 5), token.slice(0, 5));
    assert.notEqual(mask('tokenize', 'Alice.B-42@example.com', randomMaskKey()), token);
  });
  test('hash is 32 hex digits and belongs to the key', () => {
    assert.match(mask('hash', 'x')!, /^[0-9a-f]{32}$/);
    assert.equal(mask('hash', 'x'), mask('hash', 'x'));
    assert.notEqual(mask('hash', 'x'), mask('hash', 'x', randomMaskKey()));
  });
  test('redact and null say nothing', () => {
    assert.equal(mask('redact', 'x'), '[redacted]');
    assert.equal(maskText('null', Buffer.from('x'), key), null);
  });
  test('a document has no shape to keep', () => {
    for (const kind of ['partial', 'tokenize'] as const)
      assert.equal(mask(kind, 'a'.repeat(MAX_SHAPED + 1)), '[redacted]');
  });
});

describe('loadMaskKey', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-key-'));
  after(() => rmSync(folder, { recursive: true }));
  test('makes a key that only its owner reads, and finds it again', () => {
    const path = join(folder, 'mask.key');
    const made = loadMaskKey(path);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(statSync(path).size, 32);
    assert.ok(made.equals(loadMaskKey(path)));
  });
  test('refuses a key that others read, one that is too short, and a folder that is not there', () => {
    const open = join(folder, 'open.key');
    writeFileSync(open, Buffer.alloc(32, 1));
    chmodSync(open, 0o640);
    assert.throws(() => loadMaskKey(open), { code: 'CONFIG_INVALID', message: /read by others/ });
    const short = join(folder, 'short.key');
    writeFileSync(short, 'short', { mode: 0o600 });
    assert.throws(() => loadMaskKey(short), { code: 'CONFIG_INVALID', message: /32 bytes/ });
    assert.throws(() => loadMaskKey(join(folder, 'none/mask.key')), { code: 'CONFIG_INVALID' });
  });
});

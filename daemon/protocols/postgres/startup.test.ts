import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SluiceError } from '../../core/errors.ts';
import { readOpening, readStartup, splitPath } from './startup.ts';
import { MAX_STARTUP, STARTUP } from './wire.ts';

function packet(code: number, body = Buffer.alloc(0), length = 8 + body.length): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(length >>> 0, 0);
  head.writeUInt32BE(code, 4);
  return Buffer.concat([head, body]);
}

const refused = (code: string) => (error: SluiceError) => error instanceof SluiceError && error.code === code;
const opening = (parameters: Record<string, string>) =>
  readOpening(new Map(Object.entries({ user: 'me', ...parameters })));

describe('readStartup', () => {
  const start = packet(STARTUP.protocol30, Buffer.from('user\0me\0database\0db\0\0'));

  test('needs the whole packet, and leaves what follows', () => {
    for (let size = 0; size < start.length; size++) assert.equal(readStartup(start.subarray(0, size)), null);
    const read = readStartup(Buffer.concat([start, Buffer.from('more')]));
    assert.equal(read?.size, start.length);
    assert.ok(read?.packet.kind === 'start' && read.packet.parameters.get('database') === 'db');
  });

  for (const [name, bytes, code] of [
    ['a length of 0', packet(STARTUP.protocol30, Buffer.alloc(0), 0), 'PROTOCOL_VIOLATION'],
    ['a length of 7', packet(STARTUP.protocol30, Buffer.alloc(0), 7), 'PROTOCOL_VIOLATION'],
    ['more than the server takes', packet(STARTUP.protocol30, Buffer.alloc(0), MAX_STARTUP + 1), 'PROTOCOL_VIOLATION'],
    ['a negative length', packet(STARTUP.protocol30, Buffer.alloc(0), -1), 'PROTOCOL_VIOLATION'],
    ['an SSLRequest with more in it', packet(STARTUP.ssl, Buffer.alloc(4)), 'PROTOCOL_VIOLATION'],
    ['a CancelRequest without a key', packet(STARTUP.cancel, Buffer.alloc(4)), 'PROTOCOL_VIOLATION'],
    ['a CancelRequest with a huge key', packet(STARTUP.cancel, Buffer.alloc(400)), 'PROTOCOL_VIOLATION'],
    ['protocol 2', packet(2 << 16, Buffer.from('x\0')), 'PROTOCOL_UNSUPPORTED'],
    ['parameters without an end', packet(STARTUP.protocol30, Buffer.from('user\0me')), 'PROTOCOL_VIOLATION'],
    ['a name without a value', packet(STARTUP.protocol30, Buffer.from('user\0')), 'PROTOCOL_VIOLATION'],
    ['something behind the end', packet(STARTUP.protocol30, Buffer.from('user\0me\0\0x\0')), 'PROTOCOL_VIOLATION'],
  ] as const) {
    test(`refuses ${name}`, () => assert.throws(() => readStartup(bytes), refused(code)));
  }
});

describe('readOpening', () => {
  test('takes options apart as the server does', () => {
    const { settings, searchPath } = opening({ options: '-c search_path=a,b --statement_timeout=5s -cTimeZone=a\\ b' });
    assert.deepEqual(settings, { search_path: 'a,b', statement_timeout: '5s', timezone: 'a b' });
    assert.deepEqual(searchPath, ['a', 'b']);
  });

  test('refuses what would change how statements are read, or what policy decides', () => {
    for (const parameters of [
      { standard_conforming_strings: 'off' },
      { options: '-c standard_conforming_strings=off' },
      { role: 'postgres' },
      { session_replication_role: 'replica' },
      { client_encoding: 'SJIS' },
      { client_encoding: 'gb-18030' },
      { client_min_messages: 'debug5' },
      { options: '-f x' },
      { options: 'search_path' },
    ])
      assert.throws(() => opening(parameters as unknown as Record<string, string>), refused('PROTOCOL_UNSUPPORTED'));
  });

  test('needs a user', () => {
    assert.throws(() => readOpening(new Map([['database', 'db']])), refused('PROTOCOL_VIOLATION'));
  });
});

test('a search_path is split and folded as the server does it', () => {
  assert.deepEqual(splitPath('A, "B c" ,"d""e",$user, "$user"', 'me'), ['a', 'B c', 'd"e', 'me', 'me']);
  assert.deepEqual(splitPath('', 'me'), []);
  // Neither a blank nor a letter to fold for the server: other names than these have.
  assert.deepEqual(splitPath('\u00a0open, \u212aey', 'me'), ['\u00a0open', '\u212aey']);
});

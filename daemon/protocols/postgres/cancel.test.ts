import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CancelKeys, cancelRequest } from './cancel.ts';
import { readStartup } from './startup.ts';

test('a key finds its flow, in its session, while the flow lives', () => {
  const keys = new CancelKeys();
  const upstream = { pid: 4711, secret: Buffer.from([1, 2, 3, 4]) };
  const { key, entry } = keys.issue('session', upstream, false);
  assert.notDeepEqual(key.secret, upstream.secret);
  assert.equal(keys.find('session', key.pid, key.secret), entry);
  assert.equal(keys.find('another', key.pid, key.secret), null);
  const wrong = Buffer.from(key.secret);
  wrong[3] = wrong[3]! ^ 1;
  for (const secret of [wrong, Buffer.alloc(0), key.secret.subarray(0, 3), Buffer.concat([key.secret, key.secret])])
    assert.equal(keys.find('session', key.pid, secret), null);
  keys.revoke(key.pid);
  assert.equal(keys.find('session', key.pid, key.secret), null);
});

test('a CancelRequest reads as it was written, with long keys as well', () => {
  for (const long of [false, true]) {
    const { key } = new CancelKeys().issue('session', null, long);
    const read = readStartup(cancelRequest(key));
    assert.deepEqual(read?.packet, { kind: 'cancel', ...key });
    assert.ok(key.pid > 0 && key.pid <= 0x7fffffff);
  }
});

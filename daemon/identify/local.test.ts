import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import type { Policy } from '../core/policy.ts';
import { LocalUsers, lookUp, uidOf } from './local.ts';

test('users are looked up as the host knows them', async () => {
  const root = await lookUp(0);
  assert.equal(root.user, 'root');
  assert.deepEqual(root.groups, execFileSync('id', ['-Gn', 'root'], { encoding: 'utf8' }).trim().split(' '));
  assert.equal(root.gid, 0);
  assert.deepEqual(await lookUp(3_999_999_999), { uid: 3_999_999_999, user: '3999999999', groups: [] });
});

test('a name is a name, whatever it looks like', async () => {
  assert.equal(await uidOf('root'), 0);
  assert.equal(await uidOf('0'), null);
  assert.equal(await uidOf('--help'), null);
  assert.equal(await uidOf('nobody-of-this-name'), null);
});

test('an answer is remembered, a fault is not', async () => {
  let asked = 0;
  const users = new LocalUsers(60_000, async (uid) => {
    asked++;
    if (asked === 1) throw new Error('the directory does not answer');
    return { uid, user: 'ada', groups: ['dev'] };
  });
  await assert.rejects(users.get(1001), /does not answer/);
  assert.equal((await users.get(1001)).user, 'ada');
  await users.get(1001);
  assert.equal(asked, 2);
});

test('the policy says who a local user is; root that it does not name is local:root in no group', async () => {
  const policy = {
    principalOf: ({ user, groups }: { user: string; groups: readonly string[] }) =>
      user === 'ada' ? { subject: 'local:ada', groups } : null,
  } as unknown as Policy;
  const users = new LocalUsers(0, async (uid) => ({ uid, user: uid === 1001 ? 'ada' : `u${uid}`, groups: ['dev'] }));
  assert.deepEqual(await users.principalOf(1001, policy), { subject: 'local:ada', groups: ['dev'] });
  assert.equal(await users.principalOf(1002, policy), null);
  assert.deepEqual(await users.principalOf(0, policy), { subject: 'local:root', groups: [] });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { identitySettings, providerSettings } from './settings.ts';

const SOUND = { name: 'corp', issuer: 'https://login.example', audience: 'https://sluice.example' };

test('what is absent is what the docs say', () => {
  const { algorithms, ...rest } = providerSettings.parse(SOUND);
  assert.deepEqual(rest, {
    ...SOUND,
    audience: [SOUND.audience],
    scope: 'openid offline_access',
    subjectClaim: ['sub'],
    groupsRequired: true,
    types: ['JWT'],
    clockSkewSeconds: 60,
    maxAgeSeconds: 86_400,
    timeoutSeconds: 10,
  });
  assert.ok(algorithms.every((each) => !/none|HS/i.test(each)));
  assert.deepEqual(identitySettings.parse({}), { providers: [] });
});

test('what would take tokens of anybody, or over no TLS, is an error', () => {
  for (const [change, reason] of [
    [{ audience: undefined }, /audience or clientId/],
    [{ audience: [] }, /audience/],
    [{ audience: '' }, /audience/],
    [{ issuer: 'http://login.example' }, /https/],
    [{ issuer: 'https://ada@login.example' }, /https/],
    [{ issuer: 'https://login.example?x' }, /https/],
    [{ issuer: 'login.example' }, /https/],
    [{ name: 'local' }, /local users/],
    [{ name: 'a:b' }, /letters/],
    [{ algorithms: ['HS256'] }, /algorithms/],
    [{ algorithms: ['none'] }, /algorithms/],
    [{ algorithms: [] }, /algorithms/],
    [{ clockSkewSeconds: 601 }, /clockSkewSeconds/],
    [{ maxAgeSeconds: 0 }, /maxAgeSeconds/],
    [{ ca: 'ca.pem' }, /absolute/],
    [{ audiance: 'x' }, /audiance/],
  ] as const) {
    const { success, error } = providerSettings.safeParse({ ...SOUND, ...change });
    assert.equal(success, false, JSON.stringify(change));
    assert.match(String(error), reason);
  }
});

test('two providers of one name or one issuer are an error', () => {
  const two = (change: object) => identitySettings.safeParse({ providers: [SOUND, { ...SOUND, ...change }] });
  assert.match(String(two({ issuer: 'https://other.example' }).error), /same name/);
  assert.match(String(two({ name: 'other' }).error), /same issuer/);
  assert.ok(two({ name: 'other', issuer: 'https://other.example' }).success);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS, type ErrorCode } from '../../core/errors.ts';
import { errorResponse, noticeResponse, sqlstate } from './refusal.ts';
import { B, errorField, rowDescription } from './wire.ts';

test('every code has a SQLSTATE; a refusal by policy is insufficient_privilege', () => {
  for (const code of Object.keys(ERRORS) as ErrorCode[]) assert.match(sqlstate(code), /^[0-9A-Z]{5}$/);
  assert.equal(sqlstate('POLICY_DENIED'), '42501');
});

test('an error has all that a client shows, and a NUL in a text ends no field', () => {
  const made = errorResponse({ code: 'POLICY_DENIED', message: 'no\0CXX000', detail: 'why', hint: 'how', position: 7 });
  const body = made.subarray(5);
  assert.equal(made[0], B.error);
  assert.equal(made.readUInt32BE(1), made.length - 1);
  const fields = ['S', 'V', 'C', 'M', 'D', 'H', 'P'].map((letter) => errorField(body, letter));
  assert.deepEqual(fields, ['ERROR', 'ERROR', '42501', 'no CXX000', 'why', 'how', '7']);
  assert.deepEqual([...body.subarray(-2)], [0, 0]);
});

test('a notice without a hint has none', () => {
  assert.equal(errorField(noticeResponse('text', 'detail').subarray(5), 'H'), undefined);
});

test('errorField and rowDescription make nothing of bytes that lie', () => {
  assert.equal(errorField(Buffer.from('Mno end'), 'M'), undefined);
  for (const bytes of [[], [0], [0, 1], [255, 255], [0, 1, 97, 0, 0], [0, 0, 9]])
    assert.equal(rowDescription(Buffer.from(bytes)), null);
});

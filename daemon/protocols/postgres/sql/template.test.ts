import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isTemplate, statementText, templateOf } from './template.ts';

const template = (text: string) => (isTemplate(text) ? templateOf(text)?.replaceAll('\0', '#') : null) ?? null;

test('numbers behind a comparison are taken out', () => {
  assert.equal(template('SELECT a FROM t WHERE id = 12345;'), 'SELECT a FROM t WHERE id = #;');
  assert.equal(
    template('update t set b=1,c =22 where d<=333 and e <> 4'),
    'update t set b=#,c =# where d<=# and e <> #',
  );
  assert.equal(
    template('SELECT a FROM t WHERE x = 1 ORDER BY 2 LIMIT 3'),
    'SELECT a FROM t WHERE x = # ORDER BY 2 LIMIT 3',
  );
});

test('whatever is no plain integer of one type stays', () => {
  for (const text of [
    'SELECT a FROM t WHERE id = 1234567890',
    'SELECT a FROM t WHERE id = 1.5',
    'SELECT a FROM t WHERE id = 1e5',
    'SELECT a FROM t WHERE id = 0x1f',
    'SELECT a FROM t WHERE id = 1_000',
    'SELECT a FROM t WHERE id = -5',
    'SELECT a FROM t ORDER BY 1',
    'SELECT a FROM t LIMIT 5',
    'SELECT f(1)',
  ]) {
    assert.equal(template(text), null, text);
  }
});

test('any text that may be cut into tokens otherwise than it looks has no template', () => {
  for (const text of [
    "SELECT a FROM t WHERE b = 1 AND c = 'x'",
    'SELECT a FROM t WHERE b = 1 AND "c" = 2',
    'SELECT a FROM t WHERE b = 1 -- x',
    'SELECT a FROM t WHERE b = 1 /* x */',
    'SELECT a FROM t WHERE b = $1 AND c = 1',
    'SELECT a FROM t WHERE b = 1; DELETE FROM t',
    'SELECT a\tFROM t WHERE b = 1',
    'SELECT ä FROM t WHERE b = 1',
    'WITH x AS (SELECT 1) SELECT a FROM x WHERE b = 1',
    'SET x = 1',
  ]) {
    assert.equal(template(text), null, text);
  }
});

test('the text of the statement is what the parser makes of it', () => {
  assert.equal(statementText(' SELECT 1 ; ;\n'), 'SELECT 1');
});

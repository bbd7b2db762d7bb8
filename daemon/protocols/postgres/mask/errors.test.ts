import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { randomMaskKey } from '../../../masking/key.ts';
import { Scanner } from '../../../masking/scanner.ts';
import { errorField } from '../wire.ts';
import {
  errorResponse,
  maskErrorContent,
  maskNotification,
  maskParameter,
  noticeResponse,
  withhold,
  withholdNotification,
} from './errors.ts';

const key = randomMaskKey();
const detection = { scanner: new Scanner(['emails']), with: 'redact' as const };
const body = (fields: Record<string, string>): Buffer =>
  Buffer.from(
    `${Object.entries(fields)
      .map(([letter, text]) => `${letter}${text}\0`)
      .join('')}\0`,
  );
const field = errorField;

describe('withhold', () => {
  const quoting = {
    S: 'ERROR',
    V: 'ERROR',
    C: '22P02',
    M: 'invalid input syntax for type integer: "canary"',
    D: 'canary',
    H: 'canary',
    P: '8',
    p: '3',
    q: "SELECT 'canary'",
    W: 'canary',
    Z: 'canary',
    s: 'public',
    t: 'people',
    F: 'numutils.c',
    L: '232',
    R: 'pg_strtoint32',
  };
  test('keeps code, severity and position, and says why the text is missing', () => {
    const out = withhold(body(quoting), 'column people.ssn is masked');
    assert.ok(!out.includes('canary'));
    assert.equal(field(out, 'C'), '22P02');
    assert.equal(field(out, 'S'), 'ERROR');
    assert.equal(field(out, 'P'), '8');
    assert.equal(field(out, 't'), 'people');
    assert.equal(field(out, 'M'), 'invalid text representation (text withheld by sluice: masked columns take part)');
    assert.equal(field(out, 'D'), 'column people.ssn is masked');
  });
  test('which conversion failed, or in which domain, is not told', () => {
    for (const letter of 'FLR') assert.equal(field(withhold(body(quoting), 'x'), letter), undefined);
    const domain = body({
      S: 'ERROR',
      C: '23514',
      M: 'x',
      s: 'public',
      d: 'starts_with_b',
      n: 'b',
      F: 'execExprInterp.c',
    });
    const out = withhold(domain, 'x');
    for (const letter of 'sdn') assert.equal(field(out, letter), undefined);
  });
  test('names and codes that RAISE sets to a value do not pass', () => {
    const raised = body({ S: 'NOTICE', V: 'NOTICE', C: 'P0001', M: 'canary', t: 'canary', n: 'canary', d: 'canary' });
    assert.ok(!withhold(raised, 'x').includes('canary'));
    const coded = body({ S: 'ERROR', C: '23456', M: 'x', t: 'canary', F: 'pl_exec.c', R: 'exec_stmt_raise' });
    assert.equal(field(withhold(coded, 'x'), 'C'), 'P0001');
    assert.ok(!withhold(coded, 'x').includes('canary'));
  });
  test('what the server says of the statement itself passes, and nothing that was parsed later', () => {
    const missing = { S: 'ERROR', V: 'ERROR', C: '42703', M: 'column "nope" does not exist', H: 'Perhaps …', P: '8' };
    const said = body({ ...missing, F: 'parse_relation.c' });
    assert.equal(withhold(said, 'x'), said);
    const { P: _, ...nowhere } = missing;
    for (const [name, fields] of Object.entries({
      'without a position': { ...nowhere, F: 'parse_relation.c' },
      'in a context': { ...missing, F: 'parse_relation.c', W: 'SQL function "f"' },
      'of an inner text': { ...missing, F: 'parse_func.c', q: 'SELECT nope', p: '8' },
      'of the name of a type': { ...missing, F: 'parse_type.c' },
      'of a value': { ...missing, F: 'numutils.c' },
      raised: { ...missing, F: 'pl_exec.c' },
    }))
      assert.ok(!withhold(body(fields), 'x').includes('nope'), name);
  });
  test('so does that there is nothing of a name which the client gave', () => {
    const gone = { S: 'ERROR', V: 'ERROR', C: '34000', M: 'cursor "nope" does not exist', F: 'portalcmds.c' };
    const said = body(gone);
    assert.equal(withhold(said, 'x'), said);
    for (const other of [{ F: 'pl_exec.c' }, { F: 'spi.c' }, { C: '26000' }, { W: 'PL/pgSQL function f()' }])
      assert.ok(!withhold(body({ ...gone, ...other }), 'x').includes('nope'), JSON.stringify(other));
  });
  test('what is no error body is refused', () => {
    for (const bad of ['', 'S', 'SERROR', 'SERROR\0', 'SERROR\0\0more'])
      assert.throws(() => withhold(Buffer.from(bad), 'x'), { code: 'UPSTREAM_VIOLATION' });
  });
});

describe('texts', () => {
  test('a native error has its fields in order and no NUL within', () => {
    const error = errorResponse({ severity: 'ERROR', sqlstate: '42501', message: 'no\0 way', hint: 'ask' });
    assert.equal(error.toString('latin1', 5), 'SERROR\0VERROR\0C42501\0Mno\0Hask\0\0');
    assert.equal(error.readUInt32BE(1), error.length - 1);
    assert.equal(String.fromCharCode(noticeResponse({ severity: 'NOTICE', sqlstate: '00000', message: 'x' })[0]!), 'N');
  });
  test('content is found in errors, notifications and parameters', () => {
    const error = body({ S: 'ERROR', C: '23505', M: 'x', D: 'Key (email)=(a@b.io) already exists.' });
    assert.equal(field(maskErrorContent(error, detection, key), 'D'), 'Key (email)=([redacted]) already exists.');
    const plain = body({ S: 'ERROR', C: '23505', M: 'x' });
    assert.equal(maskErrorContent(plain, detection, key), plain);
    assert.equal(
      maskNotification(Buffer.from('\0\0\0\x07news\0to a@b.io\0'), detection, key).toString(),
      '\0\0\0\x07news\0to [redacted]\0',
    );
    assert.equal(
      withholdNotification(Buffer.from('\0\0\0\x07news\0canary\0')).toString(),
      '\0\0\0\x07news\0[redacted]\0',
    );
    assert.equal(
      maskParameter(Buffer.from('application_name\0a@b.io\0'), detection, key).toString(),
      'application_name\0[redacted]\0',
    );
    for (const bad of ['', 'x', 'x\0y', 'x\0y\0z'])
      assert.throws(() => maskParameter(Buffer.from(bad), detection, key), { code: 'UPSTREAM_VIOLATION' });
  });
});

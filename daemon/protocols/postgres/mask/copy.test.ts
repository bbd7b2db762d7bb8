import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DETECTOR_NAMES } from '../../../masking/detectors/table.ts';
import { randomMaskKey } from '../../../masking/key.ts';
import { Scanner } from '../../../masking/scanner.ts';
import type { Detection } from '../../../masking/text.ts';
import type { CopyOut } from '../sql/model.ts';
import type { Plan } from './columns.ts';
import { CopyMasker, type CopyMaskerOptions } from './copy.ts';
import { openRowLibrary } from './library.ts';
import { OutBuffer } from './out.ts';
import { BINARY_COPY, binaryCopy, CSV_COPY, copyData, masked, payloadsOf, TEXT_COPY } from './testing.ts';

const key = randomMaskKey();
const detection: Detection = { scanner: new Scanner(DETECTOR_NAMES), with: 'redact' };
const native = openRowLibrary();
const SECOND: Plan = [null, masked('redact'), null];

interface Case {
  copy: CopyOut;
  plan?: Plan;
  types?: number[];
  detect?: boolean;
  options?: CopyMaskerOptions;
}

function run(parts: Buffer[], { copy, plan = SECOND, types = [0, 0, 0], detect = false, options = {} }: Case): string {
  const masker = new CopyMasker(plan, copy, types, detect ? detection : null, key, options);
  const out = new OutBuffer(16);
  for (const part of parts) masker.push(part, 0, part.length, out);
  masker.end(out);
  return out.view().toString('latin1');
}

/** The same result for the whole, for every cut in two, and for single bytes, with and without messages around. */
function check(input: string | Buffer, expected: string | Buffer, about: Case): void {
  const whole = Buffer.isBuffer(input) ? input : Buffer.from(input);
  const wanted = Buffer.from(expected as string).toString('latin1');
  for (let cut = 0; cut <= whole.length; cut++)
    assert.equal(run([whole.subarray(0, cut), whole.subarray(cut)], about), wanted, `cut at ${cut}`);
  const bytes = Array.from(whole, (byte) => Buffer.of(byte));
  assert.equal(run(bytes, about), wanted, 'byte by byte');
  const { copy, plan = SECOND, types = [0, 0, 0], detect = false } = about;
  const masker = new CopyMasker(plan, copy, types, detect ? detection : null, key);
  const out = new OutBuffer(16);
  const chunk = Buffer.concat([...bytes.map(copyData), copyData(Buffer.alloc(0))]);
  masker.messages(chunk, 0, chunk.length, out);
  assert.equal(Buffer.concat(payloadsOf(out.view())).toString('latin1'), wanted, 'in messages');
  // As the server sends it, a row to a message; where a row holds a newline these are parts.
  for (const with_ of [{ native }, {}]) {
    const rows = whole.toString('latin1').match(/[^\n]*\n|[^\n]+$/g) ?? [];
    const messages = Buffer.concat(rows.map((row) => copyData(Buffer.from(row, 'latin1'))));
    const once = new OutBuffer(16);
    new CopyMasker(plan, copy, types, detect ? detection : null, key, with_).messages(
      messages,
      0,
      messages.length,
      once,
    );
    assert.equal(Buffer.concat(payloadsOf(once.view())).toString('latin1'), wanted, 'a row to a message');
  }
}

describe('CopyMasker, text', () => {
  test('masks a column, keeps NULL and escapes', () => {
    check('1\tcan\\tary\tx\n2\t\\N\ta\\\\\n\\N\t\t\\n\n', '1\t[redacted]\tx\n2\t\\N\ta\\\\\n\\N\t[redacted]\t\\n\n', {
      copy: TEXT_COPY,
    });
  });
  test('NULL of a derived value is masked too', () => {
    const plan = [null, masked('redact', false), masked('redact')];
    check('1\t\\N\t\\N\n', '1\t[redacted]\t\\N\n', { copy: TEXT_COPY, plan });
    check('1,,\n', '1,[redacted],\n', { copy: CSV_COPY, plan });
    check(binaryCopy([['1', null, null]]), binaryCopy([['1', '[redacted]', null]]), {
      copy: BINARY_COPY,
      plan,
      types: [25, 25, 25],
    });
  });
  test('other delimiters and NULLs, also such that stand in the mask', () => {
    const copy = { ...TEXT_COPY, delimiter: '[', null: 'none' };
    check('1[can\\[ary[none\n', '1[\\[redacted][none\n', { copy });
    check('none[\\[[none\n', 'none[\\[redacted][none\n', { copy });
  });
  test('a NULL that a value could be is masked, so that no guess is answered', () => {
    check('1\tguess\tguess\n', '1\t[redacted]\tguess\n', { copy: { ...TEXT_COPY, null: 'guess' } });
    check('1,guess,guess\n', '1,guess,guess\n', { copy: { ...CSV_COPY, null: 'guess' } });
    check('1\t\t\n', '1\t\t\n', { copy: { ...TEXT_COPY, null: '' } });
  });
  test('rows of another width are masked whole', () => {
    check(
      '1\tcanary\n1\t2\tcanary\t4\n1\tcanary\tx\n',
      `${'[redacted]\t[redacted]\t[redacted]\n'.repeat(2)}1\t[redacted]\tx\n`,
      {
        copy: TEXT_COPY,
      },
    );
  });
  test('a newline behind a backslash does not part a row in two', () => {
    check('1\tcan\\\nary\tx\n', '1\t[redacted]\tx\n', { copy: TEXT_COPY });
  });
  test('the header passes once', () => {
    check('id\tmail\tx\n1\tcanary\tx\n', 'id\tmail\tx\n1\t[redacted]\tx\n', { copy: { ...TEXT_COPY, header: true } });
  });
  test('the end marker of old streams passes', () => {
    check('1\tcanary\tx\n\\.\n', '1\t[redacted]\tx\n\\.\n', { copy: TEXT_COPY });
  });
  test('a table without columns passes', () => {
    check('\n\n', '\n\n', { copy: TEXT_COPY, plan: [], types: [] });
  });
  test('a last row without newline is masked whole', () => {
    assert.equal(
      run([Buffer.from('1\tx\ty\n1\tcan')], { copy: TEXT_COPY }),
      '1\t[redacted]\ty\n[redacted]\t[redacted]\t[redacted]',
    );
  });
  test('keyed kinds mask the value, not its escapes', () => {
    const plan = [masked('tokenize')];
    assert.match(
      run([Buffer.from('ab\\tcd\\\\12\n')], { copy: TEXT_COPY, plan, types: [25] }),
      /^[a-z]{2}\\t[a-z]{2}\\\\\d\d\n$/,
    );
  });
  test('types are kept', () => {
    check('1\t77\tx\n', '1\t0\tx\n', { copy: TEXT_COPY, types: [23, 23, 25] });
    check('{1,2}\thappy\tx\n', '{1,2}\t\\N\tx\n', { copy: TEXT_COPY, types: [1007, 99999, 25] });
  });
  test('content is found, also behind escapes', () => {
    const secret = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
    check(`1\tx\\n${secret}\\n\ta@b.io\n2\t\\N\tno\n`, '1\tx\\n[redacted]\\n\t[redacted]\n2\t\\N\tno\n', {
      copy: TEXT_COPY,
      plan: [null, null, null],
      detect: true,
    });
  });
  test('in encodings with ASCII inside of characters, rows that have them are masked whole', () => {
    const row = Buffer.concat([Buffer.from('1\tcan'), Buffer.of(0x83, 0x5c), Buffer.from('\tx\n2\tb\tc\n')]);
    const out = run([row], { copy: TEXT_COPY, options: { asciiUnsafe: true } });
    assert.equal(out, '[redacted]\t[redacted]\t[redacted]\n2\t[redacted]\tc\n');
  });
});

describe('CopyMasker, csv', () => {
  test('quotes, newlines and delimiters within values', () => {
    check('1,"can""ary, x\ny",z\n2,,"a\n"\n"3","",\n', '1,[redacted],z\n2,,"a\n"\n"3",[redacted],\n', {
      copy: CSV_COPY,
    });
  });
  test('other quotes, escapes and delimiters', () => {
    const copy = { ...CSV_COPY, delimiter: '|', quote: "'", escape: '\\' };
    check("1|'can\\'|ary\n\\\\'|x\n", '1|[redacted]|x\n', { copy });
  });
  test('a mask that needs quotes gets them', () => {
    check('1|canary|z\n', '1|^[redacted]^|z\n', {
      copy: { ...CSV_COPY, delimiter: '|', quote: '^', null: '[redacted]' },
    });
  });
  test('the header passes, ragged rows do not', () => {
    check('a,b,c\n1,canary\n', 'a,b,c\n[redacted],[redacted],[redacted]\n', { copy: { ...CSV_COPY, header: true } });
  });
  test('content is found within quotes', () => {
    check('1,"say ""a@b.io"", or",x\n', '1,"say ""[redacted]"", or",x\n', {
      copy: CSV_COPY,
      plan: [null, null, null],
      detect: true,
    });
  });
});

describe('CopyMasker, binary', () => {
  const rows = [
    ['1', 'canary', 'x'],
    [null, null, ''],
    ['2', '', 'y'],
  ];
  test('masks a column between header and trailer', () => {
    const expected = binaryCopy([
      ['1', '[redacted]', 'x'],
      [null, null, ''],
      ['2', '[redacted]', 'y'],
    ]);
    check(binaryCopy(rows), expected, { copy: BINARY_COPY, types: [25, 25, 25] });
  });
  test('a column of unknown type becomes NULL', () => {
    check(binaryCopy([['1', 'canary', 'x']]), binaryCopy([['1', null, 'x']]), { copy: BINARY_COPY });
  });
  test('rows of another width are masked whole', () => {
    const about = { copy: BINARY_COPY, types: [25, 25, 25] };
    check(binaryCopy([['canary', '2']]), binaryCopy([['[redacted]', '[redacted]']]), about);
  });
  test('content is found', () => {
    const about = { copy: BINARY_COPY, types: [25, 25, 25], plan: [null, null, null], detect: true };
    check(binaryCopy([['to a@b.io', 'x', 'y']]), binaryCopy([['to [redacted]', 'x', 'y']]), about);
  });
  test('no header, unknown flags, lengths that lie and rows behind the trailer are refused', () => {
    const good = binaryCopy(rows);
    const bad = [
      Buffer.from('1\t2\t3\n'),
      Buffer.concat([good.subarray(0, 11), Buffer.of(0, 1, 0, 0), good.subarray(15)]),
      Buffer.concat([good.subarray(0, 15), Buffer.of(0, 0, 0, 4), good.subarray(19)]),
      Buffer.concat([good.subarray(0, 21), Buffer.of(0xff, 0xff, 0xff, 0xfe), good.subarray(25)]),
      Buffer.concat([good, Buffer.of(0, 0)]),
      good.subarray(0, 30),
    ];
    for (const stream of bad)
      assert.throws(() => run([stream], { copy: BINARY_COPY, types: [25, 25, 25] }), { code: 'UPSTREAM_VIOLATION' });
  });
});

describe('CopyMasker', () => {
  test('a row longer than is held is an error, not a leak', () => {
    const options = { maxRow: 1000 };
    const part = Buffer.alloc(600, 'x');
    assert.throws(() => run([part, part], { copy: TEXT_COPY, options }), { code: 'MASK_ROW_TOO_LARGE' });
  });
  test('messages stay one to a row, and lying lengths are refused', () => {
    const chunk = Buffer.concat(['1\ta\tb\n', '2\tc\td\n'].map((row) => copyData(Buffer.from(row))));
    const out = new OutBuffer();
    new CopyMasker(SECOND, TEXT_COPY, [0, 0, 0], null, key).messages(chunk, 0, chunk.length, out);
    assert.deepEqual(payloadsOf(out.view()).map(String), ['1\t[redacted]\tb\n', '2\t[redacted]\td\n']);
    for (const length of [0, 3, 500, 0xffffffff]) {
      chunk.writeUInt32BE(length, 1);
      assert.throws(
        () => new CopyMasker(SECOND, TEXT_COPY, [0, 0, 0], null, key).messages(chunk, 0, chunk.length, out),
        {
          code: 'UPSTREAM_VIOLATION',
        },
      );
    }
  });
});

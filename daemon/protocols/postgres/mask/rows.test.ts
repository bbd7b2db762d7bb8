import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DETECTOR_NAMES } from '../../../masking/detectors/table.ts';
import { randomMaskKey } from '../../../masking/key.ts';
import { Scanner } from '../../../masking/scanner.ts';
import type { Plan } from './columns.ts';
import { openRowLibrary, type RowLibrary } from './library.ts';
import { OutBuffer } from './out.ts';
import { RowMasker } from './rows.ts';
import { dataRow, masked, rowsOf, type Value } from './testing.ts';

const key = randomMaskKey();
const native = openRowLibrary();
const TEXT = 25;
const text = (count: number) => Array.from({ length: count }, () => ({ typeOid: TEXT, format: 0 }));
const detection = { scanner: new Scanner(DETECTOR_NAMES), with: 'redact' as const };

function mask(
  plan: Plan,
  rows: Buffer[],
  count = 3,
  library: RowLibrary | null = native,
  detect = false,
): (string | null)[][] {
  const out = new OutBuffer(16);
  const chunk = Buffer.concat(rows);
  new RowMasker(plan, text(count), detect ? detection : null, key, library).mask(chunk, 0, chunk.length, out);
  return rowsOf(out.view());
}

for (const library of [native, null])
  describe(library === null ? 'RowMasker, walked here' : 'RowMasker, in libsluice', () => {
    const rows = [dataRow('1', 'canary', 'x'), dataRow('2', null, ''), dataRow(null, '', 'y'.repeat(70_000))];
    test('redacts a column, keeps NULL and all else', () => {
      assert.deepEqual(mask([null, masked('redact'), null], rows, 3, library), [
        ['1', '[redacted]', 'x'],
        ['2', null, ''],
        [null, '[redacted]', 'y'.repeat(70_000)],
      ]);
    });
    test('makes a column NULL beside a redacted one', () => {
      assert.deepEqual(mask([masked('redact'), masked('null'), null], rows.slice(0, 1), 3, library), [
        ['[redacted]', null, 'x'],
      ]);
    });
    test('NULL of a derived value is masked too, where its type has a value for it', () => {
      const plan = [masked('redact', false), masked('redact'), masked('null', false)];
      assert.deepEqual(mask(plan, [dataRow(null, null, null), dataRow('a', 'b', 'c')], 3, library), [
        ['[redacted]', null, null],
        ['[redacted]', '[redacted]', null],
      ]);
      assert.deepEqual(mask('all', [dataRow(null, 'x', null)], 3, library), [Array(3).fill('[redacted]')]);
    });
    test("'all' and a plan of another length mask every column", () => {
      for (const plan of ['all', [null]] as const)
        assert.deepEqual(mask(plan, rows.slice(0, 1), 3, library), [['[redacted]', '[redacted]', '[redacted]']]);
    });
    test('a row of another width is masked whole, the others as planned', () => {
      const odd = [
        dataRow('1', 'canary', 'x'),
        dataRow('canary'),
        dataRow('a', 'b', 'c', 'd'),
        dataRow(),
        dataRow('2', 'canary', 'z'),
      ];
      assert.deepEqual(mask([null, masked('redact'), null], odd, 3, library), [
        ['1', '[redacted]', 'x'],
        ['[redacted]'],
        ['[redacted]', '[redacted]', '[redacted]', null],
        [],
        ['2', '[redacted]', 'z'],
      ]);
    });
    test('a result without columns passes', () => {
      assert.deepEqual(mask([], [dataRow(), dataRow()], 0, library), [[], []]);
    });
    test('every lie about a length is refused and leaves the output as it was', () => {
      const row = dataRow('one', 'canary', null);
      for (let at = 0; at < 7 + 4; at++)
        for (const value of [0x00, 0x03, 0x7f, 0x80, 0xff]) {
          const bad = Buffer.concat([row, row]);
          if (bad[at] === value) continue;
          bad[at] = value;
          const out = new OutBuffer(16);
          out.copy(Buffer.from('before'), 0, 6);
          const masker = new RowMasker([null, masked('redact'), null], text(3), null, key, library);
          try {
            masker.mask(bad, 0, bad.length, out);
            assert.ok(!out.view().includes('canary'));
          } catch (error) {
            assert.equal((error as { code?: string }).code, 'UPSTREAM_VIOLATION', `byte ${at} as ${value}`);
            assert.equal(out.view().toString(), 'before');
          }
        }
    });
    test('a range within a chunk is masked, what stands around it is not read', () => {
      const row = dataRow('1', 'canary', 'x');
      const chunk = Buffer.concat([Buffer.from('garbage'), row, Buffer.from('D\0\0')]);
      const out = new OutBuffer();
      new RowMasker([null, masked('redact'), null], text(3), null, key, library).mask(chunk, 7, 7 + row.length, out);
      assert.deepEqual(rowsOf(out.view()), [['1', '[redacted]', 'x']]);
    });
  });

describe('RowMasker', () => {
  test('partial, hash and tokenize depend on the value', () => {
    const [row] = mask(
      [masked('partial'), masked('hash'), masked('tokenize')],
      [dataRow('4111111111111111', 'a', '12-ab')],
    );
    assert.equal(row![0], '************1111');
    assert.match(row![1]!, /^[0-9a-f]{32}$/);
    assert.match(row![2]!, /^\d\d-[a-z]{2}$/);
  });
  test('a derived value is redacted whatever the kind', () => {
    const plan = [masked('partial', false), masked('tokenize', false), masked('null', false)];
    assert.deepEqual(mask(plan, [dataRow('4111111111111111', 'a', 'b')]), [['[redacted]', '[redacted]', null]]);
  });

  test('content is found in every place of every row, whatever the length of its field', () => {
    const values = ['4111 1111 1111 1111', 'a@b.io', 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY', '123-45-6789'];
    for (const value of values)
      for (let more = 0; more < 90; more++) {
        const tail = more === 0 ? '' : ` ${'z'.repeat(more - 1)} `;
        const rows = [
          dataRow(value + tail, 'plain', value),
          dataRow('plain', 'more', 'text'),
          dataRow(tail + value, null, value),
        ];
        assert.deepEqual(mask([null, null, null], rows, 3, native, true), [
          [`[redacted]${tail}`, 'plain', '[redacted]'],
          ['plain', 'more', 'text'],
          [`${tail}[redacted]`, null, '[redacted]'],
        ]);
      }
  });

  test('a value is not put together from two fields', () => {
    const row: Value[] = ['4111 1111 ', '1111 1111', 'x'];
    assert.deepEqual(mask([null, null, null], [dataRow(...row)], 3, native, true), [row]);
  });
  test('numbers in which a card is found stay numbers, in text and in binary', () => {
    const fields = [
      { typeOid: 20, format: 0 },
      { typeOid: 20, format: 1 },
      { typeOid: 1700, format: 0 },
    ];
    const binary = Buffer.alloc(8);
    binary.writeBigInt64BE(4111111111111111n);
    const chunk = dataRow('4111111111111111', binary, '4111111111111111');
    const out = new OutBuffer();
    new RowMasker([null, null, null], fields, detection, key, native).mask(chunk, 0, chunk.length, out);
    assert.deepEqual(rowsOf(out.view()), [['0', '\0'.repeat(8), '0']]);
  });
  test('JSON with a card as a number stays JSON', () => {
    const out = new OutBuffer();
    const chunk = Buffer.concat([dataRow('{"card": 4111111111111111}'), dataRow('{"mail": "a@b.io"}')]);
    new RowMasker([null], [{ typeOid: 114, format: 0 }], detection, key, native).mask(chunk, 0, chunk.length, out);
    assert.deepEqual(rowsOf(out.view()), [['"[redacted]"'], ['{"mail": "[redacted]"}']]);
  });
});

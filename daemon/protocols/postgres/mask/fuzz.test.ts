/** Random rows, streams and splits: the output is always valid, and what was masked is never in it. Seeded. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MASK_KINDS } from '../../../core/mask.ts';
import { randomMaskKey } from '../../../masking/key.ts';
import type { CopyOut } from '../sql/model.ts';
import { CopyMasker } from './copy.ts';
import { openRowLibrary } from './library.ts';
import { OutBuffer } from './out.ts';
import { RowMasker } from './rows.ts';
import {
  BINARY_COPY,
  binaryCopy,
  CSV_COPY,
  copyData,
  dataRow,
  masked,
  payloadsOf,
  rowsOf,
  TEXT_COPY,
  type Value,
} from './testing.ts';

const CANARY = 'kanarienvogel';
const SEED = Number(process.env.FUZZ_SEED ?? 20_240_611);
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 400);
const key = randomMaskKey();
const native = openRowLibrary();

/** mulberry32 */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const PIECES = [
  '\t',
  '\n',
  '\\',
  '"',
  ',',
  '""',
  '\\N',
  '\\.',
  "'",
  'a',
  'é',
  '0',
  ' ',
  '\r',
  '[redacted]',
  'D',
  '\x01',
];
type Random = (below: number) => number;
const text = (next: Random): string => Array.from({ length: next(7) }, () => PIECES[next(PIECES.length)]).join('');
const canary = (next: Random): string => text(next) + CANARY + text(next);

function table(next: Random, columns: number, secret: readonly boolean[]): Value[][] {
  return Array.from({ length: next(6) }, () =>
    Array.from({ length: columns }, (_, i) => (next(6) === 0 ? null : secret[i] ? canary(next) : text(next))),
  );
}

function encode(rows: readonly Value[][], copy: CopyOut): Buffer {
  if (copy.format === 'binary') return binaryCopy(rows);
  const field = (value: Value): string => {
    if (value === null) return copy.null;
    const raw = String(value);
    if (copy.format === 'csv') return `"${raw.replaceAll('"', '""')}"`;
    const letters: Record<string, string> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };
    return raw.replace(/[\\\t\n\r]/g, (char) => letters[char]!);
  };
  return Buffer.from(rows.map((row) => `${row.map(field).join(copy.delimiter)}\n`).join(''));
}

for (let round = 0; round < ROUNDS; round += 100)
  test(`rounds ${round} to ${round + 99} of seed ${SEED}`, () => {
    for (let each = round; each < round + 100; each++) {
      const next = random(SEED + each);
      const columns = 1 + next(5);
      const secret = Array.from({ length: columns }, () => next(2) === 0);
      const plan = secret.map((is) => (is ? masked(MASK_KINDS[next(MASK_KINDS.length)]!, next(2) === 0) : null));
      const rows = table(next, columns, secret);
      const types = rows.length === 0 ? [] : plan.map(() => 25);

      const chunk = Buffer.concat(rows.map((row) => dataRow(...row)));
      const fields = plan.map(() => ({ typeOid: 25, format: next(2) }));
      const outputs = [native, null].map((library) => {
        const out = new OutBuffer(16);
        new RowMasker(plan, fields, null, key, library).mask(chunk, 0, chunk.length, out);
        return Buffer.from(out.view());
      });
      assert.deepEqual(outputs[0], outputs[1], `native and walked rows agree, round ${each}`);
      assert.ok(!outputs[0]!.includes(CANARY), `round ${each}`);
      const back = rowsOf(outputs[0]!);
      assert.equal(back.length, rows.length);
      for (const [r, row] of rows.entries())
        for (const [c, value] of row.entries()) if (!secret[c]) assert.equal(back[r]![c], value, `round ${each}`);

      // A flipped byte: an error or rows, never a read outside and never the canary of a masked column in a row as announced.
      if (chunk.length > 0) {
        const bad = Buffer.from(chunk);
        bad[next(bad.length)] = next(256);
        for (const library of [native, null]) {
          try {
            new RowMasker('all', fields, null, key, library).mask(bad, 0, bad.length, new OutBuffer(16));
          } catch (error) {
            assert.equal((error as { code?: string }).code, 'UPSTREAM_VIOLATION');
          }
        }
      }

      if (types.length === 0) continue;
      for (const copy of [TEXT_COPY, CSV_COPY, BINARY_COPY]) {
        const stream = encode(rows, copy);
        const run = (pieces: Buffer[]): string => {
          const masker = new CopyMasker(plan, copy, types, null, key);
          const out = new OutBuffer(16);
          for (const piece of pieces) masker.push(piece, 0, piece.length, out);
          masker.end(out);
          return out.view().toString('latin1');
        };
        const pieces: Buffer[] = [];
        for (let at = 0; at < stream.length; ) {
          const size = 1 + next(20);
          pieces.push(stream.subarray(at, at + size));
          at += size;
        }
        const whole = run([stream]);
        assert.equal(run(pieces), whole, `${copy.format}, round ${each}`);
        assert.ok(!whole.includes(CANARY), `${copy.format}, round ${each}: ${JSON.stringify(whole)}`);
        if (copy.format === 'text') {
          const lines = stream.toString('latin1').match(/[^\n]*\n/g) ?? [];
          const messages = Buffer.concat(lines.map((line) => copyData(Buffer.from(line, 'latin1'))));
          const out = new OutBuffer(16);
          new CopyMasker(plan, copy, types, null, key, { native }).messages(messages, 0, messages.length, out);
          assert.equal(Buffer.concat(payloadsOf(out.view())).toString('latin1'), whole, `native, round ${each}`);
        }
        const broken = Buffer.from(stream);
        broken[next(broken.length)] = next(256);
        let shown = '';
        try {
          const all = new CopyMasker('all', copy, types, null, key);
          const out = new OutBuffer(16);
          all.push(broken, 0, broken.length, out);
          all.end(out);
          shown = out.view().toString('latin1');
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'UPSTREAM_VIOLATION');
        }
        assert.ok(!shown.includes(CANARY), `${copy.format} broken, round ${each}`);
      }
    }
  });

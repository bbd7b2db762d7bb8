/** Rows and streams as the server writes them, for the tests of this folder and the bench. */
import type { MaskKind } from '../../../core/mask.ts';
import type { CopyOut, OutputMask } from '../sql/model.ts';

export type Value = string | Buffer | null;

function int16(value: number): Buffer {
  const out = Buffer.alloc(2);
  out.writeInt16BE(value);
  return out;
}

function int32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeInt32BE(value);
  return out;
}

function values(of: readonly Value[]): Buffer {
  return Buffer.concat(
    of.flatMap((value) => {
      if (value === null) return [int32(-1)];
      const bytes = Buffer.from(value as string);
      return [int32(bytes.length), bytes];
    }),
  );
}

/** DataRow. */
export function dataRow(...of: Value[]): Buffer {
  const body = values(of);
  return Buffer.concat([Buffer.from('D'), int32(6 + body.length), int16(of.length), body]);
}

/** The values of complete DataRow messages; throws where they are none. */
export function rowsOf(bytes: Buffer): (string | null)[][] {
  const rows: (string | null)[][] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes[at] !== 0x44) throw new Error(`no row at ${at}`);
    const end = at + 1 + bytes.readInt32BE(at + 1);
    const count = bytes.readUInt16BE(at + 5);
    const row: (string | null)[] = [];
    at += 7;
    for (let i = 0; i < count; i++) {
      const length = bytes.readInt32BE(at);
      at += 4;
      row.push(length < 0 ? null : bytes.toString('utf8', at, at + length));
      at += Math.max(0, length);
    }
    if (at !== end || end > bytes.length) throw new Error(`a row that ends at ${at}, not ${end}`);
    rows.push(row);
  }
  return rows;
}

/** CopyData. */
export function copyData(payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from('d'), int32(4 + payload.length), payload]);
}

/** Payloads of complete CopyData messages. */
export function payloadsOf(bytes: Buffer): Buffer[] {
  const out: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes[at] !== 0x64) throw new Error(`no CopyData at ${at}`);
    const end = at + 1 + bytes.readInt32BE(at + 1);
    if (end > bytes.length) throw new Error('CopyData longer than its bytes');
    out.push(bytes.subarray(at + 5, end));
    at = end;
  }
  return out;
}

/** The binary format of COPY, with header and trailer. */
export function binaryCopy(rows: readonly (readonly Value[])[]): Buffer {
  return Buffer.concat([
    Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'),
    int32(0),
    int32(0),
    ...rows.flatMap((row) => [int16(row.length), values(row)]),
    int16(-1),
  ]);
}

export function masked(kind: MaskKind, plain = true): OutputMask {
  return { mask: { name: `test ${kind}`, columns: ['*.x'], with: kind, conditions: 'allow' }, plain };
}

export const TEXT_COPY: CopyOut = {
  format: 'text',
  delimiter: '\t',
  null: '\\N',
  quote: '"',
  escape: '"',
  header: false,
};
export const CSV_COPY: CopyOut = { format: 'csv', delimiter: ',', null: '', quote: '"', escape: '"', header: false };
export const BINARY_COPY: CopyOut = { ...TEXT_COPY, format: 'binary' };

/** What Parse declares for parameters, and what Bind gives them. */
import { FIRST_USER_OID } from './sql/catalog-queries.ts';

const NONE: readonly number[] = [];

/**
 * Parse after its text: count(int16) oid(int32) each; 0 leaves the type to the server. The server's own types run nothing
 * of the user's. Where the length lies, the server refuses the message before it looks at a type.
 */
export function userTypes(bytes: Buffer, from: number): readonly number[] {
  if (from + 2 > bytes.length) return NONE;
  const types = new Set<number>();
  for (let at = from + 2; at + 4 <= bytes.length; at += 4) {
    const oid = bytes.readUInt32BE(at);
    if (oid >= FIRST_USER_OID) types.add(oid);
  }
  return types.size === 0 ? NONE : [...types];
}

/**
 * Bind after its names: formats(int16 count, int16 each) parameters(int16 count, each int32 length (-1: NULL) and bytes)
 * Binary values are shown in hex. Null when the lengths lie; the server will refuse that.
 */
export function bindParameters(bytes: Buffer, from: number): (string | null)[] | null {
  if (from + 2 > bytes.length) return null;
  const formats = bytes.readUInt16BE(from);
  let at = from + 2 + 2 * formats;
  if (at + 2 > bytes.length) return null;
  const count = bytes.readUInt16BE(at);
  at += 2;
  const values: (string | null)[] = [];
  for (let i = 0; i < count; i++) {
    if (at + 4 > bytes.length) return null;
    const length = bytes.readInt32BE(at);
    at += 4;
    if (length < 0) {
      values.push(null);
      continue;
    }
    if (at + length > bytes.length) return null;
    const binary =
      formats === 0 ? 0 : bytes.readUInt16BE(from + 2 + 2 * (formats === 1 ? 0 : Math.min(i, formats - 1)));
    const value = bytes.subarray(at, at + length);
    values.push(binary === 0 ? value.toString('utf8') : `\\x${value.toString('hex')}`);
    at += length;
  }
  return values;
}

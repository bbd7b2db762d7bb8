/** Ids that people read out and type: Crockford's base32, which has no I, L, O, U. */
import { randomBytes } from 'node:crypto';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
export const ID_LENGTH = 10;

export function newId(): string {
  // 256 is a multiple of 32, so five bits of a byte are as random as the byte.
  return Array.from(randomBytes(ID_LENGTH), (byte) => ALPHABET[byte & 31]).join('');
}

/** As typed by a person: lower case, hyphens and the letters that look like digits are understood. Null: not an id. */
export function parseId(text: string): string | null {
  const id = text.toUpperCase().replaceAll('-', '').replaceAll('O', '0').replace(/[IL]/g, '1');
  return id.length === ID_LENGTH && [...id].every((c) => ALPHABET.includes(c)) ? id : null;
}

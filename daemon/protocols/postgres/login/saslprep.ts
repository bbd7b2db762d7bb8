/**
 * SASLprep (RFC 4013) the way PostgreSQL applies it (src/common/saslprep.c): a password that the profile forbids is used
 * as it is. Characters that Unicode 3.2 did not have yet are normalised by the tables of today, where PostgreSQL would
 * leave the whole password alone; that matters only to passwords that hold such a character with a compatibility form.
 */

/** RFC 3454 table C.1.2: becomes a plain space. */
const SPACES = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu;
/** Table B.1: becomes nothing. */
const NOTHING = /\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/gu;
/** Tables C.2.1 to C.9: control, private use, non-characters, inappropriate for plain text, deprecated, tagging. */
const FORBIDDEN =
  /\p{Cc}|\p{Co}|\p{Cs}|\p{Noncharacter_Code_Point}|\u06dd|\u070f|\u180e|\u0340|\u0341|[\u200e\u200f]|[\u2028-\u202e]|[\u206a-\u206f]|[\u2061-\u2063]|[\u2ff0-\u2ffb]|[\ufff9-\ufffd]|[\u{1d173}-\u{1d17a}]|[\u{e0001}-\u{e007f}]/u;
const RIGHT_TO_LEFT = /\p{Script=Hebrew}|\p{Script=Arabic}|\p{Script=Syriac}|\p{Script=Thaana}/u;
const LETTER = /\p{L}/u;

export function saslprep(password: string): string {
  if (/^[\x20-\x7e]*$/.test(password)) return password;
  const prepared = password.replace(SPACES, ' ').replace(NOTHING, '').normalize('NFKC');
  if (prepared === '' || FORBIDDEN.test(prepared)) return password;
  const characters = [...prepared];
  if (characters.some((c) => RIGHT_TO_LEFT.test(c))) {
    const ends = RIGHT_TO_LEFT.test(characters[0]!) && RIGHT_TO_LEFT.test(characters.at(-1)!);
    if (!ends || characters.some((c) => LETTER.test(c) && !RIGHT_TO_LEFT.test(c))) return password;
  }
  return prepared;
}

/**
 * Names of objects as `Access.object`, `Operation.functions` and policy patterns write them: parts joined by dots, a part
 * in double quotes where it is anything but lower-case letters, digits, `_` and `$` (a quote within is doubled), as in
 * PostgreSQL's quote_ident but without its list of keywords. So `public.orders` and `public."a.b"` can't be confused.
 */

const PLAIN = /^[\p{Ll}\p{Lo}\p{Lm}_][\p{Ll}\p{Lo}\p{Lm}\p{Nd}_$]*$/u;

export function qualify(...parts: readonly string[]): string {
  return parts.map((part) => (PLAIN.test(part) ? part : `"${part.replaceAll('"', '""')}"`)).join('.');
}

/** Splits a name that `qualify` wrote. Unquoted parts are taken as they are. Null: quotes that don't close, or an empty part. */
export function partsOf(name: string): readonly string[] | null {
  const parts: string[] = [];
  let at = 0;
  for (;;) {
    if (name[at] === '"') {
      let part = '';
      for (;;) {
        const end = name.indexOf('"', at + 1);
        if (end < 0) return null;
        part += name.slice(at + 1, end);
        at = end;
        if (name[end + 1] !== '"') break;
        part += '"';
        at = end + 1;
      }
      at++;
      if (part === '') return null;
      parts.push(part);
    } else {
      let end = at;
      while (end < name.length && name[end] !== '.') {
        if (name[end] === '"') return null;
        end++;
      }
      if (end === at) return null;
      parts.push(name.slice(at, end));
      at = end;
    }
    if (at === name.length) return parts;
    if (name[at] !== '.') return null;
    at++;
  }
}

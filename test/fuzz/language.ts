/**
 * A small language in the place of SQL, which the model server carries out and the stand-in for the analysis reads. What
 * it has is what changes the meaning of later statements in a session:
 *
 *   SHOW            a harmless row                    SECRET          a row that is masked
 *   FAIL, LEAKFAIL  an error; one that quotes          FORBID          policy refuses it; the server must never run it
 *   READ, TOUCH     SECRET or SHOW, FORBID or SHOW, as the path has it (b or a)
 *   SET x, LOCAL x, MAYBE x    the path, for the session, the transaction, or as set_config() does
 *   BEGIN, COMMIT, ROLLBACK, DISCARD
 *   PREPARE n AS s, execute n, DEALLOCATE n, DECLARE n FOR s, fetch n, CLOSE n
 *   COPYIN, COPYOUT, COPYSECRET, NOSUCH (fails as it is parsed)
 *
 * Statements of one text are parted by `;`.
 */
export interface Statement {
  readonly verb: string;
  /** Of a prepared statement or cursor, or the path. */
  readonly name: string;
  readonly inner: Statement | null;
}

export function statementsOf(text: string): Statement[] {
  return text
    .split(';')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map(statementOf);
}

function statementOf(text: string): Statement {
  // The codec's own words for a portal that it does not know.
  const fetch = /^FETCH ALL FROM "(.*)"$/.exec(text);
  if (fetch !== null) return { verb: 'fetch', name: fetch[1]!, inner: null };
  const [verb = '', name = '', , ...rest] = text.split(' ');
  // An identifier is cut where the server cuts it.
  return { verb, name: name.slice(0, 63), inner: rest.length === 0 ? null : statementOf(rest.join(' ')) };
}

export const CANARY = 'CANARY';
/** What stands in the place of a masked value. */
export const MASKED = 'masked';

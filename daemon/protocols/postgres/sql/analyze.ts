/**
 * What a statement does and where each of its output values comes from, without any policy: a pure function of the parse
 * tree, the catalog and the session's names. Bodies of views and functions have to be parsed too, and the parser answers
 * later: an analysis that lacks texts says so, and is run again once they are there (analyzer.ts).
 */
import { SluiceError } from '../../../core/errors.ts';
import { type Act, analysisOf, type Traits } from './analyze-result.ts';
import { type Needs, objectName, Run, type Snapshot, type Texts } from './analyze-run.ts';
import { statement as statementOf } from './analyze-statement.ts';
import { verbOf } from './effects-verb.ts';
import { domainChecks } from './functions.ts';
import { callFunction } from './lineage-calls.ts';
import type { Analysis, Names } from './model.ts';
import type { ParsedStatement } from './parser.ts';
import { FIXED, type Field, Scope } from './scope.ts';
import type { Node } from './scope-tree.ts';

export interface Unready {
  readonly needs: Needs;
}

/**
 * Pure. Gives the texts that have to be parsed first where some are missing. `types`: oids that are declared for its
 * parameters; reading a value of a domain runs the domain's checks, whatever becomes of the value.
 * @throws SluiceError STATEMENT_TOO_COMPLEX, INTERNAL
 */
export function analyze(
  statement: ParsedStatement,
  names: Names,
  snapshot: Snapshot,
  texts: Texts,
  types: readonly number[] = [],
): Analysis | Unready {
  return guarded(statement.text, () => {
    const tree = statement.tree as Node;
    const act = { verb: verbOf(tree), text: statement.text, fingerprint: statement.fingerprint };
    return finished(names, snapshot, texts, act, (run, traits) => {
      for (const type of types) domainChecks(run, type);
      return statementOf(run, new Scope(null), tree, act, traits);
    });
  });
}

/** A function called by the protocol's FunctionCall, its arguments unknown constants. */
export function analyzeCall(oid: number, names: Names, snapshot: Snapshot, texts: Texts): Analysis | Unready {
  const fn = names.catalog.functionByOid(oid);
  const text = fn === undefined ? `function with oid ${oid}` : objectName(fn);
  return guarded(text, () =>
    finished(
      names,
      snapshot,
      texts,
      { verb: 'FunctionCall', text, fingerprint: oid.toString(16).padStart(16, '0') },
      (run) => {
        if (fn === undefined) {
          run.unknown(`${text} is not known`);
          return null;
        }
        run.reach('read');
        return [
          {
            name: fn.name,
            value: callFunction(
              run,
              fn,
              fn.argTypes.map(() => FIXED),
            ),
          },
        ];
      },
    ),
  );
}

function guarded<T>(text: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof SluiceError) throw error;
    const short = text.length > 80 ? `${text.slice(0, 80)}…` : text;
    if (error instanceof RangeError) {
      throw new SluiceError('STATEMENT_TOO_COMPLEX', `nested too deeply to be analysed: ${short}`, { cause: error });
    }
    throw new SluiceError('INTERNAL', `could not analyse: ${short}`, { cause: error });
  }
}

function finished(
  names: Names,
  snapshot: Snapshot,
  texts: Texts,
  act: Act,
  work: (run: Run, traits: Traits) => readonly Field[] | null,
): Analysis | Unready {
  const needs: Needs = { sql: new Set(), plpgsql: new Set() };
  const run = new Run(names, snapshot, texts, needs);
  const traits: Traits = {};
  const fields = work(run, traits);
  const analysis = analysisOf(run, fields, act, traits);
  return needs.sql.size > 0 || needs.plpgsql.size > 0 ? { needs } : analysis;
}

/** From analyses to what the flow decides on: operations, and the plan that masks their results. */
import type { ColumnMask, Obligations } from '../../core/mask.ts';
import type { Operation } from '../../core/operation.ts';
import type { Classified, Plan, Refusal } from '../protocol.ts';
import type { Analysis, Catalog, CopyOut, Names, Protection } from './sql/model.ts';

/** What the codec needs to know about SQL and the database behind; all of it without sockets of the flow's own. */
export interface Statements {
  /** The catalog as it is now. A promise where it has to be read first. Rejects with SluiceError. */
  catalog(): Catalog | Promise<Catalog>;
  /** The catalog as it is after asking anew, whenever it was asked last. Rejects with SluiceError. */
  recheck(): Promise<Catalog>;
  /** `types`: oids of user-made types that are declared for its parameters. */
  analyze(text: string, names: Names, types?: readonly number[]): readonly Analysis[] | Promise<readonly Analysis[]>;
  /** What a FunctionCall of the function with this oid does. */
  analyzeCall(oid: number, names: Names): Analysis | Promise<Analysis>;
  protect(analysis: Analysis, obligations: Obligations, names: Names): Protection;
  /** The mask on a column that the server names by table and number; 'unknown': the catalog does not have the table. */
  maskOf(tableOid: number, attnum: number, obligations: Obligations): ColumnMask | null | 'unknown';
  /** A transaction that changed the catalog has ended. */
  changed(): void;
  /** The flow that it was opened for has ended. */
  left?(): void;
}

export interface PgPlan extends Plan {
  readonly obligations: Obligations;
  /** Parallel to the statements. */
  readonly protections: readonly Protection[];
  /** Parallel to the statements: how COPY TO STDOUT lays its rows out. */
  readonly copies: readonly (CopyOut | undefined)[];
  /** Parallel to the statements: type oid of each output that is a plain column, else 0. */
  readonly types: readonly (readonly number[])[];
  /** Nothing that comes back has to be looked at. */
  readonly clear: boolean;
}

const NOTHING: Protection = { outputs: [], withholdErrors: false, masks: [] };

export class PgClassified implements Classified {
  readonly operations: readonly Operation[];
  readonly analyses: readonly Analysis[];
  readonly names: Names;
  readonly like?: PgClassified;
  readonly #statements: Statements;
  #plan: PgPlan | null = null;

  /** `like`: the same statement with other constants, whose plan holds for this one too. */
  constructor(analyses: readonly Analysis[], names: Names, statements: Statements, like?: PgClassified) {
    if (like !== undefined) this.like = like;
    this.analyses = analyses;
    this.operations = analyses.map((analysis) => analysis.operation);
    this.names = names;
    this.#statements = statements;
  }

  protect(obligations: Obligations): PgPlan {
    if (this.like !== undefined) return this.like.protect(obligations);
    if (this.#plan?.obligations === obligations) return this.#plan;
    this.#plan = this.#make(obligations);
    return this.#plan;
  }

  #make(obligations: Obligations): PgPlan {
    const plan = this.#masked(obligations);
    const forbidden = this.analyses.find((analysis) => analysis.forbidden !== undefined)?.forbidden;
    if (forbidden === undefined) return plan;
    return { ...plan, refuse: { code: 'PROTOCOL_UNSUPPORTED', message: `sluice: ${forbidden}` } };
  }

  #masked(obligations: Obligations): PgPlan {
    const copies = this.analyses.map((analysis) => analysis.copyOut);
    const types = this.analyses.map((analysis) => (analysis.copyOut === undefined ? [] : outputTypes(analysis)));
    if (obligations.masks.length === 0) {
      const clear = obligations.detect.length === 0;
      return { obligations, protections: this.analyses.map(() => NOTHING), copies, types, clear, masks: [] };
    }
    const protections = this.analyses.map((analysis) => this.#statements.protect(analysis, obligations, this.names));
    const masks = [...new Set(protections.flatMap((protection) => protection.masks))];
    const refused = protections.find((protection) => protection.refuse !== undefined)?.refuse;
    const plan: PgPlan = { obligations, protections, copies, types, clear: false, masks };
    if (refused === undefined) return plan;
    const refusal: Refusal = { code: refused.code, message: refused.reason, hint: refused.hint };
    return { ...plan, refuse: refusal };
  }
}

function outputTypes({ outputs }: Analysis): readonly number[] {
  return (outputs ?? []).map(({ plain, columns }) => (plain && columns.length === 1 ? columns[0]!.column.typeOid : 0));
}

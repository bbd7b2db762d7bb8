/** How the rows or the copied data of one result are treated: by the plan of its statement, and by what the server says of it. */
import type { Obligations } from '../../core/mask.ts';
import type { Answer } from './answers.ts';
import type { Statements } from './classify.ts';
import type { CopyMasking, MaskTools, RowMasking } from './mask-tools.ts';
import type { CopyOut, OutputMask, Protection } from './sql/model.ts';
import type { Field } from './wire.ts';

export type Mode =
  | { readonly kind: 'pass' }
  | { readonly kind: 'rows'; readonly masking: RowMasking }
  | { readonly kind: 'copy'; readonly masking: CopyMasking };

export const PASS: Mode = { kind: 'pass' };

const UNKNOWN_COPY: CopyOut = { format: 'text', delimiter: '\t', null: '\\N', quote: '"', escape: '"', header: false };

export interface ResultParts {
  readonly statements: Statements;
  readonly tools: MaskTools;
  readonly obligations: () => Obligations;
}

export class Results {
  readonly #parts: ResultParts;

  constructor(parts: ResultParts) {
    this.#parts = parts;
  }

  /** `fields`: as the server described the rows; null: it did not. */
  rows(first: Answer | undefined, fields: readonly Field[] | null): Mode {
    const held = this.#held(first);
    if (held === null) return PASS;
    const masking = this.#parts.tools.rows(this.#outputs(first, fields, held), fields, held);
    return masking === null ? PASS : { kind: 'rows', masking };
  }

  /** `columns`: as many as the server announced. */
  copy(first: Answer | undefined, columns: number, encoding: string): Mode {
    const held = this.#held(first);
    if (held === null) return PASS;
    const options = first?.plan?.copies[first.at] ?? UNKNOWN_COPY;
    const known = first?.plan?.types[first.at] ?? [];
    const types = Array.from({ length: columns }, (_, i) => (known.length === columns ? known[i]! : 0));
    const masking = this.#parts.tools.copy(this.#outputs(first, null, held), { encoding, ...options }, types, held);
    return masking === null ? PASS : { kind: 'copy', masking };
  }

  /** What is masked in the answer in front; null: nothing. What comes without a plan is held to all that applies now. */
  #held(first: Answer | undefined): Obligations | null {
    const plan = first?.plan ?? null;
    if (plan !== null) return plan.clear ? null : plan.obligations;
    const obligations = this.#parts.obligations();
    return obligations.masks.length === 0 && obligations.detect.length === 0 ? null : obligations;
  }

  /** The plan's outputs, held against what the server itself says of each column. */
  #outputs(
    first: Answer | undefined,
    fields: readonly Field[] | null,
    obligations: Obligations,
  ): readonly (OutputMask | null)[] | 'all' {
    if (obligations.masks.length === 0) return [];
    const protection: Protection | undefined = first?.plan?.protections[first.at];
    if (protection === undefined || protection.outputs === 'all') return 'all';
    if (fields === null) return protection.outputs;
    if (fields.length !== protection.outputs.length) return 'all';
    const outputs: (OutputMask | null)[] = [];
    for (let i = 0; i < fields.length; i++) {
      const planned = protection.outputs[i] ?? null;
      const field = fields[i]!;
      const known =
        planned !== null || field.tableOid === 0
          ? null
          : this.#parts.tools.column(field.tableOid, field.attnum, obligations);
      if (known === 'unknown') {
        // A table that the catalog did not have when the statement was decided.
        this.#parts.statements.changed();
        return 'all';
      }
      outputs.push(planned ?? (known === null ? null : { mask: known, plain: true }));
    }
    return outputs;
  }
}

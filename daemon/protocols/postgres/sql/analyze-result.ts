/** A finished run as an Analysis. */
import type { Operation } from '../../../core/operation.ts';
import type { Reach, Run } from './analyze-run.ts';
import type { Analysis, CopyOut, Origin, Use } from './model.ts';
import type { Field, Value } from './scope.ts';

/** What names a statement for people and for audit. */
export type Act = Pick<Operation, 'verb' | 'text' | 'fingerprint'>;

/** What a statement is beside its effects and columns. */
export interface Traits {
  copyOut?: CopyOut;
  copyIn?: boolean;
  explain?: boolean;
  runs?: NonNullable<Analysis['runs']>;
}

export function analysisOf(run: Run, fields: readonly Field[] | null, act: Act, traits: Traits): Analysis {
  const operation: Operation = {
    protocol: 'postgres',
    ...act,
    accesses: run.accesses(),
    functions: [...run.functions],
    ...(run.unclassified === undefined ? {} : { unclassified: run.unclassified }),
  };
  return {
    operation,
    outputs: fields?.map((field) => originOf(field.value)) ?? null,
    uses: run.seen.map(({ value, ...use }): Use => ({ ...use, origin: originOf(value) })),
    relations: [...run.relations],
    defines: [...run.defines],
    columns: [...run.columns],
    renamedSchemas: [...run.renamedSchemas],
    changes: run.changes,
    ...([...run.reaches.values()].flatMap(planned).every(({ effect }) => effect === 'read') ? {} : { plans: true }),
    ...(run.budget.unresolved ? { unresolved: true } : {}),
    ...(run.opaque === undefined ? {} : { opaque: run.opaque }),
    ...(run.forbidden === undefined ? {} : { forbidden: run.forbidden }),
    ...traits,
  };
}

/** What planning alone does of what running would: reading, and whatever functions do. */
export function planned(reach: Reach): Reach[] {
  if (reach.deep || reach.effect === 'code' || reach.effect === 'file' || reach.effect === 'program') return [reach];
  if (reach.effect === 'privilege' || reach.effect === 'network') return [reach];
  return [{ ...reach, effect: 'read' }];
}

export function originOf(value: Value): Origin {
  // A value that still hangs on an argument stands in no body that was called: it can't be known.
  const reason = value.untraced ?? (value.args !== 0 ? 'an argument that is not known' : undefined);
  const origin = { columns: value.columns, plain: value.plain };
  return reason === undefined ? origin : { ...origin, untraced: reason };
}

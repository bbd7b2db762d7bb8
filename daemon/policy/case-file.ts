/** The language of `*.test.yaml`: the one source of its types and its JSON Schema. */
import { z } from 'zod';
import { EFFECTS } from '../core/operation.ts';
import { type Path, suggest } from './diagnostic.ts';
import type { CompiledPolicy } from './policy.ts';
import { connection, connectionFaults, type Fault, nameAsked, nameFaults, socketFaults } from './reach.ts';
import type { Report } from './source.ts';

const name = z.string().trim().min(1).max(200);
const access = z.strictObject({
  effect: z.enum(EFFECTS),
  object: name.optional().describe('Absent: the effect is on no named object.'),
  behind: z.array(name).optional(),
  columns: z.array(name).optional(),
});

const testCase = z
  .strictObject({
    name,
    who: z.strictObject({
      subject: name.optional().describe('Absent: `test`.'),
      groups: z.array(name).default([]).describe('Absent or empty: in no group.'),
    }),
    on: name.optional().describe('The resource, of an operation on one: with sql or operation.'),
    dns: nameAsked.optional(),
    connect: connection.optional(),
    unix: z
      .string()
      .min(1)
      .optional()
      .describe('A UNIX socket of the host that a session connects to, as its server has bound it.'),
    sql: z.string().min(1).optional().describe('The act as text, in whatever language the resource speaks.'),
    operation: z
      .strictObject({
        verb: name.default('TEST'),
        effects: z
          .array(z.enum(EFFECTS))
          .default([])
          .describe('Each on each of tables; on no object where there are none.'),
        tables: z.array(name).default([]),
        accesses: z.array(access).default([]).describe('Further accesses, one by one.'),
        functions: z.array(name).default([]),
        text: z.string().default(''),
        unclassified: name.optional(),
      })
      .optional()
      .describe('The act by what it does: needs no classifier.'),
    at: z.iso.datetime().optional().describe('When it is asked, for conditions on time. Absent: now.'),
    expect: z
      .enum(['allow', 'deny', 'approve'])
      .describe('deny also for what masks or the protocol refuse, whatever rules say.'),
    rule: name.nullish().describe('The rule that has to decide; null: none. Absent: any.'),
    masked: z
      .array(name)
      .optional()
      .describe('Result columns that have to come back masked, in any order, and no other. Absent: not looked at.'),
  })
  .meta({ oneOf: [{ required: ['on'] }, { required: ['dns'] }, { required: ['connect'] }, { required: ['unix'] }] })
  .describe('Exactly one of on, dns, connect and unix; with on, one of sql and operation.');

export const testFile = z.strictObject({
  apiVersion: z.literal('sluice/v1'),
  cases: z.array(testCase).min(1),
});

export type Case = z.output<typeof testCase>;

/** What a case says twice, not at all, or for nothing. */
export function checkCase(one: Case, path: Path, policy: CompiledPolicy, report: Report): void {
  const { on, dns, connect, unix } = one;
  const about = Object.entries({ on, dns, connect, unix }).flatMap(([key, value]) =>
    value === undefined ? [] : [key],
  );
  if (about.length !== 1) {
    report(
      path,
      `needs exactly one of on, dns, connect and unix${about.length === 0 ? '' : `, and has ${about.join(' and ')}`}`,
    );
    return;
  }
  const [key = ''] = about;
  const tell = (faults: readonly Fault[]): void => {
    for (const { key: below, message, suggestion } of faults)
      report(
        [...path, key, ...(below === undefined ? [] : [below])],
        message,
        suggestion === undefined ? {} : { suggestion },
      );
  };
  if (dns !== undefined) tell(nameFaults(dns));
  if (connect !== undefined) tell(connectionFaults(connect));
  if (unix !== undefined) tell(socketFaults(unix));
  if (on === undefined) {
    for (const other of ['sql', 'operation', 'masked'] as const)
      if (one[other] !== undefined) report([...path, other], `${other} goes with on`, { key: true });
  } else {
    if (!policy.resources.has(on))
      report([...path, 'on'], `there is no resource ${JSON.stringify(on)}`, suggest(on, policy.resources.keys()));
    if ((one.sql === undefined) === (one.operation === undefined)) report(path, 'needs sql or operation, one of them');
  }
  if (dns === undefined && unix === undefined) return;
  if (one.expect === 'approve')
    report([...path, 'expect'], `${key} is let or refused: nobody is asked`, { suggestion: 'allow or deny' });
  if (one.at !== undefined) report([...path, 'at'], `no entry of ${key} looks at the time`, { key: true });
}

/** JSON Schema (draft 2020-12) of a file of cases, for editors. */
export const caseSchema = () => ({ title: 'sluice policy cases', ...z.toJSONSchema(testFile, { io: 'input' }) });

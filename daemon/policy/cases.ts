/** Cases kept beside a policy in `*.test.yaml`: who does what, and what has to come of it. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Decision } from '../core/decision.ts';
import { SluiceError } from '../core/errors.ts';
import type { Obligations } from '../core/mask.ts';
import { EFFECTS, type Operation } from '../core/operation.ts';
import type { Question } from '../core/policy.ts';
import type { Principal } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import { type Diagnostic, diagnosticText, suggest } from './diagnostic.ts';
import { validate } from './issues.ts';
import type { CompiledPolicy } from './policy.ts';
import { parseSource, readPaths, reporter } from './source.ts';

/** Makes operations of a text in the resource's language, which runs nowhere. */
export interface Classifier {
  /** One entry for each operation in the text, in order. */
  classify(resource: Resource, text: string): Promise<readonly Classified[]>;
  /** Lets go of what it holds; nothing is classified afterwards. */
  close?(): Promise<void>;
}

export interface Classified {
  readonly operation: Operation;
  /** Names of result columns that come back masked under these obligations. Absent: the protocol has no columns. */
  masked?(obligations: Obligations): readonly string[];
  /** Why it can't be let through under these obligations, whatever the rules say; null: it can. Absent: it always can. */
  refused?(obligations: Obligations): string | null;
}

const name = z.string().trim().min(1).max(200);
const access = z.strictObject({
  effect: z.enum(EFFECTS),
  object: name.optional().describe('Absent: the effect is on no named object.'),
  behind: z.array(name).optional(),
  columns: z.array(name).optional(),
});

const testCase = z.strictObject({
  name,
  who: z.strictObject({
    subject: name.optional().describe('Absent: `test`.'),
    groups: z.array(name).default([]).describe('Absent or empty: in no group.'),
  }),
  on: name,
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
});

export const testFile = z.strictObject({
  apiVersion: z.literal('sluice/v1'),
  cases: z.array(testCase).min(1),
});

type Case = z.output<typeof testCase>;

export interface CaseResult {
  readonly file: string;
  readonly line: number;
  readonly name: string;
  /** Null: as expected. */
  readonly fault: string | null;
  readonly decision: Decision | null;
}

/** Test files among and in the paths. */
export function testFiles(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
    if (isFolder)
      return readdirSync(path)
        .filter((file) => /\.test\.ya?ml$/.test(file))
        .sort()
        .map((file) => join(path, file));
    if (/\.test\.ya?ml$/.test(path)) return [path];
    const beside = path.replace(/\.(ya?ml)$/, '.test.$1');
    return statSync(beside, { throwIfNoEntry: false }) === undefined ? [] : [beside];
  });
}

/** @throws SluiceError POLICY_INVALID with every fault of the file. */
export async function runCases(
  file: string,
  policy: CompiledPolicy,
  classifier: Classifier | undefined,
  now: () => number,
): Promise<CaseResult[]> {
  const found: Diagnostic[] = [];
  const source = parseSource(file, readPaths([file])[0]!.text, found);
  const report = reporter(source, found);
  const suite = found.length === 0 ? validate(testFile, source.data, report) : null;
  suite?.cases.forEach((one, i) => {
    if (!policy.resources.has(one.on))
      report(
        ['cases', i, 'on'],
        `there is no resource ${JSON.stringify(one.on)}`,
        suggest(one.on, policy.resources.keys()),
      );
    if ((one.sql === undefined) === (one.operation === undefined))
      report(['cases', i], 'needs sql or operation, one of them');
  });
  if (suite === null || found.length > 0) throw new SluiceError('POLICY_INVALID', found.map(diagnosticText).join('\n'));
  const results: CaseResult[] = [];
  for (const [i, one] of suite.cases.entries()) {
    const base = { file, line: source.locate(['cases', i]).line, name: one.name };
    try {
      results.push({ ...base, ...(await runCase(one, policy, classifier, now)) });
    } catch (error) {
      results.push({ ...base, fault: `could not be run: ${(error as Error).message}`, decision: null });
    }
  }
  return results;
}

async function runCase(
  one: Case,
  policy: CompiledPolicy,
  classifier: Classifier | undefined,
  now: () => number,
): Promise<{ fault: string | null; decision: Decision | null }> {
  const resource = policy.resources.get(one.on)!;
  const principal = { subject: one.who.subject ?? 'test', groups: one.who.groups };
  let acts: readonly Classified[];
  if (one.operation !== undefined) acts = [{ operation: operationOf(one.operation, resource) }];
  else if (classifier === undefined)
    throw new SluiceError('CONFIG_INVALID', 'this build has no classifier for texts: use operation:');
  else acts = await classifier.classify(resource, one.sql!);
  const at = one.at === undefined ? now() : Date.parse(one.at);
  const decisions = acts.map(({ operation }) => policy.decide(question(principal, resource, operation, at)));
  const decision = worst(decisions);
  if (decision === null) return { fault: 'the text holds no operation', decision };
  const obligations = policy.obligations(principal, resource);
  const refused = acts.flatMap((act) => act.refused?.(obligations) ?? [])[0];
  const ruled = decision.observed ?? decision.outcome;
  const outcome = refused === undefined ? ruled : 'deny';
  const reason = outcome === ruled ? decision.reason : refused;
  if (outcome !== one.expect) return { fault: `expected ${one.expect}, got ${outcome}: ${reason}`, decision };
  if (one.rule !== undefined && decision.rule !== one.rule)
    return {
      fault: `expected rule ${JSON.stringify(one.rule)}, decided by ${JSON.stringify(decision.rule)}`,
      decision,
    };
  if (one.masked !== undefined) {
    const masked = [...new Set(acts.flatMap((act) => act.masked?.(obligations) ?? []))].sort();
    const want = [...new Set(one.masked)].sort();
    if (masked.join('\0') !== want.join('\0'))
      return { fault: `expected masked [${want.join(', ')}], got [${masked.join(', ')}]`, decision };
  }
  return { fault: null, decision };
}

function operationOf(given: NonNullable<Case['operation']>, resource: Resource): Operation {
  const { verb, effects, tables, accesses, functions, text, unclassified } = given;
  const made = effects.flatMap((effect) =>
    tables.length === 0 ? [{ effect }] : tables.map((object) => ({ effect, object })),
  );
  const more = accesses.map(({ effect, object, behind, columns }) => ({
    effect,
    ...(object === undefined ? {} : { object }),
    ...(behind === undefined ? {} : { behind }),
    ...(columns === undefined ? {} : { columns }),
  }));
  return {
    protocol: resource.protocol,
    verb,
    text,
    fingerprint: '',
    accesses: [...made, ...more],
    functions,
    ...(unclassified === undefined ? {} : { unclassified }),
  };
}

/** A question outside any real session. */
export function question(principal: Principal, resource: Resource, operation: Operation, now: number): Question {
  return {
    session: { id: '0'.repeat(32), principal, cgroupId: 0n, uid: 0, command: [], startedAt: now },
    resource,
    operation,
    now,
  };
}

const DANGER = { allow: 0, approve: 1, deny: 2 };

/** The decision on several operations sent as one. Null for none. */
export function worst(decisions: readonly Decision[]): Decision | null {
  const rank = (d: Decision): number => DANGER[d.observed ?? d.outcome];
  return decisions.reduce<Decision | null>((most, d) => (most === null || rank(d) > rank(most) ? d : most), null);
}

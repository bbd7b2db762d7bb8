/** Cases kept beside a policy in `*.test.yaml`: who does what, and what has to come of it. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Decision } from '../core/decision.ts';
import { SluiceError } from '../core/errors.ts';
import type { Obligations } from '../core/mask.ts';
import type { Operation } from '../core/operation.ts';
import type { Question } from '../core/policy.ts';
import type { Principal } from '../core/principal.ts';
import type { Resource } from '../core/resource.ts';
import { type Case, checkCase, testFile } from './case-file.ts';
import { type Diagnostic, diagnosticText } from './diagnostic.ts';
import { validate } from './issues.ts';
import type { CompiledPolicy } from './policy.ts';
import {
  type Connector,
  decideName,
  didYouMean,
  nothingThere,
  plainName,
  resourceMet,
  saidOf,
  sessionOf,
} from './reach.ts';
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

/** What makes operations for cases. */
export interface Makers {
  /** Of texts. Absent: only operations given by effect can be decided. */
  readonly classifier?: Classifier;
  /** Of connections to what passes unread, by protocol. */
  readonly connectors?: Readonly<Record<string, Connector>>;
}

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
  makers: Makers,
  now: () => number,
): Promise<CaseResult[]> {
  const found: Diagnostic[] = [];
  const source = parseSource(file, readPaths([file])[0]!.text, found);
  const report = reporter(source, found);
  const suite = found.length === 0 ? validate(testFile, source.data, report) : null;
  suite?.cases.forEach((one, i) => {
    checkCase(one, ['cases', i], policy, report);
    const met = one.connect === undefined ? null : resourceMet(policy, one.connect.to);
    if (met !== null && !isConnectable(met, makers))
      report(['cases', i, 'connect', 'to'], decidedByOperation(met), { suggestion: 'on: with sql or operation' });
  });
  if (suite === null || found.length > 0) throw new SluiceError('POLICY_INVALID', found.map(diagnosticText).join('\n'));
  const results: CaseResult[] = [];
  for (const [i, one] of suite.cases.entries()) {
    const base = { file, line: source.locate(['cases', i]).line, name: one.name };
    try {
      results.push({ ...base, ...(await runCase(one, policy, makers, now)) });
    } catch (error) {
      results.push({ ...base, fault: `could not be run: ${(error as Error).message}`, decision: null });
    }
  }
  return results;
}

interface Verdict {
  /** Null: there is nothing to decide. */
  readonly decision: Decision | null;
  /** Why it does not pass, whatever the rules say. Null: they alone count. */
  readonly refused: string | null;
  /** A name that is near, for who mistyped it. */
  readonly near?: string;
  /** What else is not as the case wants it. Null: nothing. */
  further?(): string | null;
}

async function runCase(
  one: Case,
  policy: CompiledPolicy,
  makers: Makers,
  now: () => number,
): Promise<{ fault: string | null; decision: Decision | null }> {
  const principal = { subject: one.who.subject ?? 'test', groups: one.who.groups };
  const verdict = await verdictOn(one, policy, principal, makers, one.at === undefined ? now() : Date.parse(one.at));
  const { decision, refused, near = '' } = verdict;
  if (decision === null) return { fault: 'the text holds no operation', decision };
  const ruled = decision.observed ?? decision.outcome;
  const outcome = refused === null ? ruled : 'deny';
  const reason = outcome === ruled ? decision.reason : refused;
  if (outcome !== one.expect) return { fault: `expected ${one.expect}, got ${outcome}: ${reason}${near}`, decision };
  if (one.rule !== undefined && decision.rule !== one.rule)
    return {
      fault: `expected rule ${JSON.stringify(one.rule)}, decided by ${JSON.stringify(decision.rule)}`,
      decision,
    };
  return { fault: verdict.further?.() ?? null, decision };
}

async function verdictOn(
  one: Case,
  policy: CompiledPolicy,
  principal: Principal,
  makers: Makers,
  at: number,
): Promise<Verdict> {
  const { dns, connect, unix } = one;
  if (dns !== undefined) {
    const decision = decideName(policy, principal, dns);
    const found = decision.inward ? 'any' : 'outward';
    return {
      decision,
      refused: null,
      ...(decision.known ? {} : { near: didYouMean(plainName(dns.name), policy.names) }),
      further: () =>
        dns.answers === undefined || decision.outcome !== 'allow' || dns.answers === found
          ? null
          : `expected answers ${dns.answers}, and they are ${found}`,
    };
  }
  if (unix !== undefined) {
    const decision = policy.unixSocket(principal, unix);
    return { decision, refused: null, near: didYouMean(unix, policy.socketNames) };
  }
  if (connect !== undefined) {
    const resource = resourceMet(policy, connect.to);
    if (resource === null) return { decision: nothingThere(policy, connect.to), refused: null };
    const { operation, refused } = await connectorFor(resource, makers)(resource, saidOf(connect));
    return { decision: policy.decide(question(principal, resource, operation, at)), refused };
  }
  return verdictOnActs(one, policy, principal, makers, at);
}

async function verdictOnActs(
  one: Case,
  policy: CompiledPolicy,
  principal: Principal,
  { classifier }: Makers,
  at: number,
): Promise<Verdict> {
  const resource = policy.resources.get(one.on!)!;
  let acts: readonly Classified[];
  if (one.operation !== undefined) acts = [{ operation: operationOf(one.operation, resource) }];
  else if (classifier === undefined)
    throw new SluiceError('CONFIG_INVALID', 'this build has no classifier for texts: use operation:');
  else acts = await classifier.classify(resource, one.sql!);
  const decision = worst(acts.map(({ operation }) => policy.decide(question(principal, resource, operation, at))));
  const obligations = policy.obligations(principal, resource);
  return {
    decision,
    refused: acts.flatMap((act) => act.refused?.(obligations) ?? [])[0] ?? null,
    further() {
      if (one.masked === undefined) return null;
      const masked = [...new Set(acts.flatMap((act) => act.masked?.(obligations) ?? []))].sort();
      const want = [...new Set(one.masked)].sort();
      return masked.join('\0') === want.join('\0')
        ? null
        : `expected masked [${want.join(', ')}], got [${masked.join(', ')}]`;
    },
  };
}

const isConnectable = ({ protocol }: Resource, { connectors = {} }: Makers): boolean =>
  Object.hasOwn(connectors, protocol);

const decidedByOperation = ({ name, protocol }: Resource): string =>
  `${name} speaks ${protocol}: each operation is decided, and not the connection`;

/** @throws SluiceError CONFIG_INVALID where the protocol decides what is sent, and not the connection. */
export function connectorFor(resource: Resource, makers: Makers): Connector {
  if (isConnectable(resource, makers)) return makers.connectors![resource.protocol]!;
  throw new SluiceError('CONFIG_INVALID', decidedByOperation(resource), {
    hint: 'name the resource, and an operation on it',
  });
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
    session: sessionOf(principal, now),
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

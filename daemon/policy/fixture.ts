/** For tests: a kit with a protocol that has no server, policies from text, and questions. */
import { z } from 'zod';
import type { Decision } from '../core/decision.ts';
import { SluiceError } from '../core/errors.ts';
import type { Access, Effect, Operation } from '../core/operation.ts';
import { question } from './cases.ts';
import { diagnosticText } from './diagnostic.ts';
import { type Checkup, checkPolicy } from './load.ts';
import type { CompiledPolicy } from './policy.ts';
import type { Kit } from './schema.ts';

export const KIT: Kit = {
  protocols: { plain: { options: z.strictObject({ depth: z.int().optional() }) } },
  detectors: ['cloud-keys', 'emails', 'tokens'],
};

/** Where a test declares no resource of its own. */
export const SHOP = `apiVersion: sluice/v1
resources:
  shop: {protocol: plain, address: "db.shop.example:5433"}
  other: {protocol: plain, address: "198.51.100.23:5433"}
`;

/** Checks texts as files `0.yaml`, `1.yaml`, … */
export const check = (...texts: readonly string[]): Checkup =>
  checkPolicy(
    texts.map((text, i) => ({ file: `${i}.yaml`, text })),
    KIT,
  );

export function policyOf(...texts: readonly string[]): CompiledPolicy {
  const { policy, diagnostics } = check(...texts);
  if (policy === null) throw new SluiceError('POLICY_INVALID', diagnostics.map(diagnosticText).join('\n'));
  return policy;
}

/** Diagnostics as text. */
export const told = (...texts: readonly string[]): string[] => check(...texts).diagnostics.map(diagnosticText);

export const AGENT = { subject: 'agent@example.com', groups: ['ai-agents'] };

export function operation(accesses: readonly Access[], more: Partial<Operation> = {}): Operation {
  return { protocol: 'plain', verb: 'ACT', text: 'act', fingerprint: '00', accesses, functions: [], ...more };
}

export const on = (effect: Effect, ...objects: readonly string[]): Access[] =>
  objects.map((object) => ({ effect, object }));

export function decide(
  policy: CompiledPolicy,
  op: Operation,
  who: { subject: string; groups: readonly string[] } = AGENT,
  resource = 'shop',
  now = 0,
): Decision {
  return policy.decide(question(who, policy.resources.get(resource)!, op, now));
}

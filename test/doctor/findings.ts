/** What `sluice doctor --json` prints, to the letter. */
import assert from 'node:assert/strict';
import { z } from 'zod';

const TRY = z.strictObject({
  name: z.string().regex(/^[a-z0-9-]+(@far)?$/),
  escaped: z.boolean(),
  how: z.string().min(1),
  sent: z.literal(true).optional(),
  untried: z.literal(true).optional(),
});

export const FINDINGS = z.array(
  z.strictObject({
    guarantee: z.string(),
    says: z.string(),
    required: z.boolean(),
    held: z.boolean().nullable(),
    by: z.array(z.string()),
    needs: z.string().nullable(),
    tried: z.array(TRY),
  }),
);
export type Findings = z.infer<typeof FINDINGS>;

/** The row of a guarantee. @throws AssertionError when there is none. */
export function find(list: Findings, name: string): Findings[number] {
  const one = list.find(({ guarantee }) => guarantee === name);
  assert.ok(one !== undefined, `there is no row for ${name}`);
  return one;
}

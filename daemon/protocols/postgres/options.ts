/** What may stand under `options:` of a resource that speaks PostgreSQL. */
import { z } from 'zod';

export const postgresOptions = z.strictObject({
  databases: z
    .array(z.string().min(1).max(63))
    .min(1, { error: 'an empty list: leave the key out, or name a database' })
    .optional()
    .describe('Databases that may be connected to. Absent: any.'),
  replication: z
    .boolean()
    .default(false)
    .describe('Are replication connections let through? Nothing that they carry is decided or masked. Absent: no.'),
});

export type PostgresOptions = z.output<typeof postgresOptions>;

/** The configuration of sluiced: one JSON file, strict, every path absolute. */
import { readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { SluiceError } from '../core/errors.ts';
import { identitySettings } from '../identify/oidc/settings.ts';
import { resolverOf } from './resolvers.ts';

const path = z.string().refine(isAbsolute, { error: 'has to be an absolute path' });

const schema = z.strictObject({
  runDir: path
    .default('/run/sluice')
    .describe('The run directory of sluice-helper, which makes the folder daemon in it for us.'),
  stateDir: path.default('/var/lib/sluice').describe('Audit, approvals, keys. Owned by the daemon, mode 0700.'),
  policy: z.array(path).min(1).default(['/etc/sluice/policy']).describe('Policy files, or folders of *.yaml.'),
  helperSocket: path.optional().describe('Absent: helper.sock in runDir.'),
  pinDir: path.optional().describe('Where sluice-helper pinned its maps. Absent: bpf in runDir.'),
  library: path.default('/usr/lib/sluice/libsluice.so'),
  resolvers: z
    .array(z.string().refine((text) => resolverOf(text) !== null, { error: 'has to be an address, or address:port' }))
    .min(1)
    .max(8)
    .optional()
    .describe('Whom sluiced asks for names: `10.0.0.2`, `127.0.0.1:5353`, `[2001:db8::2]:53`. Absent: resolv.conf(5).'),
  listen: z
    .strictObject({ port: z.number().int().min(0).max(65535).default(0).describe('0: any free port.') })
    .prefault({}),
  audit: z
    .strictObject({
      quotaBytes: z
        .number()
        .int()
        .positive()
        .default(2 * 1024 ** 3),
      retentionDays: z.number().positive().optional().describe('Absent: kept until the quota is reached.'),
      group: z.string().default('sluice-audit').describe('Local group whose members may read the audit.'),
    })
    .prefault({}),
  identity: identitySettings.prefault({}),
  limits: z
    .strictObject({
      connections: z.number().int().positive().default(4096),
      statementBytes: z
        .number()
        .int()
        .positive()
        .max(64 * 1024 ** 2)
        .default(1024 ** 2)
        .describe('Longest statement that is parsed.'),
      greetingSeconds: z.number().positive().default(30),
      stallSeconds: z.number().positive().default(30).describe('How long a message may stay incomplete.'),
    })
    .prefault({}),
  log: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

export type Config = z.output<typeof schema>;

/** @throws SluiceError CONFIG_INVALID. */
export function readConfig(file: string): Config {
  let data: unknown;
  try {
    data = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new SluiceError('CONFIG_INVALID', `reading ${file}: ${(cause as Error).message}`, { cause });
  }
  const parsed = schema.safeParse(data);
  if (parsed.success) return parsed.data;
  throw new SluiceError('CONFIG_INVALID', `${file}: ${z.prettifyError(parsed.error)}`);
}

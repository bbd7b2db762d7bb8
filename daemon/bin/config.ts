/** The configuration of sluiced: one JSON file, strict, every path absolute. */
import { readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { SluiceError } from '../core/errors.ts';
import { identitySettings } from '../identify/oidc/settings.ts';
import { resolverOf } from './resolvers.ts';

const path = z.string().refine(isAbsolute, { error: 'has to be an absolute path' });

export const configSchema = z.strictObject({
  runDir: path
    .default('/run/sluice')
    .describe('The run directory of sluice-helper, which makes the folder daemon in it for us.'),
  stateDir: path.default('/var/lib/sluice').describe('Audit, approvals, keys. Owned by the daemon, mode 0700.'),
  policy: z.array(path).min(1).default(['/etc/sluice/policy']).describe('Policy files, or folders of *.yaml.'),
  helperSocket: path.optional().describe('Absent: helper.sock in runDir.'),
  pinDir: path.optional().describe('Where sluice-helper pinned its maps. Absent: bpf in runDir.'),
  library: path.default('/usr/lib/sluice/libsluice.so').describe('The library that reads the maps of the kernel.'),
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
        .default(2 * 1024 ** 3)
        .describe('Bytes that the store may take on disk; no operation is let through when it is full.'),
      retentionDays: z.number().positive().optional().describe('Absent: kept until the quota is reached.'),
      group: z.string().default('sluice-audit').describe('Local group whose members may read the audit.'),
    })
    .prefault({}),
  metrics: z
    .strictObject({
      socket: path.optional().describe('UNIX socket. Absent: daemon/metrics.sock in runDir.'),
      port: z.number().int().min(1).max(65535).optional().describe('Of 127.0.0.1, instead of a socket.'),
      group: z.string().default('sluice-metrics').describe('Local group that may read the socket, beside the audit’s.'),
      off: z.boolean().default(false),
    })
    .refine(({ socket, port }) => socket === undefined || port === undefined, {
      error: 'socket and port exclude each other',
    })
    .prefault({}),
  identity: identitySettings.prefault({}),
  limits: z
    .strictObject({
      connections: z.number().int().positive().default(4096).describe('Of all sessions at once.'),
      sessionConnections: z.number().int().positive().default(1024).describe('Of one session at once.'),
      statementBytes: z
        .number()
        .int()
        .positive()
        .max(64 * 1024 ** 2)
        .default(1024 ** 2)
        .describe('Longest statement that is parsed.'),
      greetingSeconds: z.number().positive().default(30).describe('How long a client may take to say what it wants.'),
      stallSeconds: z.number().positive().default(30).describe('How long a message may stay incomplete.'),
    })
    .prefault({}),
  journal: z
    .enum(['all', 'decisions', 'off'])
    .default('all')
    .describe("Which events also go to systemd's journal, as a service of it. decisions: all but flows and results."),
  log: z.enum(['debug', 'info', 'warn', 'error']).default('info').describe('Least level that is logged.'),
});

export type Config = z.output<typeof configSchema>;

/** @throws SluiceError CONFIG_INVALID. */
export function readConfig(file: string): Config {
  let data: unknown;
  try {
    data = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new SluiceError('CONFIG_INVALID', `reading ${file}: ${(cause as Error).message}`, { cause });
  }
  const parsed = configSchema.safeParse(data);
  if (parsed.success) return parsed.data;
  throw new SluiceError('CONFIG_INVALID', `${file}: ${z.prettifyError(parsed.error)}`);
}

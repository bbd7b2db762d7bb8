/**
 * The policy language: the one source of its types, its JSON Schema and its documentation. What only the protocols know
 * (their names, their options) and the names of detectors come in with a `Kit`; nothing here switches on one.
 */
import { z } from 'zod';
import { MASK_KINDS } from '../core/mask.ts';
import { EFFECTS } from '../core/operation.ts';
import { NAME_TYPES } from './names.ts';

export interface ProtocolKit {
  readonly options: z.ZodType;
  /** Set where nothing of what passes is read: rules have to name the resource, and `check` warns with these words. */
  readonly unread?: string;
}

/** What the language has to know of the rest of sluice. */
export interface Kit {
  /** By protocol name; `options`: what may stand under a resource's `options:`. */
  readonly protocols: Readonly<Record<string, ProtocolKit>>;
  /** Names of content detectors. */
  readonly detectors: readonly string[];
}

export const API_VERSION = 'sluice/v1';

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION = /^(?:\d{1,6}[smhd]){1,4}$/;

/** Milliseconds of `90s`, `10m`, `1h30m`, `7d`. NaN when it is none. */
export function milliseconds(text: string): number {
  if (!DURATION.test(text)) return Number.NaN;
  let sum = 0;
  for (const [, n, unit] of text.matchAll(/(\d+)([smhd])/g)) sum += Number(n) * UNITS[unit!]!;
  return sum;
}

const duration = (least: string, most: string) =>
  z
    .string()
    .regex(DURATION, { error: 'not a duration: write a number and s, m, h or d, as 90s, 10m, 1h30m' })
    .refine((text) => !(milliseconds(text) < milliseconds(least) || milliseconds(text) > milliseconds(most)), {
      error: `has to be between ${least} and ${most}`,
    });

const line = (most: number) =>
  z
    .string()
    .trim()
    .min(1, { error: 'is empty' })
    .max(most, { error: `has more than ${most} characters` });
const name = line(120);
const list = <T extends z.ZodType>(item: T) =>
  z.array(item).min(1, { error: 'an empty list: leave the key out, or name something' });

const RESOURCE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const resourceName = z
  .string()
  .regex(RESOURCE_NAME, { error: 'a name has 1 to 63 letters, digits, dots, hyphens and underscores' });

const people = z
  .strictObject({
    groups: list(name).optional().describe('Members of any of these groups. Absent: no group.'),
    users: list(name)
      .optional()
      .describe('These subjects (`PROVIDER:SUBJECT` of a token, or `local:NAME`). Absent: nobody by name.'),
  })
  .refine((who) => who.groups !== undefined || who.users !== undefined, {
    error: 'names nobody: give groups, users or both',
  });

const who = z.union([z.literal('everyone'), people], {
  error: 'expected `everyone`, or a mapping with groups, users or both',
});
const on = z.union([z.string().min(1), list(z.string().min(1))], {
  error: 'expected the name of a resource, a list of names, or `everything`',
});
const effects = z.union([z.literal('everything'), list(z.enum(EFFECTS))], {
  error: `expected a list of effects (${EFFECTS.join(', ')}), or \`everything\``,
});
const breadth = z
  .literal('accepted')
  .optional()
  .describe('Says that a dangerous breadth is meant. Absent: such breadth is an error.');

const file = z.string().regex(/^\//, { error: 'has to be an absolute path' });
const account = line(63)
  .optional()
  .describe('Account to log in as. Absent: the one that the credential names, or else the one that the client named.');

const credential = z
  .strictObject({
    systemd: z
      .string()
      .regex(/^[A-Za-z0-9._-]+$/, {
        error: 'a systemd credential is named by letters, digits, dots, hyphens and underscores',
      })
      .optional()
      .describe('Name of a systemd credential of sluiced.'),
    file: file.optional().describe('Path of a file that only sluiced can read.'),
    command: list(z.string()).optional().describe('A command, its absolute path first, that prints the credential.'),
    user: account,
  })
  .meta({ oneOf: [{ required: ['systemd'] }, { required: ['file'] }, { required: ['command'] }] })
  .describe('Where the real credential comes from: exactly one of systemd, file and command.');

const resource = z.strictObject({
  protocol: z.string().describe('Name of the protocol spoken there.'),
  address: z.string().describe('`host:port` that sluice connects to, an IPv6 address in brackets. Never a pattern.'),
  also: list(z.string())
    .optional()
    .describe(
      'Further `host:port` under which agents reach it; `*.zone:port` only with `breadth: accepted`. Absent: address alone.',
    ),
  tls: z
    .enum(['verify-full', 'verify-ca', 'require', 'off'])
    .default('verify-full')
    .describe('TLS towards the resource. Absent: verify-full.'),
  ca: file.optional().describe("PEM bundle to verify against. Absent: the system's."),
  credential: credential.optional().describe("Absent: the client's own credential goes through."),
  login: z
    .enum(['token', 'none'])
    .optional()
    .describe(
      'What a client presents to sluice: the session token as its password, or nothing. Absent: token where there is a credential, none where there is not.',
    ),
  options: z.record(z.string(), z.unknown()).optional().describe('Settings of the protocol. Absent: its defaults.'),
  breadth,
});

const rule = z
  .strictObject({
    name: name.describe('Unique over all files; stands in errors, approvals and audit.'),
    allow: effects.optional(),
    deny: effects.optional(),
    approve: effects.optional(),
    who: who.describe('Whom the rule is about.'),
    on: on.describe('Resources that the rule is about: a name, several, or `everything`.'),
    tables: list(z.string())
      .optional()
      .describe(
        'Objects: `schema.name`, `schema.*`, `*.name`, or `*` for every named one. Absent: any object, and effects on none.',
      ),
    columns: list(z.string()).optional().describe('Names of columns; not with allow. Absent: any column, and none.'),
    functions: list(z.string())
      .optional()
      .describe(
        'Functions called: `schema.name`, `schema.*`, `*.name`. A deny or approve rule applies when one is called, an allow rule when no other is. Absent: any function, and none.',
      ),
    verbs: list(line(60)).optional().describe('What the act is called, as `DROP TABLE` or `DROP *`. Absent: any.'),
    when: line(2000)
      .optional()
      .describe('Condition in CEL over principal, session, resource, operation and now. Absent: always.'),
    reason: line(300).optional().describe('Why, in words for the agent. Absent: the rule is named only.'),
    hint: line(300).optional().describe('What the agent could do instead. Absent: what would be allowed is listed.'),
    reviewers: z
      .union([z.literal('anyone'), z.strictObject({ groups: list(name) })], {
        error: 'expected a mapping with groups, or `anyone`',
      })
      .optional()
      .describe(
        'Who may decide; needed with approve. `anyone`: anyone but the requester who may use sluice approvals.',
      ),
    quorum: z.int().min(1).max(20).optional().describe('How many reviewers have to agree. Absent: 1.'),
    within: duration('1s', '7d').optional().describe('Lifetime of the request and of an unused approval. Absent: 10m.'),
    hold: duration('0s', '1h').optional().describe('How long the connection is held. Absent: 60s.'),
    remember: z
      .enum(['once', 'session'])
      .optional()
      .describe('`session`: the same kind of operation is not asked again in the session. Absent: once.'),
    match: z
      .enum(['exact', 'fingerprint'])
      .optional()
      .describe(
        'What an approval is for: the very text, or texts that differ in constants only. Absent: exact, with remember: session fingerprint.',
      ),
    breadth,
  })
  .meta({ oneOf: [{ required: ['allow'] }, { required: ['deny'] }, { required: ['approve'] }] })
  .describe(
    'Exactly one of allow, deny and approve. Any deny wins, then approve, then allow; what no rule matches is denied.',
  );

const maskKind = z.enum(MASK_KINDS).default('redact').describe('Absent: redact.');

const mask = z.strictObject({
  name: name.optional().describe('For audit and errors. Absent: `mask of` its first column.'),
  on: on.describe('Resources that the mask is about.'),
  columns: list(z.string()).describe('`schema.table.column`, `table.column` or `*.column`.'),
  with: maskKind,
  unless: people.optional().describe('Who sees the values. Absent: nobody.'),
  conditions: z
    .enum(['allow', 'deny'])
    .default('allow')
    .describe('May protected columns stand in WHERE, ORDER BY and the like? deny closes inference. Absent: allow.'),
});

const detector = z.string();
const detect = z.union(
  [
    detector,
    z.strictObject({
      detectors: list(detector),
      on: on.optional().describe('Absent: every resource.'),
      with: maskKind,
      unless: people.optional().describe('Whose results are not looked through. Absent: nobody.'),
    }),
  ],
  { error: 'expected the name of a detector, or a mapping with detectors' },
);

const dns = z.strictObject({
  name: name.optional().describe('For audit and errors. Absent: `dns` and the name that fits.'),
  names: list(z.string()).describe(
    'Names that may be asked for, beside those of resources; `*.zone`, every name below the zone, only with `breadth: accepted`.',
  ),
  who: who.describe('Who may ask for them.'),
  types: list(z.enum(NAME_TYPES))
    .optional()
    .describe('Types of records. Absent: A, AAAA and CNAME. What is not listed is answered as if there were none.'),
  answers: z
    .enum(['outward', 'any'])
    .default('outward')
    .describe(
      'Addresses that answers may hold. outward: none of the host itself, of its link or of a metadata service. Absent: outward.',
    ),
  breadth,
});

const unix = z.strictObject({
  name: name.optional().describe('For people. Absent: none.'),
  sockets: list(z.string()).describe(
    'UNIX sockets of the host, as their servers have bound them: an absolute path, or `@` and an abstract name. Never a pattern.',
  ),
  who: who.describe('Whose sessions may speak to them.'),
});

const identity = z
  .strictObject({
    user: line(64).optional().describe('Name of a local user.'),
    uid: z.int().min(0).max(4_294_967_294).optional().describe('Number of a local user.'),
    group: line(64).optional().describe('Name of a local group: all of its members.'),
    unit: z
      .string()
      .regex(/^[\w:.\\@-]{1,240}\.(service|scope)$/, { error: 'not the name of a unit: write it as agent.service' })
      .optional()
      .describe(
        'Name of a systemd unit of the system: sessions that are started in it. For approvals and the like: nobody.',
      ),
    default: z.literal(true).optional().describe('Every local user whom no other entry matches.'),
    issuer: z
      .string()
      .regex(/^https:\/\/\S+$/, { error: 'has to be the `iss` of the tokens, as https://login.example' })
      .optional()
      .describe(
        'Whoever presents a verified token of this issuer; further narrowed by group and claims. The provider stands in the configuration of sluiced.',
      ),
    claims: z
      .record(name, z.union([z.string(), list(z.string())], { error: 'expected text, or a list of texts' }))
      .optional()
      .describe(
        'Only with issuer: claims that the token must have, each with this value or one of these. Absent: any.',
      ),
    tokenGroups: z
      .union([z.literal('all'), list(name)], { error: 'expected a list of groups, or `all`' })
      .optional()
      .describe('Only with issuer: groups of the token that count under their own name. Absent: none do.'),
    subject: line(200)
      .optional()
      .describe(
        'Absent: `local:` and the name of the local user; of a token always the provider, a colon and its subject.',
      ),
    groups: z.array(name).default([]).describe('Groups of the policy. Absent or empty: none.'),
  })
  .meta({
    oneOf: [
      { required: ['user'] },
      { required: ['uid'] },
      { required: ['group'], not: { required: ['issuer'] } },
      { required: ['unit'] },
      { required: ['default'] },
      { required: ['issuer'] },
    ],
  })
  .describe(
    'Exactly one of user, uid, group, unit, default and issuer; with issuer, `group` is one of the token. Groups of all entries that match add up: those of local users, or those of the token, never both.',
  );

export const policyFile = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  mode: z
    .enum(['enforce', 'observe'])
    .default('enforce')
    .describe(
      'observe: what the rules of this file would refuse or hold is let through and recorded, and so is what no rule allows on resources of this file. Masks are carried out all the same. Absent: enforce.',
    ),
  identities: z
    .array(identity)
    .default([])
    .describe(
      'Who the holders of tokens are, and local users where no token says it. Absent or empty: nobody is anyone.',
    ),
  resources: z
    .record(resourceName, resource)
    .default({})
    .describe('Upstreams by name. Absent or empty: this file declares none.'),
  dns: z
    .array(dns)
    .default([])
    .describe(
      'Names that agents may ask for by DNS, beside the names of resources, which whoever may use the resource may ask for. Absent or empty: this file adds none.',
    ),
  unix: z
    .array(unix)
    .default([])
    .describe('UNIX sockets of the host that sessions may speak to. Absent or empty: this file opens none.'),
  rules: z.array(rule).default([]).describe('In no order. Absent or empty: this file allows nothing.'),
  masks: z.array(mask).default([]).describe('In no order. Absent or empty: this file masks no column.'),
  detect: z
    .array(detect)
    .default([])
    .describe('Content that is masked wherever it comes back. Absent or empty: this file looks for none.'),
});

export type PolicyFile = z.output<typeof policyFile>;
export type RuleEntry = PolicyFile['rules'][number];
export type ResourceEntry = PolicyFile['resources'][string];
export type MaskEntry = PolicyFile['masks'][number];
export type DetectEntry = PolicyFile['detect'][number];
export type DnsEntry = PolicyFile['dns'][number];
export type UnixEntry = PolicyFile['unix'][number];
export type IdentityEntry = PolicyFile['identities'][number];
export type People = z.output<typeof people>;

type Json = Record<string, unknown>;

/** JSON Schema (draft 2020-12) of a policy file, for editors. */
export function jsonSchema(kit: Kit): Json {
  const schema = z.toJSONSchema(policyFile, { io: 'input' }) as Json;
  const properties = schema.properties as Record<string, Json>;
  const resources = properties.resources!.additionalProperties as Json;
  const names = Object.keys(kit.protocols);
  (resources.properties as Record<string, Json>).protocol = {
    type: 'string',
    enum: names,
    description: 'Name of the protocol spoken there.',
  };
  resources.allOf = names.map((protocol) => {
    const { $schema: _, ...options } = z.toJSONSchema(kit.protocols[protocol]!.options, { io: 'input' }) as Json;
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    return { if: { properties: { protocol: { const: protocol } } }, then: { properties: { options } } };
  });
  const item = properties.detect!.items as { anyOf: Json[] };
  for (const branch of item.anyOf) {
    if (branch.type === 'string') branch.enum = [...kit.detectors];
    else ((branch.properties as Record<string, Json>).detectors as { items: Json }).items.enum = [...kit.detectors];
  }
  return { title: 'sluice policy', ...schema };
}

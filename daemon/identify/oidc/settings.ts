/** What the configuration says of one OIDC provider: the one source of its types and of what absence means. */
import { isAbsolute } from 'node:path';
import { z } from 'zod';

/** Signatures only: whoever can verify one of these can't make one. `none` and HS* can't be named. RFC 7518, RFC 8037. */
const ALGORITHMS = [
  ...(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const),
  ...(['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'] as const),
] as const;

const text = z.string().min(1).max(500);
const file = z.string().refine(isAbsolute, { error: 'has to be an absolute path' });
const texts = z.array(text).min(1);
/** A name may hold dots and slashes (`https://login.example/groups`), so a path is a list. */
const claim = z.union([text, texts]).transform((path) => (typeof path === 'string' ? [path] : path));

function isIssuer(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, username, password, search, hash } = new URL(value);
  return protocol === 'https:' && username + password + search + hash === '';
}

export const providerSettings = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,31}$/, { error: 'has 1 to 32 lower-case letters, digits and hyphens' })
      .refine((name) => name !== 'local', { error: 'is what local users have' })
      .describe('Stands before the subject: `corp` makes `corp:ada`. Never change it: policies and the audit name it.'),
    issuer: text
      .refine(isIssuer, { error: 'has to be https:// with neither query nor fragment' })
      .describe('The very text of `iss` and of the discovery document.'),
    audience: z
      .union([text.transform((one) => [one]), texts])
      .optional()
      .describe('A token has to be for one of these. Absent: for clientId.'),
    clientId: text.optional().describe('Client for sluice login. Absent: nobody can log in, tokens are presented.'),
    clientSecretFile: file.optional().describe('File with its secret. Absent: a public client.'),
    scope: text.default('openid offline_access').describe('What sluice login asks for.'),
    subjectClaim: claim
      .default(['sub'])
      .describe('Claim that names the person, or the path to it. `email` counts only where it is verified.'),
    groupsClaim: claim
      .optional()
      .describe('Claim with the groups, text or a list of texts, or the path to it. Absent: no groups are taken.'),
    groupsRequired: z
      .boolean()
      .default(true)
      .describe(
        'Whether a token without groupsClaim is refused. false: it is in no group, and rules that deny groups miss it.',
      ),
    algorithms: z.array(z.enum(ALGORITHMS)).min(1).default(['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519']),
    types: texts.default(['JWT']).describe('`typ` in the header; one without any is taken always.'),
    clockSkewSeconds: z.number().min(0).max(600).default(60),
    maxAgeSeconds: z
      .number()
      .positive()
      .default(86_400)
      .describe('A token issued longer ago is refused, whatever its end.'),
    ca: file.optional().describe("PEM bundle to verify the provider's TLS against. Absent: the system's."),
    timeoutSeconds: z.number().positive().max(60).default(10).describe('For one request.'),
  })
  .refine((provider) => provider.audience !== undefined || provider.clientId !== undefined, {
    error: 'needs audience or clientId: a token for anybody would be taken otherwise',
  });

export type ProviderSettings = z.output<typeof providerSettings>;

export const identitySettings = z.strictObject({
  providers: z
    .array(providerSettings)
    .max(32)
    .default([])
    .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, { error: 'two have the same name' })
    .refine((all) => new Set(all.map(({ issuer }) => issuer)).size === all.length, {
      error: 'two have the same issuer',
    })
    .describe('Whose tokens are verified. Empty: local users only.'),
  localSessions: z
    .boolean()
    .optional()
    .describe(
      'Whether a session may be of a local identity, without a token. Absent: only while there are no providers.',
    ),
});

export type IdentitySettings = z.output<typeof identitySettings>;

/**
 * The token that `sluice run` presents, from where a runner has it. Read with the caller's own rights, told to the daemon
 * alone, and taken out of the agent's environment together with what could get another one.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { SluiceError } from '../core/errors.ts';

export interface IdentityFlags {
  readonly tokenFile?: string;
  readonly tokenEnv?: string;
}

/** Where the next token comes from when this one is about to end. */
export type Renewal =
  | { readonly from: 'file'; readonly path: string }
  | { readonly from: 'github'; readonly url: string; readonly bearer: string };

export interface Presented {
  readonly token: string;
  /** Null: it can't be renewed, and the session is nobody's when it ends. */
  readonly renewal: Renewal | null;
}

/** Of what the daemon says of its providers. */
export interface Wanted {
  readonly providers: readonly { readonly issuer: string; readonly audience: readonly string[] }[];
}

const TOKEN_BYTES = 64 * 1024;
const GITHUB = { url: 'ACTIONS_ID_TOKEN_REQUEST_URL', bearer: 'ACTIONS_ID_TOKEN_REQUEST_TOKEN' } as const;
const REQUEST_TIME = 10_000;

/** Variables that an agent must not see: whoever has them is who they are about. */
export function hiddenVariables({ tokenEnv }: IdentityFlags): readonly string[] {
  return ['SLUICE_ID_TOKEN', 'SLUICE_ID_TOKEN_FILE', GITHUB.url, GITHUB.bearer, ...(tokenEnv ? [tokenEnv] : [])];
}

/**
 * In this order: what the command line names, SLUICE_ID_TOKEN_FILE, SLUICE_ID_TOKEN, GitHub Actions where the daemon knows
 * its issuer. Null: none, and the daemon goes by the user's login.
 * @throws SluiceError IDENTITY_REQUIRED, IDENTITY_UNAVAILABLE.
 */
export async function presentedToken(
  flags: IdentityFlags,
  env: Readonly<NodeJS.ProcessEnv>,
  wanted: () => Promise<Wanted>,
): Promise<Presented | null> {
  if (flags.tokenFile !== undefined && flags.tokenEnv !== undefined)
    throw new SluiceError('IDENTITY_REQUIRED', 'both --token-file and --token-env are given', { hint: 'name one' });
  if (flags.tokenEnv !== undefined) return ofVariable(flags.tokenEnv, env);
  const file = flags.tokenFile ?? env.SLUICE_ID_TOKEN_FILE;
  if (file !== undefined && file !== '') {
    const path = resolve(file);
    return { token: readToken(path), renewal: { from: 'file', path } };
  }
  if (env.SLUICE_ID_TOKEN) return ofVariable('SLUICE_ID_TOKEN', env);
  const renewal = await githubOf(env, wanted);
  return renewal === null ? null : { token: await nextToken(renewal), renewal };
}

/** A fresh token. @throws SluiceError IDENTITY_REQUIRED, IDENTITY_UNAVAILABLE. */
export async function nextToken(renewal: Renewal): Promise<string> {
  return renewal.from === 'file' ? readToken(renewal.path) : requestToken(renewal.url, renewal.bearer);
}

function ofVariable(name: string, env: Readonly<NodeJS.ProcessEnv>): Presented {
  const token = env[name]?.trim();
  if (token) return { token, renewal: null };
  throw new SluiceError('IDENTITY_REQUIRED', `the environment has no token in ${name}`, {
    hint: 'have the runner set it; in GitLab CI by id_tokens, with the audience that sluiced.json names',
  });
}

/** Its content is quoted nowhere. */
function readToken(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new SluiceError('IDENTITY_REQUIRED', `reading the token in ${path}: ${(cause as Error).message}`, {
      hint: 'check the path, and that you may read it',
      cause,
    });
  }
  const token = text.trim();
  if (token === '' || text.length > TOKEN_BYTES)
    throw new SluiceError('IDENTITY_REQUIRED', `${path} holds no token`, {
      hint: 'the file has to hold the token alone',
    });
  return token;
}

/** GitHub's own issuer, or that of the GitHub Enterprise Server that the job runs for. */
async function githubOf(env: Readonly<NodeJS.ProcessEnv>, wanted: () => Promise<Wanted>): Promise<Renewal | null> {
  const [url, bearer] = [env[GITHUB.url], env[GITHUB.bearer]];
  if (!url || !bearer) return null;
  const issuers = ['https://token.actions.githubusercontent.com', `${env.GITHUB_SERVER_URL}/_services/token`];
  const provider = (await wanted()).providers.find(({ issuer }) => issuers.includes(issuer));
  if (provider === undefined) return null;
  const full = URL.canParse(url) ? new URL(url) : null;
  if (full?.protocol !== 'https:')
    throw new SluiceError('IDENTITY_UNAVAILABLE', `${GITHUB.url} is not an https address`, { hint: 'see the runner' });
  full.searchParams.set('audience', provider.audience[0] ?? '');
  return { from: 'github', url: full.href, bearer };
}

/** docs.github.com, "OpenID Connect reference": the answer is {"value": TOKEN}. */
async function requestToken(url: string, bearer: string): Promise<string> {
  try {
    const answer = await fetch(url, {
      headers: { authorization: `bearer ${bearer}`, accept: 'application/json' },
      redirect: 'error',
      signal: AbortSignal.timeout(REQUEST_TIME),
    });
    if (!answer.ok) throw new Error(`it answered with status ${answer.status}`);
    const { value } = (await answer.json()) as { value?: unknown };
    if (typeof value !== 'string') throw new Error('its answer holds no token');
    return value;
  } catch (cause) {
    const { message, cause: deeper } = cause as Error;
    const why = deeper instanceof Error ? deeper.message : message;
    throw new SluiceError('IDENTITY_UNAVAILABLE', `asking ${new URL(url).host} for an ID token: ${why}`, {
      hint: 'check that the job has the permission id-token: write',
      cause,
    });
  }
}

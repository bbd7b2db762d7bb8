/**
 * Who a local uid is: user name and groups, as the host's name service says (files, LDAP, whatever nsswitch names). glibc's
 * getent and id answer; Node has no call for it that knows groups.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Policy } from '../core/policy.ts';
import type { Principal } from '../core/principal.ts';

export interface LocalUser {
  readonly uid: number;
  /** The uid in digits where the host has no name for it. */
  readonly user: string;
  readonly groups: readonly string[];
  /** Absent where the host has no entry for the uid. */
  readonly gid?: number;
  readonly home?: string;
  readonly shell?: string;
}

const run = promisify(execFile);
const OPTIONS = {
  timeout: 5_000,
  maxBuffer: 1024 * 1024,
  encoding: 'utf8',
  env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
} as const;

/** getent's exit status for "no such entry"; others are faults, and a fault is not an answer. */
const NOT_FOUND = 2;

/** A uid that the host does not know has no groups. @throws Error when the name service does not answer. */
export async function lookUp(uid: number): Promise<LocalUser> {
  const unknown = { uid, user: String(uid), groups: [] };
  const entry = await passwd(String(uid));
  // getent takes a name made of digits as a name, before it takes it as a uid.
  if (entry === null || entry.uid !== uid) return unknown;
  const { stdout } = await run('id', ['-zGn', '--', entry.user], OPTIONS);
  return { ...entry, groups: stdout.split('\0').filter((group) => group !== '') };
}

/** The uid of a user name; null where the host knows none. @throws Error when the name service does not answer. */
export async function uidOf(name: string): Promise<number | null> {
  const entry = await passwd(name);
  return entry === null || entry.user !== name ? null : entry.uid;
}

/** One line of the user database: name:password:uid:gid:gecos:home:shell, passwd(5). */
async function passwd(key: string): Promise<(Omit<LocalUser, 'groups'> & { readonly gid: number }) | null> {
  let entry: string;
  try {
    entry = (await run('getent', ['passwd', '--', key], OPTIONS)).stdout;
  } catch (error) {
    if ((error as { code?: unknown }).code === NOT_FOUND) return null;
    throw error;
  }
  const [user = '', , uid, gid, , home = '', shell = ''] = entry.trimEnd().split('\n')[0]!.split(':');
  return user === '' ? null : { uid: Number(uid), user, gid: Number(gid), home, shell };
}

/** Looks users up, and remembers an answer for a short while: two processes are started for each. */
export class LocalUsers {
  readonly #known = new Map<number, { readonly answer: Promise<LocalUser>; readonly until: number }>();
  readonly #keep: number;
  readonly #lookUp: (uid: number) => Promise<LocalUser>;

  /** @param keep milliseconds; for so long a change of a user's groups may go unseen. */
  constructor(keep = 30_000, look = lookUp) {
    this.#keep = keep;
    this.#lookUp = look;
  }

  get(uid: number): Promise<LocalUser> {
    const now = performance.now();
    const known = this.#known.get(uid);
    if (known !== undefined && known.until > now) return known.answer;
    for (const [other, { until }] of this.#known) if (until <= now) this.#known.delete(other);
    const answer = this.#lookUp(uid);
    this.#known.set(uid, { answer, until: now + this.#keep });
    // A fault is not remembered.
    answer.catch(() => this.#known.delete(uid));
    return answer;
  }

  /**
   * The principal that the policy maps this uid to, or null. Root that no identity names is `local:root` in no group: it
   * may do what needs nothing but being somebody.
   */
  async principalOf(uid: number, policy: Policy, unit: string | null = null): Promise<Principal | null> {
    const { user, groups } = await this.get(uid);
    return (
      policy.principalOf({ uid, user, groups, ...(unit !== null && { unit }) }) ??
      (uid === 0 ? { subject: 'local:root', groups: [] } : null)
    );
  }
}

/**
 * The running sessions in one JSON file, replaced as a whole: written beside it, flushed, renamed, and the directory
 * flushed, so that after a crash the file is the old one or the new one.
 */
import { readFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import type { Principal, Session, TokenIdentity } from '../core/principal.ts';

export interface Kept {
  readonly session: Session;
  readonly path: string;
  /** SHA-256 of the token, hex. */
  readonly tokenHash: string;
  /** What challenge-response logins need of it. */
  readonly verifier: string;
  readonly launched: boolean;
}

const VERSION = 1;

export class SessionFile {
  readonly #path: string;
  #turn: Promise<void> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  /** Empty when there is no file. @throws SluiceError STATE_FAILED when there is one and it is not what was written. */
  read(): Kept[] {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw new SluiceError('STATE_FAILED', `reading the sessions in ${this.#path}: ${(cause as Error).message}`, {
        cause,
      });
    }
    try {
      const content = JSON.parse(text) as { version: unknown; sessions: Stored[] };
      if (content.version !== VERSION) throw new Error(`version ${String(content.version)} is not ${VERSION}`);
      return content.sessions.map(restore);
    } catch (cause) {
      throw new SluiceError('STATE_FAILED', `reading the sessions in ${this.#path}: ${(cause as Error).message}`, {
        cause,
        hint: 'end the sessions that run, remove the file, and start sluiced again',
      });
    }
  }

  /**
   * Writes what `content` says when its turn comes. Resolves when that is on disk.
   * @throws SluiceError STATE_FAILED: the file is as before.
   */
  write(content: () => Kept[]): Promise<void> {
    const mine = this.#turn.then(() => this.#replace(content()));
    this.#turn = mine.catch(() => {});
    return mine;
  }

  async #replace(sessions: Kept[]): Promise<void> {
    const next = `${this.#path}.new`;
    try {
      const file = await open(next, 'w', 0o600);
      try {
        const text = JSON.stringify({ version: VERSION, sessions }, (_, value) =>
          typeof value === 'bigint' ? String(value) : value,
        );
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(next, this.#path);
      const directory = await open(dirname(this.#path), 'r');
      await directory.sync().finally(() => directory.close());
    } catch (cause) {
      throw new SluiceError('STATE_FAILED', `keeping the sessions in ${this.#path}: ${(cause as Error).message}`, {
        cause,
      });
    }
  }
}

type Stored = Omit<Kept, 'session'> & { readonly session: Omit<Session, 'cgroupId'> & { readonly cgroupId: string } };

/** Only what was written by `replace`, with every field that a flow's identity rests on. */
function restore({ session, path, tokenHash, verifier, launched }: Stored): Kept {
  const { id, principal, identity, cgroupId, uid, agentUid, pid, exe, command, startedAt } = session;
  const sound =
    /^[0-9a-f]{32}$/.test(id) &&
    isPrincipal(principal) &&
    (identity === undefined ? principal.issuer === undefined : isIdentity(identity)) &&
    /^[0-9]+$/.test(cgroupId) &&
    Number.isInteger(uid) &&
    [agentUid, pid].every((each) => each === undefined || Number.isInteger(each)) &&
    (exe === undefined || typeof exe === 'string') &&
    isTexts(command) &&
    Number.isFinite(startedAt) &&
    typeof path === 'string' &&
    /^[0-9a-f]{64}$/.test(tokenHash) &&
    typeof verifier === 'string';
  if (!sound) throw new Error(`session ${JSON.stringify(id)} is not complete`);
  return {
    session: {
      ...{ id, principal, cgroupId: BigInt(cgroupId), uid, command, startedAt },
      ...(identity !== undefined && { identity }),
      ...(agentUid !== undefined && { agentUid }),
      ...(pid !== undefined && { pid }),
      ...(exe !== undefined && { exe }),
    },
    path,
    tokenHash,
    verifier,
    launched: launched === true,
  };
}

function isPrincipal({ subject, groups, issuer }: Principal): boolean {
  return typeof subject === 'string' && isTexts(groups) && (issuer === undefined || typeof issuer === 'string');
}

/** Without `until` a session would hold for ever. */
function isIdentity({ provider, source, until, expiredAt }: TokenIdentity): boolean {
  return (
    typeof provider === 'string' &&
    (source === 'login' || source === 'presented') &&
    Number.isFinite(until) &&
    (expiredAt === undefined || Number.isFinite(expiredAt))
  );
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}

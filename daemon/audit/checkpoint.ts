/**
 * What ties the chain to this host: an Ed25519 key and what it signs. Each kind of statement has its own leading line, so
 * that one can't be passed off as another: an old checkpoint is no head.
 *
 *   checkpoint   the chain had this hash at this event; in LMDB, many
 *   head         the newest checkpoint; a file of its own, so that cutting LMDB back to an older checkpoint is noticed
 *   pruned       retention has removed the events up to this one, on purpose
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { open as openFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { SluiceError } from '../core/errors.ts';

export type MarkKind = 'checkpoint' | 'head' | 'pruned';

export interface Mark {
  readonly kind: MarkKind;
  /** Random id of the chain. */
  readonly chain: string;
  readonly seq: number;
  readonly hash: string;
  /** When it was signed, milliseconds since the epoch. */
  readonly time: number;
  /** Ed25519, base64. */
  readonly signature: string;
}

export type Pruned = Mark & { readonly kind: 'pruned' };

function statement(mark: Omit<Mark, 'signature'>): Buffer {
  return Buffer.from(`sluice audit ${mark.kind} 1\n${mark.chain}\n${mark.seq}\n${mark.hash}\n${mark.time}\n`);
}

export class HostKey {
  readonly #key: KeyObject;
  readonly public: KeyObject;

  constructor(key: KeyObject) {
    if (key.asymmetricKeyType !== 'ed25519')
      throw new SluiceError('CONFIG_INVALID', 'the audit key is not an Ed25519 key');
    this.#key = key;
    this.public = createPublicKey(key);
  }

  sign(mark: Omit<Mark, 'signature'>): Mark {
    return { ...mark, signature: sign(null, statement(mark), this.#key).toString('base64') };
  }
}

export function holds(mark: Mark, key: KeyObject): boolean {
  return verify(null, statement(mark), key, Buffer.from(mark.signature, 'base64'));
}

/** First 16 hex digits of the SHA-256 of the public key: for people to compare. */
export function keyName(key: KeyObject): string {
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex')
    .slice(0, 16);
}

/**
 * Loads the private key, or makes it (mode 0600) with its public half beside it.
 * @throws SluiceError CONFIG_INVALID when the file is readable by others or holds no Ed25519 key.
 */
export async function loadHostKey(path: string): Promise<HostKey> {
  if (!existsSync(path)) {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    await replaceFile(path, privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, 0o600);
    await replaceFile(publicPath(path), publicKey.export({ type: 'spki', format: 'pem' }) as string, 0o644);
  }
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new SluiceError(
      'CONFIG_INVALID',
      `audit key ${path} is accessible to others: chmod 600 it, or replace it if it may have leaked`,
    );
  }
  return new HostKey(createPrivateKey(readFileSync(path)));
}

/** The key to verify with: a public key file, or a private one's public half. */
export function loadPublicKey(path: string): KeyObject {
  return createPublicKey(readFileSync(path));
}

export function publicPath(path: string): string {
  return `${path.replace(/\.key$/, '')}.pub`;
}

/** Replaces a small file as a whole: it has the old content or the new, whatever happens. */
export async function replaceFile(path: string, content: string, mode: number): Promise<void> {
  const fresh = `${path}.new`;
  const file = await openFile(fresh, 'w', mode);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(fresh, path);
}

export function readHead(dir: string): Mark | null {
  const path = join(dir, 'head');
  if (!existsSync(path)) return null;
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Mark;
  } catch (cause) {
    throw new SluiceError('AUDIT_BROKEN', `${path} is not readable`, { cause });
  }
}

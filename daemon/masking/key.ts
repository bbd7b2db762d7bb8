/** The host's mask key: 32 random bytes in a file that only its owner reads. Whoever holds it can confirm guesses. */
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, linkSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { SluiceError } from '../core/errors.ts';

export type MaskKey = KeyObject;

const KEY_BYTES = 32;

/** For tests and for masks that need no key kept: a key of this process alone. */
export function randomMaskKey(): MaskKey {
  return createSecretKey(randomBytes(KEY_BYTES));
}

/**
 * Reads the key at `path`, or makes it (mode 0600) where there is none. Two processes that start at once end up with the
 * same key: the file is written beside and linked into place, which fails where one exists.
 * @throws SluiceError CONFIG_INVALID when the file has another length or can be read by others, or can't be read or made.
 */
export function loadMaskKey(path: string): MaskKey {
  try {
    return readKey(path) ?? createKey(path);
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new SluiceError('CONFIG_INVALID', `could not read or make the mask key ${path}: ${why}`, { cause });
  }
}

function readKey(path: string): MaskKey | null {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size !== KEY_BYTES)
      throw new SluiceError('CONFIG_INVALID', `the mask key ${path} is not a file of ${KEY_BYTES} bytes`);
    if ((stat.mode & 0o077) !== 0)
      throw new SluiceError('CONFIG_INVALID', `the mask key ${path} can be read by others than its owner`, {
        hint: `chmod 600 ${path}`,
      });
    return createSecretKey(readFileSync(fd));
  } finally {
    closeSync(fd);
  }
}

function createKey(path: string): MaskKey {
  const beside = `${path}.${process.pid}.${randomBytes(6).toString('hex')}`;
  const fd = openSync(beside, 'wx', 0o600);
  try {
    writeSync(fd, randomBytes(KEY_BYTES));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  try {
    linkSync(beside, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // another process was first: its key holds
  } finally {
    unlinkSync(beside);
  }
  const key = readKey(path);
  if (key === null) throw new SluiceError('CONFIG_INVALID', `the mask key ${path} was removed while it was made`);
  return key;
}

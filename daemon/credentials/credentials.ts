/**
 * Reads the real credential from where the policy says it is, when a flow logs in. Nothing here logs, no error carries
 * any of what was read, and nothing is kept but for what one command said a few seconds ago.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import type { Credential, CredentialSource } from '../core/resource.ts';
import { runCommand } from './command.ts';
import { credentialFrom } from './format.ts';

/** A password, or two PEM files as JSON. */
export const MAX_CREDENTIAL = 64 << 10;
/** How long what a command said serves other logins, milliseconds: pools open many connections at once. */
const COMMAND_TTL = 5_000;

export interface CredentialOptions {
  /** Where systemd puts LoadCredential=. Absent: $CREDENTIALS_DIRECTORY; where that is not set, `systemd:` fails. */
  readonly directory?: string;
  /** Milliseconds that a command may take. Default 10,000. */
  readonly commandTime?: number;
}

export class Credentials {
  readonly #directory: string | undefined;
  readonly #commandTime: number;
  readonly #said = new Map<string, Promise<Credential>>();

  constructor(options: CredentialOptions = {}) {
    this.#directory = options.directory ?? process.env.CREDENTIALS_DIRECTORY;
    this.#commandTime = options.commandTime ?? 10_000;
  }

  /** @throws SluiceError CREDENTIAL_UNAVAILABLE */
  async read(source: CredentialSource): Promise<Credential> {
    if ('systemd' in source) return this.#systemd(source.systemd);
    if ('file' in source) return this.#file(source.file);
    return this.#command(source.command);
  }

  async #systemd(name: string): Promise<Credential> {
    const what = `systemd credential ${JSON.stringify(name)}`;
    if (this.#directory === undefined)
      throw unavailable(what, 'sluiced was not started by systemd with LoadCredential=');
    // systemd itself allows no more in a name; a slash would lead out of the folder.
    if (!/^[A-Za-z0-9_.@:-]{1,255}$/.test(name) || name === '.' || name === '..')
      throw unavailable(what, 'that is no name of one');
    return parsed(what, await bytesOf(what, join(this.#directory, name), false));
  }

  /** A file; or a folder with tls.crt and tls.key, as Kubernetes and certbot's hooks lay them, and optionally `user`. */
  async #file(path: string): Promise<Credential> {
    const what = `credential file ${path}`;
    const folder = await isFolder(path);
    if (!folder) return parsed(what, await bytesOf(what, path, true));
    const [cert, key, user] = await Promise.all([
      bytesOf(what, join(path, 'tls.crt'), false),
      bytesOf(what, join(path, 'tls.key'), true),
      bytesOf(what, join(path, 'user'), false).catch(() => null),
    ]);
    return parsed(
      what,
      Buffer.from(
        JSON.stringify({
          ...(user === null ? {} : { user: user.toString().trim() }),
          certificate: cert.toString(),
          key: key.toString(),
        }),
      ),
    );
  }

  #command(argv: readonly string[]): Promise<Credential> {
    const id = JSON.stringify(argv);
    const known = this.#said.get(id);
    if (known !== undefined) return known;
    const what = `credential command ${argv[0] ?? ''}`;
    const said = runCommand(argv, this.#commandTime, MAX_CREDENTIAL).then(
      (bytes) => parsed(what, bytes),
      (error: Error) => {
        throw unavailable(what, error.message);
      },
    );
    this.#said.set(id, said);
    const forget = () => this.#said.delete(id);
    said.then(() => setTimeout(forget, COMMAND_TTL).unref(), forget);
    return said;
  }
}

function parsed(what: string, bytes: Buffer): Credential {
  const credential = credentialFrom(bytes.toString('utf8'));
  bytes.fill(0);
  if (typeof credential === 'string') throw unavailable(what, credential);
  return credential;
}

async function isFolder(path: string): Promise<boolean> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY).catch(() => null);
  await handle?.close();
  return handle !== null;
}

/** `guarded`: refuse a file that others than its owner and group can read or that others can change. */
async function bytesOf(what: string, path: string, guarded: boolean): Promise<Buffer> {
  let handle: FileHandle | undefined;
  try {
    // Without O_NONBLOCK a FIFO at this path would hold the login for ever.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await handle.stat();
    if (!stat.isFile()) throw unavailable(what, 'it is not a regular file');
    if (guarded && (stat.mode & 0o027) !== 0) {
      throw unavailable(
        what,
        `others can read it or its group can write it (mode ${(stat.mode & 0o777).toString(8)}); give it mode 600 or 640`,
      );
    }
    const bytes = Buffer.alloc(MAX_CREDENTIAL + 1);
    let size = 0;
    for (let read = -1; read !== 0 && size < bytes.length; size += read) {
      ({ bytesRead: read } = await handle.read(bytes, size, bytes.length - size, size));
    }
    if (size > MAX_CREDENTIAL) throw unavailable(what, `it is longer than ${MAX_CREDENTIAL} bytes`);
    return bytes.subarray(0, size);
  } catch (error) {
    if (error instanceof SluiceError) throw error;
    throw unavailable(what, (error as NodeJS.ErrnoException).code ?? 'it could not be read');
  } finally {
    await handle?.close();
  }
}

function unavailable(what: string, why: string): SluiceError {
  return new SluiceError('CREDENTIAL_UNAVAILABLE', `${what} could not be used: ${why}`);
}

/**
 * Names that sessions were given, on disk, so that a daemon that starts again knows by which name a client means an address
 * that it still keeps. One JSON line for each answer, appended before the answer is told: what was written when the daemon
 * is killed stands. A line that is cut, as after a full disk, is passed over.
 */
import { closeSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';

export interface Given {
  readonly session: string;
  readonly name: string;
  readonly addresses: readonly string[];
}

/** The file is written anew, without what is forgotten, when it has grown to this, bytes. */
const ANEW = 4 * 1024 * 1024;

export class NamesFile {
  readonly #path: string;
  #fd = -1;
  #bytes = 0;
  /** Size after it was last written anew. */
  #floor = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** What was appended, in order. Empty when there is no file. @throws Error of the file system. */
  read(): Given[] {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
    return text.split('\n').flatMap((line) => parsed(line) ?? []);
  }

  /** @throws Error of the file system. */
  append(given: Given): void {
    if (this.#fd < 0) this.#fd = openSync(this.#path, 'a', 0o600);
    this.#bytes += writeSync(this.#fd, `${JSON.stringify(given)}\n`);
  }

  /** It has grown to twice of what it was and more than is worth keeping. */
  get long(): boolean {
    return this.#bytes > Math.max(ANEW, 2 * this.#floor);
  }

  /** @throws Error of the file system: the file is as before. */
  replace(all: Iterable<Given>): void {
    const text = Array.from(all, (given) => `${JSON.stringify(given)}\n`).join('');
    const next = `${this.#path}.new`;
    writeFileSync(next, text, { mode: 0o600 });
    renameSync(next, this.#path);
    this.close();
    this.#bytes = Buffer.byteLength(text);
    this.#floor = this.#bytes;
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

function parsed(line: string): Given | null {
  try {
    const { session, name, addresses } = JSON.parse(line) as Given;
    const sound = typeof session === 'string' && typeof name === 'string' && Array.isArray(addresses);
    return sound && addresses.every((each) => typeof each === 'string') ? { session, name, addresses } : null;
  } catch {
    return null;
  }
}

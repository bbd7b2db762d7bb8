/**
 * The host's own names for addresses, hosts(5). Agents read the file by themselves, before they ask anybody; a resource by
 * such a name is then met by its address. Whoever can write the file is root.
 */
import { readFileSync, statSync } from 'node:fs';
import { canonicalAddress } from './address.ts';

/** Names of one address that count. */
const NAMES = 64;
/** The file is looked at again after so long, milliseconds. */
const FRESH = 1_000;

export class HostsFile {
  readonly #path: string;
  #names: ReadonlyMap<string, readonly string[]> = new Map();
  #looked = Number.NEGATIVE_INFINITY;
  #version = '';

  constructor(path = '/etc/hosts') {
    this.#path = path;
  }

  /** In lower case. Empty where the file has none, or is not there. */
  namesOf(address: string): readonly string[] {
    this.#refresh();
    return this.#names.get(canonicalAddress(address)) ?? [];
  }

  /** `name` in lower case, without a last dot. */
  addressesOf(name: string): readonly string[] {
    this.#refresh();
    return [...this.#names].flatMap(([address, names]) => (names.includes(name) ? [address] : []));
  }

  #refresh(): void {
    const now = performance.now();
    if (now - this.#looked < FRESH) return;
    this.#looked = now;
    try {
      const { mtimeMs, size, ino } = statSync(this.#path);
      const version = `${mtimeMs} ${size} ${ino}`;
      if (version === this.#version) return;
      this.#names = parseHosts(readFileSync(this.#path, 'utf8'));
      this.#version = version;
    } catch {
      // What can't be read gives no names, and so no resources by them.
      this.#names = new Map();
      this.#version = '';
    }
  }
}

/** `address name+`, `#` begins a comment. */
export function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [address, ...words] = line.replace(/#.*$/, '').trim().split(/\s+/);
    if (address === undefined || address === '') continue;
    const key = canonicalAddress(address);
    const there = names.get(key) ?? [];
    for (const word of words) {
      const name = word.toLowerCase().replace(/\.$/, '');
      if (there.length < NAMES && !there.includes(name)) there.push(name);
    }
    names.set(key, there);
  }
  return names;
}

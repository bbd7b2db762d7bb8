/**
 * Which names a session was given for an address. A resource by name is met by them: what another session was told, or a
 * name that was never asked for, does not count. They are kept while the session lasts, since clients keep addresses
 * longer than their TTL; that an address belongs to somebody else by then is no harm, as sluice connects to the resource
 * by its own name.
 */
import { canonicalAddress } from './address.ts';

/** Of one session; what was used last stays. */
const ADDRESSES = 4096;
/** Of one address. */
const NAMES = 32;

export class SessionNames {
  readonly #host: (address: string) => readonly string[];
  readonly #sessions = new Map<string, Map<string, string[]>>();

  /** `host`: names that hold for every session. */
  constructor(host: (address: string) => readonly string[]) {
    this.#host = host;
  }

  /** `name` in lower case, without a last dot. */
  remember(session: string, name: string, addresses: readonly string[]): void {
    let known = this.#sessions.get(session);
    if (known === undefined) {
      known = new Map();
      this.#sessions.set(session, known);
    }
    for (const text of addresses) {
      const address = canonicalAddress(text);
      const names = (known.get(address) ?? []).filter((each) => each !== name);
      names.unshift(name);
      names.length = Math.min(names.length, NAMES);
      known.delete(address);
      known.set(address, names);
      if (known.size > ADDRESSES) known.delete(known.keys().next().value!);
    }
  }

  of(session: string, address: string): readonly string[] {
    const given = this.#sessions.get(session)?.get(canonicalAddress(address)) ?? [];
    const host = this.#host(address);
    return host.length === 0 ? given : [...new Set([...given, ...host])];
  }

  forget(session: string): void {
    this.#sessions.delete(session);
  }
}

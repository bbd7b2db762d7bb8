/**
 * Which names a session was given for an address. A resource by name is met by them: what another session was told, or a
 * name that was never asked for, does not count. They are kept while the session lasts, since clients keep addresses
 * longer than their TTL; that an address belongs to somebody else by then is no harm, as sluice connects to the resource
 * by its own name. With a file they outlive the daemon: what an agent's client has looked up is still good then.
 */
import { canonicalAddress } from './address.ts';
import type { Given, NamesFile } from './names-file.ts';

/** Of one session; what was used last stays. */
const ADDRESSES = 4096;
/** Of one address. */
const NAMES = 32;

export interface NamesOptions {
  /** Names that hold for every session. */
  readonly host: (address: string) => readonly string[];
  readonly file?: NamesFile;
  /** The file could not be read or written: after a restart clients have to look up again. */
  readonly onFault?: (error: unknown) => void;
}

export class SessionNames {
  readonly #options: NamesOptions;
  readonly #sessions = new Map<string, Map<string, string[]>>();
  /** The last write failed, which was told. */
  #failing = false;

  constructor(options: NamesOptions) {
    this.#options = options;
  }

  /** Takes up what the file holds of these sessions. */
  restore(running: ReadonlySet<string>): void {
    this.#try((file) => {
      for (const given of file.read()) {
        if (running.has(given.session)) this.#remember(given);
      }
      file.replace(this.#all());
    });
  }

  /** `name` in lower case, without a last dot. */
  remember(session: string, name: string, addresses: readonly string[]): void {
    // Most are told again and again.
    if (addresses.every((address) => this.#sessions.get(session)?.get(canonicalAddress(address))?.[0] === name)) return;
    const given = { session, name, addresses };
    this.#remember(given);
    this.#try((file) => {
      if (file.long) file.replace(this.#all());
      else file.append(given);
    });
  }

  #try(work: (file: NamesFile) => void): void {
    const { file, onFault } = this.#options;
    if (file === undefined) return;
    try {
      work(file);
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) onFault?.(error);
      this.#failing = true;
    }
  }

  *#all(): Iterable<Given> {
    for (const [session, known] of this.#sessions)
      for (const [address, names] of known)
        for (let i = names.length - 1; i >= 0; i--) yield { session, name: names[i]!, addresses: [address] };
  }

  #remember({ session, name, addresses }: Given): void {
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
    const host = this.#options.host(address);
    return host.length === 0 ? given : [...new Set([...given, ...host])];
  }

  forget(session: string): void {
    this.#sessions.delete(session);
  }
}

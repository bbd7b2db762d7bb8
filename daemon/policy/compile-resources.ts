/** Resources, and the names that agents may ask for: those of the resources, and those under `dns:`. */
import { isIP } from 'node:net';
import { isAbsolute } from 'node:path';
import type { CredentialSource, Resource } from '../core/resource.ts';
import { AddressTable, type HostPort, isLoopback, parseHostPort, parseName } from './address.ts';
import { broad, EVERYTHING, placeOf, type Taken, unneeded, whoOf } from './compile-entry.ts';
import { type Path, suggest } from './diagnostic.ts';
import { validate } from './issues.ts';
import { type Grant, GrantTable, USUAL_TYPES } from './names.ts';
import type { Who } from './rule.ts';
import type { DnsEntry, Kit, PolicyFile, ResourceEntry } from './schema.ts';
import type { Report, Source } from './source.ts';
import { plain } from './text.ts';

const DNS_PORT = 53;

export class Resources {
  readonly #kit: Kit;
  readonly #taken: Taken;
  readonly all = new Map<string, Resource>();
  /** Of files in mode observe. */
  readonly observed = new Set<string>();
  /** Passed without being read. */
  readonly unread = new Set<string>();
  readonly addresses = new AddressTable();
  readonly grants = new GrantTable();
  /** Whom an entry under `dns:` lets ask; null: everybody. */
  readonly askers: (Who | null)[] = [];

  constructor(kit: Kit, taken: Taken) {
    this.#kit = kit;
    this.#taken = taken;
  }

  declare({ resources, mode }: PolicyFile, source: Source, report: Report): void {
    for (const [name, entry] of Object.entries(resources)) {
      const path = ['resources', name];
      if (name === EVERYTHING)
        report(path, "a resource can't be named everything, rules say that for all of them", { key: true });
      if (!this.#taken.take('resource', name, source, path, report, true)) continue;
      this.all.set(name, this.#resource(name, entry, path, source, report));
      if (mode === 'observe') this.observed.add(name);
    }
  }

  #resource(name: string, entry: ResourceEntry, path: Path, source: Source, report: Report): Resource {
    const known = Object.hasOwn(this.#kit.protocols, entry.protocol);
    let options: Readonly<Record<string, unknown>> = {};
    if (!known)
      report(
        [...path, 'protocol'],
        `there is no protocol ${JSON.stringify(entry.protocol)}`,
        suggest(entry.protocol, Object.keys(this.#kit.protocols)),
      );
    else
      options = (validate(this.#kit.protocols[entry.protocol]!.options, entry.options ?? {}, report, [
        ...path,
        'options',
      ]) ?? {}) as Readonly<Record<string, unknown>>;
    const credential = this.#credential(entry, path, report);
    const unread = known ? this.#kit.protocols[entry.protocol]!.unread : undefined;
    if (unread !== undefined) {
      this.unread.add(name);
      report([...path, 'protocol'], `passed unread: ${unread}`, { warning: true });
      for (const key of ['credential', 'login', 'ca'] as const)
        if (entry[key] !== undefined)
          report([...path, key], `nothing of ${name} is read, so ${key} has no use`, { key: true });
    }
    if (entry.login === 'token' && credential === undefined)
      report(
        [...path, 'login'],
        "login: token needs a credential: the client's password is then the session token, and can't go through",
        {},
      );
    if (entry.tls === 'off' && entry.ca !== undefined) report([...path, 'ca'], 'ca has no use with tls: off', {});
    const parsed = parseHostPort(entry.address);
    const at = typeof parsed === 'string' ? { host: entry.address, port: 0, below: false } : parsed;
    if (typeof parsed === 'string') report([...path, 'address'], parsed);
    else if (parsed.below)
      report([...path, 'address'], "sluice connects to this address: it can't be a pattern", {
        suggestion: 'patterns stand under also:',
      });
    if ((entry.tls === 'off' || entry.tls === 'require') && credential !== undefined && !isLoopback(at.host))
      report([...path, 'tls'], `the credential goes to a server that is not verified (tls: ${entry.tls})`, {
        warning: true,
      });
    const resource: Resource = Object.freeze({
      name,
      protocol: entry.protocol,
      host: at.host,
      port: at.port,
      also: Object.freeze([...(entry.also ?? [])]),
      tls: entry.tls,
      login: entry.login ?? (credential === undefined ? 'none' : 'token'),
      options: Object.freeze(options),
      ...(entry.ca === undefined ? {} : { ca: entry.ca }),
      ...(credential === undefined ? {} : { credential }),
    });
    let isBroad = false;
    const addresses: [string, Path][] = [
      [entry.address, [...path, 'address']],
      ...(entry.also ?? []).map((text, i): [string, Path] => [text, [...path, 'also', i]]),
    ];
    for (const [text, where] of addresses) {
      const one = parseHostPort(text);
      if (typeof one === 'string') {
        if (where.at(-1) !== 'address') report(where, one);
        continue;
      }
      if (one.below && where.at(-1) !== 'address') {
        isBroad = true;
        broad(entry.breadth, `${text} takes in every name below ${one.host}`, where, report);
      }
      this.#askFor(one, resource, where, source, report);
      const other = this.addresses.add(one, resource);
      if (other !== null) report(where, `${text} is already an address of ${other.name}`);
    }
    if (!isBroad) unneeded(entry.breadth, path, report);
    return resource;
  }

  /** Whoever may use a resource may ask for its names. */
  #askFor({ host, port, below }: HostPort, { name }: Resource, path: Path, source: Source, report: Report): void {
    if (port === DNS_PORT)
      report(path, `port ${DNS_PORT} is answered by sluice itself, whatever the address`, {
        suggestion: 'names that agents may ask for stand under dns:',
      });
    if (isIP(host) !== 0) return;
    const types = new Set<string>(USUAL_TYPES);
    const rule = `resource ${name}`;
    const place = placeOf(source, path);
    this.grants.add(host, below, { rule, who: null, resource: name, types, inward: false, place });
  }

  dns(entry: DnsEntry, path: Path, source: Source, report: Report): void {
    if (entry.name !== undefined) this.#taken.take('dns entry', entry.name, source, [...path, 'name'], report);
    const grant: Omit<Grant, 'rule'> = Object.freeze({
      place: placeOf(source, path),
      who: entry.who === 'everyone' ? null : whoOf(entry.who),
      resource: null,
      types: new Set<string>(entry.types ?? USUAL_TYPES),
      inward: entry.answers === 'any',
    });
    this.askers.push(grant.who);
    let isBroad = false;
    for (const [i, text] of entry.names.entries()) {
      const where = [...path, 'names', i];
      const one = parseName(text);
      if (typeof one === 'string') {
        report(where, one);
        continue;
      }
      if (one.below) {
        isBroad = true;
        broad(entry.breadth, `agents choose the names below ${one.host}, whose server sees them`, where, report);
      }
      this.grants.add(one.host, one.below, { ...grant, rule: plain(entry.name ?? `dns ${text}`) });
    }
    if (!isBroad) unneeded(entry.breadth, path, report);
  }

  #credential({ credential }: ResourceEntry, path: Path, report: Report): CredentialSource | undefined {
    if (credential === undefined) return undefined;
    const { systemd, file, command, user } = credential;
    const where = [...path, 'credential'];
    if ([systemd, file, command].filter((source) => source !== undefined).length !== 1)
      report(where, 'needs exactly one of systemd, file and command');
    if (command !== undefined && !isAbsolute(command[0]!))
      report([...where, 'command', 0], 'has to be an absolute path');
    const account = user === undefined ? {} : { user };
    if (systemd !== undefined) return Object.freeze({ systemd, ...account });
    if (file !== undefined) return Object.freeze({ file, ...account });
    return Object.freeze({ command: Object.freeze([...(command ?? [])]), ...account });
  }
}

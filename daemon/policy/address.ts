/** Addresses of resources: parsed strictly, compared in one form, found by where a flow meant to go. */
import { BlockList, isIP, isIPv6, SocketAddress } from 'node:net';
import type { Resource } from '../core/resource.ts';

export interface HostPort {
  /** Lower case; an IPv6 address without brackets, in its shortest form. */
  readonly host: string;
  readonly port: number;
  /** `*.zone`: any name below the zone, not the zone itself. `host` is then the zone. */
  readonly below: boolean;
}

const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;

/** One text for each address: IPv4 within IPv6 as IPv4, IPv6 in its shortest form. Null: not an address. */
export function canonicalIp(address: string): string | null {
  const kind = isIP(address);
  if (kind === 0) return null;
  if (kind === 4) return address;
  if (address.includes('%')) return null;
  const text = new SocketAddress({ address, family: 'ipv6' }).address.toLowerCase();
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  return mapped === null ? text : mapped[1]!;
}

/** `host:port`, `[v6]:port`, `*.zone:port`. Returns what is wrong as text. */
export function parseHostPort(text: string): HostPort | string {
  const found = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  if (found === null) {
    if (isIPv6(text))
      return `${text} is not host:port: an IPv6 address stands in brackets, [${text.replace(/:[^:]*$/, '')}]:${text.replace(/^.*:/, '')}`;
    return `${text} is not host:port`;
  }
  const port = Number(found[3]);
  if (port < 1 || port > 65_535) return `${found[3]} is not a port`;
  if (found[1] !== undefined) {
    const host = isIPv6(found[1]) ? canonicalIp(found[1]) : null;
    return host === null ? `${found[1]} is not an IPv6 address` : { host, port, below: false };
  }
  const fault = (host: string): string =>
    host.includes('*') || host === ''
      ? `${text}: a * stands only at the front, as *.db.internal`
      : `${host} is not a host name`;
  let host = found[2]!.toLowerCase().replace(/\.$/, '');
  const below = host.startsWith('*.');
  if (below) host = host.slice(2);
  if (isIP(host) === 4 && !below) return { host, port, below };
  if (!isName(host)) return fault(host);
  const labels = host.split('.');
  // What looks like a number would be read as an IPv4 address by some resolvers and as a name by others.
  if (/^(?:\d+|0x[0-9a-f]*)$/.test(labels.at(-1)!)) return `${host} is neither an IPv4 address nor a host name`;
  return { host, port, below };
}

function isName(host: string): boolean {
  return host.length <= 253 && host.split('.').every((label) => LABEL.test(label));
}

/** `name`, `*.zone`. Returns what is wrong as text. */
export function parseName(text: string): { readonly host: string; readonly below: boolean } | string {
  const name = text.toLowerCase().replace(/\.$/, '');
  const below = name.startsWith('*.');
  const host = below ? name.slice(2) : name;
  if (isIP(host) !== 0) return `${text} is an address; names stand here`;
  if (isName(host)) return { host, below };
  return host.includes('*') ? `${text}: a * stands only at the front, as *.db.internal` : `${text} is not a host name`;
}

const key = (host: string, port: number): string => `${host} ${port}`;

/** Resources by the address that a flow was made for. */
export class AddressTable {
  readonly #exact = new Map<string, Resource>();
  readonly #zones: { readonly suffix: string; readonly port: number; readonly resource: Resource }[] = [];

  /** Returns the resource that has this very address already, or null when it was added. */
  add(at: HostPort, resource: Resource): Resource | null {
    if (at.below) {
      const same = this.#zones.find((zone) => zone.suffix === `.${at.host}` && zone.port === at.port);
      if (same !== undefined) return same.resource === resource ? null : same.resource;
      this.#zones.push({ suffix: `.${at.host}`, port: at.port, resource });
      return null;
    }
    const taken = this.#exact.get(key(at.host, at.port));
    if (taken !== undefined) return taken === resource ? null : taken;
    this.#exact.set(key(at.host, at.port), resource);
    return null;
  }

  /** The one that is meant. Null where nothing, or more than one resource, is. */
  find(address: string, port: number, names?: readonly string[]): Resource | null {
    const found = this.all(address, port, names);
    return found.length === 1 ? found[0]! : null;
  }

  /** By address, by each name, and by zones where no full name says more. */
  all(address: string, port: number, names: readonly string[] = []): readonly Resource[] {
    const ip = canonicalIp(address);
    const hosts = [ip ?? address.toLowerCase(), ...names.map((name) => name.toLowerCase().replace(/\.$/, ''))];
    const found = new Set<Resource>();
    for (const host of hosts) {
      const exact = this.#exact.get(key(host, port));
      if (exact !== undefined) {
        found.add(exact);
        continue;
      }
      if (isIP(host) !== 0) continue;
      const zones = this.#zones.filter((zone) => zone.port === port && host.endsWith(zone.suffix));
      const nearest = zones.sort((a, b) => b.suffix.length - a.suffix.length)[0];
      if (nearest !== undefined) found.add(nearest.resource);
    }
    return [...found];
  }
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || (isIP(host) !== 0 && LOOPBACK.check(host, isIPv6(host) ? 'ipv6' : 'ipv4'));

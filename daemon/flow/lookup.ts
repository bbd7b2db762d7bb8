/** How sluice finds the addresses of resources where it was told whom to ask: the host's own file first, then these. */
import { Resolver } from 'node:dns/promises';
import net from 'node:net';
import { setTimeout as after } from 'node:timers/promises';
import type { FindAddresses } from './reach.ts';
import type { ResolverAddress } from './resolvers.ts';

/** Milliseconds of one try, and how many. */
const TIMEOUT = 1_500;
const TRIES = 2;
/** So long IPv6 is waited for when IPv4 was found first, milliseconds (RFC 8305, section 8: Resolution Delay). */
const DELAY = 50;

/**
 * Both families are asked for at once, and whatever is found is told when it is found: a resolver, or what is before the
 * zone, that is silent about one of them (AAAA, as a rule) keeps nobody from the other.
 *
 * `hosts`: addresses that the host's file has for a name.
 */
export function lookupBy(
  servers: readonly ResolverAddress[],
  hosts: (name: string) => readonly string[],
): FindAddresses {
  const resolver = new Resolver({ timeout: TIMEOUT, tries: TRIES });
  resolver.setServers(servers.map(({ host, port }) => (net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`)));
  return async function* find(name) {
    const known = hosts(name.toLowerCase().replace(/\.$/, ''));
    if (known.length > 0) {
      yield known;
      return;
    }
    let fault: unknown = new Error(`${name} has no address`);
    const six = resolver.resolve6(name).catch((): string[] => []);
    const four = resolver.resolve4(name).catch((error: unknown): string[] => {
      fault = error;
      return [];
    });
    const sixFirst = await Promise.race([
      six.then(() => true),
      four.then((found) => (found.length === 0 ? six.then(() => true) : after(DELAY, false))),
    ]);
    let none = true;
    for (const asked of sixFirst ? [six, four] : [four, six]) {
      const found = await asked;
      if (found.length === 0) continue;
      none = false;
      yield found;
    }
    if (none) throw fault;
  };
}

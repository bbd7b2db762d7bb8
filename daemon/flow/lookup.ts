/** How sluice finds the addresses of resources where it was told whom to ask: the host's own file first, then these. */
import { Resolver } from 'node:dns/promises';
import net, { type LookupFunction } from 'node:net';
import type { ResolverAddress } from './resolvers.ts';

/** Milliseconds of one try, and how many. */
const TIMEOUT = 1_500;
const TRIES = 2;

/** `hosts`: addresses that the host's file has for a name. */
export function lookupBy(
  servers: readonly ResolverAddress[],
  hosts: (name: string) => readonly string[],
): LookupFunction {
  const resolver = new Resolver({ timeout: TIMEOUT, tries: TRIES });
  resolver.setServers(servers.map(({ host, port }) => (net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`)));
  const find = async (name: string): Promise<readonly string[]> => {
    if (net.isIP(name) !== 0) return [name];
    const known = hosts(name.toLowerCase().replace(/\.$/, ''));
    if (known.length > 0) return known;
    const found = await Promise.allSettled([resolver.resolve6(name), resolver.resolve4(name)]);
    const addresses = found.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
    if (addresses.length > 0) return addresses;
    throw (found[1] as PromiseRejectedResult).reason ?? new Error(`${name} has no address`);
  };
  return (name, options, done) => {
    const family = Number(String(options.family ?? 0).replace('IPv', ''));
    find(name).then(
      (found) => {
        const fitting = found
          .map((address) => ({ address, family: net.isIP(address) }))
          .filter((each) => family === 0 || each.family === family);
        const [first] = fitting;
        if (first === undefined) done(new Error(`${name} has no address of family ${family}`), '', 0);
        else if (options.all === true) done(null, fitting);
        else done(null, first.address, first.family);
      },
      (error: NodeJS.ErrnoException) => done(error, '', 0),
    );
  };
}

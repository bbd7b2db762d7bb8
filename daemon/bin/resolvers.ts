/** Whom sluiced asks for names: its configuration says, or resolv.conf(5). */
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import type { ResolverAddress } from '../flow/resolvers.ts';

const PORT = 53;
/** More are not asked (MAXNS in resolv.h). */
const MAX = 3;
/** The file is looked at again after so long, milliseconds. */
const FRESH = 1_000;

/** `10.0.0.2`, `10.0.0.2:5353`, `2001:db8::2`, `[2001:db8::2]:5353`. Null: none of these. */
export function resolverOf(text: string): ResolverAddress | null {
  const found = /^(?:\[([^\]]+)\]|([^[\]:]+))(?::(\d{1,5}))?$/.exec(text);
  const host = found?.[1] ?? found?.[2] ?? text;
  const port = found?.[3] === undefined ? PORT : Number(found[3]);
  // Without a scope: c-ares, by which resources are found, knows none.
  const family = host.includes('%') ? 0 : isIP(host);
  if (family === 0 || (found?.[1] !== undefined && family !== 6) || port < 1 || port > 65_535) return null;
  return { host, port };
}

/** Reads the file again when it changed. Without nameservers in it: the one on loopback, as the file's manual says. */
export function resolvConf(path = '/etc/resolv.conf'): () => readonly ResolverAddress[] {
  let servers: readonly ResolverAddress[] = [];
  let looked = Number.NEGATIVE_INFINITY;
  let version = '';
  return () => {
    const now = performance.now();
    if (now - looked < FRESH) return servers;
    looked = now;
    try {
      const { mtimeMs, size, ino } = statSync(path);
      if (`${mtimeMs} ${size} ${ino}` === version) return servers;
      const found = [...readFileSync(path, 'utf8').matchAll(/^\s*nameserver\s+(\S+)/gm)].flatMap(([, address]) => {
        const server = isIP(address!.replace(/%.+$/, '')) === 0 ? null : { host: address!, port: PORT };
        return server === null ? [] : [server];
      });
      servers = found.length === 0 ? [{ host: '127.0.0.1', port: PORT }] : found.slice(0, MAX);
      version = `${mtimeMs} ${size} ${ino}`;
    } catch {
      servers = [];
      version = '';
    }
    return servers;
  };
}

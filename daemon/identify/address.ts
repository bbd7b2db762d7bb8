/** One text for each address, so that those of the kernel, of answers and of files can be compared. */
import { isIP, SocketAddress } from 'node:net';

/** IPv4 within IPv6 as IPv4, IPv6 in its shortest form; what is no address, as it is. */
export function canonicalAddress(address: string): string {
  if (isIP(address) !== 6 || address.includes('%')) return address;
  const text = new SocketAddress({ address, family: 'ipv6' }).address.toLowerCase();
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(text)?.[1] ?? text;
}

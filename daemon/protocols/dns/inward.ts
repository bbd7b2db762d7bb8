/**
 * Addresses that lead back to the host, to its own link or to the service that hands out a cloud machine's credentials. An
 * answer that holds one for a name out there is how DNS rebinding begins.
 */

type Range = readonly [prefix: readonly number[], bits: number, what: string];

/** RFC 6890 and what the providers say of their metadata services. */
const V4: readonly Range[] = [
  [[0], 8, 'this host'],
  [[127], 8, 'loopback'],
  [[169, 254], 16, 'link-local'],
  [[100, 100, 100, 200], 32, 'a metadata service'],
  [[192, 0, 0, 192], 32, 'a metadata service'],
  [[168, 63, 129, 16], 32, 'a metadata service'],
  [[224], 4, 'multicast'],
  [[240], 4, 'reserved'],
];
const V6: readonly Range[] = [
  [[0xfe, 0x80], 10, 'link-local'],
  [[0xff], 8, 'multicast'],
  [[0xfd, 0x00, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54], 128, 'a metadata service'],
  [[0xfd, 0x20, 0x00, 0xce, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54], 128, 'a metadata service'],
];
/** Prefixes before an IPv4 address: mapped, compatible (with :: and ::1 in it), translated, NAT64 (RFC 6052). */
const AROUND_V4: readonly Buffer[] = [
  '00000000000000000000ffff',
  '000000000000000000000000',
  '0000000000000000ffff0000',
  '0064ff9b0000000000000000',
].map((hex) => Buffer.from(hex, 'hex'));
/** 6to4 (RFC 3056) has it behind its first two bytes. */
const SIX_TO_FOUR = Buffer.from('2002', 'hex');

/** What the address of 4 or 16 bytes is, or null for one that leads elsewhere. */
export function inwardOf(address: Buffer): string | null {
  if (address.length === 4) return within(address, V4);
  if (AROUND_V4.some((prefix) => address.subarray(0, 12).equals(prefix))) return within(address.subarray(12), V4);
  if (address.subarray(0, 2).equals(SIX_TO_FOUR)) return within(address.subarray(2, 6), V4);
  return within(address, V6);
}

function within(address: Buffer, ranges: readonly Range[]): string | null {
  for (const [prefix, bits, what] of ranges) if (isIn(address, prefix, bits)) return what;
  return null;
}

function isIn(address: Buffer, prefix: readonly number[], bits: number): boolean {
  for (let i = 0; i * 8 < bits; i++) {
    const mask = (0xff << Math.max(0, 8 - (bits - i * 8))) & 0xff;
    if ((address[i]! & mask) !== ((prefix[i] ?? 0) & mask)) return false;
  }
  return true;
}

/** Text of an address of 4 or 16 bytes, IPv6 in full. */
export function addressText(address: Buffer): string {
  if (address.length === 4) return address.join('.');
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(address.readUInt16BE(i).toString(16));
  return groups.join(':');
}

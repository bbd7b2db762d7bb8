/** Addresses as the kernel side stores them: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d`. */

const BYTES = 16;
const MAPPED_PREFIX = Buffer.from('00000000000000000000ffff', 'hex');

/** Text of an address, IPv6 in the canonical form of RFC 5952. */
export function addressText(bytes: Buffer, at: number): string {
  if (bytes.compare(MAPPED_PREFIX, 0, MAPPED_PREFIX.length, at, at + MAPPED_PREFIX.length) === 0)
    return `${bytes[at + 12]}.${bytes[at + 13]}.${bytes[at + 14]}.${bytes[at + 15]}`;
  const groups: number[] = [];
  for (let i = 0; i < BYTES; i += 2) groups.push(bytes.readUInt16BE(at + i));
  const [from, length] = longestZeroRun(groups);
  const text = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  if (length < 2) return text(groups);
  return `${text(groups.slice(0, from))}::${text(groups.slice(from + length))}`;
}

function longestZeroRun(groups: readonly number[]): [from: number, length: number] {
  let best: [number, number] = [0, 0];
  for (let from = 0; from < groups.length; from++) {
    let to = from;
    while (groups[to] === 0) to++;
    if (to - from > best[1]) best = [from, to - from];
    from = Math.max(from, to);
  }
  return best;
}

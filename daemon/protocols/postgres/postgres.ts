/** The PostgreSQL protocol, as the registry knows it. */
import type { Protocol } from '../protocol.ts';
import { decline, type GreetParts, greet } from './greet.ts';
import { errorResponse } from './refusal.ts';
import { MAX_STARTUP, STARTUP } from './wire.ts';

export function postgres(parts: GreetParts): Protocol {
  return {
    name: 'postgres',
    can: { refuse: true, hold: true, mask: true },
    speaksFirst: 'client',
    recognise,
    greet: (host) => greet(host, parts),
    decline,
    farewell: (refusal) => errorResponse(refusal, 'FATAL'),
  };
}

/** length(int32) code(int32): a first packet of PostgreSQL's; a TLS handshake may be anybody's. */
export function recognise(first: Buffer): 'yes' | 'no' | 'more' {
  if (first.length > 0 && first[0] !== 0) return 'no';
  if (first.length < 8) return 'more';
  const length = first.readUInt32BE(0);
  const code = first.readUInt32BE(4);
  if (length < 8 || length > MAX_STARTUP) return 'no';
  const known = code === STARTUP.ssl || code === STARTUP.gssenc || code === STARTUP.cancel || code >>> 16 === 3;
  return known ? 'yes' : 'no';
}

/**
 * SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677; channel binding tls-server-end-point of RFC 5929), both
 * sides, as messages without the wire around them. Throws plain ScramError; the caller knows whose fault it is.
 *
 *   client-first   gs2-header "n=" user ",r=" nonce            gs2-header: "n,," | "y,," | "p=tls-server-end-point,,"
 *   server-first   "r=" nonce both ",s=" salt base64 ",i=" iterations
 *   client-final   "c=" base64(gs2-header, binding) ",r=" nonce both ",p=" base64(proof)
 *   server-final   "v=" base64(signature)
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';
import { saslprep } from './saslprep.ts';

export const SCRAM = 'SCRAM-SHA-256';
export const SCRAM_PLUS = 'SCRAM-SHA-256-PLUS';

/** PBKDF2 runs on this thread: a server may not ask for more. PostgreSQL's own default is 4096. */
export const MAX_ITERATIONS = 100_000;
/** RFC 7677 wants no fewer, and some clients refuse to log in with fewer. */
export const ITERATIONS = 4096;
/** Longest message of either side; a nonce and a salt fit many times. */
const MAX_MESSAGE = 4096;
const NONCE_BYTES = 18;

export class ScramError extends Error {}

/**
 * What the channel is bound to: the hash of the server's certificate, with the hash function of its signature, MD5 and
 * SHA-1 replaced by SHA-256. Null where RFC 5929 defines none (Ed25519, Ed448).
 */
export function channelBinding(certDer: Buffer): Buffer | null {
  const oid = signatureOid(certDer);
  const hash = oid === null ? undefined : HASH_OF_SIGNATURE[oid];
  if (hash === undefined) return null;
  return createHash(hash).update(certDer).digest();
}

/** Signature algorithm, DER content octets of its OID in hex. RFC 3279, RFC 4055, RFC 5758. RSASSA-PSS names its hash in parameters: none is taken. */
const HASH_OF_SIGNATURE: Readonly<Record<string, string>> = {
  '2a864886f70d010104': 'sha256', // md5WithRSA
  '2a864886f70d010105': 'sha256', // sha1WithRSA
  '2a864886f70d01010e': 'sha224',
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  '2a8648ce3d0401': 'sha256', // ecdsa-with-SHA1
  '2a8648ce3d040301': 'sha224',
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
};

/** Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { OID, … }, … } */
function signatureOid(der: Buffer): string | null {
  const element = (at: number, tag: number): { from: number; to: number } | null => {
    if (der[at] !== tag || at + 2 > der.length) return null;
    const first = der[at + 1]!;
    const extra = first < 0x80 ? 0 : first & 0x7f;
    if (extra > 4 || at + 2 + extra > der.length) return null;
    const length = extra === 0 ? first : der.readUIntBE(at + 2, extra);
    const from = at + 2 + extra;
    return from + length > der.length ? null : { from, to: from + length };
  };
  const certificate = element(0, 0x30);
  const body = certificate && element(certificate.from, 0x30);
  const algorithm = body && element(body.to, 0x30);
  const oid = algorithm && element(algorithm.from, 0x06);
  return oid ? der.toString('hex', oid.from, oid.to) : null;
}

export class ScramClient {
  readonly mechanism: typeof SCRAM | typeof SCRAM_PLUS;
  readonly #password: string;
  readonly #header: string;
  readonly #binding: Buffer;
  readonly #firstBare: string;
  readonly #nonce: string;
  #signature: Buffer | null = null;

  /** `offered`: the server's mechanisms. `binding`: null without TLS or where there is none for the certificate. */
  constructor(
    password: string,
    offered: readonly string[],
    binding: Buffer | null,
    nonce = randomBytes(NONCE_BYTES).toString('base64'),
  ) {
    this.#password = saslprep(password);
    this.#nonce = nonce;
    this.#firstBare = `n=,r=${nonce}`;
    if (binding !== null && offered.includes(SCRAM_PLUS)) {
      this.mechanism = SCRAM_PLUS;
      this.#header = 'p=tls-server-end-point,,';
      this.#binding = binding;
    } else if (offered.includes(SCRAM)) {
      this.mechanism = SCRAM;
      // "y" lets the server notice when someone between took SCRAM-SHA-256-PLUS off its list.
      this.#header = binding === null ? 'n,,' : 'y,,';
      this.#binding = Buffer.alloc(0);
    } else {
      throw new ScramError(`it offers only ${offered.join(', ') || 'nothing'}`);
    }
  }

  first(): string {
    return this.#header + this.#firstBare;
  }

  final(serverFirst: string): string {
    const { nonce, salt, iterations } = readServerFirst(serverFirst);
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length)
      throw new ScramError('its nonce is not built on ours');
    const salted = pbkdf2Sync(this.#password, salt, iterations, 32, 'sha256');
    const clientKey = hmac(salted, 'Client Key');
    const bound = Buffer.concat([Buffer.from(this.#header), this.#binding]).toString('base64');
    const withoutProof = `c=${bound},r=${nonce}`;
    const authMessage = `${this.#firstBare},${serverFirst},${withoutProof}`;
    const proof = xor(clientKey, hmac(sha256(clientKey), authMessage));
    this.#signature = hmac(hmac(salted, 'Server Key'), authMessage);
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** Proves that the server knows the password too. */
  verify(serverFinal: string): void {
    const given = /^v=([A-Za-z0-9+/]{43}=)$/.exec(serverFinal)?.[1];
    if (this.#signature === null || given === undefined) throw new ScramError('its final message is malformed');
    if (!timingSafeEqual(Buffer.from(given, 'base64'), this.#signature)) {
      throw new ScramError('it does not know the password: its signature is wrong');
    }
  }
}

/** r=…,s=…,i=… in this order; extensions may follow, a mandatory one ("m=") would come first and is refused with the rest. */
function readServerFirst(text: string): { nonce: string; salt: Buffer; iterations: number } {
  const match =
    text.length <= MAX_MESSAGE &&
    /^r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/]+={0,2}),i=([1-9][0-9]{0,8})(?:,|$)/.exec(text);
  if (!match) throw new ScramError('its first message is malformed');
  const iterations = Number(match[3]);
  if (iterations > MAX_ITERATIONS)
    throw new ScramError(`it asks for ${iterations} iterations, more than ${MAX_ITERATIONS}`);
  return { nonce: match[1]!, salt: Buffer.from(match[2]!, 'base64'), iterations };
}

/** What a server keeps of a password. Deriving it takes about a millisecond: keep it as long as the password is valid. */
export interface ScramVerifier {
  readonly salt: Buffer;
  readonly iterations: number;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

export function scramVerifier(password: string, salt = randomBytes(16), iterations = ITERATIONS): ScramVerifier {
  const salted = pbkdf2Sync(saslprep(password), salt, iterations, 32, 'sha256');
  return { salt, iterations, storedKey: sha256(hmac(salted, 'Client Key')), serverKey: hmac(salted, 'Server Key') };
}

/** As PostgreSQL writes it in pg_authid.rolpassword: SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey, all in base64. */
export function verifierText({ salt, iterations, storedKey, serverKey }: ScramVerifier): string {
  const base64 = (bytes: Buffer) => bytes.toString('base64');
  return `${SCRAM}$${iterations}:${base64(salt)}$${base64(storedKey)}:${base64(serverKey)}`;
}

/** @throws ScramError when it is no such text. */
export function parseVerifier(text: string): ScramVerifier {
  const match = /^SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$/.exec(text);
  if (match === null) throw new ScramError('what is kept of the token is malformed');
  const [, iterations, salt = '', storedKey = '', serverKey = ''] = match;
  const bytes = (base64: string) => Buffer.from(base64, 'base64');
  return {
    salt: bytes(salt),
    iterations: Number(iterations),
    storedKey: bytes(storedKey),
    serverKey: bytes(serverKey),
  };
}

export class ScramServer {
  readonly #verifier: ScramVerifier;
  readonly #binding: Buffer | null;
  readonly #nonce: string;
  #bound = '';
  #fullNonce = '';
  #firsts = '';

  /** `binding`: null where SCRAM-SHA-256-PLUS is not offered. */
  constructor(verifier: ScramVerifier, binding: Buffer | null, nonce = randomBytes(NONCE_BYTES).toString('base64')) {
    this.#verifier = verifier;
    this.#binding = binding;
    this.#nonce = nonce;
  }

  get mechanisms(): readonly string[] {
    return this.#binding === null ? [SCRAM] : [SCRAM_PLUS, SCRAM];
  }

  /** client-first to server-first. The user name in it is not looked at, as PostgreSQL does. */
  first(mechanism: string, clientFirst: string): string {
    const match =
      clientFirst.length <= MAX_MESSAGE &&
      /^([ny]|p=([a-z0-9.-]+)),,(n=([^,]*),r=([\x21-\x2b\x2d-\x7e]+))(?:,|$)/.exec(clientFirst);
    if (!match || !this.mechanisms.includes(mechanism)) throw new ScramError('the first message is malformed');
    const [, flag = '', type, bare = '', , nonce = ''] = match;
    if ((mechanism === SCRAM_PLUS) !== (type !== undefined))
      throw new ScramError('mechanism and channel binding do not agree');
    if (type !== undefined && type !== 'tls-server-end-point')
      throw new ScramError(`channel binding ${type} is not supported`);
    if (flag === 'y' && this.#binding !== null)
      throw new ScramError('the client did not see that channel binding is offered');
    const header = Buffer.from(`${flag},,`);
    this.#bound = Buffer.concat(type === undefined ? [header] : [header, this.#binding!]).toString('base64');
    this.#fullNonce = nonce + this.#nonce;
    const { salt, iterations } = this.#verifier;
    const answer = `r=${this.#fullNonce},s=${salt.toString('base64')},i=${iterations}`;
    this.#firsts = `${bare},${answer}`;
    return answer;
  }

  /** client-final to server-final; null when the password is wrong. */
  final(clientFinal: string): string | null {
    const match =
      clientFinal.length <= MAX_MESSAGE && /^(c=([A-Za-z0-9+/=]+),r=([^,]+)),p=([A-Za-z0-9+/]{43}=)$/.exec(clientFinal);
    if (!match || this.#firsts === '') throw new ScramError('the final message is malformed');
    const [, withoutProof = '', bound, nonce, proof = ''] = match;
    if (nonce !== this.#fullNonce) throw new ScramError('the nonce is not the one that was given');
    if (bound !== this.#bound)
      throw new ScramError('the channel is bound to something else: someone may stand between');
    const authMessage = `${this.#firsts},${withoutProof}`;
    const clientKey = xor(Buffer.from(proof, 'base64'), hmac(this.#verifier.storedKey, authMessage));
    if (!timingSafeEqual(sha256(clientKey), this.#verifier.storedKey)) return null;
    return `v=${hmac(this.#verifier.serverKey, authMessage).toString('base64')}`;
  }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function xor(a: Buffer, b: Buffer): Buffer {
  return a.map((byte, i) => byte ^ b[i]!) as Buffer;
}

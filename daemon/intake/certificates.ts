/**
 * The host's own certificate authority, and the certificates that sluice shows to clients in place of the real server's.
 * Clients trust it through one file, ca.crt. Its key never leaves the state folder; a leaf's key never leaves memory.
 */
import 'reflect-metadata';
import { createHash, randomBytes, webcrypto } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { createSecureContext, type SecureContext } from 'node:tls';
import * as x509 from '@peculiar/x509';
import { SluiceError } from '../core/errors.ts';

const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const CA_LIFETIME = 3_650 * DAY;
const LEAF_LIFETIME = 7 * DAY;
/** Clients' clocks may be behind by this much. */
const SKEW = HOUR;
/** A leaf is made anew when less than this is left of it, so that long connections end before it does. */
const LEAF_RENEWAL = 3 * DAY;
const CACHE_SIZE = 256;
const MAX_NAMES = 32;

export interface Leaf {
  /** PEM: the leaf, then the authority. */
  readonly cert: string;
  /** PEM, PKCS#8. */
  readonly key: string;
  /** The leaf alone, DER: what channel binding hashes. */
  readonly der: Buffer;
  readonly context: SecureContext;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
}

export class CertificateAuthority {
  /** PEM, what clients have to trust. */
  readonly pem: string;
  readonly #certificate: x509.X509Certificate;
  readonly #key: webcrypto.CryptoKey;
  /** Oldest use first. Promises, so that flows that start at once share one. */
  readonly #leaves = new Map<string, Promise<Leaf>>();

  private constructor(certificate: x509.X509Certificate, key: webcrypto.CryptoKey) {
    this.#certificate = certificate;
    this.#key = key;
    this.pem = `${certificate.toString('pem')}\n`;
  }

  /**
   * Loads `ca.crt` and `ca.key` of this folder, or makes them where neither is there.
   * @throws SluiceError CONFIG_INVALID when they don't belong together, have expired, or the key can be read by others
   */
  static async open(folder: string): Promise<CertificateAuthority> {
    const files = { cert: join(folder, 'ca.crt'), key: join(folder, 'ca.key') };
    if (!existsSync(files.cert)) await create(folder, files);
    const mode = statOf(files.key);
    if ((mode & 0o077) !== 0)
      throw invalid(`${files.key} can be read by others (mode ${(mode & 0o777).toString(8)}); it must have mode 600`);
    try {
      const certificate = new x509.X509Certificate(readFileSync(files.cert, 'utf8'));
      const key = await webcrypto.subtle.importKey('pkcs8', unwrap(readFileSync(files.key, 'utf8')), ECDSA, false, [
        'sign',
      ]);
      if (certificate.notAfter.getTime() < Date.now() + LEAF_LIFETIME)
        throw invalid(`${files.cert} has expired or is about to; remove it and ca.key for a new one`);
      await provePair(certificate, key, files.cert);
      return new CertificateAuthority(certificate, key);
    } catch (error) {
      if (error instanceof SluiceError) throw error;
      throw invalid(`the certificate authority in ${folder} could not be read`, error);
    }
  }

  /**
   * A certificate for these DNS names and IP addresses; the same one while it is fresh.
   * @throws SluiceError PROTOCOL_VIOLATION for what is neither (a client chooses the name in SNI)
   */
  leafFor(names: readonly string[]): Promise<Leaf> {
    const wanted = [...new Set(names.map(normal))].sort();
    if (wanted.length === 0 || wanted.length > MAX_NAMES) {
      return Promise.reject(
        new SluiceError('PROTOCOL_VIOLATION', `a certificate needs 1 to ${MAX_NAMES} names, not ${wanted.length}`),
      );
    }
    const wrong = wanted.find((name) => isIP(name) === 0 && !isDnsName(name));
    if (wrong !== undefined) {
      return Promise.reject(
        new SluiceError('PROTOCOL_VIOLATION', `${JSON.stringify(wrong.slice(0, 80))} is no host name`),
      );
    }
    const id = wanted.join(' ');
    const cached = this.#leaves.get(id);
    const leaf = (cached ?? this.#mint(wanted)).then((made) => (isFresh(made) ? made : this.#mint(wanted)));
    this.#leaves.delete(id);
    this.#leaves.set(id, leaf);
    leaf.catch(() => this.#leaves.delete(id));
    if (this.#leaves.size > CACHE_SIZE) this.#leaves.delete(this.#leaves.keys().next().value!);
    return leaf;
  }

  /** For Node's SNICallback and secureContext: the leaf for the name asked for, beside names that hold anyway. */
  async secureContextFor(servername: string, also: readonly string[] = []): Promise<SecureContext> {
    return (await this.leafFor([servername, ...also])).context;
  }

  async #mint(names: readonly string[]): Promise<Leaf> {
    const keys = (await webcrypto.subtle.generateKey(ECDSA, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
    const now = Date.now();
    const notAfter = Math.min(now + LEAF_LIFETIME, this.#certificate.notAfter.getTime());
    const common = names.find((name) => name.length <= 64);
    const leaf = await x509.X509CertificateGenerator.create({
      serialNumber: serial(),
      subject: common === undefined ? '' : new x509.Name([{ CN: [common] }]).toString(),
      issuer: this.#certificate.subject,
      notBefore: new Date(now - SKEW),
      notAfter: new Date(notAfter),
      signingAlgorithm: ECDSA,
      publicKey: keys.publicKey,
      signingKey: this.#key,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(
          names.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value }) as const),
          common === undefined,
        ),
        await x509.AuthorityKeyIdentifierExtension.create(this.#certificate.publicKey),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    const cert = `${leaf.toString('pem')}\n${this.pem}`;
    const key = await wrap(keys.privateKey);
    return {
      cert,
      key,
      der: Buffer.from(leaf.rawData),
      context: createSecureContext({ cert, key, minVersion: 'TLSv1.2' }),
      notAfter,
    };
  }
}

/** Neither about to end nor, where the clock was set back since, of a time that is yet to come. */
function isFresh({ notAfter }: Leaf): boolean {
  const left = notAfter - Date.now();
  return left >= LEAF_RENEWAL && left <= LEAF_LIFETIME + SKEW;
}

async function create(folder: string, files: { cert: string; key: string }): Promise<void> {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const keys = (await webcrypto.subtle.generateKey(ECDSA, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const id = createHash('sha256').update(randomBytes(16)).digest('hex').slice(0, 8);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: new x509.Name([{ CN: [`sluice on ${hostname().slice(0, 40)} ${id}`] }]).toString(),
    notBefore: new Date(Date.now() - SKEW),
    notAfter: new Date(Date.now() + CA_LIFETIME),
    signingAlgorithm: ECDSA,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  // The key first: a certificate that is there has its key.
  place(files.key, await wrap(keys.privateKey), 0o600);
  place(files.cert, `${certificate.toString('pem')}\n`, 0o644);
}

/** Never half a file, and never a moment with wider permissions. */
function place(path: string, text: string, mode: number): void {
  const draft = `${path}.${process.pid}.new`;
  writeFileSync(draft, text, { mode, flag: 'wx', flush: true });
  chmodSync(draft, mode);
  renameSync(draft, path);
}

/** @throws SluiceError when the key has not made the certificate's signature */
async function provePair(certificate: x509.X509Certificate, key: webcrypto.CryptoKey, path: string): Promise<void> {
  const proof = randomBytes(32);
  const signature = await webcrypto.subtle.sign(ECDSA, key, proof);
  const publicKey = await certificate.publicKey.export(ECDSA, ['verify']);
  if (!(await webcrypto.subtle.verify(ECDSA, publicKey, signature, proof)))
    throw invalid(`${path} and ca.key do not belong together`);
}

/** RFC 5280: positive, at most 20 octets; 127 bits of randomness. */
function serial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString('hex');
}

async function wrap(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return `-----BEGIN PRIVATE KEY-----\n${der.toString('base64').replace(/(.{64})(?=.)/g, '$1\n')}\n-----END PRIVATE KEY-----\n`;
}

function unwrap(pem: string): Buffer {
  const body = /-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----/.exec(pem)?.[1];
  if (body === undefined) throw new Error('no private key in PEM');
  return Buffer.from(body, 'base64');
}

function statOf(path: string): number {
  try {
    return statSync(path).mode;
  } catch (error) {
    throw invalid(`${path} could not be read`, error);
  }
}

function normal(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

/** Letters of any label as resolvers take them, underscores too (they occur in service names). */
function isDnsName(name: string): boolean {
  return (
    name.length <= 253 &&
    /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/.test(name)
  );
}

function invalid(message: string, cause?: unknown): SluiceError {
  return new SluiceError('CONFIG_INVALID', message, { cause });
}

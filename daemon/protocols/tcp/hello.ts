/**
 * The first message of a TLS client, as far as it says in clear whom it wants to reach (RFC 8446 4.1.2, RFC 6066 3). It
 * may be spread over records, and records over packets.
 */

export type Hello =
  | { readonly kind: 'more' }
  /** The first bytes are no TLS. */
  | { readonly kind: 'other' }
  | { readonly kind: 'bad'; readonly why: string }
  | {
      readonly kind: 'hello';
      /** Lower case, without a last dot. Null: none was sent. */
      readonly server: string | null;
      /** The name that counts may be another, which is encrypted (RFC 9849); clients also send this as noise. */
      readonly encrypted: boolean;
    };

const RECORD = { header: 5, handshake: 22, max: 1 << 14 } as const;
const HANDSHAKE = { header: 4, clientHello: 1 } as const;
/** Bytes of the longest hello that is read: post-quantum keys, a ticket and every extension take a few thousand. */
export const HELLO_LIMIT = 16 * 1024;
const EXTENSION = { serverName: 0, encryptedHello: 0xfe0d, esni: 0xffce } as const;
const HOST_NAME = 0;
const NAME = /^(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** `bytes`: all that came so far. */
export function readHello(bytes: Buffer): Hello {
  if (bytes.length === 0) return { kind: 'more' };
  if (bytes[0] !== RECORD.handshake) return { kind: 'other' };
  try {
    const message = handshake(bytes);
    return message === null ? { kind: 'more' } : clientHello(message);
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    return { kind: 'bad', why: error.message };
  }
}

class Wrong extends Error {}

/** `(type:1 version:2 length:2 fragment)*`, in it `type:1 length:3 body`: the body of the first message, or null. */
function handshake(bytes: Buffer): Buffer | null {
  const parts: Buffer[] = [];
  let size = 0;
  let wanted = HANDSHAKE.header;
  for (let at = 0; size < wanted; ) {
    if (at + RECORD.header > bytes.length) return checkSoFar(bytes, at);
    const length = bytes.readUInt16BE(at + 3);
    if (bytes[at] !== RECORD.handshake || bytes[at + 1] !== 3) throw new Wrong('a record of another kind in the hello');
    if (length === 0 || length > RECORD.max) throw new Wrong(`a record of ${length} bytes in the hello`);
    const part = bytes.subarray(at + RECORD.header, at + RECORD.header + length);
    parts.push(part);
    size += part.length;
    if (size >= HANDSHAKE.header && wanted === HANDSHAKE.header) {
      const head = Buffer.concat(parts, size);
      if (head[0] !== HANDSHAKE.clientHello)
        throw new Wrong('a handshake that begins with something else than a hello');
      wanted = HANDSHAKE.header + head.readUIntBE(1, 3);
      if (wanted > HELLO_LIMIT) throw new Wrong(`a hello of ${wanted} bytes; at most ${HELLO_LIMIT} are read`);
    }
    if (part.length < length && size < wanted) return null;
    at += RECORD.header + length;
  }
  return Buffer.concat(parts, size).subarray(HANDSHAKE.header, wanted);
}

/** What there is of a header that is not whole yet. */
function checkSoFar(bytes: Buffer, at: number): null {
  if (at < bytes.length && bytes[at] !== RECORD.handshake) throw new Wrong('a record of another kind in the hello');
  if (at + 1 < bytes.length && bytes[at + 1] !== 3) throw new Wrong('an unknown version of TLS');
  return null;
}

/** Reads forward, and never past the end. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(length: number): Buffer {
    if (length > this.left) throw new Wrong('a hello that is cut off');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  number(width: 1 | 2): number {
    return this.take(width).readUIntBE(0, width);
  }

  /** `length:width bytes` */
  vector(width: 1 | 2): Buffer {
    return this.take(this.number(width));
  }
}

/** `version:2 random:32 session<1> ciphers<2> compression<1> (extensions<2>)?` */
function clientHello(body: Buffer): Hello {
  const reader = new Reader(body);
  reader.take(2 + 32);
  reader.vector(1);
  reader.vector(2);
  reader.vector(1);
  let server: string | null = null;
  let encrypted = false;
  if (reader.left > 0) {
    const extensions = new Reader(reader.vector(2));
    if (reader.left > 0) throw new Wrong('bytes after the hello');
    const seen = new Set<number>();
    while (extensions.left > 0) {
      const type = extensions.number(2);
      const data = extensions.vector(2);
      if (seen.has(type)) throw new Wrong(`extension ${type} twice`);
      seen.add(type);
      if (type === EXTENSION.serverName) server = serverName(data);
      if (type === EXTENSION.encryptedHello || type === EXTENSION.esni) encrypted = true;
    }
  }
  return { kind: 'hello', server, encrypted };
}

/** `list<2> of (type:1 name<2>)`: one, and of the one type that there is (RFC 6066 3). */
function serverName(data: Buffer): string {
  const outer = new Reader(data);
  const list = new Reader(outer.vector(2));
  if (outer.left > 0) throw new Wrong('bytes after the server name');
  if (list.number(1) !== HOST_NAME) throw new Wrong('a server name of an unknown kind');
  const name = list.vector(2).toString('latin1').toLowerCase().replace(/\.$/, '');
  if (list.left > 0) throw new Wrong('more than one server name');
  if (!NAME.test(name)) throw new Wrong('a server name that is no host name');
  return name;
}

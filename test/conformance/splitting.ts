/** A protocol whose codec and greeting get every byte by itself. */
import type { Channel, Codec, Framer, Outlet, Protocol, Responder, Unit } from '../../daemon/protocols/protocol.ts';

export interface Sides {
  readonly client: boolean;
  readonly upstream: boolean;
}

export function splitting(protocol: Protocol, sides: () => Sides): Protocol {
  return {
    ...protocol,
    async greet(host) {
      const now = sides();
      if (!now.client && !now.upstream) return protocol.greet(host);
      const client = now.client ? single(host.client) : host.client;
      // The host keeps private state, so its methods have to be called on itself.
      const parted = new Proxy(host, {
        get(target, key) {
          const value: unknown = key === 'client' ? client : Reflect.get(target, key, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
      const opened = await protocol.greet(parted);
      return opened === null ? null : { ...opened, codec: new SplitCodec(opened.codec, now) };
    },
  };
}

/** A responder whose framer gets every byte by itself. */
export function splittingStream(responder: Responder, now: () => boolean): Responder {
  return { ...responder, framer: () => (now() ? new SplitFramer(responder.framer()) : responder.framer()) };
}

/** Tells of whatever goes to the client. */
function watched(out: Outlet, passed: () => void): Outlet {
  return {
    toClient(bytes) {
      passed();
      out.toClient(bytes);
    },
    lend(bytes) {
      passed();
      return out.lend(bytes);
    },
    get idle() {
      return out.idle;
    },
    toUpstream: (bytes) => out.toUpstream(bytes),
    ended: (end) => out.ended(end),
  };
}

class SplitFramer implements Framer {
  readonly #inner: Framer;
  #left: Buffer[] = [];

  constructor(inner: Framer) {
    this.#inner = inner;
  }

  push(chunk: Buffer): void {
    for (const byte of chunk) this.#left.push(Buffer.from([byte]));
  }

  next(): Buffer | null {
    for (;;) {
      const message = this.#inner.next();
      const byte = message === null ? this.#left.shift() : undefined;
      if (byte === undefined) return message;
      this.#inner.push(byte);
    }
  }

  get partial(): boolean {
    return this.#inner.partial || this.#left.length > 0;
  }
}

/** The same channel, handing out one byte at a time. */
function single(channel: Channel): Channel {
  return {
    async read() {
      const bytes = await channel.read();
      if (bytes !== null && bytes.length > 1) channel.unread(bytes.subarray(1));
      return bytes === null ? null : Buffer.from(bytes.subarray(0, 1));
    },
    unread: (bytes) => channel.unread(bytes),
    write: (bytes) => channel.write(bytes),
    get encrypted() {
      return channel.encrypted;
    },
  };
}

/** No byte that a codec kept may become this one. */
const OVERWRITTEN = 0xa5;

class SplitCodec implements Codec {
  readonly halves?: true;
  readonly #inner: Codec;
  readonly #sides: Sides;
  #left: Buffer[] = [];
  /** Bytes of the upstream's that were passed on as they lay. */
  #lent: Buffer[] = [];

  constructor(inner: Codec, sides: Sides) {
    this.#inner = inner;
    if (inner.halves) this.halves = true;
    this.#sides = sides;
  }

  client(chunk: Buffer): void {
    if (this.#sides.client)
      for (let i = 0; i < chunk.length; i++) this.#left.push(Buffer.from(chunk.subarray(i, i + 1)));
    else this.#inner.client(chunk);
  }

  next(): Unit | null {
    for (;;) {
      const unit = this.#inner.next();
      if (unit !== null || this.#inner.blocked) return unit;
      const byte = this.#left.shift();
      if (byte === undefined) return null;
      this.#inner.client(byte);
    }
  }

  /** Memory of what was taken is written to again, as a flow does it (daemon/flow/receive.ts): at once, or when all has left. */
  upstream(chunk: Buffer, out: Outlet): void {
    if (!this.#sides.upstream) {
      this.#inner.upstream(chunk, out);
      return;
    }
    if (out.idle) {
      for (const byte of this.#lent) byte.fill(OVERWRITTEN);
      this.#lent = [];
    }
    for (const value of chunk) {
      const byte = Buffer.from([value]);
      let passed = false;
      this.#inner.upstream(
        byte,
        watched(out, () => (passed = true)),
      );
      if (passed) this.#lent.push(byte);
      else byte.fill(OVERWRITTEN);
    }
  }

  get blocked() {
    return this.#inner.blocked;
  }
  get partial() {
    return this.#inner.partial || this.#left.length > 0;
  }
  get atBoundary() {
    return this.#inner.atBoundary;
  }
  classify: Codec['classify'] = (act, again) => this.#inner.classify(act, again);
  forward: Codec['forward'] = (act, verdict, ops) => this.#inner.forward(act, verdict, ops);
  refuse: Codec['refuse'] = (act, refusal) => this.#inner.refuse(act, refusal);
  notice: Codec['notice'] = (text, detail) => this.#inner.notice(text, detail);
  fatal: Codec['fatal'] = (refusal) => this.#inner.fatal(refusal);
}

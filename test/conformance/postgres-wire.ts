/** PostgreSQL messages as a test writes and reads them: raw, with nothing that a driver would add or hide. */
import net from 'node:net';
import { B, F, message, STARTUP } from '../../daemon/protocols/postgres/wire.ts';
import { pieces } from './tap.ts';

const int16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
};
export const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};

export const query = (text: string) => message(F.query, `${text}\0`);
/** `types`: oids declared for the parameters. */
export const parse = (text: string, name: string | Buffer = '', types: readonly number[] = []) =>
  message(F.parse, name, '\0', `${text}\0`, int16(types.length), ...types.map(int32));
export const bind = (
  values: readonly (string | null)[] = [],
  { name = '' as string | Buffer, portal = '' as string | Buffer, formats = [] as readonly number[] } = {},
) =>
  message(
    F.bind,
    portal,
    '\0',
    name,
    '\0',
    int16(0),
    int16(values.length),
    ...values.flatMap((value) =>
      value === null ? [int32(-1)] : [int32(Buffer.byteLength(value)), Buffer.from(value)],
    ),
    int16(formats.length),
    ...formats.map(int16),
  );
export const describe = (kind: 'S' | 'P', name: string | Buffer = '') => message(F.describe, kind, name, '\0');
export const execute = (portal: string | Buffer = '', rows = 0) => message(F.execute, portal, '\0', int32(rows));
export const close = (kind: 'S' | 'P', name: string | Buffer = '') => message(F.close, kind, name, '\0');
export const sync = message(F.sync);
export const flush = message(F.flush);
export const terminate = message(F.terminate);
export const copyData = (text: string) => message(F.copyData, text);
export const copyDone = message(F.copyDone);
export const copyFail = message(F.copyFail, 'no more\0');
export const functionCall = (oid: number) => message(F.functionCall, int32(oid), int16(0), int16(0), int16(0));
/** Parse, Bind and Execute of one statement, without Sync. */
export const run = (text: string, values: readonly string[] = []) =>
  Buffer.concat([parse(text), bind(values), execute()]);

export function startup(parameters: Readonly<Record<string, string>> = {}): Buffer {
  const all = { user: 'postgres', database: 'postgres', ...parameters };
  const body = Buffer.from(`${Object.entries(all).flat().join('\0')}\0\0`);
  return Buffer.concat([int32(8 + body.length), int32(STARTUP.protocol30), body]);
}

export interface Message {
  readonly letter: string;
  readonly body: Buffer;
}

/** Whole messages of a server's bytes. */
export function messages(bytes: Buffer): Message[] {
  const found: Message[] = [];
  for (let at = 0; at + 5 <= bytes.length; ) {
    const size = bytes.readUInt32BE(at + 1) + 1;
    if (at + size > bytes.length) break;
    found.push({ letter: String.fromCharCode(bytes[at]!), body: bytes.subarray(at + 5, at + size) });
    at += size;
  }
  return found;
}

/** Letter and what a person would look at: `C SELECT 1`, `E 42501 …`, `D a,b`. */
export function shown({ letter, body }: Message): string {
  switch (letter.charCodeAt(0)) {
    case B.commandComplete:
      return `C ${body.toString('utf8', 0, body.length - 1)}`;
    case B.error:
    case B.notice:
      return `${letter} ${fields(body).C} ${fields(body).M}`;
    case B.dataRow:
      return `D ${values(body).join(',')}`;
    case B.copyData:
      return `d ${body.toString('utf8').trimEnd()}`;
    case B.readyForQuery:
      return `Z ${body.toString('latin1')}`;
    default:
      return letter;
  }
}

export function fields(body: Buffer): Record<string, string> {
  const parts = body
    .toString('utf8')
    .split('\0')
    .filter((part) => part !== '');
  return Object.fromEntries(parts.map((part) => [part[0]!, part.slice(1)]));
}

function values(body: Buffer): string[] {
  const found: string[] = [];
  let at = 2;
  for (let i = 0; i < body.readUInt16BE(0); i++) {
    const length = body.readInt32BE(at);
    at += 4;
    found.push(length < 0 ? 'NULL' : body.toString('utf8', at, at + length));
    at += Math.max(length, 0);
  }
  return found;
}

/** A connection that is logged in. */
export class Wire {
  readonly socket: net.Socket;
  #chunks: Buffer[] = [];
  /** Begun and not ended. */
  #left: Buffer = Buffer.alloc(0);
  /** Whole and not taken by a reading. */
  #messages: Message[] = [];
  ended = false;
  /** Bytes per write. */
  pieces: number | undefined;
  #wake: (() => void) | null = null;
  /** BackendKeyData as it came. */
  key: Buffer = Buffer.alloc(0);

  constructor(socket: net.Socket) {
    this.socket = socket;
    const wake = () => {
      this.#wake?.();
      this.#wake = null;
    };
    socket.on('data', (chunk) => {
      this.#chunks.push(chunk);
      const bytes = Buffer.concat([this.#left, chunk]);
      const whole = messages(bytes);
      this.#left = bytes.subarray(whole.reduce((size, { body }) => size + 5 + body.length, 0));
      for (const message of whole) this.#messages.push(message);
      wake();
    });
    for (const event of ['end', 'close', 'error'])
      socket.on(event, () => {
        this.ended = true;
        wake();
      });
  }

  static async open(port: number, parameters: Readonly<Record<string, string>> = {}): Promise<Wire> {
    const wire = new Wire(net.connect({ port, host: '127.0.0.1', noDelay: true }));
    wire.send(startup(parameters));
    const login = await wire.ready();
    wire.key = login.find(({ letter }) => letter === 'K')?.body ?? Buffer.alloc(0);
    wire.#chunks = [];
    return wire;
  }

  /** All bytes since the login. */
  get all(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  send(...bytes: readonly Buffer[]): this {
    pieces(this.socket, Buffer.concat(bytes), this.pieces);
    return this;
  }

  /** Messages up to and with the one that `last` accepts, or to the end of the connection. */
  async until(last: (message: Message) => boolean): Promise<Message[]> {
    for (let seen = 0; ; ) {
      while (seen < this.#messages.length) if (last(this.#messages[seen++]!)) return this.#messages.splice(0, seen);
      if (this.ended) return this.#messages.splice(0);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Messages up to the `count`-th ReadyForQuery. */
  ready(count = 1): Promise<Message[]> {
    let seen = 0;
    return this.until(({ letter }) => letter === 'Z' && ++seen === count);
  }

  /** Sends and reads up to ReadyForQuery, shown. */
  async ask(bytes: Buffer | string, count = 1): Promise<string[]> {
    this.send(typeof bytes === 'string' ? query(bytes) : bytes);
    return (await this.ready(count)).map(shown);
  }

  /** Resolves at the end of the connection. */
  async end(): Promise<Message[]> {
    return this.until(() => false);
  }

  close(): void {
    this.socket.destroy();
  }
}

export function cancel(port: number, key: Buffer): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1' });
    socket.on('error', () => {}).on('close', () => resolve());
    socket.resume();
    socket.write(Buffer.concat([int32(8 + key.length), int32(STARTUP.cancel), key]));
  });
}

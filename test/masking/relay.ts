/**
 * A relay between real clients and a real server that masks every column named `m`, and nothing else of a proxy: it trusts
 * both sides, knows one mask, and follows the extended protocol just as far as result formats need it.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { MaskKind } from '../../daemon/core/mask.ts';
import type { MaskKey } from '../../daemon/masking/key.ts';
import type { Detection } from '../../daemon/masking/text.ts';
import { CopyMasker } from '../../daemon/protocols/postgres/mask/copy.ts';
import { openRowLibrary } from '../../daemon/protocols/postgres/mask/library.ts';
import { OutBuffer } from '../../daemon/protocols/postgres/mask/out.ts';
import { RowMasker } from '../../daemon/protocols/postgres/mask/rows.ts';
import type { CopyOut, OutputMask } from '../../daemon/protocols/postgres/sql/model.ts';
import { B, F, type Field, rowDescription, STARTUP } from '../../daemon/protocols/postgres/wire.ts';

export interface RelayMask {
  readonly kind: MaskKind;
  readonly plain: boolean;
  readonly key: MaskKey;
  readonly detection: Detection | null;
  /** For COPY, of which the wire says neither columns nor options. */
  readonly copy?: { readonly plan: readonly boolean[]; readonly types: readonly number[]; readonly options: CopyOut };
}

export interface Relay {
  readonly port: number;
  close(): void;
}

/** `mask` is asked anew for each result. */
export async function startRelay(server: { host: string; port: number }, mask: () => RelayMask): Promise<Relay> {
  const open = new Set<Socket>();
  const listener: Server = createServer((client) => {
    const upstream = connect(server.port, server.host);
    const pair = new Pair(mask);
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => open.delete(socket));
    }
    client.on('data', (data) => upstream.write(pair.client(data as Buffer)));
    upstream.on('data', (data) => client.write(pair.server(data as Buffer)));
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const address = listener.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    close() {
      for (const socket of open) socket.destroy();
      listener.close();
    },
  };
}

class Pair {
  readonly #mask: () => RelayMask;
  readonly #library = openRowLibrary();
  #asked: Buffer = Buffer.alloc(0);
  #answered: Buffer = Buffer.alloc(0);
  #started = false;
  #plainAnswer = false;
  /** The last Bind: statement and result formats, which a statement's description doesn't have. */
  #bind: Bound = { statement: '', formats: [] };
  /** Binds whose rows are to come, one per Execute. */
  readonly #bound: Bound[] = [];
  /** Statements whose description is to come; null: a portal's. */
  readonly #described: (string | null)[] = [];
  readonly #statements = new Map<string, Field[]>();
  #fields: Field[] = [];
  #rows: RowMasker | null = null;
  #copy: CopyMasker | null = null;

  constructor(mask: () => RelayMask) {
    this.#mask = mask;
  }

  client(data: Buffer): Buffer {
    this.#asked = Buffer.concat([this.#asked, data]);
    for (;;) {
      const head = this.#started ? 1 : 0;
      if (this.#asked.length < head + 4) break;
      const length = head + this.#asked.readInt32BE(head);
      if (this.#asked.length < length) break;
      const message = this.#asked.subarray(0, length);
      if (!this.#started) {
        const code = message.readInt32BE(4);
        if (code === STARTUP.ssl || code === STARTUP.gssenc) this.#plainAnswer = true;
        else this.#started = true;
      } else if (message[0] === F.bind) this.#bind = boundBy(message);
      else if (message[0] === F.execute) this.#bound.push(this.#bind);
      else if (message[0] === F.describe)
        this.#described.push(message[5] === 0x53 ? message.toString('utf8', 6, message.length - 1) : null);
      this.#asked = this.#asked.subarray(length);
    }
    return data;
  }

  server(data: Buffer): Buffer {
    const out = new OutBuffer();
    this.#answered = Buffer.concat([this.#answered, data]);
    if (this.#plainAnswer && this.#answered.length > 0) {
      out.copy(this.#answered, 0, 1);
      this.#answered = this.#answered.subarray(1);
      this.#plainAnswer = false;
    }
    for (;;) {
      const bytes = this.#answered;
      if (bytes.length < 5) break;
      const length = 1 + bytes.readInt32BE(1);
      if (bytes.length < length) break;
      this.#one(bytes.subarray(0, length), out);
      this.#answered = bytes.subarray(length);
    }
    return out.take();
  }

  #one(message: Buffer, out: OutBuffer): void {
    const letter = message[0];
    if (letter === B.dataRow) {
      this.#rows ??= this.#rowMasker();
      this.#rows.mask(message, 0, message.length, out);
      return;
    }
    if (letter === B.copyOutResponse) this.#copy = this.#copyMasker();
    if (letter === B.copyData && this.#copy !== null) {
      this.#copy.messages(message, 0, message.length, out);
      return;
    }
    if (letter === B.copyDone) this.#copy = null;
    if (letter === B.rowDescription) {
      this.#fields = rowDescription(message.subarray(5)) ?? [];
      const statement = this.#described.shift();
      if (typeof statement === 'string') this.#statements.set(statement, this.#fields);
    }
    if (letter === B.noData) this.#described.shift();
    if (letter === B.commandComplete || letter === B.portalSuspended || letter === B.error) {
      this.#bound.shift();
      this.#rows = null;
    }
    out.copy(message, 0, message.length);
  }

  #rowMasker(): RowMasker {
    const mask = this.#mask();
    const bound = this.#bound[0];
    const described = (bound && this.#statements.get(bound.statement)) ?? this.#fields;
    const formats = bound?.formats;
    const fields = described.map(({ typeOid, format }, i) => ({
      typeOid,
      format: formats === undefined ? format : formats.length === 1 ? formats[0]! : (formats[i] ?? 0),
    }));
    const plan = described.map(({ name }) => (name === 'm' ? outputMask(mask) : null));
    return new RowMasker(plan, fields, mask.detection, mask.key, this.#library);
  }

  #copyMasker(): CopyMasker | null {
    const mask = this.#mask();
    if (mask.copy === undefined) return null;
    const plan = mask.copy.plan.map((is) => (is ? outputMask(mask) : null));
    return new CopyMasker(plan, mask.copy.options, mask.copy.types, mask.detection, mask.key, {
      native: this.#library,
    });
  }
}

function outputMask(mask: RelayMask): OutputMask {
  return { mask: { name: 'relay', columns: ['*.m'], with: mask.kind, conditions: 'allow' }, plain: mask.plain };
}

interface Bound {
  readonly statement: string;
  readonly formats: readonly number[];
}

/** Bind: portal\0 statement\0, formats and values of parameters, count(int16) and formats(int16) of results. */
function boundBy(bind: Buffer): Bound {
  const name = bind.indexOf(0, 5) + 1;
  const end = bind.indexOf(0, name);
  let at = end + 1;
  at += 2 + bind.readInt16BE(at) * 2;
  const parameters = bind.readInt16BE(at);
  at += 2;
  for (let i = 0; i < parameters; i++) at += 4 + Math.max(0, bind.readInt32BE(at));
  const count = bind.readInt16BE(at);
  const formats = Array.from({ length: count }, (_, i) => bind.readInt16BE(at + 2 + i * 2));
  return { statement: bind.toString('utf8', name, end), formats: formats.length === 0 ? [0] : formats };
}

/**
 * The canonical bytes of an event: one JSON object in UTF-8, its keys in the order of FIELDS, no white space, `prev` last.
 * These bytes are hashed, stored and sent; nothing is ever encoded a second time, so verifying is hashing what is stored.
 *
 *   {"schema":4,"seq":17,"time":1795342800000,"type":"operation",…,"prev":"<64 hex>"}
 *
 * JSON.stringify writes lone surrogates as \uD8xx escapes, so every JavaScript string comes back as it went in.
 */
import { hash } from 'node:crypto';
import { SluiceError } from '../core/errors.ts';
import { EVENT_SCHEMA, type Event, type EventFields, type EventInput } from '../core/event.ts';

/** `prev` of the first event. */
export const GENESIS = '0'.repeat(64);

/** Bounds, so that one event is under EVENT_BYTES whatever a client sends. Texts in UTF-8 bytes, lists in elements. */
export const TEXT_BYTES = 65_536;
const STRING_BYTES = 4_096;
const LIST_ITEMS = 256;
const ITEM_BYTES = 256;
/** Characters of JSON. */
const ACCESS_JSON = 65_536;
/** Largest canonical form. JSON makes six bytes of a control character. */
export const EVENT_BYTES = 2_097_152;

type Kind = 'string' | 'text' | 'number' | 'strings' | 'accesses';
type Field = readonly [name: keyof EventFields, kind: Kind, label: string];

const labelled = (fields: readonly (readonly [keyof EventFields, Kind])[]): readonly Field[] =>
  fields.map(([name, kind]) => [name, kind, `,"${name}":`] as const);

/** Whose and where: `about`. */
const ABOUT = labelled([
  ['session', 'string'],
  ['subject', 'string'],
  ['groups', 'strings'],
  ['issuer', 'string'],
  ['flow', 'string'],
  ['pid', 'number'],
  ['uid', 'number'],
  ['owner', 'number'],
  ['exe', 'string'],
  ['cgroup', 'string'],
  ['address', 'string'],
  ['port', 'number'],
  ['protocol', 'string'],
  ['resource', 'string'],
  ['account', 'string'],
  ['database', 'string'],
]);
const OP = labelled([['op', 'number']]);
const TEXT = labelled([
  ['text', 'text'],
  ['textBytes', 'number'],
]);
/** What, and what was decided: `act`. */
const ACT = labelled([
  ['verb', 'string'],
  ['fingerprint', 'string'],
  ['accesses', 'accesses'],
  ['decision', 'string'],
  ['observed', 'string'],
  ['rule', 'string'],
  ['reason', 'string'],
  ['policy', 'string'],
  ['approval', 'string'],
  ['reviewer', 'string'],
  ['masks', 'strings'],
]);
const OUTCOME = labelled([
  ['error', 'string'],
  ['message', 'string'],
  ['rows', 'number'],
  ['bytesIn', 'number'],
  ['bytesOut', 'number'],
  ['micros', 'number'],
  ['count', 'number'],
]);

/** Names of all fields that an event can have, in canonical order. */
export const FIELD_NAMES: readonly string[] = [
  'schema',
  'seq',
  'time',
  'type',
  ...[...ABOUT, ...OP, ...TEXT, ...ACT, ...OUTCOME].map(([name]) => name),
  'cut',
  'prev',
  'hash',
];

/** Part of an event's canonical JSON, and the fields that were shortened in it. */
interface Part {
  readonly json: string;
  readonly cut: readonly string[] | null;
}

/** The same in UTF-8. */
interface Encoded {
  readonly bytes: Buffer;
  readonly cut: readonly string[] | null;
}

const NONE: Encoded = { bytes: Buffer.alloc(0), cut: null };
const LEAD = Buffer.from(`{"schema":${EVENT_SCHEMA},"seq":`);
const TIME = Buffer.from(',"time":');
const OP_LABEL = Buffer.from(',"op":');
const TEXT_LABEL = Buffer.from(',"text":');
const ROWS = Buffer.from(',"rows":');
const BYTES_IN = Buffer.from(',"bytesIn":');
const BYTES_OUT = Buffer.from(',"bytesOut":');
const MICROS = Buffer.from(',"micros":');
const PREV = Buffer.from(',"prev":"');
const END = Buffer.from('"}');
/** More than all of these with their numbers and the hash. */
const FIXED_BYTES = 512;

/**
 * Encodes events, each into canonical JSON. Values over their bound are shortened and their field named in `cut`; numbers
 * that JSON can't carry are left out and named there too. Parts that events share are encoded once: most of an event is
 * the same as in the one before, so bytes are put together instead of a string that has to be encoded as a whole.
 */
export class Encoder {
  readonly #parts = new WeakMap<object, Encoded>();
  readonly #accesses = new WeakMap<object, Part>();
  readonly #types = new Map<string, Buffer>();
  /** What is kept of the event taken. */
  #type: Buffer = NONE.bytes;
  #about: Encoded = NONE;
  #op: number | undefined;
  /** JSON of a text that is whole; else `#texts`. */
  #text: string | null = null;
  #texts: Encoded = NONE;
  #act: Encoded = NONE;
  /** Null: the numbers below are all there is. */
  #outcome: Encoded | null = null;
  #rows: number | undefined;
  #bytesIn: number | undefined;
  #bytesOut: number | undefined;
  #micros: number | undefined;
  #cut: Buffer = NONE.bytes;

  /** Takes in an event for `put`. Returns how many bytes its canonical form has at most. */
  take(input: EventInput): number {
    this.#type = this.#types.get(input.type) ?? this.#newType(input.type);
    this.#about = input.about === undefined ? this.#own(input, ABOUT) : this.#shared(input.about, ABOUT);
    this.#op = Number.isFinite(input.op) ? input.op : undefined;
    this.#takeText(input);
    if (input.act !== undefined) this.#act = this.#shared(input.act, ACT);
    else this.#act = input.type === 'result' && hasNoAct(input) ? NONE : this.#own(input, ACT);
    this.#takeOutcome(input);
    this.#cut = NONE.bytes;
    const outcome = this.#outcome ?? NONE;
    if (this.#about.cut !== null || this.#texts.cut !== null || this.#act.cut !== null || outcome.cut !== null) {
      const cut = [this.#about, this.#texts, this.#act, outcome].flatMap((part) => part.cut ?? []);
      this.#cut = Buffer.from(`,"cut":${JSON.stringify(cut)}`);
    }
    // A UTF-16 unit is at most three bytes of UTF-8.
    const text = this.#text === null ? this.#texts.bytes.length : 3 * this.#text.length;
    const shared = this.#about.bytes.length + this.#act.bytes.length;
    return shared + text + outcome.bytes.length + this.#cut.length + FIXED_BYTES;
  }

  /** Writes the canonical form of the event taken, with room for the digits of `prev`; returns where it ends. */
  put(into: Buffer, start: number, seq: number, time: number): number {
    let at = putBytes(into, start, LEAD);
    at = putInteger(into, at, seq);
    at = putBytes(into, at, TIME);
    at = putInteger(into, at, time);
    at = putBytes(into, at, this.#type);
    at = putBytes(into, at, this.#about.bytes);
    at = putField(into, at, OP_LABEL, this.#op);
    if (this.#text === null) at = putBytes(into, at, this.#texts.bytes);
    else {
      at = putBytes(into, at, TEXT_LABEL);
      at += into.write(this.#text, at, 'utf8');
    }
    at = putBytes(into, at, this.#act.bytes);
    if (this.#outcome !== null) at = putBytes(into, at, this.#outcome.bytes);
    else {
      at = putField(into, at, ROWS, this.#rows);
      at = putField(into, at, BYTES_IN, this.#bytesIn);
      at = putField(into, at, BYTES_OUT, this.#bytesOut);
      at = putField(into, at, MICROS, this.#micros);
    }
    at = putBytes(into, at, this.#cut);
    at = putBytes(into, at, PREV);
    return putBytes(into, at + GENESIS.length, END);
  }

  /** The canonical form of one event by itself. */
  encode(input: EventInput, seq: number, time: number, prev: string): string {
    const bytes = Buffer.allocUnsafe(this.take(input));
    const end = this.put(bytes, 0, seq, time);
    bytes.write(prev, end - END.length - prev.length, 'latin1');
    return bytes.toString('utf8', 0, end);
  }

  /** Most texts are whole, and no two events in a row have the same: these are not made into bytes twice. */
  #takeText(input: EventInput): void {
    const { text } = input;
    this.#texts = NONE;
    this.#text = null;
    if (text === undefined && input.textBytes === undefined) return;
    if (text !== undefined && input.textBytes === undefined && text.length * 3 <= TEXT_BYTES)
      this.#text = JSON.stringify(text);
    else this.#texts = this.#own(input, TEXT);
  }

  #takeOutcome(input: EventInput): void {
    const rows = input.rows ?? undefined;
    const bytesIn = input.bytesIn ?? undefined;
    const bytesOut = input.bytesOut ?? undefined;
    const micros = input.micros ?? undefined;
    const more = input.error !== undefined || input.message !== undefined || input.count !== undefined;
    if (more || !plain(rows) || !plain(bytesIn) || !plain(bytesOut) || !plain(micros)) {
      this.#outcome = this.#own(input, OUTCOME);
      return;
    }
    this.#outcome = null;
    this.#rows = rows;
    this.#bytesIn = bytesIn;
    this.#bytesOut = bytesOut;
    this.#micros = micros;
  }

  #newType(type: string): Buffer {
    const bytes = Buffer.from(`,"type":"${type}"`);
    this.#types.set(type, bytes);
    return bytes;
  }

  #own(input: EventFields, order: readonly Field[]): Encoded {
    const { json, cut } = this.#part(input, order);
    return json === '' && cut === null ? NONE : { bytes: Buffer.from(json), cut };
  }

  #shared(fields: EventFields, order: readonly Field[]): Encoded {
    let part = this.#parts.get(fields);
    if (part === undefined) {
      part = this.#own(fields, order);
      this.#parts.set(fields, part);
    }
    return part;
  }

  #part(input: EventFields, order: readonly Field[]): Part {
    let json = '';
    let cut: string[] | null = null;
    let textBytes = input.textBytes;
    for (const [name, kind, label] of order) {
      const value = name === 'textBytes' ? textBytes : input[name];
      if (value === undefined || value === null) continue;
      let kept: string | null;
      let whole = true;
      switch (kind) {
        case 'number':
          kept = Number.isFinite(value) ? String(Math.round(value as number)) : null;
          whole = kept !== null;
          break;
        case 'string':
        case 'text': {
          const bound = kind === 'text' ? TEXT_BYTES : STRING_BYTES;
          const text = String(value);
          // A UTF-16 unit is at most three bytes of UTF-8, so most texts need no counting.
          const short = text.length * 3 <= bound || Buffer.byteLength(text) <= bound ? text : shorten(text, bound);
          whole = short === text;
          if (kind === 'text' && !whole) textBytes ??= Buffer.byteLength(text);
          kept = JSON.stringify(short);
          break;
        }
        case 'strings': {
          const list = value as readonly string[];
          const short = list.slice(0, LIST_ITEMS).map((item) => shorten(String(item), ITEM_BYTES));
          whole = short.length === list.length && short.every((item, i) => item === list[i]);
          kept = JSON.stringify(short);
          break;
        }
        case 'accesses': {
          const list = this.#list(value as readonly unknown[]);
          kept = list.json;
          whole = list.cut === null;
          break;
        }
      }
      if (!whole) {
        cut ??= [];
        cut.push(name);
      }
      if (kept !== null) json += label + kept;
    }
    return { json, cut };
  }

  /** The same statement with other constants has the same list. */
  #list(accesses: readonly unknown[]): Part {
    let part = this.#accesses.get(accesses);
    if (part === undefined) {
      const json = JSON.stringify(accesses);
      part =
        json.length <= ACCESS_JSON ? { json, cut: null } : { json: JSON.stringify(fewer(accesses)), cut: ['accesses'] };
      this.#accesses.set(accesses, part);
    }
    return part;
  }
}

/** True when the number can be written as it is: absent, or neither negative nor beyond what is exact. */
function plain(value: number | undefined): boolean {
  return value === undefined || (value >= 0 && value <= Number.MAX_SAFE_INTEGER);
}

/** Named one by one, because results are many and a loop over names costs them ten times as much. */
function hasNoAct(input: EventInput): boolean {
  return (
    input.verb === undefined &&
    input.fingerprint === undefined &&
    input.accesses === undefined &&
    input.decision === undefined &&
    input.observed === undefined &&
    input.rule === undefined &&
    input.reason === undefined &&
    input.policy === undefined &&
    input.approval === undefined &&
    input.reviewer === undefined &&
    input.masks === undefined
  );
}

function putBytes(into: Buffer, at: number, bytes: Buffer): number {
  into.set(bytes, at);
  return at + bytes.length;
}

function putField(into: Buffer, at: number, label: Buffer, value: number | undefined): number {
  return value === undefined ? at : putInteger(into, putBytes(into, at, label), value);
}

/** As JSON writes the number once rounded. */
function putInteger(into: Buffer, at: number, value: number): number {
  const whole = Math.round(value);
  if (whole >= 0 && whole < BILLION) return putDigits(into, at, whole, digits(whole));
  if (!(whole >= 0 && whole <= Number.MAX_SAFE_INTEGER)) return at + into.write(String(whole), at, 'latin1');
  const high = Math.floor(whole / BILLION);
  return putDigits(into, putInteger(into, at, high), whole - high * BILLION, 9);
}

const BILLION = 1_000_000_000;

function digits(value: number): number {
  let count = 1;
  for (let bound = 10; bound <= value; bound *= 10) count++;
  return count;
}

function putDigits(into: Buffer, at: number, value: number, count: number): number {
  let rest = value;
  for (let i = at + count - 1; i >= at; i--) {
    const tenth = (rest / 10) | 0;
    into[i] = 48 + rest - tenth * 10;
    rest = tenth;
  }
  return at + count;
}

/** Cut to at most `bytes` of UTF-8, never within a character. */
function shorten(text: string, bytes: number): string {
  if (text.length * 3 <= bytes) return text;
  const raw = Buffer.from(text);
  if (raw.length <= bytes) return text;
  let end = bytes;
  while (end > 0 && (raw[end]! & 0xc0) === 0x80) end--;
  return raw.toString('utf8', 0, end);
}

/** As many leading accesses as fit into ACCESS_JSON. */
function fewer(accesses: readonly unknown[]): unknown[] {
  const kept: unknown[] = [];
  let size = 2;
  for (const access of accesses) {
    size += JSON.stringify(access).length + 1;
    if (size > ACCESS_JSON) break;
    kept.push(access);
  }
  return kept;
}

/** SHA-256 of canonical bytes, lower-case hex. */
export function digest(canonical: string | Uint8Array): string {
  return hash('sha256', canonical, 'hex');
}

/**
 * The event that canonical bytes stand for, its hash computed from them.
 * @throws SluiceError AUDIT_BROKEN when the bytes are no event.
 */
export function decode(bytes: Uint8Array): Event {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
  } catch (cause) {
    throw new SluiceError('AUDIT_BROKEN', 'a stored event is not readable', { cause });
  }
  if (typeof parsed !== 'object' || parsed === null || typeof (parsed as Event).seq !== 'number') {
    throw new SluiceError('AUDIT_BROKEN', 'a stored record is not an event');
  }
  return Object.assign(parsed, { hash: digest(bytes) }) as Event;
}

const TAIL = '"prev":"'.length + 64 + '"}'.length;
/** `seq`, `time` and `prev` read from canonical bytes without parsing them; null when they don't have the canonical shape. */
export function links(bytes: Uint8Array): { seq: number; time: number; prev: string } | null {
  if (bytes.length < LEAD.length + TAIL) return null;
  const raw = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lead = /^\{"schema":\d{1,4},"seq":(\d{1,16}),"time":(\d{1,16}),"/.exec(
    raw.toString('latin1', 0, LEAD.length + 48),
  );
  const tail = /^"prev":"([0-9a-f]{64})"\}$/.exec(raw.toString('latin1', raw.length - TAIL));
  if (lead === null || tail === null) return null;
  return { seq: Number(lead[1]), time: Number(lead[2]), prev: tail[1]! };
}

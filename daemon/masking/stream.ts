/**
 * Masking of a byte stream that has no fields: values that a chunk border cuts are found, since what may still become one
 * is held back. Held back is the last word (a run without white space), with the words before it that may belong to a
 * number in groups or to a key's first line, and any value found that reaches the end. Never more than MAX_HELD.
 *
 * A value longer than that is masked as one and the rest of it is dropped as it comes.
 */
import { BASE64URL } from './detectors/detector.ts';
import { MAX_PEM, PEM_BODY } from './detectors/private-keys.ts';
import type { MaskKey } from './key.ts';
import { type Detection, replaceSpans } from './text.ts';

/** Most bytes held back between two calls. */
export const MAX_HELD = MAX_PEM;
/** Of a longer word only the end is held: what a detector needs to know its value by is shorter. */
const MAX_WORD = 4096;
/** How far words of digits or capitals are gone back over: the longest IBAN in groups, the first line of a PEM block. */
const MAX_GROUPS = 80;
const SPACE = 0x20;
const BEARER = 'bearer';
const EMPTY = Buffer.alloc(0);
const PEM_BEGIN = '-----BEGIN';
const PEM_LAST_LINE = /-----END [^-]{0,60}-----/;
const MAX_LAST_LINE = 80;

const SPACES = Uint8Array.from({ length: 256 }, (_, byte) => (byte === 0x20 || (byte >= 9 && byte <= 13) ? 1 : 0));
const GROUP = Uint8Array.from({ length: 256 }, (_, byte) =>
  (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || byte === 0x2d ? 1 : 0,
);
const TOKEN = Uint8Array.from(BASE64URL);
for (const char of '.=+/~') TOKEN[char.charCodeAt(0)] = 1;

/** One direction of one flow. */
export class StreamMasker {
  readonly #detection: Detection;
  readonly #key: MaskKey;
  #held: Buffer = EMPTY;
  /** Set while the rest of a value that was too long is dropped. */
  #dropping: 'pem' | 'token' | null = null;

  constructor(detection: Detection, key: MaskKey) {
    this.#detection = detection;
    this.#key = key;
  }

  /** Bytes that may go on now, masked; maybe none. */
  push(chunk: Buffer): Buffer {
    let data = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    if (this.#dropping !== null) data = this.#drop(data);
    if (data.length === 0 || this.#dropping !== null) {
      this.#held = Buffer.from(data);
      return EMPTY;
    }
    const spans = this.#detection.scanner.spans(data);
    let hold = holdFrom(data);
    for (const span of spans)
      if (span.to === data.length) hold = Math.min(hold, span.from);
      else if (span.from < hold && span.to > hold) hold = span.to;
    if (data.length - hold > MAX_HELD) {
      // Only a value that reaches the end is held that long: it is masked now, and what follows of it is dropped.
      const released = this.#release(data, data.length, spans);
      this.#dropping = data.toString('latin1', hold, hold + PEM_BEGIN.length) === PEM_BEGIN ? 'pem' : 'token';
      this.#held = EMPTY;
      return released;
    }
    const released = this.#release(data, hold, spans);
    this.#held = Buffer.from(data.subarray(hold));
    return released;
  }

  /** All that is held back: at the end of the stream, or where a person waits for a prompt. A value cut there may be missed. */
  flush(): Buffer {
    const data = this.#dropping === null ? this.#held : EMPTY;
    this.#held = EMPTY;
    return data.length === 0 ? data : this.#release(data, data.length, this.#detection.scanner.spans(data));
  }

  #release(data: Buffer, end: number, spans: readonly { from: number; to: number }[]): Buffer {
    const inside = spans.filter((span) => span.to <= end);
    if (inside.length === 0) return data.subarray(0, end);
    return replaceSpans(data, 0, end, inside, this.#detection.with, this.#key);
  }

  /** What comes behind the value that is being dropped; while it goes on, the bytes its last line may begin in. */
  #drop(data: Buffer): Buffer {
    const set = this.#dropping === 'pem' ? PEM_BODY : TOKEN;
    let end = 0;
    while (end < data.length && set[data[end]!] === 1) end++;
    if (this.#dropping === 'pem') {
      const line = PEM_LAST_LINE.exec(data.toString('latin1', 0, end));
      if (line !== null) {
        this.#dropping = null;
        return data.subarray(line.index + line[0].length);
      }
      if (end === data.length) return data.subarray(Math.max(0, end - MAX_LAST_LINE));
    } else if (end === data.length) return EMPTY;
    this.#dropping = null;
    return data.subarray(end);
  }
}

/** Where the part begins that may be the beginning of a value. */
function holdFrom(data: Buffer): number {
  let hold = data.length;
  const least = Math.max(0, hold - MAX_WORD);
  while (hold > least && SPACES[data[hold - 1]!] === 0) hold--;
  const groups = Math.max(0, hold - MAX_GROUPS);
  while (hold > groups && data[hold - 1] === SPACE) {
    const end = hold - 1;
    let start = end;
    while (start > groups && SPACES[data[start - 1]!] === 0) start--;
    if (start === end || (start === groups && start > 0) || !joins(data, start, end)) break;
    hold = start;
  }
  return hold;
}

/** May the word stand before more of the same value? */
function joins(data: Buffer, start: number, end: number): boolean {
  // Only the end of the word counts: "card:4111 1111 …"
  if (GROUP[data[end - 1]!] === 1) return true;
  return end - start >= BEARER.length && data.toString('latin1', end - BEARER.length, end).toLowerCase() === BEARER;
}
